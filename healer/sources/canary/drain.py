"""What a canary still answers while its weight is 0: requests, counted from look to look by the rule's own measures.

A weight is what a router is told. Connections that are open outlive it (istio #31745), and a rule of its own, a mirror or a
client may send requests past it. So a canary that was found bad gets no traffic when its own counters say so, and not before.

What matters is more than 1 % of the requests of both sides: by less than that no user's share of errors is moved as far as the
tolerance that a rule may state. And it is more than a handful, and more than a server may count of itself without anybody's
sending: the kubelet's probes (two kinds, every 10 s by default) and scrapes come to 0.3 a second and pod.

Counters that stand still say that there are no requests only while they are scraped. Where stable serves, and neither side's
move, Prometheus is asked for a new sample of stable's. A night without traffic has one, and ends the matter. A feed that stands
still has none: then nothing is known, as when Prometheus does not answer, and no time limit runs that would end in a false alarm.
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
"""Requests a second and pod."""

Ask = Callable[[str], Awaitable[list[Sample]]]
"""Asks for a template, of one side at one time. Raises QueryFailed."""


@dataclass(frozen=True, slots=True)
class ServedRequests:
    """The requests of the canary within so many seconds, and those of both sides; by how many pods of the canary."""

    canary: float
    both: float
    seconds: float
    pods: int

    @property
    def matters(self) -> bool:
        """Whether users still meet the canary."""
        return self.canary > max(_SHARE * self.both, _HANDFUL, _OF_ITSELF * self.pods * self.seconds)


@dataclass(slots=True)
class _MeasureMeters:
    """Of one measure; `at`: when both were read last."""

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
        """Windows in a row in which the canary answered what matters."""

    async def look(
        self, at: float, pods: int, canary: Ask, stable: Ask | None = None, *, because: str = ZERO, besides: Sequence[str] = ()
    ) -> Verdict | str:
        """What the counters say at a time on the grid: a verdict, or why there is no traffic any more.

        `pods`: those of the canary; `stable` is None when it does not serve. `because`: why there should be none. `besides`: in
        words, the requests that the route sends to the canary whatever the weights are. The first look only sets the counters.
        The first window may hold what came before the weight was 0 (a counter is as old as its scrape): it can show an end and
        no traffic.
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
        """Whether what the measures select has a sample of the last seconds. Raises QueryFailed."""
        templates = [measure.total or measure.histogram or "" for measure in self._canary.measures]
        for selector in (each for template in templates for each in selectors(template)):
            if await side(f"count_over_time({selector}[{seconds * 1000 - 1:.0f}ms])"):
                return True
        return False

    async def _measured(self, measure: Measure, before: float, pods: int, asks: Sequence[Ask]) -> ServedRequests | Missing | None:
        """None when the requests are only counted from here on."""
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
    """Of the canary's requests, and stable's where it serves; None unless all of them are known."""
    known = [requests for requests in sides if requests is not None]
    return ServedRequests(known[0], sum(known), seconds, pods) if len(known) == len(sides) else None


def _still(served: ServedRequests, because: str, besides: Sequence[str], *, certain: bool) -> Verdict:
    text = f"{because}, and the canary still answered {_requests(served)}"
    if not certain:
        return Verdict(VerdictKind.INSUFFICIENT, f"{text}, some of them perhaps before it was")
    hint = "open connections outlive a weight, or another rule or a client sends them"
    if besides:
        hint = f"most likely they are what no weight rules: {'; '.join(besides)}. Else {hint}"
    return Verdict(VerdictKind.BAD, f"{text}: {hint}")


def _unknown(because: str, why: str) -> Verdict:
    return Verdict(VerdictKind.UNKNOWN, f"{because}, and whether the canary still answers requests is not known: {why}")


def _requests(served: ServedRequests) -> str:
    return f"{served.canary:,.0f} requests in the last {about(served.seconds)}, of {served.both:,.0f} in all"
