"""Turns the changes of watched pods into signals: when a condition of a pod begins, happens again and ends."""

import heapq
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from healer.cluster.resources import RESOURCES
from healer.model.kube import ContainerStatus, Pod
from healer.model.signal import Signal
from healer.model.view import epoch, target_of
from healer.rules.pod_conditions import POD_CONDITIONS, conditions
from healer.rules.pod_detectors import Finding, ObservedPod, PodsSettings, PodState, containers
from healer.rules.triggers import POD
from healer.settings import Settings
from healer.sources.base import WatchContext, Watched

_RESTARTING = "Restarting"
"""The condition that needs the restarts that were seen before: one state of a pod does not show it."""


@dataclass(slots=True)
class _SeenPod:
    """What is remembered of a pod that has a condition, or had one lately."""

    pod: Pod
    findings: dict[str, Finding]
    restarts: dict[str, deque[float]] = field(default_factory=dict)
    """When each container restarted, by its name."""
    witnessed: dict[str, float] = field(default_factory=dict)
    """When each of them was seen to restart last; `resume` has seen none."""
    check_at: float | None = None


class PodSource:
    """Follows every pod, and remembers only those with a condition. Times are in seconds since the epoch."""

    def __init__(self, settings: PodsSettings) -> None:
        self._settings = settings
        self._seen: dict[str, _SeenPod] = {}
        self._beyond_containers = [
            condition
            for condition in POD_CONDITIONS.values()
            if condition.states & PodState.READY and not condition.in_containers
        ]
        self._checks: list[tuple[float, str]] = []  # a heap: when to check which uid; entries may be out of date

    def resume(self, pod: Pod, had: set[str], now: float) -> list[Signal]:
        """The signals of the conditions that a pod still has, of those that it had before a restart of healer.

        A container in a crash loop may run at this moment. The restarts of before are not known one by one: when the pod had
        Restarting, and a container has restarted often enough and ended lately, as many as needed count as of now.
        """
        seen = _SeenPod(pod, {})
        most = max(pod.containers, key=lambda status: status.restart_count, default=None)
        if _RESTARTING in had and most is not None and self._bears_out(most, now):
            self._restarted(seen, most.name, self._settings.restarts, now)
        return self._update(seen, now, had)

    def _bears_out(self, status: ContainerStatus, now: float) -> bool:
        """Whether a container may have restarted as often, and as lately, as Restarting needs."""
        ended = status.state.terminated or status.last_state.terminated
        at = None if ended is None else epoch(ended.finished_at)
        lately = at is None or at > now - self._settings.restarts_within
        return status.restart_count >= self._settings.restarts and ended is not None and lately

    def put(self, pod: Pod, before: Pod | None, now: float) -> list[Signal]:
        """The signals of a change of a pod: what began, happened again, or ended. `before` is the pod as it was known."""
        seen = self._seen.get(pod.metadata.uid)
        restarted = {} if before is None else _restarts_since(before, pod)
        if seen is None:
            if not restarted and self._is_well(pod, now):
                return []
            seen = _SeenPod(pod, {})
        seen.pod = pod
        for container, times in restarted.items():
            self._restarted(seen, container, times, now)
            seen.witnessed[container] = now
        return self._update(seen, now)

    def drop(self, pod: Pod, now: float) -> list[Signal]:
        """The ends of all conditions of a pod that is gone."""
        seen = self._seen.pop(pod.metadata.uid, None)
        return [] if seen is None else [_signal(pod, name, f, now, firing=False) for name, f in seen.findings.items()]

    def due(self, now: float) -> list[Signal]:
        """The signals of what began or ended because time passed."""
        signals: list[Signal] = []
        while self._checks and self._checks[0][0] <= now:
            _, uid = heapq.heappop(self._checks)
            seen = self._seen.get(uid)
            if seen is not None and seen.check_at is not None and seen.check_at <= now:
                signals += self._update(seen, now)
        return signals

    def next_due(self) -> float | None:
        """When to call `due` next; None: not before the next change."""
        return self._checks[0][0] if self._checks else None

    def still(self, pod: Pod, condition: str, now: float) -> bool:
        """Whether a freshly read pod still has a condition that it had."""
        return condition in self._read(pod, condition, now)

    def says(self, pod: Pod, condition: str, now: float) -> str:
        """What such a condition says of a freshly read pod."""
        found = self._read(pod, condition, now).get(condition)
        return "" if found is None else found.message

    def _read(self, pod: Pod, condition: str, now: float) -> dict[str, Finding]:
        seen = self._seen.get(pod.metadata.uid)
        seen = _SeenPod(pod, {}) if seen is None else seen
        observed = ObservedPod(pod, now, self._settings, seen.restarts, seen.witnessed)
        return conditions(observed, {condition: None, **seen.findings})[0]

    def _is_well(self, pod: Pod, now: float) -> bool:
        """A quick check that is right for nearly every event: it is ready, and no container is anything but running."""
        if pod.status.phase != "Running" or not pod.ready:
            return False
        for status in containers(pod):
            if status.state.running is None or status.last_state.terminated is not None:
                return False
        if not self._beyond_containers:
            return True
        seen = ObservedPod(pod, now, self._settings, {}, {})
        return not any(condition.detect(seen, False) for condition in self._beyond_containers)

    def _update(self, seen: _SeenPod, now: float, had: Collection[str] = ()) -> list[Signal]:
        self._forget_restarts(seen, now)
        observed = ObservedPod(seen.pod, now, self._settings, seen.restarts, seen.witnessed)
        findings, check_at = conditions(observed, {**dict.fromkeys(had), **seen.findings})
        checks = [check_at, *(f.until for f in findings.values())]
        checks += [times[0] + self._settings.restarts_within for times in seen.restarts.values()]
        later = [at for at in checks if at is not None and at > now]
        check_at = min(later, default=None)
        if check_at is not None and check_at != seen.check_at:
            heapq.heappush(self._checks, (check_at, seen.pod.metadata.uid))
        seen.check_at = check_at
        before, seen.findings = seen.findings, findings
        uid = seen.pod.metadata.uid
        if findings or seen.restarts or seen.check_at is not None:
            self._seen[uid] = seen
        else:
            self._seen.pop(uid, None)
        # first what begins: one cause under two names (ErrImagePull, ImagePullBackOff) has no gap
        began = [
            _signal(seen.pod, name, finding, now, firing=True)
            for name, finding in findings.items()
            if name not in before or finding.is_news(before[name])
        ]
        ended = [_signal(seen.pod, name, f, now, firing=False) for name, f in before.items() if name not in findings]
        return began + ended

    def _restarted(self, seen: _SeenPod, container: str, times: int, now: float) -> None:
        known = seen.restarts.setdefault(container, deque(maxlen=max(self._settings.restarts, 1) * 2))
        known.extend([now] * min(times, self._settings.restarts))

    def _forget_restarts(self, seen: _SeenPod, now: float) -> None:
        """Drop the restarts that are too long ago to count."""
        for container, times in list(seen.restarts.items()):
            while times and times[0] <= now - self._settings.restarts_within:
                times.popleft()
            if not times:
                del seen.restarts[container]
                seen.witnessed.pop(container, None)


def _restarts_since(before: Pod, pod: Pod) -> dict[str, int]:
    """How often each container restarted between two states of a pod; only those that did."""
    if not pod.restarts:  # true of nearly every event
        return {}
    known = {status.name: status.restart_count for status in before.containers}
    counts = ((status.name, status.restart_count - known.get(status.name, 0)) for status in pod.containers)
    return {name: times for name, times in counts if times > 0}


def _signal(pod: Pod, name: str, finding: Finding, now: float, *, firing: bool) -> Signal:
    uid = pod.metadata.uid
    return Signal(
        source=POD.name,
        name=name,
        target=target_of(pod),
        firing=firing,
        at=now if finding.at is None or not firing else min(finding.at, now),
        key=f"{uid}/{name}",
        occurrence=f"{uid}/{name}/{finding.occurrence}",
        message=finding.message,
        last_words=finding.last_words,
    )


def _pods(context: WatchContext) -> PodSource:
    settings: Settings = context.settings
    return PodSource(settings.pods)


SOURCE = Watched((Pod,), lambda _: (RESOURCES[Pod],), _pods)
