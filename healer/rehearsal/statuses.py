"""How a pod shows its state: the statuses that a kubelet writes, by the condition that healer reads off them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from healer.model.kube import (
    AllocatedResource,
    Condition,
    ContainerState,
    ContainerStatus,
    DeviceHealth,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)

CONTAINER = "serving"
"""The name of the container of the pods."""
_FETCHING = "PodInitializing"
_LONG = 3600.0
"""Seconds since which a container runs that was ready before."""


def moment(at: float) -> datetime:
    """Seconds since the epoch as Kubernetes has it."""
    return datetime.fromtimestamp(at, UTC)


def status_of(
    now: float,
    *,
    ready: bool,
    state: ContainerState | None = None,
    last: ContainerState | None = None,
    restarts: int = 0,
) -> PodStatus:
    """The status of a pod with one container, which runs unless `state` says otherwise; since `now` it is ready or is not."""
    running = ContainerState(running=Running(moment(now)))
    container = ContainerStatus(CONTAINER, ready, restarts, state or running, last or ContainerState())
    condition = Condition("Ready", "True" if ready else "False", "" if ready else "ContainersNotReady", "", moment(now))
    return PodStatus("Running", conditions=(condition,), container_statuses=(container,))


def starting(now: float) -> PodStatus:
    """The status of a new pod whose containers are being created."""
    placed = Condition("PodScheduled", "True", "", "", moment(now))
    waits = ContainerStatus(CONTAINER, state=ContainerState(waiting=Waiting("ContainerCreating")))
    return PodStatus("Pending", conditions=(placed,), container_statuses=(waits,))


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a pod with a condition. `number` counts the times that it has happened, from 1."""

    now: float
    number: int = 1
    reason: str = ""
    """The kubelet's reason, where there are several; "" for the usual one."""
    was_ready: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """How a condition shows. `times`: how often it happens unless told otherwise; `counts`: that many restarts at one look."""

    status: Callable[[Seen], PodStatus]
    times: int = 1
    counts: bool = False


def _crashing(seen: Seen) -> PodStatus:
    state = ContainerState(waiting=Waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container"))
    last = ContainerState(terminated=Terminated(1, "Error", moment(seen.now)))
    return status_of(seen.now, ready=False, state=state, last=last, restarts=seen.number)


def _killed(seen: Seen) -> PodStatus:
    """Killed once it runs again; from the second time on the kubelet backs off."""
    last = ContainerState(terminated=Terminated(137, "OOMKilled", moment(seen.now)))
    if seen.number == 1:
        return status_of(seen.now, ready=True, last=last, restarts=1)
    backs_off = ContainerState(waiting=Waiting("CrashLoopBackOff", "back-off"))
    return status_of(seen.now, ready=False, state=backs_off, last=last, restarts=seen.number)


def _restarted(seen: Seen) -> PodStatus:
    last = ContainerState(terminated=Terminated(137, "Error", moment(seen.now)))
    return status_of(seen.now, ready=True, last=last, restarts=seen.number)


def _waiting(reason: str) -> Callable[[Seen], PodStatus]:
    def status(seen: Seen) -> PodStatus:
        why = seen.reason or reason
        placed = Condition("PodScheduled", "True", "", "", moment(seen.now))
        waits = ContainerStatus(CONTAINER, state=ContainerState(waiting=Waiting(why, f"{why}: said the kubelet")))
        return PodStatus("Pending", conditions=(placed,), container_statuses=(waits,))

    return status


def _not_starting(seen: Seen) -> PodStatus:
    """The kubelet cannot create the container; or an init container runs on, and was killed out of memory before."""
    if seen.reason != _FETCHING:
        return _waiting("CreateContainerError")(seen)
    kills = seen.number - 1
    last = ContainerState(terminated=Terminated(137, "OOMKilled", moment(seen.now))) if kills else ContainerState()
    fetches = ContainerStatus("fetch", False, kills, ContainerState(running=Running(moment(seen.now))), last)
    waits = ContainerStatus(CONTAINER, state=ContainerState(waiting=Waiting(_FETCHING)))
    placed = Condition("PodScheduled", "True", "", "", moment(seen.now))
    return PodStatus("Pending", conditions=(placed,), init_container_statuses=(fetches,), container_statuses=(waits,))


def _not_ready(seen: Seen) -> PodStatus:
    began = seen.now - _LONG if seen.was_ready else seen.now
    return status_of(seen.now, ready=False, state=ContainerState(running=Running(moment(began))))


def _unplaced(seen: Seen) -> PodStatus:
    unplaced = Condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available", moment(seen.now))
    return PodStatus("Pending", conditions=(unplaced,))


def _device(seen: Seen) -> PodStatus:
    ready = Condition("Ready", "True", "", "", moment(seen.now))
    device = AllocatedResource("nvidia.com/gpu", (DeviceHealth("GPU-1", "Unhealthy"),))
    running = ContainerState(running=Running(moment(seen.now)))
    holder = ContainerStatus(CONTAINER, True, 0, running, allocated_resources_status=(device,))
    return PodStatus("Running", conditions=(ready,), container_statuses=(holder,))


SHOWN: Mapping[str, Shown] = {
    "CrashLoopBackOff": Shown(_crashing, times=5, counts=True),
    "OOMKilled": Shown(_killed),
    "ImagePullBackOff": Shown(_waiting("ImagePullBackOff")),
    "ErrImagePull": Shown(_waiting("ErrImagePull")),
    "CreateContainerConfigError": Shown(_waiting("CreateContainerConfigError")),
    "NotStarting": Shown(_not_starting),
    "NotReady": Shown(_not_ready),
    "Restarting": Shown(_restarted, times=3),
    "DeviceUnhealthy": Shown(_device),
    "Unschedulable": Shown(_unplaced),
}
"""By condition, those that a living pod shows by its status."""
