"""A gate for pipelines: waits until a canary is rolled out and judged. It changes nothing in the cluster."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ApiUnavailable, ClusterError
from healer.engine.incidents.verification import unhealthy
from healer.judge.judge import Window
from healer.model.duration import about
from healer.model.verdict import MeasureFinding, Verdict, VerdictKind
from healer.model.view import View
from healer.model.workload import Workload
from healer.operate.canary.chosen import STYLES, canary_of, plain_finding, read_workloads, require_workload
from healer.operate.explain.show import clean
from healer.operate.objects import ObjectRef, OperateError
from healer.routes.base import RouteError
from healer.rules.probe import Canary
from healer.rules.rulebook import BoundRule
from healer.sources.canary.canary import place_of, sides_of
from healer.sources.canary.look import CanaryLook, LookResult
from healer.sources.canary.route import RouteLook
from healer.sources.prometheus.client import QueryApi, QueryFailed
from healer.workloads.registry import WORKLOADS

_ROLLOUT_INTERVAL = 2.0
"""The maximum number of seconds between two checks of a rollout."""
_GRID_OFFSET = 0.2
"""The delay of an evaluation after its point of the grid, as a share of the interval. It covers the time up to that point."""


@dataclass(frozen=True, slots=True)
class GateProgress:
    """The present state. `kind` is None while the rollout is in progress."""

    kind: VerdictKind | None
    text: str
    findings: tuple[MeasureFinding, ...] = ()
    advice: str = ""
    """What to do if the state does not change."""

    @property
    def final(self) -> bool:
        """Whether the verdict is GOOD or BAD, which ends the wait."""
        return self.kind in (VerdictKind.GOOD, VerdictKind.BAD)

    def __str__(self) -> str:
        return f"{self.kind or 'rollout'}: {self.text}"


@dataclass(frozen=True, slots=True)
class Gated:
    """The result after a number of evaluations (`looks`) and seconds. `timed_out`: neither GOOD nor BAD in time."""

    ref: ObjectRef
    rule: str
    kind: VerdictKind
    text: str
    findings: tuple[MeasureFinding, ...]
    looks: int
    seconds: float
    timed_out: bool


async def gate(
    api: Api,
    prometheus: QueryApi,
    rule: BoundRule,
    ref: ObjectRef,
    *,
    within: float,
    every: float | None = None,
    history: int = 720,
    tell: Callable[[GateProgress], None],
) -> Gated:
    """Wait for the rollout, then evaluate the canary until it is GOOD or BAD, for at most `within` seconds.

    `every`: seconds between two evaluations, by default the rule's. `history`: how many past windows of stable to learn from.
    `tell` is called after each evaluation. A failed rollout is BAD. Raises OperateError and ClusterError for errors that waiting
    does not resolve: no such workload or route, no access, no Prometheus at the start.
    """
    canary = canary_of(rule) if every is None else canary_of(rule).model_copy(update={"every": every})
    waiting = _Gate(api, prometheus, rule, canary, ref, history, tell)
    began = api.clock.steady()
    try:
        async with asyncio.timeout(within) as limit:
            await waiting.check()
            await waiting.wait()
    except TimeoutError:
        if not limit.expired():
            raise
    last = waiting.last
    text = last.text
    if not last.final:
        text = f"timed out after {about(within)}: {text}" + (f". {last.advice}" if last.advice else "")
    seconds = api.clock.steady() - began
    kind = last.kind or VerdictKind.UNKNOWN
    return Gated(ref, rule.name, kind, text, last.findings, waiting.looks, seconds, not last.final)


class _Gate:
    def __init__(
        self,
        api: Api,
        prometheus: QueryApi,
        rule: BoundRule,
        canary: Canary,
        ref: ObjectRef,
        history: int,
        tell: Callable[[GateProgress], None],
    ) -> None:
        self.last = GateProgress(None, "not looked at yet")
        self.looks = 0
        self._api = api
        self._prometheus = prometheus
        self._rule = rule
        self._canary = canary
        self._ref = ref
        self._tell = tell
        self._clock = api.clock.wall
        self._view = View(WORKLOADS)
        self._rolled_out = False
        route = place_of(self._canary, ref.namespace)
        reading = RouteLook(api, route)
        self._share = reading.share
        self._route = route
        self._look = CanaryLook(
            self._canary,
            ref.namespace,
            prometheus,
            share=self._share,
            sides=lambda: sides_of(self._view, self._canary, ref.namespace),
            besides=reading.besides,
            history=history,
        )

    async def check(self) -> None:
        """Check that the canary, the route and Prometheus can be read. Raises OperateError, ClusterError."""
        require_workload(await read_workloads(self._api, self._canary, self._ref.namespace), self._ref, self._rule)
        try:
            await self._share()
            await self._prometheus.query("vector(1)", self._clock())
        except (RouteError, QueryFailed) as error:
            raise OperateError(str(error)) from error

    async def wait(self) -> None:
        """Evaluate the canary until the verdict is final."""
        while True:
            self.last = await self._round()
            self._tell(self.last)
            if self.last.final:
                return
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Return the seconds to the next round. Evaluations have a fixed offset in each interval, so none is skipped."""
        every = self._canary.every
        if not self._rolled_out:
            return min(_ROLLOUT_INTERVAL, every)
        return every - (self._clock() - _GRID_OFFSET * every) % every

    async def _round(self) -> GateProgress:
        try:
            self._view = await read_workloads(self._api, self._canary, self._ref.namespace)
        except ClusterError as error:
            if not _is_transient(error):
                raise
            return GateProgress(VerdictKind.UNKNOWN, f"the cluster cannot be read: {error}")
        workload = require_workload(self._view, self._ref, self._rule)
        if failed := workload.overdue:
            return GateProgress(VerdictKind.BAD, f"its rollout failed: {failed}")
        unwell = self._unwell(workload)
        if unwell and not self._rolled_out:
            advice = f"kubectl describe {self._ref.kind.lower()}/{self._ref.name} -n {self._ref.namespace} tells more"
            return GateProgress(None, unwell, advice=advice)
        self._rolled_out = True
        progress = self._judged(await self._look.look(self._clock()))
        if unwell and progress.kind is VerdictKind.GOOD:
            return GateProgress(
                VerdictKind.INSUFFICIENT, f"it is GOOD by its requests: {progress.text}. But {unwell}", progress.findings
            )
        return progress

    def _unwell(self, workload: Workload) -> str:
        """Return why it is not rolled out and ready; "" if it is."""
        if not workload.desired:
            return "it is scaled to 0 replicas"
        reason = unhealthy(self._view, workload.target)
        return "" if reason is None else reason.text

    def _judged(self, look: LookResult) -> GateProgress:
        if look.verdict is None:
            advice = f"Give {self._ref.kind.lower()}/{self._ref.name} weight on {self._route}, or wait longer (--timeout)"
            return GateProgress(VerdictKind.INSUFFICIENT, look.why, advice=advice)
        self.looks += look.fresh
        verdict = look.verdict
        return GateProgress(verdict.kind, verdict.text, verdict.findings, _advice(look, verdict, self.looks * self._canary.every))


def _advice(look: LookResult, verdict: Verdict, seconds: float) -> str:
    """Return what to do if the verdict does not change. `seconds`: the time evaluated so far."""
    kind, findings = verdict.kind, verdict.findings
    if not look.routed or any(isinstance(window, Window) and window.doubt for window in look.windows.values()):
        return ""
    if kind is VerdictKind.UNKNOWN:
        return "See that Prometheus has the series that the rule's measures ask for, of both workloads"
    if not any(finding.canary.requests for finding in findings):
        return "See that there is traffic, and that the rule's measures count it"
    advice = "Give the canary more traffic, or wait longer (--timeout)"
    pending = [finding for finding in findings if finding.kind is VerdictKind.INSUFFICIENT and finding.canary.requests]
    more = max((seconds * (finding.lacking or 0) / finding.canary.requests for finding in pending), default=0.0)
    return f"{advice}: at its traffic so far GOOD takes about {about(more)} more" if more else advice


def _is_transient(error: ClusterError) -> bool:
    """Whether the same request may succeed later."""
    return isinstance(error, ApiUnavailable) or (isinstance(error, ApiError) and (error.status == 429 or error.status >= 500))


def show_gated(gated: Gated, screen: Console) -> None:
    """Print the result."""
    looks = f"{gated.looks} look{'' if gated.looks == 1 else 's'}"
    head = clean(f": {gated.ref}, after {looks} in {about(gated.seconds)}")
    screen.print(Text.assemble((str(gated.kind), STYLES[gated.kind]), head))
    screen.print(clean(f"  {gated.text}"))


def plain_gated(gated: Gated) -> dict[str, object]:
    """Return the JSON form of the result."""
    return {
        "target": {"kind": gated.ref.kind, "namespace": gated.ref.namespace, "name": gated.ref.name},
        "rule": gated.rule,
        "verdict": gated.kind,
        "text": gated.text,
        "timedOut": gated.timed_out,
        "findings": [plain_finding(finding) for finding in gated.findings],
        "looks": gated.looks,
        "seconds": round(gated.seconds, 3),
    }
