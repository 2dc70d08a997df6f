"""The state of a CloneSet of OpenKruise, by its spec and status as the controller writes them."""

from typing import Any

import msgspec
import pytest

from healer.model.kube import Pod
from healer.model.view import View
from healer.model.workload import Workload
from healer.workloads.cloneset import CLONE_SET, CloneSet
from healer.workloads.registry import WORKLOADS

WELL: dict[str, Any] = {
    "observedGeneration": 2,
    "replicas": 4,
    "updatedReplicas": 4,
    "readyReplicas": 4,
    "updateRevision": "tf-b",
}
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}


def workload(status: dict[str, Any], replicas: int = 4, **strategy: Any) -> Workload:
    """A CloneSet in its second generation."""
    metadata = {"name": "tf", "namespace": "prod", "uid": "1", "generation": 2}
    spec = {"replicas": replicas, "updateStrategy": strategy}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, CloneSet).workload()


@pytest.mark.parametrize(
    ("status", "strategy", "code"),
    [
        (WELL, {}, ""),
        (WELL | {"observedGeneration": 1}, {}, "RolloutInProgress"),
        ({}, {}, "RolloutInProgress"),
        (WELL, {"paused": True}, "RolloutPaused"),
        (WELL | {"updatedReplicas": 1}, {}, "RolloutInProgress"),
        (WELL | {"updatedReplicas": 1}, {"partition": 3}, ""),
        (WELL | {"updatedReplicas": 1}, {"partition": "75%"}, ""),
        (WELL | {"updatedReplicas": 1}, {"partition": 2}, "RolloutInProgress"),
        (WELL | {"updatedReplicas": 1, "conditions": [LATE]}, {}, "RolloutStuck"),
        (WELL | {"updatedReplicas": 1}, {"type": "OnDelete"}, "RolloutInProgress"),
    ],
)
def test_whether_it_is_rolling_out(status: dict[str, Any], strategy: dict[str, Any], code: str) -> None:
    """A partition keeps pods at the old revision for as long as it stands: that is settled."""
    rollout = workload(status, **strategy).rollout
    assert (rollout.code if rollout else "") == code


@pytest.mark.parametrize(
    ("replicas", "strategy", "takes"),
    [
        (4, {}, 1),
        (4, {"maxSurge": 1}, 0),
        (10, {"maxUnavailable": "25%"}, 3),
        (10, {"maxUnavailable": "25%", "maxSurge": "10%"}, 2),
        (2, {"maxUnavailable": 5}, 2),
    ],
)
def test_what_an_update_takes(replicas: int, strategy: dict[str, Any], takes: int) -> None:
    """20 % by default, rounded up; with a surge rounded down (calculateDiffsWithExpectation)."""
    assert workload(WELL, replicas, **strategy).roll.takes == takes


@pytest.mark.parametrize("strategy", [{"partition": "100%"}, {"partition": 4}, {"type": "OnDelete"}])
def test_a_new_template_takes_no_pod(strategy: dict[str, Any]) -> None:
    assert workload(WELL, **strategy).roll.idle != ""


@pytest.mark.parametrize("label", ["tf-b", "b"])
def test_a_pod_names_its_revision_as_the_status_does(label: str) -> None:
    """The label has the whole name, or the hash alone where CloneSetShortHash is on."""
    owner = {"kind": "CloneSet", "name": "tf", "uid": "1", "controller": True}
    metadata = {"name": "tf-x2c4v", "uid": "2", "labels": {"controller-revision-hash": label}, "ownerReferences": [owner]}
    pod = msgspec.convert({"metadata": metadata}, Pod)
    assert CLONE_SET.pod_revision(View(WORKLOADS), pod) == WELL["updateRevision"]
