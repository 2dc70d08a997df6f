"""Asks Prometheus for what has changed in a stretch of time: few points, however many series there are.

Of each metric two ranges are asked: where a value differs from the one a step before, and where a series is gone that was there a
step before.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from healer.rehearsal.replay.history.metrics import RANKS, HistoryMetric
from healer.sources.prometheus.client import QueryApi, Series

STEPS = 720
"""Steps of a stretch."""


@dataclass(frozen=True, slots=True)
class Point:
    """A series has a value from a time on; None: it is gone."""

    at: float
    metric: str
    labels: Mapping[str, str]
    value: float | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is known of a stretch of time: what has changed, and the times at which nothing was scraped."""

    points: Sequence[Point]
    silent: Sequence[float]


async def state_at(prometheus: QueryApi, asked: Iterable[HistoryMetric], at: float) -> list[Point]:
    """All that there is at a time. Raises QueryFailed."""
    found: list[Point] = []
    for metric in asked:
        for sample in await prometheus.query(metric.at(), at):
            if isfinite(sample.value):
                found.append(Point(at, metric.name, metric.own(sample.labels), sample.value))
    return found


async def changes(
    prometheus: QueryApi, asked: Iterable[HistoryMetric], start: float, end: float, step: float, steady: str
) -> Stretch:
    """What changes of these metrics after `start` up to `end`. Raises QueryFailed.

    `steady` is an expression that always has a series: without one nothing was seen. "" when there is none.
    """
    points: list[Point] = []
    for metric in asked:
        now, before = metric.at(), metric.at(f"offset {step:g}s")
        new = await prometheus.range(f"{now} unless ({now} == {before})", start + step, end, step)
        gone = await prometheus.range(f"{before} unless {now}", start + step, end, step)
        points += _points(metric, gone, gone=True)
        points += _points(metric, new, gone=False)
    silent = await prometheus.range(f"absent({steady})", start + step, end, step) if steady else []
    points.sort(key=lambda point: (point.at, point.value is not None, RANKS[point.metric]))
    return Stretch(points, sorted({at for series in silent for at in series.points}))


def _points(metric: HistoryMetric, found: Iterable[Series], *, gone: bool) -> Iterable[Point]:
    for series in found:
        labels = metric.own(series.labels)
        for at, value in series.points.items():
            if gone or isfinite(value):
                yield Point(at, metric.name, labels, None if gone else value)


def by_time(points: Iterable[Point]) -> dict[float, list[Point]]:
    """The points of each moment, in order of time."""
    found: dict[float, list[Point]] = defaultdict(list)
    for point in points:
        found[point.at].append(point)
    return found
