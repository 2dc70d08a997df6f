"""The lab as a whole: its process, its kubeconfig, its interface for tests."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml
from kubernetes.aio import client, config

from healer.lab import Lab, serving
from healer.lab.apiserver.status import ApiRefusal

pytestmark = pytest.mark.slow


async def test_the_official_client_understands_it(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    async with Lab(token="secret") as lab:
        lab.write_kubeconfig(path)
        await lab.apply(serving())
        await lab.wait_for(lambda it: it.objects("poddisruptionbudgets")[0]["status"]["disruptionsAllowed"] == 1)
        configuration = client.Configuration()
        await config.load_kube_config(str(path), client_configuration=configuration)  # type: ignore[no-untyped-call]  # untyped upstream
        async with client.ApiClient(configuration) as api:
            pods = await client.CoreV1Api(api).list_namespaced_pod("production")
            name = lab.objects("pods")[0]["metadata"]["name"]
            eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=name))
            await client.CoreV1Api(api).create_namespaced_pod_eviction(name, "production", eviction)
            budgets = await client.PolicyV1Api(api).list_namespaced_pod_disruption_budget("production")
    assert len(pods.items) == 3
    status = budgets.items[0].status
    assert status is not None
    assert status.disruptions_allowed == 0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    path, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=lab"]
    subprocess.run([*make, "-keyout", str(key), "-out", str(path)], check=True, capture_output=True)
    return path, key


async def test_it_serves_https(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with Lab(tls=context) as lab, aiohttp.ClientSession() as session:
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        async with session.get(f"{lab.url}/version", ssl=False) as response:
            assert response.status == 200
    written = yaml.safe_load((tmp_path / "kubeconfig").read_text(encoding="utf-8"))
    assert written["clusters"][0]["cluster"]["server"].startswith("https://127.0.0.1:")


async def test_apply_makes_namespaces_and_refuses_what_the_api_refuses() -> None:
    async with Lab() as lab:
        await lab.apply_yaml(yaml.safe_dump_all(serving(namespace="other")))
        assert "other" in [item["metadata"]["name"] for item in lab.objects("namespaces")]
        with pytest.raises(ApiRefusal, match="already exists"):
            await lab.apply(serving(namespace="other"))
        with pytest.raises(KeyError, match="v1 PersistentVolume"):
            await lab.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "x"}})


async def test_objects_are_copies() -> None:
    async with Lab() as lab:
        lab.objects("nodes")[0]["metadata"]["name"] = "changed"
        assert lab.objects("nodes")[0]["metadata"]["name"] == "node-0"
        with pytest.raises(KeyError, match="no resource 'nodez'"):
            lab.objects("nodez")


async def test_waiting_ends_with_a_timeout() -> None:
    async with Lab() as lab:
        with pytest.raises(TimeoutError):
            await lab.wait_for(lambda it: False, timeout=0.05)
        assert lab.store.listeners


async def test_bookmarks_come_at_the_configured_interval() -> None:
    async with Lab() as lab, aiohttp.ClientSession() as session:
        lab.bookmark_every = 0.01
        path = f"/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion={lab.store.revision}"
        async with session.get(lab.url + path) as response:
            lines = [json.loads(await asyncio.wait_for(response.content.readline(), 5)) for _ in range(3)]
    assert [line["type"] for line in lines] == ["BOOKMARK"] * 3


async def test_leaving_the_lab_ends_open_watches() -> None:
    async with aiohttp.ClientSession() as session:
        async with Lab() as lab:
            response = await session.get(f"{lab.url}/api/v1/pods?watch=1")
        assert await asyncio.wait_for(response.content.read(), 5) == b""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_it_runs_in_a_process_of_its_own(tmp_path: Path, stop: signal.Signals) -> None:
    manifest = tmp_path / "serving.yaml"
    manifest.write_text(yaml.safe_dump_all(serving()), encoding="utf-8")
    kubeconfig = tmp_path / "kubeconfig"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "healer.lab", "--apply", str(manifest), "--kubeconfig", str(kubeconfig)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        assert ready["kubeconfig"] == str(kubeconfig)
        [cluster] = yaml.safe_load(kubeconfig.read_text("utf-8"))["clusters"]
        url = ready["url"]
        assert url == cluster["cluster"]["server"]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/apis/apps/v1/deployments") as response:
            names = [item["metadata"]["name"] for item in (await response.json())["items"]]
        assert names == ["tensorflow-serving"]
        process.send_signal(stop)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
