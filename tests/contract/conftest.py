"""The servers under contract: a lab always, and a real kube-apiserver when KUBEBUILDER_ASSETS names one.

`api` is a bare API server (nothing reacts to what is written: tests write statuses themselves), `uncached` one whose
past can be compacted, and `managed` one with controllers but without kubelets. `real` is a bare one and `whole` one with
controllers, which are never the lab.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from healer.lab import Lab
from tests.contract.apiserver import ADMIN, NOBODY, ApiServer, binaries, serve
from tests.contract.client import Client

LAB, REAL = "lab", "kube-apiserver"
_SERVERS = {
    "api": "plain_server",
    "uncached": "uncached_server",
    "managed": "managed_server",
    "real": "plain_server",
    "whole": "managed_server",
}
_NEVER_THE_LAB = {"real", "whole"}
_WANTING = "KUBEBUILDER_ASSETS is not set, and the lab has no part of this: docs/contributing.md says how to run it"
LAB_ALONE = pytest.StashKey[int]()
"""How many tests have no real server to be held against."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each contract test runs against the lab, and against the real server when there is one; else what needs it is skipped."""
    for name in _SERVERS:
        if name in metafunc.fixturenames:
            marks = [pytest.mark.xdist_group(f"{REAL}-{name}")]
            if binaries() is None:
                stash = metafunc.config.stash
                stash[LAB_ALONE] = stash.get(LAB_ALONE, 0) + 1
                marks.append(pytest.mark.skip(reason=_WANTING))
            real = [pytest.param(REAL, marks=marks)] if name in _NEVER_THE_LAB or binaries() else []
            metafunc.parametrize(name, real if name in _NEVER_THE_LAB else [LAB, *real], indirect=True)


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A kube-apiserver alone."""
    assets = binaries()
    assert assets is not None
    with serve(assets, tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.fixture(scope="session")
def uncached_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A kube-apiserver without its watch cache, which would hide a compaction."""
    assets = binaries()
    assert assets is not None
    with serve(assets, tmp_path_factory.mktemp("uncached"), cached=False) as server:
        yield server


@pytest.fixture(scope="session")
def managed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A kube-apiserver with a controller manager."""
    assets = binaries()
    assert assets is not None
    if not (assets / "kube-controller-manager").is_file():
        pytest.skip(f"{assets} has no kube-controller-manager: its behaviour is checked on the lab only")
    with serve(assets, tmp_path_factory.mktemp("managed"), controllers=True) as server:
        yield server


@pytest.fixture
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A bare API server."""
    async with _client(request, "api", controllers=False) as client:
        yield client


@pytest.fixture
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A bare kube-apiserver, for what a lab does not have."""
    async with _client(request, "real", controllers=False) as client:
        yield client


@pytest.fixture
async def whole(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A kube-apiserver with controllers, for what a lab does not have."""
    async with _client(request, "whole", controllers=True) as client:
        yield client


@pytest.fixture
async def uncached(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A bare API server that `compact` makes forget."""
    async with _client(request, "uncached", controllers=False) as client:
        yield client


@pytest.fixture
async def managed(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """An API server with controllers; in the lab, pods told to be `manual` have no kubelet either."""
    async with _client(request, "managed", controllers=True) as client:
        yield client


@asynccontextmanager
async def _client(request: pytest.FixtureRequest, name: str, *, controllers: bool) -> AsyncIterator[Client]:
    if request.param == REAL:
        server: ApiServer = request.getfixturevalue(_SERVERS[name])
        async with _real(server) as client:
            yield client
    else:
        async with Lab(token=ADMIN, controllers=controllers) as lab, _on_lab(lab) as client:
            yield client


@asynccontextmanager
async def _on_lab(lab: Lab) -> AsyncIterator[Client]:
    def weaken(verb: str, resource: str) -> dict[str, str]:
        lab.forbid(verb, resource)
        return {}

    async def compact() -> None:
        lab.compact()

    async with aiohttp.ClientSession() as session:
        client = Client(LAB, lab.url, session, _name(), weaken, compact, {"Authorization": f"Bearer {ADMIN}"})
        await client.make("/api/v1/namespaces", {"metadata": {"name": client.namespace}})
        yield client


@asynccontextmanager
async def _real(server: ApiServer) -> AsyncIterator[Client]:
    def weaken(verb: str, resource: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {NOBODY}"}

    async def compact() -> None:
        """Have etcd forget all revisions but the newest, after a write that makes the known ones old."""
        made = await client.make(f"{client.core}/configmaps", {"metadata": {"generateName": "newest-"}})
        body = {"revision": made["metadata"]["resourceVersion"]}
        async with session.post(f"{server.etcd}/v3/kv/compaction", json=body) as response:
            assert response.status == 200, await response.text()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        client = Client(REAL, server.url, session, _name(), weaken, compact, {"Authorization": f"Bearer {ADMIN}"})
        await client.make("/api/v1/namespaces", {"metadata": {"name": client.namespace}})
        yield client


def _name() -> str:
    return f"contract-{uuid.uuid4().hex[:8]}"
