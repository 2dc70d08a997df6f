"""A cluster with the definition of incidents, and journals that reach it through a gate.

Every test runs against the lab, and against a real kube-apiserver as well when KUBEBUILDER_ASSETS names one.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml

from healer.cluster.api import Api
from healer.cluster.errors import Backoff
from healer.journal.kube import KubeJournal
from healer.lab import Lab
from tests.contract.apiserver import ADMIN, ApiServer, binaries, serve
from tests.contract.client import Client, Object
from tests.unit.journal.gate import Gate, gate_before

LAB, REAL = "lab", "kube-apiserver"
CRD = Path(__file__).parents[3] / "deploy/healer/crd.yaml"
PATIENCE = 20.0
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a cluster runs against the lab, and against the real server when there is one."""
    if "cluster" in metafunc.fixturenames:
        real = [pytest.param(REAL, marks=pytest.mark.xdist_group(f"{REAL}-journal"))] if binaries() else []
        metafunc.parametrize("cluster", [LAB, *real], indirect=True)


def definition() -> Object:
    """The CustomResourceDefinition, as deploy/healer has it."""
    loaded: Object = yaml.safe_load(CRD.read_text())
    return loaded


@dataclass
class Cluster:
    """One API server, a namespace of the test's own in it, and a gate before it."""

    variant: str
    url: str
    client: Client
    gate: Gate
    folder: Path
    stack: AsyncExitStack

    @property
    def path(self) -> str:
        """The path of the incidents of the test's namespace."""
        return f"/apis/healer.dev/v1alpha1/namespaces/{self.client.namespace}/incidents"

    async def api(self, *, direct: bool = False) -> Api:
        """A way to it: through the gate, or past it."""
        path = self.folder / f"kubeconfig-{uuid.uuid4().hex}"
        url = self.url if direct else self.gate.url
        cluster = {"server": url} | ({"insecure-skip-tls-verify": True} if url.startswith("https") else {})
        config = {
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": ADMIN}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        path.write_text(yaml.safe_dump(config))
        api = await Api.connect(kubeconfig=str(path))
        self.stack.push_async_callback(api.aclose)
        return api

    async def journal(self, *, running: bool = True, **how: Any) -> KubeJournal:
        """A journal in a hurry; its writer runs until the test ends."""
        hurry = Backoff(0.001, 0.005, 60.0, time.monotonic, random.random)
        journal = KubeJournal(await self.api(), namespaces=(self.client.namespace,), backoff=hurry, **how)
        if running:
            await self.stack.enter_async_context(writing(journal))
        return journal

    async def stored(self, name: str) -> Object:
        """An object as it stands."""
        answer = await self.client.get(f"{self.path}/{name}")
        assert answer.code == 200, answer
        obj: Object = answer.body
        return obj

    async def until(self, holds: Callable[[list[Object]], object]) -> list[Object]:
        """The incident objects, as soon as that holds for them."""
        return await self.client.until(self.path, holds, PATIENCE)


async def durable(journal: KubeJournal, *names: str) -> None:
    """Wait until what was noted of these incidents is written, and not for ever."""
    async with asyncio.timeout(PATIENCE):
        await journal.durable(names)


@asynccontextmanager
async def writing(journal: KubeJournal) -> AsyncIterator[None]:
    task = asyncio.create_task(journal.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled(), task


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A kube-apiserver that serves incidents."""
    assets = binaries()
    assert assets is not None
    with serve(assets, tmp_path_factory.mktemp("journal")) as server:
        status, said = _send(server, "POST", _CRDS, msgspec.json.encode(definition()))
        assert status == 201, said
        deadline = time.monotonic() + PATIENCE
        while _send(server, "GET", "/apis/healer.dev/v1alpha1/incidents")[0] != 200:
            assert time.monotonic() < deadline, "the definition was accepted, and is not served"
            time.sleep(0.05)  # established, and yet not served at once: the server offers nothing to wait on
        yield server


def _send(server: ApiServer, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
    request = urllib.request.Request(server.url + path, method=method, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=ssl._create_unverified_context()) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        if request.param == REAL:
            url = request.getfixturevalue("real_server").url
        else:
            lab = await stack.enter_async_context(Lab(token=ADMIN, controllers=False))
            await lab.apply(definition())
            url = lab.url
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)))
        headers = {"Authorization": f"Bearer {ADMIN}"}
        client = Client(request.param, url, session, f"journal-{uuid.uuid4().hex[:8]}", _nobody, _nothing, headers)
        await client.make("/api/v1/namespaces", {"metadata": {"name": client.namespace}})
        gate = await stack.enter_async_context(gate_before(url))
        yield Cluster(request.param, url, client, gate, tmp_path, stack)


def _nobody(verb: str, resource: str) -> dict[str, str]:
    raise NotImplementedError


async def _nothing() -> None:
    raise NotImplementedError
