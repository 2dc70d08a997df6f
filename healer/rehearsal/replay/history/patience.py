"""Asks a Prometheus of which much is wanted: what it does not answer at the moment is asked again, what is too much in halves."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from healer.sources.prometheus.client import NotNow, Prometheus, Sample, Series, TooMuch

T = TypeVar("T")

PAUSES = (1.0, 4.0, 10.0)
"""Seconds between two tries."""
_POINTS = 5000
"""The most points of a series in one answer. Prometheus allows 11,000."""
_LEAST = 16
"""Steps of which no half is asked for: the server is too slow, or too much is wanted at each step."""


class PatientPrometheus:
    """The queries of a Prometheus. `pauses` are the seconds between two tries of one query."""

    def __init__(self, prometheus: Prometheus, pauses: Sequence[float] = PAUSES) -> None:
        self._prometheus = prometheus
        self._pauses = pauses
        self._fewer: dict[str, int] = {}  # by expression: the steps that were not too much

    async def label_names(self, metric: str, start: float, end: float) -> frozenset[str]:
        """As of `Prometheus`. Raises QueryFailed."""
        return await self._tried(lambda: self._prometheus.label_names(metric, start, end))

    async def query(self, expr: str, at: float) -> list[Sample]:
        """As of `QueryApi`. Raises QueryFailed."""
        return await self._tried(lambda: self._prometheus.query(expr, at))

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """As of `QueryApi`. Raises QueryFailed."""
        steps = round((end - start) / step)
        if steps <= self._fewer.get(expr, _POINTS):
            try:
                return await self._tried(lambda: self._prometheus.range(expr, start, end, step))
            except TooMuch:
                if steps < _LEAST:
                    raise
                self._fewer[expr] = steps // 2
        middle = start + steps // 2 * step
        parts = [await self.range(expr, start, middle, step), await self.range(expr, middle + step, end, step)]
        return _joined(parts)

    async def _tried(self, ask: Callable[[], Awaitable[T]]) -> T:
        for pause in self._pauses:
            try:
                return await ask()
            except NotNow:
                await asyncio.sleep(pause)
        return await ask()


def _joined(parts: Sequence[Sequence[Series]]) -> list[Series]:
    found: dict[frozenset[tuple[str, str]], dict[float, float]] = defaultdict(dict)
    for part in parts:
        for each in part:
            found[frozenset(each.labels.items())].update(each.points)
    return [Series(dict(labels), points) for labels, points in found.items()]
