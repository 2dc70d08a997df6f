"""Where the cluster is found, and that credentials stay fresh."""

import asyncio
import ssl
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes.aio.config import incluster_config

from healer.cluster import access
from healer.cluster.api import Api, ApiError, ApiUnavailable, ClusterConfigError
from tests.unit.cluster.conftest import Server, kubeconfig, listening

TLS = Path(__file__).parent / "tls"  # a CA and a certificate for 127.0.0.1, good for these tests and nothing else


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a cluster."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
async def secure() -> AsyncIterator[Server]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    async for server in listening(context):
        yield server


@pytest.fixture
def account(secure: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A pod's service account; returns the token file."""
    token = tmp_path / "token"
    token.write_text("one")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(TLS / "ca.pem"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", secure.url.rpartition(":")[2])
    return token


def rotate(token: Path) -> None:
    token.write_text("two")


def at_home(folder: Path, url: str) -> None:
    """Put a kubeconfig where kubectl looks for it."""
    home = folder / "home" / ".kube"
    home.mkdir(parents=True)
    Path(kubeconfig(home, url)).rename(home / "config")


async def ask(api: Api) -> None:
    try:
        await api.request("GET", "/x")
    finally:
        await api.aclose()


async def test_no_cluster_anywhere_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ClusterConfigError, match=r"no kubeconfig at .*home/\.kube/config.*Set KUBECONFIG, or make ~/\.kube"):
        await Api.connect()


async def test_the_default_kubeconfig_and_the_variable(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home(tmp_path, server.url)
    server.say({})
    await ask(await Api.connect())
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/absent:{kubeconfig(tmp_path, 'http://127.0.0.1:2')}")
    api = await Api.connect()
    assert api.url == "http://127.0.0.1:2"
    await api.aclose()


async def test_the_context_is_chosen(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "http://127.0.0.1:2")
    api = await Api.connect(kubeconfig=path, context="other")
    assert api.url == "http://127.0.0.1:1"
    await api.aclose()
    with pytest.raises(ClusterConfigError, match=r"kubeconfig .* cannot be used: .*name absent"):
        await Api.connect(kubeconfig=path, context="absent")


TEXT_FOR_USER = """
current-context: it
contexts: [{name: it, context: {cluster: it, user: it}}]
clusters: [{name: it, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: it, user: text}]
"""


@pytest.mark.parametrize("content", ["", "[]", "{", "clusters: 3", "contexts: [{}]", "current-context: x", TEXT_FOR_USER])
async def test_a_broken_kubeconfig_is_a_clear_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken"
    await asyncio.to_thread(path.write_text, content)
    with pytest.raises(ClusterConfigError, match=r"kubeconfig .*/broken cannot be used: "):
        await Api.connect(kubeconfig=str(path))


async def test_the_server_must_be_the_one_that_the_ca_vouches_for(secure: Server, tmp_path: Path) -> None:
    secure.say({})
    await ask(
        await Api.connect(kubeconfig=kubeconfig(tmp_path, secure.url, cluster={"certificate-authority": str(TLS / "ca.pem")}))
    )
    with pytest.raises(ApiUnavailable, match="certificate verify failed"):
        await ask(await Api.connect(kubeconfig=kubeconfig(tmp_path, secure.url)))
    secure.say({})
    await ask(await Api.connect(kubeconfig=kubeconfig(tmp_path, secure.url, cluster={"insecure-skip-tls-verify": True})))


async def test_in_a_pod_the_service_account_comes_first(secure: Server, account: Path) -> None:
    secure.say({})
    await ask(await Api.connect())
    assert secure.asked[0][2]["Authorization"] == "bearer one"


async def test_in_a_pod_a_context_asks_for_the_kubeconfig(account: Path, tmp_path: Path) -> None:
    api = await Api.connect(kubeconfig=kubeconfig(tmp_path, "http://127.0.0.1:2"), context="other")
    assert api.url == "http://127.0.0.1:1"
    await api.aclose()


async def test_a_401_reads_the_service_account_token_again(secure: Server, account: Path) -> None:
    secure.accepted = "bearer two"
    api = await Api.connect()
    rotate(account)
    secure.say({})
    await ask(api)
    assert [headers["Authorization"] for _, _, headers, _ in secure.asked] == ["bearer one", "bearer two"]


async def test_a_401_that_stays_is_told(server: Server, tmp_path: Path) -> None:
    server.accepted = "Bearer another"
    with pytest.raises(ApiError) as caught:
        await ask(await Api.connect(kubeconfig=kubeconfig(tmp_path, server.url)))
    assert caught.value.is_unauthorized
    assert len(server.asked) == 2, "once more, and no more"


async def test_a_401_that_meets_a_missing_token_file(server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    rotate(token)
    server.accepted = "Bearer another"
    api = await Api.connect(kubeconfig=kubeconfig(tmp_path, server.url, {"tokenFile": str(token)}))
    token.unlink()
    with pytest.raises(ClusterConfigError, match="credentials cannot be read again"):
        await ask(api)


PLUGIN = """#!{python}
import json

with open({runs!r}, "a+") as runs:
    runs.write("run\\n")
    runs.seek(0)
    token = f"token-{{len(runs.readlines())}}"
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": token}}}}))
"""


def plugin(folder: Path) -> dict[str, object]:
    """A credential plugin whose tokens are numbered by its runs."""
    script = folder / "plugin"
    script.write_text(PLUGIN.format(python=sys.executable, runs=str(folder / "runs")))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script)}}


async def test_a_401_runs_the_credential_plugin_again_once_for_all_requests(server: Server, tmp_path: Path) -> None:
    api = await Api.connect(kubeconfig=kubeconfig(tmp_path, server.url, plugin(tmp_path)))
    server.accepted = "Bearer token-2"
    for _ in range(5):
        server.say({})
    await asyncio.gather(*(api.request("GET", f"/{number}") for number in range(5)))
    await api.aclose()
    sent = [headers["Authorization"] for _, _, headers, _ in server.asked]
    assert (sent.count("Bearer token-1"), sent.count("Bearer token-2")) == (5, 5)


async def test_token_files_are_read_again_now_and_then(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "REFRESH", 0.0)
    token = tmp_path / "token"
    rotate(token)
    api = await Api.connect(kubeconfig=kubeconfig(tmp_path, server.url, {"tokenFile": str(token)}))
    token.write_text("three")
    server.say({})
    await ask(api)
    assert [headers["Authorization"] for _, _, headers, _ in server.asked] == ["Bearer three"]
