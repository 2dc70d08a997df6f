"""The state of a Rollout of Argo Rollouts, by its spec and status as the controller writes them."""

from typing import Any

import msgspec
import pytest

from healer.model.kube import Pod
from healer.model.view import View
from healer.model.workload import Workload
from healer.workloads.registry import WORKLOADS
from healer.workloads.rollout import ROLLOUT, Rollout, WholeRollout

STABLE: dict[str, Any] = {
    "observedGeneration": "3",
    "phase": "Healthy",
    "currentPodHash": "a",
    "stableRS": "a",
    "replicas": 4,
    "updatedReplicas": 4,
    "readyReplicas": 4,
}
CANARY: dict[str, Any] = STABLE | {
    "phase": "Paused",
    "message": "CanaryPauseStep",
    "currentPodHash": "b",
    "updatedReplicas": 1,
}
ABORTED = CANARY | {"abort": True, "phase": "Degraded", "message": "RolloutAborted: Rollout aborted update to revision 2"}
TIMED_OUT = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
ABORT = {"type": "Progressing", "status": "False", "reason": "RolloutAborted", "message": "Rollout aborted update to revision 2"}


def whole(status: dict[str, Any], **spec: Any) -> bytes:
    """A Rollout in its third generation, with four replicas."""
    metadata = {"name": "tf", "namespace": "prod", "uid": "1", "generation": 3}
    given = {"replicas": 4, "strategy": {"canary": {}}} | spec
    return msgspec.json.encode({"metadata": metadata, "spec": given, "status": status})


def workload(status: dict[str, Any], **spec: Any) -> Workload:
    """It as healer sees it."""
    return msgspec.json.decode(whole(status, **spec), type=Rollout).workload()


@pytest.mark.parametrize(
    ("status", "spec", "code", "text"),
    [
        (STABLE, {}, "", ""),
        (STABLE, {"paused": True}, "RolloutPaused", "spec.paused"),
        (STABLE | {"observedGeneration": "2"}, {}, "RolloutInProgress", "has not seen its newest spec"),
        ({}, {}, "RolloutInProgress", "has not seen its newest spec"),
        (STABLE | {"observedGeneration": "74bc6d8f5"}, {}, "", ""),
        (CANARY, {}, "RolloutInProgress", "not promoted yet (Paused: CanaryPauseStep)"),
        (CANARY | {"conditions": [TIMED_OUT]}, {}, "RolloutStuck", "makes no progress: Progressing=False"),
        (ABORTED | {"conditions": [ABORT]}, {}, "RolloutInProgress", "aborted, and 3 of 4 replicas are of the stable"),
        (ABORTED | {"updatedReplicas": 0, "conditions": [ABORT]}, {}, "", ""),
        (STABLE, {"restartAt": "2026-11-29T09:00:00Z"}, "RolloutInProgress", "are being restarted"),
        (STABLE | {"restartedAt": "2026-11-29T09:00:00Z"}, {"restartAt": "2026-11-29T09:00:00Z"}, "", ""),
        (STABLE | {"replicas": 5}, {}, "RolloutInProgress", "1 replicas of an older revision remain"),
        (STABLE | {"replicas": 8}, {"strategy": {"canary": {"trafficRouting": {"nginx": {}}}}}, "", ""),
        (STABLE | {"replicas": 8}, {"strategy": {"blueGreen": {"activeService": "a"}}}, "", ""),
        (STABLE | {"updatedReplicas": 3}, {}, "RolloutInProgress", "3 of 4 replicas are of the current revision"),
    ],
)
def test_whether_it_is_rolling_out(status: dict[str, Any], spec: dict[str, Any], code: str, text: str) -> None:
    """As `kubectl argo rollouts status` has it; an abort that is complete is settled on the stable revision."""
    rollout = workload(status, **spec).rollout
    assert (rollout.code if rollout else "") == code
    assert text in (rollout.text if rollout else "")


def test_an_aborted_revision_is_not_what_was_seen_well() -> None:
    """The stable one serves: a rollback would otherwise go to the revision that was rejected."""
    assert [workload(status).revision for status in (STABLE, CANARY, ABORTED)] == ["a", "b", "a"]


def test_an_abort_is_no_failure() -> None:
    assert workload(ABORTED | {"conditions": [ABORT]}).failure == ""


def test_a_template_that_another_object_has_is_not_changed_here() -> None:
    """With spec.workloadRef a new template in the Rollout would be ignored."""
    status = STABLE | {"phase": "Healthy"}
    idle = workload(status, workloadRef={"kind": "Deployment", "name": "web"}).roll.idle
    assert idle == "its pods are made from the template of deployment/web (spec.workloadRef)"


@pytest.mark.parametrize(
    ("status", "refused"),
    [(STABLE, False), (CANARY, True), (ABORTED, False), (CANARY | {"stableRS": ""}, False)],
)
def test_a_canary_in_progress_is_aborted_instead(status: dict[str, Any], refused: bool) -> None:
    """After the abort the old template makes it healthy again; a first revision has nothing to go back to."""
    found = ROLLOUT.instead(msgspec.json.decode(whole(status), type=WholeRollout))
    assert (found is not None) is refused
    if found is not None:
        assert found.text.endswith("kubectl argo rollouts abort tf -n prod")


def test_a_pod_names_its_revision_as_the_status_does() -> None:
    labels = {"rollouts-pod-template-hash": "a"}
    pod = msgspec.convert({"metadata": {"name": "tf-a-x2c4v", "uid": "2", "labels": labels}}, Pod)
    assert ROLLOUT.pod_revision(View(WORKLOADS), pod) == workload(STABLE).revision
