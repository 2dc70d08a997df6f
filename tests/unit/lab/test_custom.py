"""The stand-ins for operators: Argo Rollouts' canaries, and OpenKruise's CloneSets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.lab import Lab, serving
from healer.lab.canary import CANARY, STABLE, http_route
from healer.lab.custom import CLONESET, ROLLOUT, as_cloneset, as_rollout, definition
from healer.lab.objects import Object, labels_of

NAME, NAMESPACE = "tensorflow-serving", "production"
NEW = "tensorflow/serving:2.17.0"
CRDS = Path(__file__).parents[2] / "contract" / "crds"
pytestmark = pytest.mark.slow


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(start_delay=0, termination_delay=0, time_scale=0.01) as lab:
        await lab.apply([definition(ROLLOUT), definition(CLONESET)])
        yield lab


def one(lab: Lab, resource: str) -> Object:
    """The only object of a resource."""
    (found,) = lab.objects(resource, NAMESPACE)
    return found


def has(resource: str, **status: Any) -> Any:
    """Whether the only object of a resource has these fields in its status."""
    return lambda lab: status.items() <= (one(lab, resource).get("status") or {}).items()


def ship(lab: Lab, kind: Any, image: str = NEW) -> None:
    """Somebody rolls an image out."""

    def change(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

    lab.api.modify(kind, NAMESPACE, NAME, change)


def images(lab: Lab) -> list[str]:
    """The images of all pods."""
    pods = [pod for pod in lab.objects("pods", NAMESPACE) if "deletionTimestamp" not in pod["metadata"]]
    return sorted(pod["spec"]["containers"][0]["image"] for pod in pods)


async def test_a_canary_waits_at_its_step_and_is_promoted(lab: Lab) -> None:
    await lab.apply(as_rollout(serving(replicas=4)[0], steps=[{"setWeight": 25}, {"pause": {}}]))
    await lab.wait_for(has("rollouts", phase="Healthy", readyReplicas=4))
    stable = one(lab, "rollouts")["status"]["stableRS"]
    ship(lab, ROLLOUT)
    await lab.wait_for(has("rollouts", phase="Paused", message="CanaryPauseStep", currentStepIndex=1, updatedReplicas=1))
    assert images(lab).count(NEW) == 1
    assert one(lab, "rollouts")["status"]["stableRS"] == stable

    def promote(obj: Object) -> None:
        del obj["status"]["pauseConditions"]

    lab.api.modify(ROLLOUT, NAMESPACE, NAME, promote, subresource="status")
    await lab.wait_for(has("rollouts", phase="Healthy", updatedReplicas=4))
    assert images(lab) == [NEW] * 4
    assert one(lab, "rollouts")["metadata"]["annotations"]["rollout.argoproj.io/revision"] == "2"


async def test_an_abort_takes_the_canary_away_and_the_old_template_makes_it_healthy(lab: Lab) -> None:
    await lab.apply(as_rollout(serving(replicas=2)[0], steps=[{"setWeight": 50}, {"pause": {"duration": "1h"}}]))
    await lab.wait_for(has("rollouts", phase="Healthy"))
    ship(lab, ROLLOUT)
    await lab.wait_for(has("rollouts", phase="Paused", updatedReplicas=1))
    lab.api.modify(ROLLOUT, NAMESPACE, NAME, lambda obj: obj["status"].update(abort=True), subresource="status")
    await lab.wait_for(has("rollouts", phase="Degraded", message="RolloutAborted: Rollout aborted update to revision 2"))
    await lab.wait_for(lambda lab: images(lab) == ["tensorflow/serving:2.16.1"] * 2)
    ship(lab, ROLLOUT, "tensorflow/serving:2.16.1")
    await lab.wait_for(has("rollouts", phase="Healthy", updatedReplicas=2))
    assert not one(lab, "rollouts")["status"].get("abort")


async def test_a_route_has_the_weights_of_its_rollout_whoever_changes_them(lab: Lab) -> None:
    await lab.apply_yaml((CRDS / "httproutes.yaml").read_text("utf-8"))
    route = http_route(NAMESPACE, weight=50)
    routing = {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": route["metadata"]["name"], "namespace": NAMESPACE}}}
    canary = {"canaryService": CANARY, "stableService": STABLE, "trafficRouting": routing}
    await lab.apply([route, as_rollout(serving(replicas=2)[0], steps=[{"setWeight": 20}, {"pause": {}}], **canary)])

    def weights(lab: Lab) -> list[int]:
        return [each["weight"] for each in one(lab, "httproutes")["spec"]["rules"][0]["backendRefs"]]

    await lab.wait_for(lambda lab: weights(lab) == [100, 0] and has("rollouts", phase="Healthy")(lab))
    ship(lab, ROLLOUT)
    await lab.wait_for(lambda lab: weights(lab) == [80, 20])
    assert "rollouts.argoproj.io/gatewayapi-canary" in labels_of(one(lab, "httproutes"))
    assert one(lab, "rollouts")["status"]["canary"]["weights"]["canary"]["weight"] == 20

    def tamper(obj: Object) -> None:
        obj["spec"]["rules"][0]["backendRefs"][1]["weight"] = 0

    lab.api.modify(lab.api.kinds.named("httproutes"), NAMESPACE, route["metadata"]["name"], tamper)
    await lab.wait_for(lambda lab: weights(lab) == [80, 20])


async def test_a_restart_evicts_what_is_older(lab: Lab) -> None:
    await lab.apply(as_rollout(serving(replicas=2)[0]))
    await lab.wait_for(has("rollouts", phase="Healthy"))
    before = {pod["metadata"]["uid"] for pod in lab.objects("pods", NAMESPACE)}
    at = "2999-01-01T00:00:00Z"  # the lab's clock has whole seconds: every pod is older
    lab.api.modify(ROLLOUT, NAMESPACE, NAME, lambda obj: obj["spec"].update(restartAt=at))
    await lab.wait_for(lambda lab: not before & {pod["metadata"]["uid"] for pod in lab.objects("pods", NAMESPACE)})


@pytest.mark.parametrize("kind", ["ReCreate", "InPlaceIfPossible"])
async def test_a_cloneset_updates_its_pods(lab: Lab, kind: str) -> None:
    """By new pods, or in place: then the pod stays, and its container has restarted."""
    await lab.apply(as_cloneset(serving(replicas=2)[0], type=kind))
    await lab.wait_for(has("clonesets", readyReplicas=2, updatedReplicas=2))
    first = one(lab, "clonesets")["status"]["updateRevision"]
    before = {pod["metadata"]["uid"] for pod in lab.objects("pods", NAMESPACE)}
    ship(lab, CLONESET)
    await lab.wait_for(lambda lab: images(lab) == [NEW] * 2 and has("clonesets", readyReplicas=2, updatedReplicas=2)(lab))
    status, pods = one(lab, "clonesets")["status"], lab.objects("pods", NAMESPACE)
    assert status["currentRevision"] == status["updateRevision"] != first
    kept = {pod["metadata"]["uid"] for pod in pods} == before
    assert kept == (kind == "InPlaceIfPossible")
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [int(kept)] * 2


async def test_a_cloneset_keeps_what_its_partition_says(lab: Lab) -> None:
    await lab.apply(as_cloneset(serving(replicas=3)[0], partition=2))
    await lab.wait_for(has("clonesets", readyReplicas=3))
    ship(lab, CLONESET)
    await lab.wait_for(has("clonesets", updatedReplicas=1, readyReplicas=3, expectedUpdatedReplicas=1))
    assert images(lab).count(NEW) == 1


def test_the_definitions_are_whole() -> None:
    """A real API server needs each of these."""
    for kind in (ROLLOUT, CLONESET):
        made = yaml.safe_load(yaml.safe_dump(definition(kind)))
        assert made["metadata"]["name"] == f"{kind.plural}.{kind.group}"
        assert made["spec"]["versions"][0]["subresources"].keys() == {"status", "scale"}


async def test_a_rollout_without_a_template_stops_no_other(lab: Lab) -> None:
    """Its definition in a cluster may check nothing; the controller rolls nothing out for it."""
    bare = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "bare", "namespace": "other"}}
    await lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    await lab.apply(bare | {"spec": {"replicas": 2}})
    await lab.apply(as_rollout(serving(replicas=1)[0], steps=[]))
    await lab.wait_for(has("rollouts", phase="Healthy", readyReplicas=1))
    assert lab.objects("replicasets", "other") == []
