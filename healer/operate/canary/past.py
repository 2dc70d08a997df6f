"""Prometheus as it was over a time: each expression is asked once for all of it, so that its looks can be repeated."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from healer.sources.prometheus.client import QueryApi, QueryFailed, Sample, Series, long_range


class Past:
    """The points of a grid: start, start + step, ... end. Times in seconds, points since the epoch.

    The first question without an answer is the last that is asked: `failure` says why.
    """

    def __init__(self, prometheus: QueryApi, start: float, end: float, step: float) -> None:
        self.step = step
        self.points = [round(start + step * number, 3) for number in range(round((end - start) / step) + 1)]
        self.failure: QueryFailed | None = None
        self._prometheus = prometheus
        self._known: dict[str, list[Series]] = {}
        self._asking: Mapping[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def query(self, expr: str, at: float) -> list[Sample]:
        """The values at a point of the grid. Raises QueryFailed."""
        at = round(at, 3)
        return [Sample(each.labels, each.points[at]) for each in await self.series(expr) if at in each.points]

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Of another time: asked each time. Raises QueryFailed."""
        if self.failure is not None:
            raise self.failure
        return await self._prometheus.range(expr, start, end, step)

    async def series(self, expr: str) -> list[Series]:
        """The values at all points of the grid. Raises QueryFailed."""
        async with self._asking[expr]:
            if self.failure is not None:
                raise self.failure
            if expr not in self._known:
                try:
                    self._known[expr] = await long_range(self._prometheus, expr, self.points[0], self.points[-1], self.step)
                except QueryFailed as error:
                    self.failure = error
                    raise
            return self._known[expr]
