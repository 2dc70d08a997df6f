"""Figures for the report on a canary: the interval around a share, a quantile out of a histogram's buckets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

_Z = 1.959964
"""The normal distribution's quantile for 95 %, both sides."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Two shares, 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Quantile:
    """A time in seconds. `beyond`: the true one is above it, for it lies past the histogram's last finite edge."""

    seconds: float
    beyond: bool = False


def interval(requests: float, bad: float) -> Interval:
    """The 95 % interval of a bad share; all from 0 to 1 without requests.

    Wilson's score interval: centre (p + z²/2n) / (1 + z²/n), half width z/(1 + z²/n) sqrt(p(1 - p)/n + z²/4n²) (E. B. Wilson,
    Probable inference, the law of succession, and statistical inference, JASA 22, 1927). It holds for small counts and for
    shares near 0, where the textbook's p ± 2 s does not. It takes requests for independent: bad ones in bursts make it wider
    in truth.
    """
    if requests <= 0:
        return Interval(0.0, 1.0)
    share, spread = min(bad / requests, 1.0), _Z * _Z / requests
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / requests + spread / (4 * requests)) / (1 + spread)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def quantile(buckets: Mapping[float, float], share: float) -> Quantile | None:
    """The time below which a share (0 to 1) of the requests are; None without requests, or without the bucket +Inf.

    `buckets`: the requests at most as slow as each edge, in seconds, as a histogram's `le` has them; one is infinite. As
    PromQL's histogram_quantile: the requests of a bucket are taken to be spread evenly over it, the lowest begins at 0, and
    buckets that were read while they grew are made to rise (promql/quantile.go, bucketQuantile). Unlike it, a quantile beyond
    the last finite edge says so.
    """
    edges = sorted(buckets)
    if len(edges) < 2 or edges[-1] != math.inf or buckets[math.inf] <= 0:
        return None
    total = max(buckets.values())
    rank, below, begin = share * total, 0.0, min(0.0, edges[0])
    for edge in edges[:-1]:
        upto = max(below, buckets[edge])
        if upto >= rank and upto > below:
            inside = (rank - below) / (upto - below)
            return Quantile(edge if edge <= 0 else begin + (edge - begin) * inside)
        below, begin = upto, edge
    return Quantile(begin, beyond=True)
