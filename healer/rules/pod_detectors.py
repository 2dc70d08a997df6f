"""How the conditions of pods are detected: one function each.

Sources: the pod lifecycle and the kubelet's reasons, as Kubernetes documents them and as they were recorded from a real cluster.
Conditions of containers are looked for in every container, init and sidecar containers included.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto

from pydantic import Field

from healer.model.duration import about
from healer.model.kube import Condition, ContainerStatus, Pod
from healer.model.text import says_more
from healer.model.view import epoch
from healer.section import Seconds, Section


class PodState(Flag):
    """The states of a pod that conditions tell apart; a pod is in one of them."""

    PENDING = auto()
    """It does not run yet."""
    UNREADY = auto()
    """It runs and is not ready, or its node does not report it."""
    READY = auto()
    FINISHED = auto()
    """It has ended for good, whatever its last statuses say: only its record is left."""
    TERMINATING = auto()
    """Its deletion was accepted."""
    LIVING = PENDING | UNREADY | READY


class PodsSettings(Section):
    """How conditions of pods are told."""

    settle: Seconds = Field(60.0, ge=0)
    """A container that crashed, or ran out of memory, has recovered when it is ready and has run for so many seconds. They count
    from when healer saw it restart, if that is later."""
    restarts: int = Field(3, ge=1)
    """Restarting: that many restarts of one container ..."""
    restarts_within: Seconds = Field(600.0, gt=0)
    """... within so many seconds."""
    starting: Seconds = Field(600.0, ge=0)
    """NotStarting: a pod on a node whose containers do not run so many seconds after the last progress (it was scheduled, its
    sandbox was made, an init container started or ended)."""
    terminating_grace: Seconds = Field(60.0, ge=0)
    """StuckTerminating: the pod exists so many seconds after the end of its grace period."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that a pod has. `occurrence` tells one time from the next.

    It begins at `since`, and ends at `until` if nothing changes; None: it does not end by itself. `at` is when it happened, if
    that is known and may be long ago. Times are in seconds since the epoch.
    """

    message: str
    occurrence: str = ""
    until: float | None = None
    since: float = 0.0
    at: float | None = None
    last_words: str = ""
    """What a container said when it ended, for people."""

    def is_news(self, before: "Finding") -> bool:
        """Whether it is told again after what was found before: it has happened again, or its message has changed, for which a
        rule's `if` may look. Figures alone, which run on, are no news."""
        return self.occurrence != before.occurrence or says_more(self.message, before.message)


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """What a detector sees. `now` in seconds since the epoch."""

    pod: Pod
    now: float
    settings: PodsSettings
    restarts: Mapping[str, Sequence[float]]
    """When each container restarted lately, by its name, oldest first (epoch, s)."""
    witnessed: Mapping[str, float]
    """When healer saw each of them restart last. `restarts` also has guesses, of those before healer's own start."""


Detector = Callable[[ObservedPod, bool], Finding | None]
"""The condition of a pod, if it has it. The second argument says whether it had it before."""


def crash_looping(seen: ObservedPod, before: bool) -> Finding | None:
    """A container waits in CrashLoopBackOff, or runs between two crashes and has not recovered yet."""
    for status in containers(seen.pod):
        waiting = status.state.waiting
        if waiting is not None and waiting.reason == "CrashLoopBackOff":
            return _crashed(status)
        if before and status.restart_count and (until := _unsettled(status, seen, before=True)) is not None:
            return _crashed(status, until)
    return None


def _crashed(status: ContainerStatus, until: float | None = None) -> Finding:
    times = "once" if _ends(status) == 1 else f"{_ends(status)} times"
    said = f"{_named(status)} crashed {times}{_last_exit(status)}"
    return Finding(said, str(_ends(status)), until, last_words=_last_words(status))


def _last_exit(status: ContainerStatus) -> str:
    """How a container ended last, to go on a sentence."""
    ended = status.state.terminated or status.last_state.terminated
    return "" if ended is None else f", last exit {ended.exit_code} ({ended.reason or 'no reason given'})"


def _last_words(status: ContainerStatus) -> str:
    """The termination message of a container: what it wrote to /dev/termination-log, or, where its spec says so, the end of its
    log (terminationMessagePolicy: FallbackToLogsOnError)."""
    ended = status.state.terminated or status.last_state.terminated
    return "" if ended is None else " ".join(ended.message.split())


def oom_killed(seen: ObservedPod, before: bool) -> Finding | None:
    """A container was killed because it used too much memory, and has not recovered yet."""
    for status in containers(seen.pod):
        ended = status.state.terminated or status.last_state.terminated
        if ended is None or ended.reason != "OOMKilled":
            continue
        until = _unsettled(status, seen, before=before)
        if until is not None:
            return Finding(
                f"{_named(status)} was killed out of memory", str(_ends(status)), until, last_words=_last_words(status)
            )
    return None


def waiting_for(reason: str) -> Detector:
    """The detector of a container that waits for that reason."""

    def detect(seen: ObservedPod, before: bool) -> Finding | None:
        for status in containers(seen.pod):
            if status.state.waiting is not None and status.state.waiting.reason == reason:
                return Finding(f"{_named(status)}: {status.state.waiting.message or reason}")
        return None

    return detect


def not_starting(seen: ObservedPod, before: bool) -> Finding | None:
    """The kubelet reports that it cannot create or start a container, or there is no progress for long.

    Conditions with names of their own (image pulls, CreateContainerConfigError, crash loops, Unschedulable) are left out.
    """
    for status in containers(seen.pod):
        waiting, ended = status.state.waiting, status.state.terminated or status.last_state.terminated
        if waiting is not None and waiting.reason in _UNABLE:
            return Finding(f"{_named(status)}: {_said(waiting.reason, waiting.message)}")
        if status.state.running is None and ended is not None and ended.reason in _NEVER_RAN:
            return Finding(f"{_named(status)}: {_said(ended.reason, ended.message)}")
    return _stuck_starting(seen)


_UNABLE = frozenset(
    {
        "CreateContainerError",
        "RunContainerError",
        "RunInitContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
        "VerifyNonRootError",
        "CreatePodSandboxError",
        "ConfigPodSandboxError",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""Reasons of a waiting container. Sources: pkg/kubelet/container/sync_result.go, images/types.go,
kuberuntime/kuberuntime_container.go and cri-api/pkg/errors of Kubernetes 1.36."""
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})
"""Reasons of a terminated container: the runtime could not start its process (containerd, and dockershim)."""
_NAMED_APART = frozenset({"CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError"})


def _stuck_starting(seen: ObservedPod) -> Finding | None:
    """The pod has a node, and there is no progress for long: ContainerCreating, PodInitializing, or no report at all."""
    pod = seen.pod
    waiting = [status for status in containers(pod) if status.state.waiting is not None]
    scheduled, progress = _condition(pod, "PodScheduled"), _last_progress(pod)
    placed = pod.spec.node_name and (scheduled is None or scheduled.status == "True")
    if pod.status.phase != "Pending" or not placed or progress is None:
        return None
    if any(status.state.waiting.reason in _NAMED_APART for status in waiting if status.state.waiting is not None):
        return None
    text = f"no progress for {about(seen.now - progress)}: {_what_is_awaited(pod, waiting)}"
    begun = [f"{init.name}/{init.restart_count}" for init in pod.status.init_container_statuses if init.restart_count]
    return Finding(text, " ".join(begun), since=progress + seen.settings.starting)


def _last_progress(pod: Pod) -> float | None:
    """When a pod made the last progress, to run or to end, in seconds since the epoch."""
    moments = [condition.last_transition_time for condition in pod.status.conditions]
    for status in pod.containers:
        moments += [state.running.started_at for state in (status.state, status.last_state) if state.running is not None]
        moments += [state.terminated.finished_at for state in (status.state, status.last_state) if state.terminated is not None]
    known = [moment.timestamp() for moment in moments if moment is not None]
    return max(known, default=epoch(pod.metadata.creation_timestamp))


def _what_is_awaited(pod: Pod, waiting: list[ContainerStatus]) -> str:
    for status in pod.status.init_container_statuses:
        if status.state.running is not None and not _is_sidecar(pod, status.name):
            return f"init {_named(status)} runs and does not end{_last_exit(status)}"
        if status.state.running is not None and not status.started:
            return f"sidecar {_named(status)} runs and is not started: its startup probe fails"
    if not waiting or waiting[0].state.waiting is None:
        return "its node has not taken it up"
    said = waiting[0].state.waiting
    sandbox = _condition(pod, "PodReadyToStartContainers")
    hint = " (its volumes, network or sandbox are not ready: see its events)" if sandbox and sandbox.status != "True" else ""
    return f"{_named(waiting[0])}: {_said(said.reason or 'waiting', said.message)}{hint}"


def _condition(pod: Pod, kind: str) -> Condition | None:
    return next((condition for condition in pod.status.conditions if condition.type == kind), None)


def _said(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message else reason


def not_ready(seen: ObservedPod, before: bool) -> Finding | None:
    """The Ready condition is not True although the pod runs; or the pod is NotStarting; or its node no longer reports it."""
    pod = seen.pod
    if pod.status.phase == "Unknown":
        return Finding(_said(pod.status.reason or "its node no longer reports it", pod.status.message))
    if pod.status.phase != "Running":
        return not_starting(seen, before)
    if _waits_for_work(pod):
        return None
    for condition in pod.status.conditions:
        if condition.type == "Ready" and condition.status != "True":
            since = epoch(condition.last_transition_time)
            return Finding(condition.message or condition.reason or "not ready", f"{since}")
    return None


def _waits_for_work(pod: Pod) -> bool:
    """Whether it is a worker of a Ray cluster: KubeRay keeps it unready while it has no replica of Ray Serve (ray #51095)."""
    owner = pod.metadata.controller
    return owner is not None and owner.kind == "RayCluster" and pod.metadata.labels.get("ray.io/node-type") == "worker"


def restarting(seen: ObservedPod, before: bool) -> Finding | None:
    """One container restarts often. A reboot of the node restarts all of a pod's containers, and counts once for each."""
    since = seen.now - seen.settings.restarts_within
    times = {container: sum(at > since for at in restarts) for container, restarts in seen.restarts.items()}
    most = max(times, key=times.__getitem__, default="")
    if times.get(most, 0) < seen.settings.restarts:
        return None
    status = next((status for status in seen.pod.containers if status.name == most), ContainerStatus(most))
    text = f"container {most}: {times[most]} restarts within {seen.settings.restarts_within:.0f} s{_last_exit(status)}"
    return Finding(text, f"{most}/{status.restart_count}", last_words=_last_words(status))


def unschedulable(seen: ObservedPod, before: bool) -> Finding | None:
    """The scheduler finds no node for the pod."""
    for condition in seen.pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable":
            return Finding(condition.message or "no node fits")
    return None


def device_unhealthy(seen: ObservedPod, before: bool) -> Finding | None:
    """A device that a container has is ill, as its plugin or driver says. One of which nothing is known is not ill."""
    for status in seen.pod.status.init_container_statuses + seen.pod.status.container_statuses:
        for allocated in status.allocated_resources_status:
            for device in allocated.resources:
                if device.health == "Unhealthy":
                    return Finding(
                        f"{_named(status)}: device {device.resource_id} ({allocated.name}) is unhealthy", device.resource_id
                    )
    return None


def evicted(seen: ObservedPod, before: bool) -> Finding | None:
    """The kubelet evicted the pod; only its record is left."""
    pod = seen.pod
    if pod.status.phase == "Failed" and pod.status.reason == "Evicted":
        return Finding(pod.status.message or "evicted by its node", at=_last_progress(pod))
    return None


def failed(seen: ObservedPod, before: bool) -> Finding | None:
    """The pod failed, not by eviction."""
    pod = seen.pod
    if pod.status.phase == "Failed" and pod.status.reason != "Evicted":
        return Finding(pod.status.message or pod.status.reason or "failed", at=_last_progress(pod))
    return None


def stuck_terminating(seen: ObservedPod, before: bool) -> Finding | None:
    """The pod still exists some time after its grace period, whose end is its deletionTimestamp."""
    gone_by = epoch(seen.pod.metadata.deletion_timestamp)
    if gone_by is None:
        return None
    message = f"should have been gone {seen.now - gone_by:.0f} s ago"
    return Finding(message, f"{gone_by}", since=gone_by + seen.settings.terminating_grace)


def containers(pod: Pod) -> Iterator[ContainerStatus]:
    """The containers that should run now: all but the init containers that have succeeded and are no sidecars."""
    for status in pod.status.init_container_statuses:
        ended = status.state.terminated
        if ended is None or ended.exit_code != 0 or _is_sidecar(pod, status.name):
            yield status
    yield from pod.status.container_statuses


def _is_sidecar(pod: Pod, container: str) -> bool:
    """Whether an init container runs beside the others (restartPolicy Always)."""
    for init in pod.spec.init_containers:  # no generator: it is called at every event
        if init.name == container:
            return init.restart_policy == "Always"
    return False


def _ends(status: ContainerStatus) -> int:
    """How often a container has ended so far: one more than its restarts while it is down."""
    return status.restart_count + (status.state.running is None)


def _unsettled(status: ContainerStatus, seen: ObservedPod, *, before: bool) -> float | None:
    """Until when a container that went down has not recovered: 0 while it does not run, None when it has recovered.

    A container that is not ready has not recovered if it had the condition `before`; else it is not ready for another reason.
    The time of its start is that of another clock, and of a watch that may have stalled since: a restart that was seen is news.
    """
    running = status.state.running
    if running is None or (before and not status.ready):
        return 0.0
    started = epoch(running.started_at)
    last = max(seen.now if started is None else started, seen.witnessed.get(status.name, 0.0))
    until = last + seen.settings.settle
    return until if seen.now < until else None


def _named(status: ContainerStatus) -> str:
    return f"container {status.name}"
