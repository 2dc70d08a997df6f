"""How a pod shows its state: the statuses that a kubelet writes."""

from datetime import UTC, datetime

from healer.model.kube import Condition, ContainerState, ContainerStatus, PodStatus, Running

CONTAINER = "serving"
"""The name of the container of the pods."""


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
