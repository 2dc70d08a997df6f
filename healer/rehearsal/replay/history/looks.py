"""What healer would have asked Prometheus for rules on queries and canaries: by the sources of the daemon, at the rule's pace.

The weights of routes are not in the history: a canary counts as served while it has pods.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite

from healer.daemon.recording.lines import AnsweredLine, AnyLine, RuleMark, SignalsLine, UnansweredLine
from healer.daemon.recording.marks import asked
from healer.model.signal import Answered, Report, Signal, Unanswered
from healer.model.view import View
from healer.rehearsal.replay.said import moment, times
from healer.routes.base import CanaryRoute
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.triggers import CANARY, QUERY
from healer.settings import Settings
from healer.sources.base import Probe
from healer.sources.canary.canary import CanaryProbe
from healer.sources.prometheus.client import NotNow, QueryApi, QueryFailed, Sample, Series
from healer.sources.prometheus.query import QueryProbe
from healer.sources.targets import TargetLabels

_SHARE = 0.5
_SAME = 0.01
"""Seconds."""
_OF_CANARIES = (
    "the weights of routes are not in the history: a canary counts as served while it has pods, and evidence goes on when its "
    "weight or its revision changes"
)


class RangedAnswers:
    """Instant queries at the lines of a grid, answered from ranges: one request for many looks. At most `most` series answer."""

    def __init__(self, ranges: QueryApi, most: int) -> None:
        self._ranges = ranges
        self.most = most
        self._known: dict[tuple[str, float], _AnsweredRange] = {}
        self._most_looks: dict[str, int] = {}  # by expression, once one has failed
        self.until = 0.0
        """What is asked for reaches so far (epoch, s)."""
        self.every = 30.0
        """The time between two looks of the rule that asks."""
        self.found = 0
        """The samples that answered so far."""
        self.broken: NotNow | None = None
        """Why Prometheus does not answer any more."""

    async def query(self, expr: str, at: float) -> list[Sample]:
        """The instant vector at a time. Raises QueryFailed."""
        known = self._known.get((expr, self.every))
        if known is None or not known.has(at, self.every):
            self._known[expr, self.every] = known = await self._read(expr, at)
        if known.failed is not None:
            raise known.failed
        samples = known.at.get(round(at, 3), [])
        if len(samples) > self.most:
            raise QueryFailed(f"Prometheus: more than {self.most} series answer the query: aggregate, or select fewer")
        self.found += len(samples)
        return samples

    def known(self, expr: str, at: float) -> list[Sample] | None:
        """What `query` would return, where it is read already."""
        known = self._known.get((expr, self.every))
        if known is None or known.failed is not None or not known.has(at, self.every):
            return None
        return known.at.get(round(at, 3), [])

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """As of `QueryApi`. Raises QueryFailed."""
        return await self._ranges.range(expr, start, end, step)

    async def _read(self, expr: str, at: float) -> "_AnsweredRange":
        """A range from `at` on. One that fails is tried with half as many looks: the expression may fail at one of them alone."""
        steps = max(0, int((self.until - at) / self.every + 1e-9))
        most = self._most_looks.get(expr, steps)
        while True:
            looks = min(steps, most)
            found = _AnsweredRange(round(at, 3), round(at + looks * self.every, 3))
            try:
                series = await self._ranges.range(expr, at, at + looks * self.every, self.every)
            except NotNow as error:
                self.broken = error
                raise
            except QueryFailed as error:
                if looks:
                    most = looks // 2
                    continue
                self._most_looks[expr], found.failed = 1, error
                return found
            if looks < steps:
                self._most_looks[expr] = 2 * looks + 1
            for each in series:
                for when, value in each.points.items():
                    found.at[round(when, 3)].append(Sample(each.labels, value))
            return found

    def forget(self, before: float) -> None:
        """Drop what is about an earlier time."""
        self._known = {key: known for key, known in self._known.items() if known.last >= before}


@dataclass(slots=True)
class _AnsweredRange:
    first: float
    last: float
    at: dict[float, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    failed: QueryFailed | None = None

    def has(self, at: float, every: float) -> bool:
        """Whether a time is one of those that were asked for."""
        lines = (at - self.first) / every
        return self.first <= round(at, 3) <= self.last and abs(lines - round(lines)) * every < _SAME


class UnknownRoute:
    """A route of whose weights nothing is known."""

    def __init__(self, place: CanaryRoute) -> None:
        self._place = place

    def __str__(self) -> str:
        return str(self._place)

    async def share(self) -> float:
        """Some, so that the canary is judged by its requests."""
        return _SHARE

    def besides(self) -> Sequence[str]:
        """Nothing is known."""
        return ()

    def put_back(self, kept: object) -> str:
        """Nobody is known to have changed it."""
        return ""


@dataclass(slots=True)
class _RuleLooks:
    """What is asked for one rule."""

    rule: BoundRule
    asks: str
    every: float
    probe: Probe
    due: float
    told: list[Report] | None = None
    quiet: bool = False
    """Whether nothing fires for it, and its last look was answered."""
    looks: int = 0
    found: int = 0
    """The samples that answered."""
    silent: int = 0
    """Looks without a usable answer."""
    why: str = ""
    first_silent: float = 0.0
    failing: str = ""
    """Why the look that is under way has no usable answer."""


class Looks:
    """The looks of all rules that ask Prometheus. Rules that ask the same are asked for once."""

    def __init__(self, books: Iterable[Rulebook], settings: Settings, view: View, ranges: QueryApi, start: float) -> None:
        self._answers = RangedAnswers(ranges, settings.prometheus.series)
        self._looks: dict[str, _RuleLooks] = {}  # by the rule's full name, as it is told
        known: set[str] = set()
        for book in books:
            for rule in book.rules:
                asks = asked(rule)
                if rule.rule.when.trigger in (QUERY, CANARY) and asks not in known:
                    known.add(asks)
                    named = rule if rule.name not in self._looks else replace(rule, ruleset=f"{asks}:{rule.ruleset}")
                    self._looks[named.name] = self._look(named, asks, settings, view, start)

    def _look(self, rule: BoundRule, asks: str, settings: Settings, view: View, start: float) -> _RuleLooks:
        when = rule.rule.when
        if (canary := when.get(CANARY)) is not None:
            probe = CanaryProbe(
                rule,
                self._answers,
                UnknownRoute,
                view,
                lambda judgement: None,
                history=settings.prometheus.history,
            ).ask
            return _RuleLooks(rule, asks, canary.every, probe, start)
        query = when.get(QUERY)
        assert query is not None  # the trigger is one of the two
        names = TargetLabels.of(settings.alerts)
        return _RuleLooks(rule, asks, query.every, QueryProbe(rule, self._answers, view, names, self._unanswered).ask, start)

    def _unanswered(self, rule: str, why: str) -> None:
        self._looks[rule].failing = why

    @property
    def marks(self) -> tuple[RuleMark, ...]:
        """The rules as the heads of a record name them."""
        return tuple(RuleMark(name, "", look.asks) for name, look in self._looks.items())

    def due(self, until: float) -> list[float]:
        """When looks are due, up to a time (epoch, s)."""
        found: set[float] = set()
        for look in self._looks.values():
            number = 0
            while (at := round(look.due + number * look.every, 3)) <= until:
                found.add(at)
                number += 1
        return sorted(found)

    def reach(self, until: float) -> None:
        """What is asked for from now on reaches up to a time."""
        self._answers.until = until

    def skip(self, at: float) -> None:
        """Nothing is known of a moment: what was due then is not asked."""
        for look in self._looks.values():
            if look.due <= at:
                look.due = round(look.due + look.every, 3)

    def take(self, runner: asyncio.Runner, at: float) -> Iterator[AnyLine]:
        """The lines of the looks that are due at a time. Raises QueryFailed when Prometheus does not answer any more."""
        for look in self._looks.values():
            if look.due > at:
                continue
            look.due = round(look.due + look.every, 3)
            self._answers.every, look.failing = look.every, ""
            if look.quiet and self._says_nothing(look, at):
                continue
            before = self._answers.found
            reports = list(runner.run(_asked(look.probe, at)))
            look.found += self._answers.found - before
            if self._answers.broken is not None:
                raise self._answers.broken
            self._count(look, reports, at)
            look.quiet = bool(reports) and all(isinstance(each, Answered) for each in reports)
            if reports != look.told or any(isinstance(each, Signal) for each in reports):
                look.told = reports
                yield from _lines(reports, at)
        self._answers.forget(at)

    def _says_nothing(self, look: _RuleLooks, at: float) -> bool:
        """Whether nothing passes the threshold of a query, and all are numbers, as at most looks of a long time."""
        query = look.rule.rule.when.get(QUERY)
        samples = None if query is None else self._answers.known(query.expr, at)
        if query is None or samples is None or len(samples) > self._answers.most:
            return False
        low, high = -inf if query.below is None else query.below, inf if query.above is None else query.above
        if not all(isfinite(each.value) and low <= each.value <= high for each in samples):
            return False
        look.looks += 1
        look.found += len(samples)
        return True

    def _count(self, look: _RuleLooks, reports: Sequence[Report], at: float) -> None:
        look.looks += 1
        unknown = next((each.why for each in reports if isinstance(each, Unanswered)), "")
        if why := look.failing or unknown:
            if not look.silent:
                look.why, look.first_silent = why, at
            look.silent += 1

    @property
    def remarks(self) -> Iterator[str]:
        """What a reader must know of the answers."""
        for name, look in self._looks.items():
            if look.silent:
                many, at = f"{look.silent:,} of {times(look.looks, 'look')}", moment(look.first_silent)
                yield f"rule {name}: {many} had no answer that could be used, the first at {at}: {look.why}"
            elif look.looks and not look.found:
                yield f"rule {name}: no look has found a series: does this Prometheus have the metric, and keep it so long?"
        if any(look.rule.rule.when.trigger is CANARY for look in self._looks.values()):
            yield _OF_CANARIES


async def _asked(probe: Probe, at: float) -> Sequence[Report]:
    return await probe(at)


def _lines(reports: Sequence[Report], at: float) -> Iterator[AnyLine]:
    """As the daemon tells its engine: signals together, then the rest."""
    signals = tuple(each for each in reports if isinstance(each, Signal))
    if signals:
        yield SignalsLine(at, signals)
    for each in reports:
        if isinstance(each, Answered):
            yield AnsweredLine(at, each.rule, tuple(sorted(each.keys)))
        elif isinstance(each, Unanswered):
            yield UnansweredLine(at, each.rule, each.why, None if each.keys is None else tuple(sorted(each.keys)))
