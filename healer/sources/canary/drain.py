"""Counts the requests that a canary still answers while its weight is 0, by the rule's own measures.

A weight is an instruction to a router. Open connections outlive it (istio #31745), and a rule of its own, a mirror or a client
may send requests past it. So a canary that was found bad gets no traffic only when its own counters say so.

Only a share of more than 1 % of the requests of both sides matters: less does not move any user's share of errors as far as the
tolerance that a rule may state. The requests must also be more than a handful, and more than a server counts without users: the
kubelet's probes (two kinds, every 10 s by default) and scrapes come to 0.3 requests per second and pod.

Counters that stand still say that there are no requests only while they are scraped. When stable serves and no counter of either
side moves, Prometheus is asked for a new sample of stable. A night without traffic has one: there is no traffic. A feed that has
stopped has none: then nothing is known, as when Prometheus does not answer, and no time limit runs that would end in a false
alarm.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from healer.judge.judge import Missing
from healer.model.duration import about
from healer.model.verdict import Verdict, VerdictKind
from healer.rules.probe import Canary, Measure
from healer.sources.canary.doubt import selectors
from healer.sources.canary.readings import Key, Meter, requests_of
from healer.sources.prometheus.client import QueryFailed, Sample

ZERO = "the weight is 0"
_SHARE = 0.01
_HANDFUL = 5.0
_OF_ITSELF = 0.3
"""Requests per second and pod."""

Ask = Callable[[str], Awaitable[list[Sample]]]
"""Asks for a template of one side at one time. Raises QueryFailed."""


@dataclass(frozen=True, slots=True)
class ServedRequests:
    """The requests of the canary within so many seconds, those of both sides, and the number of the canary's pods."""

    canary: float
    both: float
    seconds: float
    pods: int

    @property
    def matters(self) -> bool:
        """Whether users still reach the canary."""
        return self.canary > max(_SHARE * self.both, _HANDFUL, _OF_ITSELF * self.pods * self.seconds)


@dataclass(slots=True)
class _MeasureMeters:
    """The counters of one measure; `at`: when both sides were read last."""

    at: float = 0.0
    canary: Meter = field(default_factory=Meter)
    stable: Meter = field(default_factory=Meter)


class Drain:
    """The looks at one canary since its weight was first read to be 0. `at`: the time of the last one, 0.0 before the first."""

    def __init__(self, canary: Canary) -> None:
        self.at = 0.0
        self._canary = canary
        self._meters = {measure.name: _MeasureMeters() for measure in canary.measures}
        self._windows = 0
        """Windows in a row in which the canary answered requests that matter."""

    async def look(
        self, at: float, pods: int, canary: Ask, stable: Ask | None = None, *, because: str = ZERO, besides: Sequence[str] = ()
    ) -> Verdict | str:
        """The verdict by the counters at a time on the grid, or why there is no traffic any more.

        `pods`: the number of the canary's pods; `stable` is None when it does not serve. `because`: why there should be no
        traffic. `besides`: the requests that the route sends to the canary whatever the weights are, in words. The first look
        only sets the counters. The first window may contain requests from before the weight was 0 (a counter is as old as its
        scrape): it can show that there is no traffic, and not that there is some.
        """
        before, self.at = self.at, at
        asks = [canary] if stable is None else [canary, stable]
        found = [await self._measured(measure, before, pods, asks) for measure in self._canary.measures]
        served = [each for each in found if isinstance(each, ServedRequests)]
        most = max(served, key=lambda each: each.canary, default=None)
        if most is not None and most.matters:
            self._windows += 1
            return _still(most, because, besides, certain=self._windows > 1)
        if (missing := next((each for each in found if isinstance(each, Missing)), None)) is not None:
            return _unknown(because, missing.why)
        if most is None or len(served) < len(found):
            text = f"{because}: the requests that the canary still answers are counted from here on"
            return Verdict(VerdictKind.INSUFFICIENT, text)
        try:
            if stable is not None and not any(each.both for each in served) and not await self._scraped(stable, most.seconds):
                return _unknown(because, "neither side's counters moved, and Prometheus has no new sample of stable's")
        except QueryFailed as error:
            return _unknown(because, str(error))
        self._windows = 0
        return f"the canary gets no traffic: {because}, and it answered {_requests(most)}"

    async def _scraped(self, side: Ask, seconds: float) -> bool:
        """Whether the series of the measures have a sample of the last seconds. Raises QueryFailed."""
        templates = [measure.total or measure.histogram or "" for measure in self._canary.measures]
        for selector in (each for template in templates for each in selectors(template)):
            if await side(f"count_over_time({selector}[{seconds * 1000 - 1:.0f}ms])"):
                return True
        return False

    async def _measured(self, measure: Measure, before: float, pods: int, asks: Sequence[Ask]) -> ServedRequests | Missing | None:
        """None when the requests are counted from this look on."""
        sides: list[Mapping[Key, float]] = []
        for ask in asks:
            try:
                values = requests_of(measure, await ask(measure.total or measure.histogram or ""))
            except QueryFailed as error:
                return Missing(f"{measure.name}: {error}")
            if isinstance(values, Missing):
                return Missing(f"{measure.name}: {values.why}")
            sides.append(values)
        if measure.windowed:
            return _served([sum(values.values()) for values in sides], self._canary.every, pods) if before else None
        meters = self._meters[measure.name]
        since, meters.at = meters.at, self.at
        grown = [meter.grown(values) for meter, values in zip((meters.canary, meters.stable), sides, strict=False)]
        return _served(grown, self.at - since, pods)


def _served(sides: Sequence[float | None], seconds: float, pods: int) -> ServedRequests | None:
    """The requests of the canary, and of stable when it serves; None unless all of them are known."""
    known = [requests for requests in sides if requests is not None]
    return ServedRequests(known[0], sum(known), seconds, pods) if len(known) == len(sides) else None


def _still(served: ServedRequests, because: str, besides: Sequence[str], *, certain: bool) -> Verdict:
    text = f"{because}, and the canary still answered {_requests(served)}"
    if not certain:
        return Verdict(VerdictKind.INSUFFICIENT, f"{text}, some of them perhaps before it was")
    hint = "open connections outlive a weight, or another rule or a client sends them"
    if besides:
        hint = f"most likely they are requests that no weight controls: {'; '.join(besides)}. Else {hint}"
    return Verdict(VerdictKind.BAD, f"{text}: {hint}")


def _unknown(because: str, why: str) -> Verdict:
    return Verdict(VerdictKind.UNKNOWN, f"{because}, and whether the canary still answers requests is not known: {why}")


def _requests(served: ServedRequests) -> str:
    return f"{served.canary:,.0f} requests in the last {about(served.seconds)}, of {served.both:,.0f} in all"
