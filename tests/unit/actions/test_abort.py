"""`shiftTraffic` by the abort of an Argo Rollout, against the lab: only the revision that is sick loses its traffic."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from healer.actions.shift_traffic import ShiftTrafficParams
from healer.cluster.api import Api
from healer.lab import Lab, serving
from healer.lab.custom import ROLLOUT, as_rollout, definition
from healer.lab.objects import Object
from healer.model.action import Outcome, OutcomeKind
from healer.model.incident import SickTarget, Symptom
from healer.model.kube import KubeObject, Pod, ReplicaSet
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import RouteRef, Side
from healer.workloads.registry import WORKLOADS
from healer.workloads.rollout import Rollout
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench

pytestmark = pytest.mark.slow

BAD, CURE = "2.17.0", "2.18.0"
_SIDE = Side(workload=NamedWorkload(NAME, "Rollout"))
_ABORT = ShiftTrafficParams(to=0, route=RouteRef(kind="Rollout", name=NAME), stable=_SIDE, canary=_SIDE)


def rollout(lab: Lab) -> Object:
    (found,) = lab.objects(ROLLOUT.resource, NAMESPACE)
    return found


def ship(lab: Lab, tag: str) -> None:
    def edit(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = f"tensorflow/serving:{tag}"

    lab.api.modify(ROLLOUT, NAMESPACE, NAME, edit)


async def tried(lab: Lab, tag: str) -> str:
    """Ship another image, and wait until its canary waits at half of the pods; its revision."""
    before = rollout(lab)["status"]["currentPodHash"]
    ship(lab, tag)
    await lab.wait_for(lambda lab: rollout(lab)["status"]["currentPodHash"] != before)
    await lab.wait_for(lambda lab: rollout(lab)["status"].get("phase") == "Paused")
    return str(rollout(lab)["status"]["currentPodHash"])


def look(bench: Bench) -> None:
    """Have a view of the cluster as it is."""
    bench.view = View(WORKLOADS)
    kinds: list[tuple[str, type[KubeObject]]] = [(ROLLOUT.resource, Rollout), ("replicasets", ReplicaSet), ("pods", Pod)]
    for resource, kind in kinds:
        for obj in bench.lab.objects(resource, NAMESPACE):
            bench.view.put(msgspec.convert(obj, kind))


def pod_of(bench: Bench, revision: str) -> Target:
    """A pod of a revision."""
    pods = bench.view.pods_of(bench.workload)
    return target_of(next(pod for pod in pods if pod.metadata.labels["rollouts-pod-template-hash"] == revision))


async def abort(bench: Bench, sick: Target, **more: Any) -> Outcome:
    """One attempt, for an alert on that pod, or on the workload."""
    targets = {sick.uid: SickTarget(sick, {"k": Symptom("alert", "HighErrors", "", 0.0)}, 0.0, "")}
    return await bench.attempt("shiftTraffic", params=_ABORT, target=bench.workload, targets=targets, **more)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A Rollout that serves, and tries nothing."""
    async with Lab(start_delay=0.005, termination_delay=0.005) as lab:
        made = as_rollout(serving(NAME, NAMESPACE, replicas=2)[0], steps=[{"setWeight": 50}, {"pause": {}}])
        await lab.apply([definition(ROLLOUT), made])
        await lab.wait_for(lambda lab: rollout(lab).get("status", {}).get("phase") == "Healthy")
        lab.write_kubeconfig(tmp_path / "config")
        api = await Api.connect(kubeconfig=str(tmp_path / "config"))
        workload = Target("Rollout", NAMESPACE, NAME, rollout(lab)["metadata"]["uid"])
        bench = Bench(lab, api, View(WORKLOADS), workload, workload, str(tmp_path / "config"))
        try:
            yield bench
        finally:
            await api.aclose()


async def test_the_revision_of_the_sick_pod_is_aborted(bench: Bench) -> None:
    bad = await tried(bench.lab, BAD)
    look(bench)
    assert (await abort(bench, pod_of(bench, bad))).reason == "Shifted"
    assert rollout(bench.lab)["status"]["abort"] is True


async def test_the_revision_that_the_incident_opened_with_is_aborted(bench: Bench) -> None:
    """Where the signal is about the workload."""
    bad = await tried(bench.lab, BAD)
    look(bench)
    assert (await abort(bench, bench.workload, revision=bad)).reason == "Shifted"


async def test_a_sick_pod_of_the_stable_revision_aborts_nothing(bench: Bench) -> None:
    stable = rollout(bench.lab)["status"]["stableRS"]
    cure = await tried(bench.lab, CURE)
    look(bench)
    outcome = await abort(bench, pod_of(bench, stable), revision=cure)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "NewRevision")
    assert f"tries revision {cure} now, and the incident is about {stable}" in outcome.text
    assert bench.writes == []
    assert not rollout(bench.lab)["status"].get("abort")


async def test_a_revision_that_came_after_the_incident_is_not_aborted(bench: Bench) -> None:
    """It may be the cure."""
    bad = await tried(bench.lab, BAD)
    await tried(bench.lab, CURE)
    look(bench)
    assert (await abort(bench, bench.workload, revision=bad)).reason == "NewRevision"
    assert (await abort(bench, bench.workload, revision="")).reason == "NewRevision"
    assert not rollout(bench.lab)["status"].get("abort")


async def test_a_revision_that_comes_between_the_look_and_the_request_is_not_aborted(bench: Bench) -> None:
    """The patch is about the version that was read; after the conflict it is compared anew."""
    bad = await tried(bench.lab, BAD)
    look(bench)

    outcome = await abort(bench, bench.workload, revision=bad, meanwhile=lambda: ship(bench.lab, CURE))
    assert outcome.reason in ("NewRevision", "RouteContended"), "the latter until the controller has seen the new template"
    assert not rollout(bench.lab)["status"].get("abort")
