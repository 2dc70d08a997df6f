"""Evaluates PromQL over the series that a simulation has, as far as the queries of canaries and of the rule packs need it.

Known: selectors; `rate`, `increase` and `count_over_time` of a range; `sum`, `min`, `max`, `avg`, `count` and `group`, by labels
or without; arithmetic and comparisons of vectors, one to one, and numbers; `and`, `or`, `unless`. An expression with anything
else is not played, and it is said why.
"""

import math
import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import promql_parser

from healer.sources.prometheus.client import Sample, Series
from healer.sources.prometheus.http import QueryFailed

NAME = "__name__"
Labels = Mapping[str, str]
Vector = list[Sample]
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: left / right if right else math.nan if left == 0 else left * math.copysign(math.inf, right),
}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_SETS = ("and", "or", "unless")


def _sum(values: Sequence[float]) -> float:
    """The exact sum where there is one, else an infinity or NaN."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # too large, or infinities of both signs
        return float(sum(values))


def _extreme(of: Callable[[list[float]], float], values: Sequence[float]) -> float:
    """The least or largest value. NaN counts only where there is nothing else."""
    numbers = [value for value in values if not math.isnan(value)]
    return of(numbers) if numbers else math.nan


_AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": _sum,
    "min": lambda values: _extreme(min, values),
    "max": lambda values: _extreme(max, values),
    "avg": lambda values: _sum([value / len(values) for value in values]),
    "count": lambda values: float(len(values)),
    "group": lambda values: 1.0,
}
_RANGED = ("rate", "increase", "count_over_time")
_OTHER_PATTERNS = re.compile(r"\[\[:|\\[pPQEzCZAG1-9]|\(\?[^:i]|[*+?}]\+")
"""What Go's regular expressions have and Python's have not, or read in another way."""
_ONE_TO_ONE = (promql_parser.VectorMatchCardinality.OneToOne, promql_parser.VectorMatchCardinality.ManyToMany)


@dataclass(frozen=True, slots=True)
class ScrapedSeries:
    """A series: its labels with its name, and its samples, oldest first. It has ended at `ended`; None: it goes on."""

    labels: Labels
    times: Sequence[float]
    values: Sequence[float]
    ended: float | None = None


Select = Callable[[Callable[[Labels], bool]], Iterable[ScrapedSeries]]
"""The series whose labels (with the name) fit."""


class PlayedQueries:
    """What healer asks of Prometheus (`healer.sources.prometheus.client.QueryApi`). `answers`: whether Prometheus does, now."""

    def __init__(self, select: Select, stale: float, answers: Callable[[], bool]) -> None:
        self._select = select
        self._stale = stale
        self._answers = answers

    async def query(self, expr: str, at: float) -> list[Sample]:
        """See `QueryApi`."""
        self._ready(expr)
        found = self._value(_parsed(expr), at)
        return [Sample({}, found)] if isinstance(found, float) else found

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """See `QueryApi`."""
        self._ready(expr)
        points: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
        for number in range(math.floor((end - start) / step + 1e-9) + 1):
            at = start + number * step
            found = self._value(_parsed(expr), at)
            for each in [Sample({}, found)] if isinstance(found, float) else found:
                points.setdefault(frozenset(each.labels.items()), {})[at] = each.value
        return [Series(dict(labels), values) for labels, values in points.items()]

    def _ready(self, expr: str) -> None:
        if not self._answers():
            raise QueryFailed("Prometheus does not answer")
        if why := unplayed(expr):
            raise QueryFailed(f"the simulation does not play {expr}: {why}")

    def _value(self, tree: promql_parser.Expr, at: float) -> float | Vector:
        match tree:
            case promql_parser.NumberLiteral():
                return float(tree.val)
            case promql_parser.ParenExpr():
                return self._value(tree.expr, at)
            case promql_parser.VectorSelector():
                return [*self._instant(tree, at)]
            case promql_parser.Call():
                return _distinct([*self._ranged(tree.func.name, tree.args[0], at)])
            case promql_parser.AggregateExpr():
                return _aggregated(tree, self._vector(tree.expr, at))
            case promql_parser.BinaryExpr():
                found = _combined(tree, self._value(tree.lhs, at), self._value(tree.rhs, at))
                return found if isinstance(found, float) else _distinct(found)
        raise QueryFailed(f"the simulation does not play {tree}")

    def _vector(self, tree: promql_parser.Expr, at: float) -> Vector:
        found = self._value(tree, at)
        if isinstance(found, float):
            raise QueryFailed(f"a number is no vector: {tree}")
        return found

    def _instant(self, tree: promql_parser.VectorSelector, at: float) -> Iterator[Sample]:
        for series in self._select(_fitting(tree)):
            last = bisect_right(series.times, at) - 1
            gone = series.ended is not None and series.ended <= at
            if last >= 0 and not gone and at - series.times[last] < self._stale:
                yield Sample(series.labels, float(series.values[last]))

    def _ranged(self, function: str, tree: promql_parser.MatrixSelector, at: float) -> Iterator[Sample]:
        window = tree.range.total_seconds()
        for series in self._select(_fitting(tree.vector_selector)):
            first, last = bisect_right(series.times, at - window), bisect_right(series.times, at)
            times, values = series.times[first:last], series.values[first:last]
            if function == "count_over_time":
                value: float | None = float(len(values)) if values else None
            else:
                value = _increase(times, values, at - window, at)
                if value is not None and function == "rate":
                    value /= window
            if value is not None:
                yield Sample(_nameless(series.labels), value)


def _increase(times: Sequence[float], values: Sequence[float], start: float, end: float) -> float | None:
    """As Prometheus extrapolates it (promql/functions.go, extrapolatedRate): to the ends of the window, as far as the samples are
    not too far from them, and not below 0."""
    if len(values) < 2:
        return None
    resets = math.fsum(before for before, after in pairwise(values) if after < before)
    grown = values[-1] - values[0] + resets
    sampled = times[-1] - times[0]
    average = sampled / (len(values) - 1)
    to_start, to_end = times[0] - start, end - times[-1]
    if grown > 0 and values[0] >= 0:
        to_start = min(to_start, sampled * values[0] / grown)
    over = 1.1 * average
    to_start = to_start if to_start < over else average / 2
    to_end = to_end if to_end < over else average / 2
    return float(grown * (sampled + to_start + to_end) / sampled)


def _fitting(tree: promql_parser.VectorSelector) -> Callable[[Labels], bool]:
    """Whether labels are those that a selector selects."""
    tests = [_matcher(str(each.op).rpartition(".")[2], each.value) for each in tree.matchers.matchers]
    names = [each.name for each in tree.matchers.matchers]
    metric = tree.name

    def fits(labels: Labels) -> bool:
        if metric is not None and labels[NAME] != metric:
            return False
        return all(test(labels.get(name, "")) for name, test in zip(names, tests, strict=True))

    return fits


@lru_cache(4096)
def _matcher(kind: str, value: str) -> Callable[[str], bool]:
    if kind in ("Equal", "NotEqual"):
        return (lambda found: found == value) if kind == "Equal" else (lambda found: found != value)
    if _OTHER_PATTERNS.search(value):
        raise re.error("Go reads it in another way than Python")
    pattern, wanted = re.compile(value, re.ASCII | re.DOTALL), kind == "Re"
    return lambda found: (pattern.fullmatch(found) is not None) is wanted


def _nameless(labels: Labels) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != NAME}


def _kept(labels: Labels, names: Collection[str] | None, *, without: bool) -> tuple[tuple[str, str], ...]:
    """The labels by which vectors are matched or grouped, sorted; all but the name when `names` is None.

    The name counts only where it is asked for."""
    found = sorted(labels.items())
    if names is None or without:
        return tuple((name, value) for name, value in found if name != NAME and name not in (names or ()))
    return tuple((name, value) for name, value in found if name in names)


def _distinct(found: Vector) -> Vector:
    """The same. Raises QueryFailed where two series have the same labels, as after their names are left out."""
    if len({frozenset(each.labels.items()) for each in found}) < len(found):
        raise QueryFailed("vector cannot contain metrics with the same labelset")
    return found


def _aggregated(tree: promql_parser.AggregateExpr, found: Vector) -> Vector:
    modifier = tree.modifier
    names = () if modifier is None else modifier.labels
    without = modifier is not None and modifier.type == promql_parser.AggModifierType.Without
    groups: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for each in found:
        groups.setdefault(_kept(each.labels, names, without=without), []).append(each.value)
    return [Sample(dict(labels), _AGGREGATES[str(tree.op)](values)) for labels, values in groups.items()]


def _combined(tree: promql_parser.BinaryExpr, left: float | Vector, right: float | Vector) -> float | Vector:
    sign = str(tree.op)
    if isinstance(left, float) and isinstance(right, float):
        return _ARITHMETIC[sign](left, right) if sign in _ARITHMETIC else float(_COMPARISONS[sign](left, right))
    if isinstance(right, float) and not isinstance(left, float):
        return [one for each in left for one in _computed(tree, each, each.value, right)]
    if isinstance(left, float) and not isinstance(right, float):
        return [one for each in right for one in _computed(tree, each, left, each.value)]
    assert not isinstance(left, float)
    assert not isinstance(right, float)
    matching = None if tree.modifier is None else tree.modifier.matching
    names = None if matching is None else matching.labels
    without = matching is not None and matching.type == promql_parser.LabelModifierType.Exclude
    keys = [_kept(each.labels, names, without=without) for each in left]
    others = {_kept(each.labels, names, without=without): each for each in right}
    if sign == "or":
        mine = {*keys}
        return [*left, *(each for each in right if _kept(each.labels, names, without=without) not in mine)]
    if sign in _SETS:
        return [each for key, each in zip(keys, left, strict=True) if (key in others) is (sign == "and")]
    if len({*keys}) < len(left) or len(others) < len(right):
        raise QueryFailed("many-to-many matching not allowed: matching labels must be unique on one side")
    pairs = ((each, others[key]) for key, each in zip(keys, left, strict=True) if key in others)
    computed = (one for each, other in pairs for one in _computed(tree, each, each.value, other.value))
    return [Sample(_matched(one.labels, names, without=without), one.value) for one in computed]


def _matched(labels: Labels, names: Collection[str] | None, *, without: bool) -> dict[str, str]:
    """The labels that a series has after it was matched with another one: of `on` those alone, of `ignoring` all others
    (promql/engine.go, resultMetric)."""
    if names is None:
        return dict(labels)
    return {name: value for name, value in labels.items() if (name in names) is not without}


def _computed(tree: promql_parser.BinaryExpr, each: Sample, left: float, right: float) -> Vector:
    """The result for one series: none where a comparison is false."""
    sign = str(tree.op)
    if sign in _ARITHMETIC:
        return [Sample(_nameless(each.labels), _ARITHMETIC[sign](left, right))]
    holds = _COMPARISONS[sign](left, right)
    if tree.modifier is not None and tree.modifier.return_bool:
        return [Sample(_nameless(each.labels), float(holds))]
    return [each] if holds else []


@lru_cache(512)
def _parsed(expr: str) -> promql_parser.Expr:
    return promql_parser.parse(expr)


@lru_cache(512)
def unplayed(expr: str) -> str:
    """Why an expression cannot be evaluated here; "" when it can."""
    try:
        return next(_unplayed(_parsed(expr)), "")
    except ValueError as error:
        return str(error)


def metrics(expr: str) -> list[tuple[str, str]]:
    """The metrics that an expression selects, each as an operator and a value: ("Equal", "up"). Raises ValueError."""
    found = []
    for tree in _selectors(_parsed(expr)):
        named = [(str(each.op).rpartition(".")[2], each.value) for each in tree.matchers.matchers if each.name == NAME]
        found += [("Equal", tree.name)] if tree.name is not None else named
    return found


def selects(metric: tuple[str, str], names: Iterable[str]) -> bool:
    """Whether one of `metrics` is among these names."""
    return any(map(_matcher(*metric), names))


def _unplayed(tree: promql_parser.Expr) -> Iterator[str]:
    match tree:
        case promql_parser.NumberLiteral():
            return
        case promql_parser.ParenExpr():
            yield from _unplayed(tree.expr)
        case promql_parser.VectorSelector() | promql_parser.MatrixSelector():
            selector = tree.vector_selector if isinstance(tree, promql_parser.MatrixSelector) else tree
            if selector.offset is not None or selector.at is not None or selector.matchers.or_matchers:
                yield "offset, @ and `or` in a selector are not played"
            for each in selector.matchers.matchers:
                try:
                    _matcher(str(each.op).rpartition(".")[2], each.value)
                except re.error:
                    yield f"the pattern {each.value!r} is not played"
        case promql_parser.Call() if tree.func.name in _RANGED and isinstance(tree.args[0], promql_parser.MatrixSelector):
            yield from _unplayed(tree.args[0])
        case promql_parser.AggregateExpr() if str(tree.op) in _AGGREGATES:
            yield from _unplayed(tree.expr)
        case promql_parser.BinaryExpr():
            if str(tree.op) not in (*_ARITHMETIC, *_COMPARISONS, *_SETS):
                yield f"the operator {tree.op} is not played"
            elif tree.modifier is not None and tree.modifier.card not in _ONE_TO_ONE:
                yield "group_left and group_right are not played"
            yield from _unplayed(tree.lhs)
            yield from _unplayed(tree.rhs)
        case promql_parser.Call():
            yield f"{tree.func.name} is not played"
        case promql_parser.AggregateExpr():
            yield f"{tree.op} is not played"
        case _:
            yield "subqueries, signs and strings are not played"


def _selectors(tree: promql_parser.Expr) -> Iterator[promql_parser.VectorSelector]:
    match tree:
        case promql_parser.VectorSelector():
            yield tree
        case promql_parser.MatrixSelector():
            yield tree.vector_selector
        case promql_parser.ParenExpr() | promql_parser.AggregateExpr():
            yield from _selectors(tree.expr)
        case promql_parser.BinaryExpr():
            yield from _selectors(tree.lhs)
            yield from _selectors(tree.rhs)
        case promql_parser.Call():
            for each in tree.args:
                yield from _selectors(each)
