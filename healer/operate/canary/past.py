"""Reads Prometheus over a past time. Each expression is queried once for the whole time."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from healer.sources.prometheus.client import QueryApi, QueryFailed, Sample, Series, long_range


class Past:
    """Values on the grid start, start + step, ... end. `step` in seconds, points in seconds since the epoch.

    After the first query that fails, no other is sent, and each call raises `failure`.
    """

    def __init__(self, prometheus: QueryApi, start: float, end: float, step: float) -> None:
        self.step = step
        self.points = [round(start + step * number, 3) for number in range(round((end - start) / step) + 1)]
        self.failure: QueryFailed | None = None
        self._prometheus = prometheus
        self._series: dict[str, list[Series]] = {}
        self._locks: Mapping[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def query(self, expr: str, at: float) -> list[Sample]:
        """Return the values at a point of the grid. Raises QueryFailed."""
        at = round(at, 3)
        return [Sample(each.labels, each.points[at]) for each in await self.series(expr) if at in each.points]

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Query another range without a cache. Times in seconds. Raises QueryFailed."""
        if self.failure is not None:
            raise self.failure
        return await self._prometheus.range(expr, start, end, step)

    async def series(self, expr: str) -> list[Series]:
        """Return the values at all points of the grid. Raises QueryFailed."""
        async with self._locks[expr]:
            if self.failure is not None:
                raise self.failure
            if expr not in self._series:
                try:
                    self._series[expr] = await long_range(self._prometheus, expr, self.points[0], self.points[-1], self.step)
                except QueryFailed as error:
                    self.failure = error
                    raise
            return self._series[expr]
