"""Compares a canary with its stable version over a past time, by the code with which the daemon evaluates a canary."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isnan
from typing import NamedTuple

from healer.cluster.api import Api
from healer.judge.judge import Missing, Window
from healer.model.duration import about
from healer.model.kube import ReplicaSet
from healer.model.verdict import Counts, Verdict, VerdictKind
from healer.model.view import View
from healer.model.workload import Workload
from healer.operate.canary.chosen import canary_of, read_workloads, require_workload
from healer.operate.canary.figures import Quantile, quantile
from healer.operate.canary.past import Past
from healer.operate.canary.report import SHARES, Column, MeasureRow, Report
from healer.operate.objects import ObjectRef, OperateError
from healer.routes.base import RouteError
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import Canary, Measure
from healer.rules.rulebook import BoundRule
from healer.sources.canary.canary import place_of, share_of, sides_of
from healer.sources.canary.look import CanaryLook, LookResult
from healer.sources.canary.readings import Key, Reading, Tally, edge_above, slower, within
from healer.sources.canary.sides import ObservedSide, Sides, filled
from healer.sources.prometheus.client import QueryApi, QueryFailed, Sample, Series
from healer.workloads.registry import WORKLOADS

_MAX_WINDOWS = 240
"""The maximum number of windows of a report. A longer time has longer windows."""
_LAG = 1.0
"""Seconds after a scrape until Prometheus has stored its samples."""
_MAX_PREFIX = 58
"""The maximum number of characters of a pod's name before its random suffix."""
_SCALE = {"s": 1.0, "ms": 1e3, "us": 1e6}
_WEIGHTS = (
    "the weights of that time are not known, and need not be: the test asks whether the canary has more of the bad requests "
    "than of the requests, window by window (healer itself starts afresh at each weight)"
)


class _Evaluation(NamedTuple):
    """The result of evaluating the canary at a point of the grid. `at` in seconds since the epoch."""

    at: float
    result: LookResult


async def compare(
    api: Api, prometheus: QueryApi, rule: BoundRule, ref: ObjectRef, *, since: float, now: float, history: int = 720
) -> Report:
    """Return the report on the last `since` seconds before `now` (seconds since the epoch).

    `history`: the number of earlier windows of stable from which the judge learns how bursty its errors are.
    Raises OperateError if the report cannot be made, and ClusterError.
    """
    canary = canary_of(rule)
    step = canary.every * max(1, ceil(since / canary.every / _MAX_WINDOWS))
    windows = floor(since / step)
    if windows < 2:
        raise OperateError(f"{about(since)} is too short: the rule looks every {about(canary.every)}, and two looks are needed")
    view = await read_workloads(api, canary, ref.namespace)
    workload = require_workload(view, ref, rule)
    end = floor((now - _LAG) / step) * step
    past = Past(prometheus, end - windows * step, end, step)
    replay = _Replay(canary.model_copy(update={"every": step}), ref.namespace, past, _sides(view, canary, workload))
    try:
        evaluations = await replay.evaluate(history)
        verdict, at = _verdict(evaluations)
        rows = [await replay.row(measure, evaluations, verdict) for measure in canary.measures]
    except QueryFailed as error:
        raise OperateError(str(error)) from error
    share, unknown = await _share_now(api, canary, ref.namespace)
    return Report(
        ref=ref,
        stable=canary.stable.workload,
        rule=rule.name,
        since=past.points[0],
        until=end,
        step=step,
        share=share,
        rows=tuple(rows),
        verdict=verdict,
        verdict_at=at,
        notes=(*unknown, *_notes(view, canary, workload, rows, verdict)),
    )


def _sides(view: View, canary: Canary, workload: Workload) -> Sides:
    """Return the workloads with all pods that they had in that time, because deleted pods have counted requests as well.

    The names of deleted pods are unknown, so patterns match them. The canary's patterns match only its present revision, so that
    no earlier revision is judged. Stable's patterns match every revision.
    """
    now = sides_of(view, canary, workload.metadata.namespace)
    revision = workload.revision
    current = [each for each in view.replica_sets_of(workload.target) if each.metadata.annotations.revision == revision]
    ours = _pods_of(current) or [_any_pod(canary.canary.workload)]
    stable = _stable(view, canary, workload)
    known = [] if stable is None else view.replica_sets_of(stable.target)
    theirs = sorted({_any_pod(canary.stable.workload), *_pods_of(known)})
    other = None if now.stable is None else ObservedSide(theirs, now.stable.ready, now.stable.revision)
    return Sides(ObservedSide(ours, workload.ready, revision), other)


def _pods_of(replica_sets: Sequence[ReplicaSet]) -> list[str]:
    """Return patterns for the names of their pods, truncated before the random suffix (apiserver, names.SimpleNameGenerator)."""
    return sorted(f"{f'{each.metadata.name}-'[:_MAX_PREFIX]}[a-z0-9]+" for each in replica_sets)


def _any_pod(workload: NamedWorkload) -> str:
    """Return a pattern for the names of all pods that a workload may have had."""
    return WORKLOADS[workload.kind].pods.pattern(workload.name)


def _stable(view: View, canary: Canary, workload: Workload) -> Workload | None:
    """Return stable beside the canary `workload`, or None when there is none."""
    stable = canary.stable.workload
    return view.workload_named(stable.kind, workload.metadata.namespace, stable.name)


@dataclass(frozen=True, slots=True)
class _Replay:
    """Repeats the evaluations of a past time. The canary's `every` is the step of `past`."""

    canary: Canary
    namespace: str
    past: Past
    sides: Sides

    async def evaluate(self, history: int) -> list[_Evaluation]:
        """Evaluate the canary at each point of the grid. Raises QueryFailed."""

        async def share() -> float:
            return 1.0  # any value but 0: the weights of that time are unknown

        def sides() -> Sides:
            return self.sides

        # A long time without requests counts as one window, because a time without scrapes has no points.
        canary_look = CanaryLook(self.canary, self.namespace, self.past, share=share, sides=sides, history=history, warm=True)
        evaluated: list[_Evaluation] = []
        for at in self.past.points:
            evaluated.append(_Evaluation(at, await canary_look.look(at + self.past.step / 2)))
            if self.past.failure is not None:
                raise self.past.failure
        return evaluated

    async def row(self, measure: Measure, evaluations: Sequence[_Evaluation], verdict: Verdict) -> MeasureRow:
        """Return the figures of all readable windows of a measure. The first evaluation only provides the counters' start.

        Raises QueryFailed.
        """
        windows = [
            (evaluation.at, evaluation.result.windows[measure.name])
            for evaluation in evaluations
            if measure.name in evaluation.result.windows
        ]
        begun = next((number for number, (_, window) in enumerate(windows) if isinstance(window, Window)), -1)
        read = [window for _, window in windows[begun + 1 :] if isinstance(window, Window)]
        missing = [window.why for _, window in windows[begun:] if isinstance(window, Missing)]
        stable = [_capped(window.stable) for window in read if window.stable is not None]
        histograms = await self._histograms(measure)
        times = [_times(histogram, measure, windows) for histogram in histograms] or [{}, {}]
        return MeasureRow(
            measure=measure.name,
            bad=_bad(measure, histograms),
            canary=Column(sum((_capped(window.canary) for window in read), Counts()), times[0]),
            stable=Column(sum(stable, Counts()), times[1]) if stable else None,
            finding=next((finding for finding in verdict.findings if finding.measure == measure.name), None),
            read=len(read),
            unread=len(missing),
            why=missing[-1] if missing else "",
        )

    async def _histograms(self, measure: Measure) -> list[list[Series]]:
        """Return the buckets of canary and stable by the queries of the evaluations; [] for a measure without a histogram."""
        if measure.histogram is None:
            return []
        sides = ((self.canary.canary.workload.name, self.sides.canary), (self.canary.stable.workload.name, self.sides.stable))
        every = self.canary.every
        return [
            [] if side is None else await self.past.series(filled(measure.histogram, self.namespace, name, side, every))
            for name, side in sides
        ]


def _capped(counts: Counts) -> Counts:
    """Cap bad requests as the judge does: by extrapolation PromQL may return more bad requests than requests."""
    return Counts(counts.requests, min(counts.bad, counts.requests))


def _bad(measure: Measure, histograms: Sequence[Sequence[Series]]) -> str:
    """Return a description of the requests that count as bad."""
    if measure.slower_than is None:
        return "bad"
    sides = [[Sample(each.labels, 0.0) for each in side] for side in histograms]
    edge = edge_above(sides, measure.slower_than, measure.unit)
    return slower(measure.slower_than, "s") if edge is None else slower(edge, measure.unit)


def _times(
    histogram: Sequence[Series], measure: Measure, windows: Sequence[tuple[float, Window | Missing]]
) -> Mapping[str, Quantile | None]:
    """Return the quantiles of one side's response times over the readable windows. Each bucket is counted as the judge counts."""
    by_edge: dict[float, dict[Key, Mapping[float, float]]] = defaultdict(dict)
    for each in histogram:
        edge = _edge(each)
        if not isnan(edge):
            labels = frozenset((name, value) for name, value in each.labels.items() if name != "le")
            by_edge[edge / _SCALE[measure.unit]][labels] = {at: value for at, value in each.points.items() if not isnan(value)}
    buckets: dict[float, float] = {}
    for edge, series in by_edge.items():
        tally = Tally()
        for at, window in windows:
            reading = Reading({labels: points[at] for labels, points in series.items() if at in points})
            if not reading.total:
                continue
            grown = within(reading, None) if measure.windowed else tally.take(reading, None)
            warming = isinstance(window, Window) and window.warming and not window.canary.requests
            if isinstance(grown, Window) and isinstance(window, Window) and not warming:
                buckets[edge] = buckets.get(edge, 0.0) + grown.canary.requests
    return {name: quantile(buckets, share) for name, share in SHARES.items()}


def _edge(bucket: Series) -> float:
    """Return the upper bound of a bucket; NaN if it has none."""
    try:
        return float(bucket.labels.get("le", "nan"))
    except ValueError:
        return float("nan")


def _verdict(evaluations: Sequence[_Evaluation]) -> tuple[Verdict, float | None]:
    """Return the last verdict based on a window, and since when it has this kind. Without one, return the last and None."""
    judged = [
        (evaluation.at, evaluation.result.verdict)
        for evaluation in evaluations
        if evaluation.result.verdict is not None and _has_window(evaluation.result)
    ]
    if not judged:
        last = evaluations[-1].result
        return last.verdict or Verdict(VerdictKind.UNKNOWN, last.why), None
    at, verdict = judged[-1]
    for earlier, before in reversed(judged):
        if before.kind is not verdict.kind:
            break
        at = earlier
    return verdict, at


def _has_window(look: LookResult) -> bool:
    return look.judged and any(isinstance(window, Window) for window in look.windows.values())


async def _share_now(api: Api, canary: Canary, namespace: str) -> tuple[float | None, list[str]]:
    """Return the canary's share of the traffic, or None and the reason if the route cannot be read. Raises ClusterError."""
    try:
        return await share_of(api, place_of(canary, namespace)), []
    except RouteError as error:
        return None, [f"the present weights are not known: {error}"]


def _notes(view: View, canary: Canary, workload: Workload, rows: Sequence[MeasureRow], verdict: Verdict) -> list[str]:
    """Return the notes that a reader of the figures needs."""
    notes = []
    if (rollout := workload.rollout) is not None:
        notes.append(f"a rollout of the canary is under way ({rollout.text}): only the pods of its newest revision are counted")
    stable = _stable(view, canary, workload)
    if stable is None or not stable.ready:
        notes.append(f"{canary.stable.workload} has no ready pods: the canary is compared with nothing but its slo")
    for side in (canary.canary.workload, canary.stable.workload):
        if not WORKLOADS[side.kind].pods.generated:
            notes.append(f"the pods of {side} keep their names: requests to its earlier revisions in that time are counted too")
    for row in rows:
        if row.unread:
            notes.append(f"{row.measure}: {row.unread} of {row.read + row.unread} windows could not be read, at last: {row.why}")
    return [*notes, *([_WEIGHTS] if verdict.findings else [])]
