"""The source of workloads: when a condition begins and ends, and of which workload an autoscaler speaks."""

import msgspec

from healer.model.autoscaler import HorizontalPodAutoscaler
from healer.model.kube import Condition, Meta
from healer.model.signal import Signal
from healer.model.view import View
from healer.rules.workload_detectors import WorkloadsSettings
from healer.sources.workloads import WorkloadSource
from healer.workloads.deployment import Deployment, DeploymentSpec, DeploymentStatus
from healer.workloads.registry import WORKLOADS
from tests.unit.rules.test_workload_conditions import scaler

NOW = 1_800_000_000.0
"""When it is, in seconds since the epoch."""
REFUSED = Condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota")


class Seen:
    """A view, and what the source says of its changes."""

    def __init__(self) -> None:
        self.view = View(WORKLOADS)
        self.source = WorkloadSource(WorkloadsSettings(unavailable=60), self.view)

    def put(self, obj: Deployment | HorizontalPodAutoscaler, at: float = NOW) -> list[tuple[str, bool]]:
        """What begins (True) and ends with a change."""
        return said(self.source.put(obj, self.view.put(obj), at))

    def drop(self, obj: Deployment | HorizontalPodAutoscaler) -> list[tuple[str, bool]]:
        """What ends when an object is gone."""
        self.view.drop(type(obj), obj.metadata.uid)
        return said(self.source.drop(obj, NOW))


def said(signals: list[Signal]) -> list[tuple[str, bool]]:
    """Names, and whether they fire; all of the one Deployment."""
    assert {(each.source, each.target.kind, each.target.name, each.target.uid) for each in signals} <= {
        ("workload", "Deployment", "serving", "d")
    }
    return [(each.name, each.firing) for each in signals]


def deployment(*conditions: Condition, ready: int = 3, name: str = "serving", uid: str = "d") -> Deployment:
    """One that wants three replicas."""
    status = DeploymentStatus(1, 3, 3, ready, conditions)
    return Deployment(Meta(name, uid, "production", generation=1), DeploymentSpec(3), status)


def scaling(name: str) -> HorizontalPodAutoscaler:
    """An autoscaler at its maximum, of the Deployment of that name."""
    found = scaler()
    target = msgspec.structs.replace(found.spec.scale_target_ref, name=name)
    return msgspec.structs.replace(found, spec=msgspec.structs.replace(found.spec, scale_target_ref=target))


def test_a_condition_begins_once_and_ends_once() -> None:
    seen = Seen()
    assert seen.put(deployment()) == []
    assert seen.put(deployment(REFUSED)) == [("ReplicaFailure", True)]
    assert seen.put(deployment(REFUSED)) == []
    assert seen.put(deployment()) == [("ReplicaFailure", False)]
    assert seen.put(deployment()) == []


def test_a_workload_that_is_gone_has_no_condition() -> None:
    seen = Seen()
    seen.put(deployment(REFUSED))
    assert seen.drop(deployment(REFUSED)) == [("ReplicaFailure", False)]


def test_too_few_ready_replicas_are_a_condition_when_time_has_passed_and_nothing_has_changed() -> None:
    """The time runs from the first that was missing; a moment of health begins it anew."""
    seen = Seen()
    seen.put(deployment(ready=2))
    assert seen.source.next_due() == NOW + 60
    assert seen.put(deployment(ready=1), NOW + 30) == []
    assert said(seen.source.due(NOW + 60)) == [("Unavailable", True)]
    assert seen.put(deployment(ready=3), NOW + 61) == [("Unavailable", False)]
    assert seen.put(deployment(ready=2), NOW + 62) == []
    assert said(seen.source.due(NOW + 100)) == []
    assert said(seen.source.due(NOW + 122)) == [("Unavailable", True)]


def test_an_autoscaler_speaks_of_the_workload_that_it_names_whichever_is_seen_first() -> None:
    seen = Seen()
    assert seen.put(scaling("serving")) == []
    assert seen.put(deployment(uid="other", name="other")) == []
    assert seen.put(deployment()) == [("HpaAtMaximum", True)]
    assert seen.put(scaling("other-one")) == [("HpaAtMaximum", False)]
    assert seen.put(scaling("serving")) == [("HpaAtMaximum", True)]
    assert seen.drop(scaling("serving")) == [("HpaAtMaximum", False)]


def test_a_workload_that_was_read_afresh_shows_what_it_still_has() -> None:
    """What an autoscaler showed cannot be read off it, and counts as it was."""
    seen = Seen()
    seen.put(deployment(REFUSED, ready=2))
    assert seen.source.still(deployment(REFUSED).workload(), "ReplicaFailure", NOW)
    assert not seen.source.still(deployment().workload(), "ReplicaFailure", NOW)
    assert seen.source.still(deployment(ready=2).workload(), "Unavailable", NOW + 60)
    assert not seen.source.still(deployment(ready=3).workload(), "Unavailable", NOW + 60)
    assert seen.source.still(deployment().workload(), "HpaAtMaximum", NOW)


def test_nothing_is_remembered_of_workloads_that_are_well() -> None:
    seen = Seen()
    seen.put(deployment(REFUSED, ready=1))
    seen.put(scaling("serving"))
    seen.put(deployment())
    seen.drop(scaling("serving"))
    assert seen.source._seen == {}
    assert not seen.source._scalers
    assert not seen.source._scaled


def test_a_condition_of_a_workload_that_goes_on_is_told_again_when_it_says_something_else() -> None:
    seen, other = Seen(), msgspec.structs.replace(REFUSED, message="the quota of GPUs is used up")
    seen.put(deployment(REFUSED))
    (again,) = seen.source.put(deployment(other), seen.view.put(deployment(other)), NOW)
    assert (again.name, again.firing) == ("ReplicaFailure", True)
    assert "the quota of GPUs is used up" in again.message
    assert "the quota of GPUs is used up" in seen.source.says(deployment(other).workload(), "ReplicaFailure", NOW)
    assert seen.source.says(deployment().workload(), "ReplicaFailure", NOW) == ""
