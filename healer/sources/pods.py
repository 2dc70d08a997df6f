"""Pods as watched -> signals: which of the named conditions a pod has, when they begin, happen again and end.

Sources: the pod lifecycle and the kubelet's reasons as documented by Kubernetes and recorded from a real cluster. Conditions of
containers are looked for in every container, init and sidecar ones included. A pod that has finished has no condition of a living
one, whatever its last statuses say: only Evicted or Failed, which are about its record.
"""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from healer.model.kube import ContainerStatus, Pod
from healer.model.rule import PodCondition
from healer.model.signal import Signal
from healer.model.view import epoch, target_of


@dataclass(frozen=True, slots=True)
class PodSettings:
    """Durations in seconds."""

    settle: float = 60.0
    """A container that crashed or ran out of memory counts as over it once it is ready and has run for so long."""
    restarts: int = 3
    """Restarting: that many restarts of one container ..."""
    restarts_within: float = 600.0
    """... within that time."""
    terminating_grace: float = 60.0
    """StuckTerminating: still there so long after the time by which it had to be gone."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that a pod has. `occurrence` tells one time from the next; `until` is when time alone may end it (epoch)."""

    message: str
    occurrence: str = ""
    until: float | None = None


def crash_looping(pod: Pod, now: float, settings: PodSettings, *, before: bool) -> Finding | None:
    """Waiting in CrashLoopBackOff; between the crashes it runs for a while, and is still in the loop until it has settled."""
    for status in _containers(pod):
        waiting = status.state.waiting
        if waiting is not None and waiting.reason == "CrashLoopBackOff":
            return _crashed(status)
        if before and status.restart_count and (until := _unsettled(status, now, settings, before=True)) is not None:
            return _crashed(status, until)
    return None


def _crashed(status: ContainerStatus, until: float | None = None) -> Finding:
    times = "once" if _ends(status) == 1 else f"{_ends(status)} times"
    ended = status.state.terminated or status.last_state.terminated
    last = "" if ended is None else f", last exit {ended.exit_code} ({ended.reason or 'no reason given'})"
    return Finding(f"{_named(status)} crashed {times}{last}", str(_ends(status)), until)


def oom_killed(pod: Pod, now: float, settings: PodSettings, *, before: bool) -> Finding | None:
    """A container was killed for want of memory and has not run well for a while since."""
    for status in _containers(pod):
        ended = status.state.terminated or status.last_state.terminated
        if ended is None or ended.reason != "OOMKilled":
            continue
        until = _unsettled(status, now, settings, before=before)
        if until is not None:
            return Finding(f"{_named(status)} was killed out of memory", str(_ends(status)), until)
    return None


def _waiting_for(reason: str) -> "Detector":
    def detect(pod: Pod, now: float, settings: PodSettings, *, before: bool) -> Finding | None:
        for status in _containers(pod):
            if status.state.waiting is not None and status.state.waiting.reason == reason:
                return Finding(f"{_named(status)}: {status.state.waiting.message or reason}")
        return None

    return detect


def not_ready(pod: Pod, now: float, settings: PodSettings, *, before: bool) -> Finding | None:
    """It runs (or its node no longer says), and its Ready condition is not True."""
    if pod.status.phase != "Running":
        return None
    for condition in pod.status.conditions:
        if condition.type == "Ready" and condition.status != "True":
            since = epoch(condition.last_transition_time)
            return Finding(condition.message or condition.reason or "not ready", f"{since}")
    return None


def unschedulable(pod: Pod, now: float, settings: PodSettings, *, before: bool) -> Finding | None:
    """The scheduler finds no node for it."""
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable":
            return Finding(condition.message or "no node fits")
    return None


def evicted(pod: Pod, now: float, settings: PodSettings, *, before: bool) -> Finding | None:
    """The kubelet evicted it; what is left is a record."""
    if pod.status.phase == "Failed" and pod.status.reason == "Evicted":
        return Finding(pod.status.message or "evicted by its node")
    return None


def failed(pod: Pod, now: float, settings: PodSettings, *, before: bool) -> Finding | None:
    """It ended in failure, not by eviction."""
    if pod.status.phase == "Failed" and pod.status.reason != "Evicted":
        return Finding(pod.status.message or pod.status.reason or "failed")
    return None


Detector = Callable[..., Finding | None]

DETECTORS: dict[PodCondition, Detector] = {
    PodCondition.CRASH_LOOP_BACK_OFF: crash_looping,
    PodCondition.OOM_KILLED: oom_killed,
    PodCondition.IMAGE_PULL_BACK_OFF: _waiting_for("ImagePullBackOff"),
    PodCondition.ERR_IMAGE_PULL: _waiting_for("ErrImagePull"),
    PodCondition.CREATE_CONTAINER_CONFIG_ERROR: _waiting_for("CreateContainerConfigError"),
    PodCondition.NOT_READY: not_ready,
    PodCondition.UNSCHEDULABLE: unschedulable,
}
"""The conditions that one look at a living pod shows. StuckTerminating is of a pod being deleted, Restarting needs two looks."""

OF_RECORDS: dict[PodCondition, Detector] = {PodCondition.EVICTED: evicted, PodCondition.FAILED: failed}
"""The conditions that one look at a finished pod shows."""


def stuck_terminating(pod: Pod, now: float, settings: PodSettings) -> tuple[Finding | None, float | None]:
    """Whether it should be gone by now, and when to look again. deletionTimestamp is when the grace period ends."""
    gone_by = epoch(pod.metadata.deletion_timestamp)
    if gone_by is None:
        return None, None
    if now < gone_by + settings.terminating_grace:
        return None, gone_by + settings.terminating_grace
    return Finding(f"should have been gone {now - gone_by:.0f} s ago", f"{gone_by}"), None


@dataclass(slots=True)
class _Seen:
    """What is remembered of a pod that has, or had lately, a condition."""

    pod: Pod
    findings: dict[PodCondition, Finding]
    restarts: dict[str, deque[float]] = field(default_factory=dict)
    """When each container restarted, by its name."""
    look_at: float | None = None


class PodSource:
    """Follows every pod; remembers only those that something is wrong with. Times in seconds since the epoch."""

    def __init__(self, settings: PodSettings | None = None) -> None:
        self._settings = settings or PodSettings()
        self._seen: dict[str, _Seen] = {}
        self._looks: list[tuple[float, str]] = []  # a heap of when to look at which uid; entries may be out of date

    def resume(self, pod: Pod, had: set[PodCondition], now: float) -> list[Signal]:
        """A pod whose conditions the journal knows from before a restart; returns those that it still has.

        A container that crash-loops may be caught while it runs for a moment. Restarts of before are not known one by one: as
        many as it takes count as of now.
        """
        seen = _Seen(pod, {})
        if PodCondition.RESTARTING in had and (containers := pod.containers):
            most = max(containers, key=lambda status: status.restart_count)
            self._restarted(seen, most.name, self._settings.restarts, now)
        return self._look(seen, now, had)

    def put(self, pod: Pod, before: Pod | None, now: float) -> list[Signal]:
        """A pod as it is now; `before` is how it was known. Returns what began, happened again, or ended."""
        seen = self._seen.get(pod.metadata.uid)
        restarted = {} if before is None else _restarts_since(before, pod)
        if seen is None:
            if not restarted and _is_well(pod):
                return []
            seen = _Seen(pod, {})
        seen.pod = pod
        for container, times in restarted.items():
            self._restarted(seen, container, times, now)
        return self._look(seen, now)

    def drop(self, pod: Pod, now: float) -> list[Signal]:
        """A pod is gone: so are its conditions."""
        seen = self._seen.pop(pod.metadata.uid, None)
        return [] if seen is None else [_signal(pod, name, f, now, firing=False) for name, f in seen.findings.items()]

    def due(self, now: float) -> list[Signal]:
        """What began or ended because time passed."""
        signals: list[Signal] = []
        while self._looks and self._looks[0][0] <= now:
            _, uid = heapq.heappop(self._looks)
            seen = self._seen.get(uid)
            if seen is not None and seen.look_at is not None and seen.look_at <= now:
                signals += self._look(seen, now)
        return signals

    def next_due(self) -> float | None:
        """When `due` may have something to look at."""
        return self._looks[0][0] if self._looks else None

    def still(self, pod: Pod, condition: PodCondition, now: float) -> bool:
        """Whether a freshly read pod still has a condition that was seen of it."""
        if condition is PodCondition.RESTARTING:
            seen = self._seen.get(pod.metadata.uid)
            return seen is not None and condition in seen.findings
        return condition in dict(self._conditions(pod, {condition}, now)[0])

    def _look(self, seen: _Seen, now: float, had: Collection[PodCondition] = ()) -> list[Signal]:
        found, look_at = self._conditions(seen.pod, {*seen.findings, *had}, now)
        findings = dict(found)
        if (restarting := self._restarting(seen, now)) is not None:
            findings[PodCondition.RESTARTING] = restarting
        looks = [look_at, *(f.until for f in findings.values())]
        looks += [times[0] + self._settings.restarts_within for times in seen.restarts.values()]
        later = [look for look in looks if look is not None and look > now]
        look_at = min(later, default=None)
        if look_at is not None and look_at != seen.look_at:
            heapq.heappush(self._looks, (look_at, seen.pod.metadata.uid))
        seen.look_at = look_at
        before, seen.findings = seen.findings, findings
        uid = seen.pod.metadata.uid
        if findings or seen.restarts or seen.look_at is not None:
            self._seen[uid] = seen
        else:
            self._seen.pop(uid, None)
        # what begins goes before what ends, so that one cause under two names (ErrImagePull, ImagePullBackOff) has no gap
        began = [
            _signal(seen.pod, name, finding, now, firing=True)
            for name, finding in findings.items()
            if name not in before or before[name].occurrence != finding.occurrence
        ]
        ended = [_signal(seen.pod, name, f, now, firing=False) for name, f in before.items() if name not in findings]
        return began + ended

    def _conditions(
        self, pod: Pod, before: set[PodCondition], now: float
    ) -> tuple[list[tuple[PodCondition, Finding]], float | None]:
        if pod.terminating:
            finding, look_at = stuck_terminating(pod, now, self._settings)
            return ([] if finding is None else [(PodCondition.STUCK_TERMINATING, finding)]), look_at
        found = []
        for name, detect in (OF_RECORDS if pod.finished else DETECTORS).items():
            finding = detect(pod, now, self._settings, before=name in before)
            if finding is not None:
                found.append((name, finding))
        return found, None

    def _restarted(self, seen: _Seen, container: str, times: int, now: float) -> None:
        known = seen.restarts.setdefault(container, deque(maxlen=max(self._settings.restarts, 1) * 2))
        known.extend([now] * min(times, self._settings.restarts))

    def _restarting(self, seen: _Seen, now: float) -> Finding | None:
        """The rate is that of one container: a node's reboot restarts all of a pod's containers, and is one event for each."""
        for container, times in list(seen.restarts.items()):
            while times and times[0] <= now - self._settings.restarts_within:
                times.popleft()
            if not times:
                del seen.restarts[container]
        most = max(seen.restarts, key=lambda container: len(seen.restarts[container]), default="")
        times = seen.restarts.get(most, deque())
        if len(times) < self._settings.restarts or seen.pod.terminating or seen.pod.finished:
            return None
        text = f"container {most}: {len(times)} restarts within {self._settings.restarts_within:.0f} s"
        return Finding(text, f"{most}/{_count_of(seen.pod, most)}")


def _restarts_since(before: Pod, pod: Pod) -> dict[str, int]:
    """How often each container restarted between two looks; only those that did."""
    if not pod.restarts:  # nearly every event of nearly every pod
        return {}
    known = {status.name: status.restart_count for status in before.containers}
    counts = ((status.name, status.restart_count - known.get(status.name, 0)) for status in pod.containers)
    return {name: times for name, times in counts if times > 0}


def _count_of(pod: Pod, container: str) -> int:
    return next((status.restart_count for status in pod.containers if status.name == container), 0)


def _is_well(pod: Pod) -> bool:
    """A quick look that is right for nearly every event: it runs, is ready, and no container is anything but running."""
    if not pod.ready or pod.status.phase != "Running":
        return False
    return all(s.state.running is not None and s.last_state.terminated is None for s in _containers(pod))


def _containers(pod: Pod) -> Iterator[ContainerStatus]:
    """The containers that should run now; an init container that did its work is done, not crashed, unless it is a sidecar."""
    for status in pod.status.init_container_statuses:
        ended = status.state.terminated
        if ended is None or ended.exit_code != 0 or _is_sidecar(pod, status.name):
            yield status
    yield from pod.status.container_statuses


def _is_sidecar(pod: Pod, container: str) -> bool:
    """Whether an init container is one that goes on running beside the others (restartPolicy Always)."""
    for init in pod.spec.init_containers:  # no generator: this is asked at every event
        if init.name == container:
            return init.restart_policy == "Always"
    return False


def _ends(status: ContainerStatus) -> int:
    """How often a container has ended so far: one more than its restarts while it is down."""
    return status.restart_count + (status.state.running is None)


def _unsettled(status: ContainerStatus, now: float, settings: PodSettings, *, before: bool) -> float | None:
    """Until when a container that went down counts as not over it: 0 while it does not serve, None when it has settled.

    One that is not ready has not settled, if it counted so `before`: one that went down long ago has other reasons by now.
    """
    running = status.state.running
    if running is None or (before and not status.ready):
        return 0.0
    started = epoch(running.started_at)
    until = now + settings.settle if started is None else started + settings.settle
    return until if now < until else None


def _signal(pod: Pod, name: PodCondition, finding: Finding, now: float, *, firing: bool) -> Signal:
    uid = pod.metadata.uid
    return Signal(
        source="pod",
        name=name.value,
        target=target_of(pod),
        firing=firing,
        at=now,
        key=f"{uid}/{name.value}",
        occurrence=f"{uid}/{name.value}/{finding.occurrence}",
        message=finding.message,
    )


def _named(status: ContainerStatus) -> str:
    return f"container {status.name}"
