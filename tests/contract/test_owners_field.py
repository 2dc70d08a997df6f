"""An operator's own field, held against what a server really does with a patch of it, or of its status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from healer.cluster.api import Api
from healer.lab.custom import INFERENCE_SERVICE, ROLLOUT, definition
from healer.lab.kinds import Kind
from healer.routes.base import CanaryRoute, RouteContended, Weights, find, write
from healer.rules.named_workload import NamedWorkload
from tests.contract.client import Client, Object
from tests.contract.routers import DEFINITIONS, WITHIN

_CANARY = {
    "observedGeneration": "1",
    "currentPodHash": "b",
    "stableRS": "a",
    "replicas": 2,
    "updatedReplicas": 1,
    "readyReplicas": 2,
}
_REVISIONS = {"latestReadyRevision": "m-2", "latestRolledoutRevision": "m-1"}


@pytest.fixture
async def access(api: Client, tmp_path: Path) -> AsyncIterator[Api]:
    """healer's client of the server under contract."""
    api.write_kubeconfig(tmp_path / "config")
    found = await Api.connect(kubeconfig=str(tmp_path / "config"))
    yield found
    await found.aclose()


async def _made(api: Client, kind: Kind, spec: Object, status: Object) -> str:
    """An object of that kind with a status; its path."""
    answer = await api.post(DEFINITIONS, definition(kind))
    assert answer.code in (201, 409), answer
    collection = f"/apis/{kind.api_version}/namespaces/{api.namespace}/{kind.plural}"
    async with asyncio.timeout(WITHIN):
        while (await api.get(collection)).code != 200:  # noqa: ASYNC110 - the server offers nothing to wait on
            await asyncio.sleep(0.05)
    await api.make(collection, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "m"}, "spec": spec})
    assert (await api.patch(f"{collection}/m/status", {"status": status})).code == 200
    return f"{collection}/m"


async def _off(access: Api, place: CanaryRoute) -> str:
    async def sending(before: Weights, after: Weights) -> None:
        """Nothing forbids it."""

    change = await write(access, place, lambda now: now.at_most(0), sending=sending)
    return f"{change.before} -> {change.after}"


async def test_an_abort_goes_through_the_status(api: Client, access: Api) -> None:
    """The spec and its generation stay, and so does the rest of the status."""
    path = await _made(api, ROLLOUT, {"replicas": 2, "strategy": {"canary": {}}}, _CANARY)
    before = (await api.get(path)).body
    named = NamedWorkload("m", ROLLOUT.kind)
    assert await _off(access, CanaryRoute(api.namespace, ROLLOUT.kind, "m", "m", "m", "", (named, named))) == "50:50 -> 100:0"
    after = (await api.get(path)).body
    assert after["status"] == before["status"] | {"abort": True}
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


async def test_a_rollout_is_left_alone_until_its_controller_has_seen_its_spec(api: Client, access: Api) -> None:
    """The revision in its status may be the one before."""
    path = await _made(api, ROLLOUT, {"replicas": 2, "strategy": {"canary": {}}}, _CANARY)
    await api.patch(path, {"spec": {"template": {"metadata": {"labels": {"version": "c"}}}}})
    named = NamedWorkload("m", ROLLOUT.kind)
    with pytest.raises(RouteContended, match="has not seen the newest spec"):
        await _off(access, CanaryRoute(api.namespace, ROLLOUT.kind, "m", "m", "m", "", (named, named)))
    assert "abort" not in (await api.get(path)).body["status"]


async def test_a_field_of_the_spec_is_replaced(api: Client, access: Api) -> None:
    """Nothing else of the spec changes."""
    spec = {"predictor": {"canaryTrafficPercent": 20, "model": {"storageUri": "s3://m"}}}
    path = await _made(api, INFERENCE_SERVICE, spec, {"components": {"predictor": _REVISIONS}})
    await _made(api, ROLLOUT, {"replicas": 2, "strategy": {"canary": {}}}, _CANARY)
    sides = NamedWorkload("m-1-deployment"), NamedWorkload("m-2-deployment")
    found = await find(access, CanaryRoute(api.namespace, INFERENCE_SERVICE.kind, "m", sides[0].name, sides[1].name, "", sides))
    assert str(found.weights) == "80:20"
    edits = list(found.edits(Weights(((100, 0),))))
    await access.request("PATCH", found.path, body=edits, content_type="application/json-patch+json")
    assert (await api.get(path)).body["spec"] == {"predictor": spec["predictor"] | {"canaryTrafficPercent": 0}}
