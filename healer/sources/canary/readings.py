"""The arithmetic of the canary's windows: the values of a measure at a look, and the requests since the look before. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite, isnan
from typing import NamedTuple

from healer.judge.judge import Missing, Window
from healer.model.verdict import Counts
from healer.rules.probe import Measure
from healer.sources.canary.warmup import BothWarmths, Key, Reading, Warmth, Warmup, judged, total_of
from healer.sources.prometheus.client import Sample, Series

__all__ = [
    "Key",
    "Meter",
    "Reading",
    "Tally",
    "counted",
    "edge_above",
    "past",
    "past_all",
    "past_slow",
    "requests_of",
    "slower",
    "timed",
    "within",
]

_FORGET = 100
"""Looks after which a series that is absent is forgotten."""
_SCALE = {"s": 1.0, "ms": 1e3, "us": 1e6}
"""How many of the units of a histogram's edges make a second."""


def counted(total: Sequence[Sample], bad: Sequence[Sample]) -> Reading | Missing:
    """The values of two expressions. When `bad` has no series, there is no bad request, provided that `total` has series."""
    if not total:
        return Missing("`total` has no series")
    if (doubt := _doubt((*total, *bad))) is not None:
        return doubt
    return Reading(_by_key(total), _by_key(bad))


def timed(buckets: Sequence[Sample], edge: float) -> Reading | Missing:
    """The values of a histogram: all requests are those up to +Inf, the bad ones are those above the edge."""
    if not buckets:
        return Missing("the histogram has no series")
    if (doubt := _doubt(buckets)) is not None:
        return doubt
    every, fast = _by_key(_at(buckets, inf)), _by_key(_at(buckets, edge))
    if not every or every.keys() != fast.keys():
        return Missing(f"not all of the histogram's series have the edges {edge:g} and +Inf")
    return Reading(every, {key: max(0.0, count - fast[key]) for key, count in every.items()})


def edge_above(sides: Iterable[Sequence[Sample]], slower_than: float, unit: str) -> float | None:
    """The lowest finite edge, in the unit of the edges, that is not below `slower_than` seconds and that all sides have."""
    common = [{_edge(sample) for sample in side} for side in sides if side]
    wanted = slower_than * _SCALE[unit] * (1 - 1e-9)  # 0.3 s is 299 999.99... us
    fitting = [edge for edge in set.intersection(*common) if wanted <= edge < inf] if common else []
    return min(fitting, default=None)


def slower(edge: float, unit: str) -> str:
    """What is bad, for people: "slower than 218.6 ms"."""
    seconds = edge / _SCALE[unit]
    return f"slower than {seconds:.4g} s" if seconds >= 1 else f"slower than {seconds * 1e3:.4g} ms"


class _CounterMark(NamedTuple):
    """A counter's last value, its largest value, and for how many looks it has been absent."""

    value: float
    most: float
    absent: int = 0


Marks = Mapping[Key, _CounterMark]


@dataclass(frozen=True, slots=True)
class _Growth:
    by_key: Mapping[Key, float]
    marks: Marks
    reset: bool


def _grown(marks: Marks, values: Mapping[Key, float], *, known: bool) -> _Growth:
    """How much counters have grown, each by itself: in a sum, the end of one pod would hide what the others have counted.

    A counter that falls was reset, and the requests in between are not known. A counter that returns to its value before the fall
    was not reset: an aggregated counter dips while one of its pods is not scraped. A new counter began at 0 when others of its
    side are `known`. A counter that was absent counts from its last value.
    """
    by_key, reset, after = dict[Key, float](), False, dict[Key, _CounterMark]()
    for key, value in values.items():
        mark = marks.get(key)
        if mark is None:
            by_key[key] = value if known else 0.0
            after[key] = _CounterMark(value, value)
        elif value >= mark.most:
            by_key[key] = value - mark.most
            after[key] = _CounterMark(value, value)
        else:
            reset = reset or value < mark.value
            by_key[key] = max(0.0, value - mark.value)
            after[key] = _CounterMark(value, mark.most)
    for key, mark in marks.items():
        if key not in values and mark.absent < _FORGET:
            after[key] = mark._replace(absent=mark.absent + 1)
    return _Growth(by_key, after, reset)


@dataclass(frozen=True, slots=True)
class _Base:
    """The counters of one side at the last look."""

    total: Marks
    bad: Marks


def requests_of(measure: Measure, samples: Sequence[Sample]) -> Mapping[Key, float] | Missing:
    """The values of all requests, from the answer to a measure's `total` or `histogram`; empty without a series."""
    if (doubt := _doubt(samples)) is not None:
        return doubt
    return _by_key(samples if measure.histogram is None else _at(samples, inf))


class Meter:
    """The requests of one side of one measure, from look to look."""

    def __init__(self) -> None:
        self._marks: Marks | None = None

    def grown(self, values: Mapping[Key, float]) -> float | None:
        """How many requests came since the look before; None when that is not known: at the first look, after a reset, and when
        all series are new. No request when there is no series any more."""
        known = self._marks is not None and (not values or not self._marks.keys().isdisjoint(values))
        growth = _grown(self._marks or {}, values, known=known)
        self._marks = growth.marks
        return sum(growth.by_key.values()) if known and not growth.reset else None


class _CounterStep(NamedTuple):
    grown: Reading
    base: _Base
    new: bool
    reset: bool


class Tally:
    """The counters of one measure from look to look. A window has the same beginning and end for both sides.

    A look that cannot be read changes nothing: the next window is longer.
    """

    def __init__(self, warmth: BothWarmths | None = None) -> None:
        """`warmth`: of the canary's servers and of stable's; by default all are warm."""
        self._warmth = warmth or (Warmth(Warmup()), Warmth(Warmup()))
        self._canary: _Base | None = None
        self._stable: _Base | None = None

    @property
    def begun(self) -> bool:
        """Whether there was a look already."""
        return self._canary is not None

    def take(self, canary: Reading, stable: Reading | None, at: float = 0.0) -> Window | Missing:
        """The window since the look before; empty at the first look, and when a side is new.

        `at`: the time of the readings.
        """
        ours = _step(self._canary, canary)
        theirs = None if stable is None else _step(self._stable, stable)
        self._canary = ours.base
        self._stable = None if theirs is None else theirs.base
        for side, step in (("canary", ours), ("stable", theirs)):
            if step is not None and step.reset:
                return Missing(f"a counter of {side} was reset")
        if ours.new or (theirs is not None and theirs.new):
            for warmth, reading in zip(self._warmth, (canary, stable), strict=True):
                if reading is not None:
                    warmth.first(reading)
            return Window(Counts(), None if theirs is None else Counts())
        return judged(self._warmth, ours.grown, None if theirs is None else theirs.grown, at)


def _step(base: _Base | None, reading: Reading) -> _CounterStep:
    known = base is not None and not base.total.keys().isdisjoint(reading.total)
    if base is None or not known:
        base = _Base({}, {})
    total, bad = _grown(base.total, reading.total, known=known), _grown(base.bad, reading.bad, known=known)
    return _CounterStep(Reading(total.by_key, bad.by_key), _Base(total.marks, bad.marks), not known, total.reset or bad.reset)


def within(canary: Reading, stable: Reading | None) -> Window:
    """The window of expressions that give increases."""
    return Window(total_of(canary), None if stable is None else total_of(stable))


def past(
    total: Sequence[Series], bad: Sequence[Series], *, increases: bool, start: float, step: float, windows: int
) -> list[Counts]:
    """The counts a window, oldest first, of the `windows` that begin at `start`: from counters, or from increases.

    Where `total` has values and `bad` has none, no request was bad: a series of errors begins with the first error. Windows
    without values of `total`, and windows in which a counter was reset, are left out.
    """
    ends = [round(start + step * number, 3) for number in range(windows + 1)]
    known = {at for each in total for at in each.points}
    found: list[Counts] = []
    sides = [[_values(side, end) for end in ends] for side in (total, bad)]
    marks: list[Marks] = [{key: _CounterMark(value, value) for key, value in side[0].items()} for side in sides]
    for number, (begin, end) in enumerate(pairwise(ends), 1):
        values = [side[number] for side in sides]
        grown = [_grown(mark, value, known=begin in known) for mark, value in zip(marks, values, strict=True)]
        marks = [growth.marks for growth in grown]
        if increases and end in known:
            found.append(Counts(*(sum(value.values()) for value in values)))
        elif not increases and {begin, end} <= known and not any(growth.reset for growth in grown):
            found.append(Counts(*(sum(growth.by_key.values()) for growth in grown)))
    return found


def _values(series: Sequence[Series], at: float) -> dict[Key, float]:
    return {frozenset(each.labels.items()): value for each in series if (value := _value(each, at)) is not None}


def past_all(series: Sequence[Series]) -> list[Series]:
    """Of a histogram's buckets: the counters of all requests."""
    return [Series(dict(_without_le(each.labels)), each.points) for each in series if _le(each.labels) == inf]


def past_slow(series: Sequence[Series], edge: float) -> list[Series]:
    """Of a histogram's buckets: the counters of what was slower than the edge."""
    fast = {_without_le(each.labels): each for each in series if _le(each.labels) == edge}
    slow: list[Series] = []
    for each in series:
        other = fast.get(_without_le(each.labels)) if _le(each.labels) == inf else None
        if other is not None:
            points = {at: max(0.0, value - other.points[at]) for at, value in each.points.items() if at in other.points}
            slow.append(Series(dict(_without_le(each.labels)), points))
    return slow


def _doubt(samples: Sequence[Sample]) -> Missing | None:
    """A value that is no finite number, and why; None when all are."""
    strange = next((sample for sample in samples if not isfinite(sample.value)), None)
    if strange is None:
        return None
    return Missing(strange.odd or f"a value is {'NaN' if isnan(strange.value) else f'{strange.value:+}'}")


def _value(series: Series, at: float) -> float | None:
    value = series.points.get(at)
    return None if value is None or not isfinite(value) else value


def _by_key(samples: Iterable[Sample]) -> dict[Key, float]:
    return {frozenset(sample.labels.items()): sample.value for sample in samples}


def _at(buckets: Sequence[Sample], edge: float) -> list[Sample]:
    return [Sample(dict(_without_le(bucket.labels)), bucket.value) for bucket in buckets if _edge(bucket) == edge]


def _edge(bucket: Sample) -> float:
    return _le(bucket.labels)


def _le(labels: Mapping[str, str]) -> float:
    """The edge of a bucket; NaN when it has none."""
    try:
        return float(labels.get("le", "nan"))
    except ValueError:
        return float("nan")


def _without_le(labels: Mapping[str, str]) -> Key:
    return frozenset((name, value) for name, value in labels.items() if name != "le")
