"""A long time of Prometheus' asked in pieces: many series over all of it would be too large an answer."""

from collections import defaultdict

from healer.sources.canary.warmup import Key
from healer.sources.prometheus.client import QueryApi, Series

_POINTS = 60


async def in_pieces(prometheus: QueryApi, expr: str, start: float, end: float, step: float) -> list[Series]:
    """The values at start, start + step, ... up to the end; their times are rounded to milliseconds. Raises QueryFailed."""
    points = [round(start + step * number, 3) for number in range(round((end - start) / step) + 1)]
    found: dict[Key, dict[float, float]] = defaultdict(dict)
    for first in range(0, len(points), _POINTS):
        piece = points[first : first + _POINTS]
        for each in await prometheus.range(expr, piece[0], piece[-1], step):
            found[frozenset(each.labels.items())].update({round(at, 3): value for at, value in each.points.items()})
    return [Series(dict(key), values) for key, values in found.items()]
