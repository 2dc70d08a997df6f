"""The looks at one canary of one rule: its traffic, its measures as Prometheus has them, and the judge's verdict.

It does not know the daemon, so that `healer gate` and `healer compare` judge by the same code.

Times. A look is about the time up to the last line of a grid with a line every `every` seconds, a little back, because Prometheus
stores a scrape a moment later. Expressions with {{ window }} are evaluated at these lines, so that windows do not overlap;
counters too, so that all values of a look are of one time.

When data stops. A target whose scrape fails, or that is gone, loses its series at once (Prometheus marks them stale): then there
is no data. When Prometheus itself stood still, was restarted, or is fed by others, the last samples count for `prometheus.stale`
seconds (before Prometheus 2.43 for 5 minutes); then there is no data either. Until then counters stand still, which is no
evidence: they do so without traffic, too. At a weight of 0, where it would be evidence, `healer.sources.canary.drain` tells the
two apart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import floor

import structlog

from healer.cluster.errors import ClusterError
from healer.judge.judge import Judge, Missing, Window, Yardstick
from healer.model.verdict import Counts, Verdict, VerdictKind
from healer.routes.base import RouteError, RouteMissing
from healer.rules.operands import without_counterpart
from healer.rules.probe import Canary, Measure
from healer.sources.canary.doubt import doubt
from healer.sources.canary.drain import ZERO, Drain
from healer.sources.canary.readings import Tally, counted, edge_above, past, past_all, past_slow, slower, timed
from healer.sources.canary.sides import ObservedSide, Sides, filled, serving
from healer.sources.canary.warmup import BothWarmths, Reading, Warmth, Warmup, judged
from healer.sources.prometheus.client import QueryApi, QueryFailed, Sample, Series, long_range

_LAG = 1.0
"""Seconds after which a scrape is stored; a tenth of the interval when that is less."""

_NO_TRAFFIC = "the canary gets no traffic"
_LEFT_OUT = (
    "`bad` is a difference or the like, and what it subtracts has no series where requests are: they would count as none, "
    "for `A - B`, `A + B` and `A / B` have no series without B; write `A - (B or A * 0)`"
)
_WARMUP_LOOKS, _WARMUP_REQUESTS = 2, 20


@dataclass(frozen=True, slots=True)
class LookResult:
    """The result of a look. Without a verdict the canary gets no traffic, and `why` says how that is known.

    A verdict at a share of 0 is about the requests that the canary still answers: BAD while it does.

    `judged` is False when nothing could be compared yet: the first look only reads the counters. `fresh` is False when no new
    window has begun since the last look, and this is its result again.
    """

    verdict: Verdict | None
    why: str = ""
    share: float = 0.0
    """The canary's share of the traffic, 0 to 1."""
    revision: str = ""
    judged: bool = False
    fresh: bool = True
    routed: bool = True
    """Whether there is a route, or one may come yet."""
    windows: Mapping[str, Window | Missing] = field(default_factory=dict)
    """By measure."""


class CanaryLook:
    """Keeps the evidence of one canary in one namespace. The evidence starts anew at another revision or weight.

    `share` reads the canary's share of the traffic, and may raise RouteError or ClusterError. `sides` gives the two sides.
    `besides` says in words which requests the route sends to the canary whatever the weights are, as it was read last. `history`
    windows of stable's past are read at the beginning, to learn how bursty its errors are. `warm`: the canary has served
    before the first look, so that its servers are warm.
    """

    def __init__(
        self,
        canary: Canary,
        namespace: str,
        prometheus: QueryApi,
        *,
        share: Callable[[], Awaitable[float]],
        sides: Callable[[], Sides],
        besides: Callable[[], Sequence[str]] = tuple,
        history: int = 720,
        warm: bool = False,
    ) -> None:
        self._canary = canary
        self._namespace = namespace
        self._prometheus = prometheus
        self._share = share
        self._sides = sides
        self._besides = besides
        self._history = history
        self._warm = warm
        self._log = structlog.get_logger("healer.canary").bind(namespace=namespace, canary=canary.canary.workload.name)
        self._under: tuple[str, float] | None = None
        self._at = 0.0
        self._unrouted: float | None = None
        """Since when there is no route."""
        self._last = LookResult(None)
        self._edges: dict[str, float] = {}
        self._tallies: dict[str, Tally] = {}
        self._warmth: dict[str, BothWarmths] = {}
        self._warming = ""
        self._counting: set[str] = set()
        """The measures whose `bad` has counted something: it is known to match."""
        self._yardsticks = self._by_edges()
        self._judge = Judge(canary.alpha, self._yardsticks)
        self._learnt = False
        self._drain: Drain | None = None
        """Counts the requests while the weight is 0 and the canary was found bad; else None."""

    async def look(self, now: float, *, wary: bool = False) -> LookResult:
        """Look once. `now` is in seconds since the epoch.

        `wary`: the canary was found bad. Then a weight of 0 does not prove that it gets no traffic, and its requests are counted.
        Else Prometheus is not asked at that weight.
        """
        sides = self._sides()
        if sides.canary is None:
            return self._idle(f"{self._canary.canary.workload} does not exist")
        try:
            share = await self._share()
        except RouteMissing as error:
            if wary and sides.canary.pods:  # a route of another name may still lead to it
                return await self._drained(now, sides.canary, sides.stable, str(error))
            return self._without_route(now, str(error), sides.canary)
        except (RouteError, ClusterError) as error:
            return self._unknown(f"the route cannot be read: {error}")
        self._unrouted = None
        if share <= 0:
            return await self._drained(now, sides.canary, sides.stable) if wary else self._idle(self._unweighted)
        self._drain = None
        if sides.canary.rolling:
            self._under = None
            text = "a rollout of the canary is under way: it is judged when that is done"
            verdict = Verdict(VerdictKind.INSUFFICIENT, text)
            return self._found(LookResult(verdict, share=share, revision=sides.canary.revision))
        if (under := (sides.canary.revision, share)) != self._under:
            self._start(under)
        at = self._line(now)
        if at <= self._at:
            return replace(self._last, fresh=False)
        self._at = at
        return self._found(await self._judged(at, sides.canary, sides.stable, share))

    @property
    def _unweighted(self) -> str:
        """Why the canary counts as without traffic at a weight of 0, in words."""
        besides = "; ".join(self._besides())
        if not besides:
            return _NO_TRAFFIC
        return f"the canary gets no traffic by weight, and what no weight controls is not judged: {besides}"

    def _line(self, now: float) -> float:
        """The last line of the grid before now."""
        every = self._canary.every
        return floor((now - min(_LAG, every / 10)) / every) * every

    def _without_route(self, now: float, why: str, canary: ObservedSide) -> LookResult:
        """The result without a route. A canary without replicas needs none, and one that is being set up gets it in a moment; any
        other may serve, and is not guarded. One look without the route, as when it is created anew, costs no evidence."""
        if self._unrouted is None:
            self._unrouted = now
            if self._under is not None:
                return self._unknown(why)
        if now - self._unrouted < self._canary.hold or not (canary.wanted or canary.pods):
            return self._idle(why)
        self._under = None
        text = f"{why}: {self._canary.canary.workload} is not guarded"
        return self._found(LookResult(Verdict(VerdictKind.UNKNOWN, text), revision=canary.revision, routed=False))

    async def _drained(self, now: float, canary: ObservedSide, stable: ObservedSide | None, because: str = ZERO) -> LookResult:
        """The result while there should be no traffic, by the canary's requests. Evidence begins anew when there may be traffic
        again."""
        if not canary.pods:
            return self._idle(f"the canary gets no traffic: {because}, and it has no pods")
        self._under, self._warmth = None, {}
        if self._drain is None:
            self._drain = Drain(self._canary)
        at = self._line(now)
        if at <= self._drain.at:
            return replace(self._last, fresh=False)
        asks = [partial(self._ask, workload=name, side=side, at=at) for name, side in self._present(canary, serving(stable))]
        found = await self._drain.look(at, len(canary.pods), *asks, because=because, besides=self._besides())
        if isinstance(found, str):
            return self._idle(found)
        judged = found.kind is VerdictKind.BAD
        return self._found(LookResult(found, revision=canary.revision, judged=judged))

    def _unknown(self, why: str) -> LookResult:
        """The result of a look at which nothing is known; the evidence stays."""
        return replace(self._last, verdict=Verdict(VerdictKind.UNKNOWN, why), why="", judged=False, fresh=True, windows={})

    def _idle(self, why: str) -> LookResult:
        self._under = None
        self._drain = None
        self._warmth = {}
        return self._found(LookResult(None, why))

    def _found(self, look: LookResult) -> LookResult:
        self._last = look
        return look

    def _start(self, under: tuple[str, float]) -> None:
        self._under = under
        self._at = 0.0
        self._edges = {}
        if self._warming != under[0] or not self._warmth:
            self._warming, self._warmth = under[0], {each.name: self._cold(each) for each in self._canary.measures}
        counters = [measure.name for measure in self._canary.measures if not measure.windowed]
        self._tallies = {name: Tally(self._warmth[name]) for name in counters}
        self._judge.restart()

    # one look

    async def _judged(self, at: float, canary: ObservedSide, stable: ObservedSide | None, share: float) -> LookResult:
        begun = len(self._tallies) < len(self._canary.measures) or any(tally.begun for tally in self._tallies.values())
        stable = serving(stable)
        async with asyncio.TaskGroup() as group:
            reading = {m.name: group.create_task(self._window(m, at, canary, stable)) for m in self._canary.measures}
        windows = {name: task.result() for name, task in reading.items()}
        self._name_edges()
        if stable is not None:
            await self._learn(at, stable)
        if not begun and not any(isinstance(window, Missing) for window in windows.values()):
            verdict = Verdict(VerdictKind.INSUFFICIENT, "first look: requests are counted from here on")
            return LookResult(verdict, share=share, revision=canary.revision, windows=windows)
        verdict = self._judge.update(windows)
        return LookResult(verdict, share=share, revision=canary.revision, judged=begun, windows=windows)

    def _by_edges(self) -> list[Yardstick]:
        return [Yardstick(m.name, m.tolerance, m.slo, self._bad(m), str(self._warmup(m))) for m in self._canary.measures]

    def _name_edges(self) -> None:
        """Replace the judge by one that names the edges in force. They are known from the first data on: no evidence is lost."""
        if (wanted := self._by_edges()) != self._yardsticks:
            self._yardsticks = wanted
            self._judge = Judge(self._canary.alpha, wanted)
            self._learnt = False

    def _bad(self, measure: Measure) -> str:
        if measure.slower_than is None:
            return "bad"
        edge = self._edges.get(measure.name)
        return slower(measure.slower_than, "s") if edge is None else slower(edge, measure.unit)

    async def _window(self, measure: Measure, at: float, canary: ObservedSide, stable: ObservedSide | None) -> Window | Missing:
        present = self._present(canary, stable)
        try:
            readings = await self._readings(measure, at, present)
            doubted = await self._doubted(measure, readings, at, present)
        except QueryFailed as error:
            return Missing(str(error))
        sides: list[Reading] = []
        for side, reading in zip(("the canary", "stable"), readings, strict=False):
            if isinstance(reading, Missing):
                return Missing(f"no data of {side}: {reading.why}")
            sides.append(reading)
        ours, theirs = sides[0], sides[1] if len(sides) > 1 else None
        if measure.windowed:
            window: Window | Missing = judged(self._warmth[measure.name], ours, theirs, at)
        else:
            window = self._tallies[measure.name].take(ours, theirs, at)
        return replace(window, doubt=doubted) if isinstance(window, Window) else window

    async def _doubted(
        self, measure: Measure, readings: Sequence[Reading | Missing], at: float, sides: Sequence[tuple[str, ObservedSide]]
    ) -> str:
        """Why bad requests may not have been seen although there were some; "" when they would be. Raises QueryFailed."""
        if measure.total is None or measure.bad is None or any(isinstance(each, Missing) for each in readings):
            return ""
        if any(value > 0 for each in readings if isinstance(each, Reading) for value in each.bad.values()):
            self._counting.add(measure.name)
        if measure.name in self._counting:
            return ""
        filling = [partial(self._filled, workload=workload, side=side) for workload, side in sides]
        others = [each.bad for each in self._canary.measures if each is not measure and each.bad is not None]
        return await doubt(measure.total, measure.bad, filling, lambda expr: self._prometheus.query(expr, at), others)

    def _cold(self, measure: Measure) -> BothWarmths:
        """The warmth at the beginning of a trial: the canary's servers are cold, stable's are not."""
        return Warmth(self._warmup(measure), warm=self._warm), Warmth(self._warmup(measure), warm=True)

    def _warmup(self, measure: Measure) -> Warmup:
        """The rule's warm-up; by default the first answers of a server are slow, and not wrong."""
        if measure.warmup is not None:
            return Warmup(measure.warmup)
        return Warmup() if measure.histogram is None else Warmup(_WARMUP_LOOKS * self._canary.every, _WARMUP_REQUESTS)

    async def _readings(self, measure: Measure, at: float, sides: Sequence[tuple[str, ObservedSide]]) -> list[Reading | Missing]:
        """The readings of the sides now. Raises QueryFailed. One query after the other: the first without an answer ends them."""
        if measure.histogram is not None:
            return self._timed(measure, [await self._ask(measure.histogram, *side, at) for side in sides])
        found: list[Reading | Missing] = []
        for side in sides:
            total = await self._ask(measure.total or "", *side, at)
            found.append(counted(total, await self._ask(measure.bad or "", *side, at) if total else []))
            left_out = without_counterpart(self._filled(measure.bad or "", *side))
            if total and left_out and await self._prometheus.query(left_out, at):
                found[-1] = Missing(_LEFT_OUT)
        return found

    def _timed(self, measure: Measure, sides: Sequence[Sequence[Sample]]) -> list[Reading | Missing]:
        slower_than = measure.slower_than or 0.0
        edge = self._edges.get(measure.name) or edge_above(sides, slower_than, measure.unit)
        if edge is None:
            text = f"the histogram has no edge for {slower(slower_than, 's')}"
            return [Missing(text if buckets else "the histogram has no series") for buckets in sides]
        if all(sides):
            self._edges[measure.name] = edge
        return [timed(buckets, edge) for buckets in sides]

    def _present(self, canary: ObservedSide, stable: ObservedSide | None) -> list[tuple[str, ObservedSide]]:
        sides = [(self._canary.canary.workload.name, canary)]
        return sides if stable is None else [*sides, (self._canary.stable.workload.name, stable)]

    async def _ask(self, template: str, workload: str, side: ObservedSide, at: float) -> list[Sample]:
        return await self._prometheus.query(self._filled(template, workload, side), at)

    def _filled(self, template: str, workload: str, side: ObservedSide) -> str:
        return filled(template, self._namespace, workload, side, self._canary.every)

    # stable's past

    async def _learn(self, at: float, stable: ObservedSide) -> None:
        """Let the judge learn, once, how bursty stable's errors are. Without the past of a measure the judge assumes some
        bursts."""
        if self._learnt or not self._history:
            return
        self._learnt = True
        for measure in self._canary.measures:
            try:
                bad = await self._past(measure, at, stable)
            except QueryFailed as error:
                self._log.warning("stable's past cannot be read: the judge goes without", measure=measure.name, reason=str(error))
            else:
                self._judge.learn(measure.name, bad)

    async def _past(self, measure: Measure, at: float, stable: ObservedSide) -> list[Counts]:
        every, windows = self._canary.every, self._history
        start = at - windows * every

        def stables(template: str) -> str:
            return self._filled(template, self._canary.stable.workload.name, stable)

        async def read(template: str) -> list[Series]:
            return await long_range(self._prometheus, stables(template), start, at, every)

        if measure.histogram is not None:
            buckets = await read(measure.histogram)
            bad = past_slow(buckets, self._edges[measure.name]) if measure.name in self._edges else []
            total = past_all(buckets)
        else:
            total = await read(measure.total or "")
            bad = await read(measure.bad or "")
            left_out = without_counterpart(stables(measure.bad or ""))
            if left_out and await long_range(self._prometheus, left_out, start, at, every):
                raise QueryFailed(_LEFT_OUT)
            if any(value > 0 for each in bad for value in each.points.values()):
                self._counting.add(measure.name)
        return past(total, bad, increases=measure.windowed, start=start, step=every, windows=windows)
