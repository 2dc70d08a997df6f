"""The conditions of pods that a rule can look for, in one table: a new one is a detector and an entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

from healer.model.kube import Pod
from healer.rules import pod_detectors
from healer.rules.pod_detectors import Detector, Finding, ObservedPod, PodState
from healer.rules.vocabulary import KnownNames, one_of

PodStatus = tuple[str, bool, str]
"""What an `if` can ask of a pod's status: phase, ready, reason."""


@dataclass(frozen=True, slots=True)
class PodCondition:
    """An entry of the table."""

    name: str
    """In rules, and as the name of the signal."""
    states: PodState
    """The states in which a pod can have it. In others its detector is not asked."""
    detect: Detector
    meaning: str
    """For docs/rules.md."""
    reason: str = ""
    """The status.reason of every pod that has it; "" where no other condition claims the reason."""
    alternates: tuple[PodStatus, ...] = ()
    """The statuses through which a pod goes again and again while it has the condition."""
    lasts_with: str = ""
    """The name of another condition: once seen, this one lasts while that one does. Both are names of one trouble."""

    in_containers: bool = False
    """Whether it can be ruled out for a ready pod whose containers all run and have never ended: most pods, most of the time."""
    settles: bool = False
    """Whether it ends when its container, restarted once, has run well for a while (HEALER_PODS__SETTLE)."""

    @property
    def of_records(self) -> bool:
        """Whether only finished pods have it: what has it is a record, and no pod of the workload any more."""
        return not self.states & ~PodState.FINISHED


_PULLS: tuple[PodStatus, ...] = (("Pending", False, "ErrImagePull"), ("Pending", False, "ImagePullBackOff"))
_CRASHES: tuple[PodStatus, ...] = (
    ("Running", False, "CrashLoopBackOff"),
    ("Running", False, "Error"),
    ("Running", True, ""),
)
_NOT_READY = PodState.PENDING | PodState.UNREADY

POD_CONDITIONS: dict[str, PodCondition] = {
    condition.name: condition
    for condition in (
        PodCondition(
            "CrashLoopBackOff",
            PodState.LIVING,
            pod_detectors.crash_looping,
            "a container crashes again and again, whether it waits or runs for a moment",
            alternates=_CRASHES,
            in_containers=True,
        ),
        PodCondition(
            "OOMKilled",
            PodState.LIVING,
            pod_detectors.oom_killed,
            "a container was killed because it used too much memory, and has not run well for a while since",
            in_containers=True,
            settles=True,
        ),
        # A kubelet that pulls again shows ErrImagePull between two back-offs.
        PodCondition(
            "ImagePullBackOff",
            _NOT_READY,
            pod_detectors.waiting_for("ImagePullBackOff"),
            "an image cannot be pulled, and the kubelet waits before it tries again",
            alternates=_PULLS,
            lasts_with="ErrImagePull",
        ),
        PodCondition(
            "ErrImagePull",
            _NOT_READY,
            pod_detectors.waiting_for("ErrImagePull"),
            "an image could not be pulled just now",
            alternates=_PULLS,
            lasts_with="ImagePullBackOff",
        ),
        PodCondition(
            "CreateContainerConfigError",
            _NOT_READY,
            pod_detectors.waiting_for("CreateContainerConfigError"),
            "a ConfigMap, a Secret or a key that a container refers to is missing",
        ),
        PodCondition(
            "NotStarting",
            _NOT_READY,
            pod_detectors.not_starting,
            "its containers cannot be created or started, or have not been for long",
        ),
        # A container without a readiness probe is ready between two crashes.
        PodCondition(
            "NotReady",
            _NOT_READY,
            pod_detectors.not_ready,
            "it runs and is not ready (a Ray worker may be so), does not start, or its node no longer reports it",
            lasts_with="CrashLoopBackOff",
        ),
        PodCondition(
            "Restarting",
            PodState.LIVING,
            pod_detectors.restarting,
            "a container restarts often: a rate, never the lifetime count",
            in_containers=True,
        ),
        # The kubelet shows it of pods that are ready, too: a model server may not notice at once.
        PodCondition(
            "DeviceUnhealthy",
            PodState.LIVING,
            pod_detectors.device_unhealthy,
            "a device that a container has (a GPU) is unhealthy, as its plugin says",
        ),
        PodCondition("Unschedulable", PodState.PENDING, pod_detectors.unschedulable, "the scheduler finds no node for it"),
        PodCondition(
            "StuckTerminating",
            PodState.TERMINATING,
            pod_detectors.stuck_terminating,
            "its deletion was accepted, and it still exists well after its grace period",
        ),
        PodCondition("Evicted", PodState.FINISHED, pod_detectors.evicted, "the record of a pod that its node evicted", "Evicted"),
        PodCondition("Failed", PodState.FINISHED, pod_detectors.failed, "the record of a pod that failed, not by eviction"),
    )
}
"""The table, by name, in the order of docs."""

PodConditionName = Annotated[
    str, BeforeValidator(lambda name: one_of(name, POD_CONDITIONS)), KnownNames(lambda _: POD_CONDITIONS)
]


def of_living(name: str) -> bool:
    """Whether a pod that counts among the replicas of its workload can have the condition of that name; True for an unknown name.

    The controller has replaced a pod that has finished, or that is going.
    """
    condition = POD_CONDITIONS.get(name)
    return condition is None or bool(condition.states & PodState.LIVING)


def conditions(seen: ObservedPod, before: Mapping[str, Finding | None]) -> tuple[dict[str, Finding], float | None]:
    """The conditions that a pod has, by name, given those that it had `before` (None: it is not known how).

    The second value is the time at which a further condition begins unless the pod changes, in seconds since the epoch.
    """
    state = state_of(seen.pod)
    found: dict[str, Finding] = {}
    begins: list[float] = []
    for name, condition in POD_CONDITIONS.items():
        finding = condition.detect(seen, name in before) if condition.states & state else None
        if finding is not None and finding.since <= seen.now:
            found[name] = finding
        elif finding is not None:
            begins.append(finding.since)
    for name in before:
        known = POD_CONDITIONS.get(name)  # the journal may have one that only another version of healer knows
        other = None if known is None else found.get(known.lasts_with)
        if name not in found and other is not None:
            found[name] = before[name] or other
    return found, min(begins, default=None)


def state_of(pod: Pod) -> PodState:
    """The state that a pod is in."""
    if pod.terminating:
        return PodState.TERMINATING
    if pod.finished:
        return PodState.FINISHED
    if pod.status.phase == "Pending":
        return PodState.PENDING
    return PodState.READY if pod.ready and pod.status.phase == "Running" else PodState.UNREADY
