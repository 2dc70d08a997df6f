"""Turns the changes of watched workloads and their autoscalers into signals: when a condition of a workload begins and ends."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from healer.cluster.resources import AUTOSCALERS, Resource
from healer.model.autoscaler import HorizontalPodAutoscaler
from healer.model.kube import KubeObject
from healer.model.signal import Signal
from healer.model.view import View
from healer.model.workload import Workload, WorkloadObject
from healer.rules.pod_detectors import Finding
from healer.rules.triggers import WORKLOAD
from healer.rules.workload_conditions import WORKLOAD_CONDITIONS, workload_findings
from healer.rules.workload_detectors import ObservedWorkload, WorkloadsSettings
from healer.settings import Settings
from healer.sources.base import WatchContext, Watched
from healer.workloads.registry import WORKLOADS

_Ref = tuple[str, str, str]
"""Kind, namespace and name of what an autoscaler scales."""


@dataclass(slots=True)
class _SeenWorkload:
    """What is remembered of a workload that has a condition, or has fewer ready replicas than it wants."""

    workload: Workload
    short_since: float | None = None
    findings: dict[str, Finding] = field(default_factory=dict)
    check_at: float | None = None


class WorkloadSource:
    """Follows every workload and autoscaler, and remembers the workloads that are not well. Times in seconds (epoch)."""

    def __init__(self, thresholds: WorkloadsSettings, view: View) -> None:
        self._thresholds = thresholds
        self._view = view
        self._seen: dict[str, _SeenWorkload] = {}
        self._scalers: dict[_Ref, dict[str, HorizontalPodAutoscaler]] = defaultdict(dict)
        self._scaled: dict[str, _Ref] = {}  # by the uid of the autoscaler
        self._checks: list[tuple[float, str]] = []  # a heap: when to check which uid; entries may be out of date

    def resume(self, obj: KubeObject, had: set[str], now: float) -> list[Signal]:
        """As `put`: a workload shows all its conditions, but for how long it has had too few ready replicas."""
        return self.put(obj, None, now)

    def put(self, obj: KubeObject, before: KubeObject | None, now: float) -> list[Signal]:
        """The signals of a change of a workload, or of an autoscaler."""
        if isinstance(obj, HorizontalPodAutoscaler):
            return self._put_scaler(obj, now)
        workload = self._view.workload(obj.metadata.uid)
        return [] if workload is None else self._update(workload, now)

    def drop(self, obj: KubeObject, now: float) -> list[Signal]:
        """The ends of the conditions of a workload that is gone, or that only an autoscaler showed that is gone."""
        uid = obj.metadata.uid
        if isinstance(obj, HorizontalPodAutoscaler):
            ref = self._scaled.pop(uid, None)
            return [] if ref is None else self._remove_scaler(ref, uid, now)
        seen = self._seen.pop(uid, None)
        return [] if seen is None else [_ended(seen.workload, name, each, now) for name, each in seen.findings.items()]

    def due(self, now: float) -> list[Signal]:
        """The signals of what began because time passed."""
        signals: list[Signal] = []
        while self._checks and self._checks[0][0] <= now:
            seen = self._seen.get(heapq.heappop(self._checks)[1])
            if seen is not None and seen.check_at is not None and seen.check_at <= now:
                signals += self._update(seen.workload, now)
        return signals

    def next_due(self) -> float | None:
        """When to call `due` next; None: not before the next change."""
        return self._checks[0][0] if self._checks else None

    def still(self, workload: Workload, name: str, now: float) -> bool:
        """Whether a freshly read workload still has a condition. What its autoscaler showed cannot be read off it."""
        known = WORKLOAD_CONDITIONS.get(name)
        return known is None or known.of_autoscaler or name in self._read(workload, now)

    def says(self, workload: Workload, name: str, now: float) -> str:
        """What such a condition says of a freshly read workload."""
        found = self._read(workload, now).get(name)
        return "" if found is None else found.message

    def _read(self, workload: Workload, now: float) -> dict[str, Finding]:
        seen = self._seen.get(workload.metadata.uid)
        since = None if seen is None or workload.ready >= workload.desired else seen.short_since
        return workload_findings(ObservedWorkload(workload, since, (), now, self._thresholds))[0]

    def _put_scaler(self, scaler: HorizontalPodAutoscaler, now: float) -> list[Signal]:
        uid, scales = scaler.metadata.uid, scaler.spec.scale_target_ref
        ref, before = (scales.kind, scaler.metadata.namespace, scales.name), self._scaled.get(uid)
        left = self._remove_scaler(before, uid, now) if before is not None and before != ref else []
        self._scaled[uid] = ref
        self._scalers[ref][uid] = scaler
        return left + self._scaled_changed(ref, now)

    def _remove_scaler(self, ref: _Ref, uid: str, now: float) -> list[Signal]:
        self._scalers[ref].pop(uid, None)
        if not self._scalers[ref]:
            del self._scalers[ref]
        return self._scaled_changed(ref, now)

    def _scaled_changed(self, ref: _Ref, now: float) -> list[Signal]:
        workload = self._view.workload_named(*ref)
        return [] if workload is None else self._update(workload, now)

    def _update(self, workload: Workload, now: float) -> list[Signal]:
        uid, meta = workload.metadata.uid, workload.metadata
        scalers = self._scalers.get((workload.kind, meta.namespace, meta.name), {}) if self._scalers else {}
        seen = self._seen.get(uid)
        well = workload.ready >= workload.desired
        if seen is None and well and not scalers and not (workload.overdue or workload.refusal or workload.unavailable):
            return []  # nearly every change
        seen = seen or _SeenWorkload(workload)
        seen.workload = workload
        seen.short_since = None if well else seen.short_since or now
        observed = ObservedWorkload(workload, seen.short_since, tuple(scalers.values()), now, self._thresholds)
        findings, check_at = workload_findings(observed)
        if check_at is not None and check_at != seen.check_at:
            heapq.heappush(self._checks, (check_at, uid))
        seen.check_at = check_at
        before, seen.findings = seen.findings, findings
        if findings or seen.short_since is not None:
            self._seen[uid] = seen
        else:
            self._seen.pop(uid, None)
        began = [
            _signal(workload, name, each, now, firing=True)
            for name, each in findings.items()
            if name not in before or each.is_news(before[name])
        ]
        return began + [_ended(workload, name, each, now) for name, each in before.items() if name not in findings]


def _ended(workload: Workload, name: str, finding: Finding, now: float) -> Signal:
    return _signal(workload, name, finding, now, firing=False)


def _signal(workload: Workload, name: str, finding: Finding, now: float, *, firing: bool) -> Signal:
    key = f"{workload.metadata.uid}/{name}"
    return Signal(
        source=WORKLOAD.name,
        name=name,
        target=workload.target,
        firing=firing,
        at=now,
        key=key,
        occurrence=f"{key}/{finding.occurrence}",
        message=finding.message,
    )


def _read(names: Sequence[str]) -> list[Resource]:
    scaled = any(WORKLOAD_CONDITIONS[name].of_autoscaler for name in names)
    return [kind.resource for kind in WORKLOADS.values()] + ([AUTOSCALERS] if scaled else [])


def _workloads(context: WatchContext) -> WorkloadSource:
    settings: Settings = context.settings
    return WorkloadSource(settings.workloads, context.view)


SOURCE = Watched((WorkloadObject, HorizontalPodAutoscaler), _read, _workloads)
