"""Statistics for the report on a canary: the interval of a share, and a quantile from a histogram's buckets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

_Z = 1.959964
"""The two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The bounds of an interval of shares, each 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Quantile:
    """A time in seconds. `beyond`: the true quantile is greater, because it exceeds the histogram's last finite bound."""

    seconds: float
    beyond: bool = False


def interval(requests: float, bad: float) -> Interval:
    """Return the 95 % interval of the share of bad requests; 0 to 1 without requests.

    Wilson's score interval: centre (p + z²/2n) / (1 + z²/n), half width z/(1 + z²/n) sqrt(p(1 - p)/n + z²/4n²) (E. B. Wilson,
    Probable inference, the law of succession, and statistical inference, JASA 22, 1927). It is valid for small counts and for
    shares near 0, where p ± 2 s is not. It assumes independent requests: if bad requests come in bursts, the true interval is
    wider.
    """
    if requests <= 0:
        return Interval(0.0, 1.0)
    share, spread = min(bad / requests, 1.0), _Z * _Z / requests
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / requests + spread / (4 * requests)) / (1 + spread)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def quantile(buckets: Mapping[float, float], share: float) -> Quantile | None:
    """Return the time within which a share (0 to 1) of the requests finish; None without requests or without the bucket +Inf.

    `buckets`: cumulative requests by upper bound (`le`) in seconds; one bound is infinite. The algorithm is PromQL's
    histogram_quantile (promql/quantile.go, bucketQuantile): it interpolates linearly inside a bucket, starts the lowest bucket
    at 0, and makes the counts monotonic. In addition, a quantile above the last finite bound has `beyond` set.
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
