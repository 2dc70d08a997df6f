"""The seam of workload kinds: StatefulSets, added from one file, are watched, healed, rolled, and named on the command line."""

from pathlib import Path
from typing import Any

import pytest

from healer.actions.registry import ACTIONS
from healer.lab import Lab, serving
from healer.lab.kinds import STATEFULSET
from healer.lab.objects import Object
from healer.model.incident import State
from healer.operate.objects import parse_ref
from healer.workloads.registry import WORKLOADS, allowed, core_resources
from tests.integration.world import NAMESPACE, evictions, pods, rule, serves
from tests.seams.house import house
from tests.seams.statefulset import STATEFUL_SET
from tests.support.healer import alert
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.slow

NAME = "tensorflow-serving"


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line that a registry needs."""
    monkeypatch.setitem(WORKLOADS, STATEFUL_SET.name, STATEFUL_SET)


def stateful() -> list[Object]:
    """The serving workload of the lab, as a StatefulSet."""
    objects = serving(NAME, NAMESPACE, min_available=None)
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    deployment["kind"] = "StatefulSet"
    deployment["spec"] = {key: deployment["spec"][key] for key in ("replicas", "selector", "template")}
    deployment["spec"] |= {"serviceName": NAME, "podManagementPolicy": "Parallel"}
    return objects


def uids(lab: Lab) -> set[str]:
    """Those of all pods."""
    return {pod["metadata"]["uid"] for pod in pods(lab).values()}


async def test_a_sick_pod_of_a_new_kind_is_evicted_and_the_workload_verified(lab: Lab, tmp_path: Path) -> None:
    """Its floor, its in-flight count and its verification are those of its own numbers."""
    await lab.apply(stateful())
    await lab.wait_for(serves(3), PATIENCE)
    crash_loop = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "300ms"})
    async with house(lab, tmp_path, crash_loop) as healer:
        await lab.behave(NAMESPACE, f"{NAME}-1", "crash")
        healed = await healer.told.until(State.HEALED)
    assert (healed.workload.kind, healed.workload.name) == ("StatefulSet", NAME)
    assert evictions(lab) == [f"{NAME}-1"]


async def test_a_rollout_of_a_new_kind_is_restarted(lab: Lab, tmp_path: Path) -> None:
    """By its own path, and verified by its own revision."""
    await lab.apply(stateful())
    await lab.wait_for(serves(3), PATIENCE)
    before = uids(lab)
    step: dict[str, Any] = {"rolloutRestart": {}, "verify": {"within": "30s", "stable": "300ms"}}
    async with house(lab, tmp_path, rule("slow", when={"alert": ["HighLatency"]}, heal=[step])) as healer:
        await healer.post(alert("HighLatency", pod=f"{NAME}-1"))
        await healer.told.until(State.VERIFYING)
        await lab.wait_for(lambda lab: before.isdisjoint(uids(lab)) and serves(3)(lab), PATIENCE)
    (found,) = lab.objects(STATEFULSET.plural, NAMESPACE)
    assert "healer.dev/restarted-by" in found["spec"]["template"]["metadata"]["annotations"]


def test_rbac_and_the_command_line_follow() -> None:
    """Nobody has to write it down a second time."""
    assert [each.plural for each in core_resources()][1:3] == ["deployments", "statefulsets"]
    assert ("apps", "statefulsets", "patch") in allowed("get patch")
    rollback = ACTIONS["rollback"].spec
    assert ("apps", "controllerrevisions", "list") in rollback.needs(rollback.params())
    place = parse_ref(f"sts/{NAME}", NAMESPACE, tuple(WORKLOADS))
    assert place.path == f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{NAME}"
