"""healer's own way to weights, by each kind of route, held against what a server really does with its patches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from healer.cluster.api import Api
from healer.lab.canary import CANARY, ROUTE, STABLE
from healer.routes.base import CanaryRoute, NoReadyEndpoints, RouteMissing, WeightChange, Weights, read, write
from tests.contract.client import MERGE, Client, Object
from tests.contract.routers import ROUTERS, Router, define

each = pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.kind)


@pytest.fixture
async def access(api: Client, tmp_path: Path) -> AsyncIterator[Api]:
    """healer's client of the server under contract."""
    api.write_kubeconfig(tmp_path / "config")
    found = await Api.connect(kubeconfig=str(tmp_path / "config"))
    yield found
    await found.aclose()


async def _made(api: Client, router: Router) -> tuple[CanaryRoute, str]:
    """A route that gives the canary 10 %, with ready endpoints behind both sides; and its path."""
    if router.custom:
        await define(api, router.plural)
    for manifest in router.manifests(api.namespace):
        await api.make(router.path(api.namespace), manifest)
    for service in (STABLE, CANARY):
        await api.make(f"/apis/discovery.k8s.io/v1/namespaces/{api.namespace}/endpointslices", _slice(service))
    return CanaryRoute(api.namespace, router.kind, ROUTE, STABLE, CANARY), f"{router.path(api.namespace)}/{ROUTE}"


def _slice(service: str) -> Object:
    return {
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}}],
    }


async def _nobody() -> None:
    """Nobody writes meanwhile."""


async def _to(
    access: Api, place: CanaryRoute, percent: int, *, meanwhile: Callable[[], Awaitable[object]] = _nobody, dry_run: bool = False
) -> WeightChange:
    """`meanwhile` is awaited between the first read and its patch."""
    events = [meanwhile]

    async def sending(before: Weights, after: Weights) -> None:
        if events:
            await events.pop()()

    return await write(access, place, lambda now: now.at_most(percent), sending=sending, dry_run=dry_run)


def _rest(obj: Object, router: Router) -> Object:
    """The object without what every write changes, and with its weights as they were made."""
    for field in ("resourceVersion", "generation", "managedFields"):
        obj["metadata"].pop(field, None)
    for pointer in filter(None, router.weights):
        *way, last = pointer.strip("/").split("/")
        parent = obj
        for part in way:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        parent.pop(last.replace("~1", "/"))
    return obj


@each
async def test_weights_there_and_back(api: Client, access: Api, router: Router) -> None:
    place, path = await _made(api, router)
    before = (await api.get(path)).body
    change = await _to(access, place, 0)
    assert (str(change.before), str(change.after)) == ("90:10", "100:0")
    assert _rest((await api.get(path)).body, router) == _rest(before, router)
    assert await read(access, place) == Weights(((100, 0),))


@each
async def test_a_dry_run_changes_nothing(api: Client, access: Api, router: Router) -> None:
    place, path = await _made(api, router)
    before = (await api.get(path)).body
    assert str((await _to(access, place, 0, dry_run=True)).after) == "100:0"
    assert (await api.get(path)).body == before


@each
async def test_another_writer_in_between(api: Client, access: Api, router: Router) -> None:
    place, path = await _made(api, router)
    label = {"metadata": {"labels": {"by": "another"}}}
    change = await _to(access, place, 0, meanwhile=lambda: api.patch(path, label, MERGE))
    assert str(change.after) == "100:0"
    assert (await api.get(path)).body["metadata"]["labels"] == {"by": "another"}


@each
async def test_a_route_that_is_replaced_in_between(api: Client, access: Api, router: Router) -> None:
    place, path = await _made(api, router)

    async def replaced() -> None:
        await api.delete(path)
        await api.make(router.path(api.namespace), router.manifests(api.namespace)[-1])

    assert str((await _to(access, place, 5, meanwhile=replaced)).after) == "95:5"


@each
async def test_what_is_missing(api: Client, access: Api, router: Router) -> None:
    place, path = await _made(api, router)
    await api.delete(f"/apis/discovery.k8s.io/v1/namespaces/{api.namespace}/endpointslices/{STABLE}")
    with pytest.raises(NoReadyEndpoints):
        await _to(access, place, 0)
    await api.delete(path)
    with pytest.raises(RouteMissing, match="there is no"):
        await read(access, place)
