"""Outliers: which of several values that ought to be alike is far from all others. Pure.

The distance is measured in median absolute deviations from the median, because one bad value of five moves a mean and a standard
deviation so far that it hides itself.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

SCALE = 1.4826
"""The median absolute deviation times this is the standard deviation, of values that are normally distributed."""
MOST = 3
"""No more than one in so many is an outlier: beyond that it is the others that cannot be believed, or all of them."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class OutlierLimits:
    """When a value is an outlier."""

    above: bool
    """Whether it is larger than the others; else it is smaller."""
    deviations: float
    """It is further from the median than so many standard deviations, by the median absolute deviation ..."""
    difference: float
    """... and further than this, in the unit of the values: values that are all alike have a deviation of 0."""
    peers: int
    """At least so many others have a value."""


@dataclass(frozen=True, slots=True)
class Comparison(Generic[K]):
    """The result of a comparison. With `held` nothing is known: it says why, in words."""

    middle: float
    """The median."""
    limit: float
    """The distance from the median beyond which a value is an outlier."""
    outliers: frozenset[K]
    held: str = ""


def compare(values: Mapping[K, float], limits: OutlierLimits, *, missing: int = 0) -> Comparison[K]:
    """Compare finite values. `missing`: how many of their kind have none, each of which could be an outlier as well."""
    others = max(0, len(values) - 1)
    if others < limits.peers:
        return Comparison(0.0, 0.0, frozenset(), f"other pods with a value: {others}; {limits.peers} are needed")
    middle = median(values.values())
    spread = median(abs(value - middle) for value in values.values())
    limit = max(limits.deviations * SCALE * spread, limits.difference)
    sign = 1.0 if limits.above else -1.0
    found = frozenset(key for key, value in values.items() if sign * (value - middle) > limit)
    if found and (len(found) + missing) * MOST > len(values) + missing:
        lacking = f" and {missing} have no value" if missing else ""
        total = len(values) + missing
        why = f"{len(found)} of {total} pods are far from the others{lacking}: more than a third is no outlier"
        return Comparison(middle, limit, frozenset(), why)
    return Comparison(middle, limit, found)
