"""What healer asks for itself, in one term: Prometheus and the model servers, on the schedule of the rules."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from healer.cluster.api import Api
from healer.daemon.metrics import Metrics
from healer.model.duration import about
from healer.model.effects import Decision, Verb
from healer.model.incident import Reason
from healer.model.signal import Report, Signal
from healer.model.target import Target
from healer.model.verdict import Verdict
from healer.model.view import View
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import Mode
from healer.settings import Settings
from healer.sources.alertmanager.api import Alertmanagers
from healer.sources.alertmanager.standing import StandingAlerts
from healer.sources.canary.canary import CanaryProbe, Occurrence, Shifts
from healer.sources.model import ModelProbe
from healer.sources.probes import Look, Maker, Probes
from healer.sources.prometheus.client import Prometheus, connect
from healer.sources.prometheus.query import QueryLook
from healer.sources.targets import TargetLabels

_SERVERS_AT_ONCE = 16
"""Model servers that are asked at the same time."""
_NAMED = 5
"""Rules that a line names."""
_LOOKS_A_REPORT = 3
"""How often Alertmanager is asked while a report of an alert is fresh: one answer may be lost."""


class ScheduledProbes:
    """The looks of a term. `tell` is given what they see, `decided` what the judge says; both are called on the loop.

    `alerts` are those that fire as far as is known; `shifts` see `healer.sources.canary.canary`.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        api: Api,
        view: View,
        metrics: Metrics,
        clock: Callable[[], float],
        tell: Callable[[Sequence[Report]], Awaitable[object]],
        decided: Callable[[Decision], None],
        alerts: Callable[[], Sequence[Signal]],
        shifts: Shifts,
        occurrence: Occurrence,
    ) -> None:
        self._settings = settings
        self._api = api
        self._view = view
        self._metrics = metrics
        self._clock = clock
        self._decided = decided
        self._shifts = shifts
        self._occurrence = occurrence
        self._places = asyncio.Semaphore(_SERVERS_AT_ONCE)
        asked = settings.prometheus
        self._prometheus = connect(asked) if asked.url else None  # then rules that need it are refused
        makers: dict[str, Maker] = {"model": self._model}
        if self._prometheus is not None:
            makers |= {
                "query": partial(self._query, self._prometheus),
                "canary": partial(self._canary, self._prometheus),
            }
        self._log = structlog.get_logger("healer.alertmanager")
        self._probes = Probes(makers, clock=clock, tell=tell, late=metrics.late)
        self._standing = self._alertmanager(alerts, tell)

    def use(self, rulebook: Rulebook) -> None:
        """Ask for these rules from now on."""
        self._probes.use(rulebook)
        acting = [rule.name for rule in rulebook.rules if rule.rule.when.trigger.fades and rule.rule.mode is not Mode.OBSERVE]
        if self._standing is None and acting:
            self._log.warning(
                "alerts that wait are left alone: healer cannot ask whether they still fire",
                rules=acting[:_NAMED],
                fresh_for=about(self._settings.alerts.freshness),
                hint="set alerts.url (HEALER_ALERTS__URL) to Alertmanager's address",
            )

    async def again(self, rule: str) -> None:
        """Ask for a rule (full name) now; returns when the answer is told. Nothing is asked for a rule that is told by others."""
        await self._probes.again(rule)

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with contextlib.AsyncExitStack() as stack:
            if self._prometheus is not None:
                await stack.enter_async_context(contextlib.aclosing(self._prometheus))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._probes.run(), name="probes")
                if self._standing is not None:
                    group.create_task(self._standing.run(), name="alerts that stand")

    def _alertmanager(
        self, alerts: Callable[[], Sequence[Signal]], tell: Callable[[Sequence[Report]], object]
    ) -> StandingAlerts | None:
        """None when the settings name no Alertmanager: then an alert counts for as long as its last report is fresh."""
        asked = self._settings.alerts
        if not asked.url:
            return None
        urls = [url.strip() for url in asked.url.split(",")]
        return StandingAlerts(
            Alertmanagers(urls, token_file=asked.token_file, ca_file=asked.ca_file, timeout=asked.timeout),
            view=self._view,
            labels=self._names(),
            replicas=asked.replica_labels,
            known=alerts,
            tell=tell,
            heard=self._metrics.alertmanager,
            clock=self._clock,
            every=asked.freshness / _LOOKS_A_REPORT,
            absent=asked.absent,
        )

    def _names(self) -> TargetLabels:
        alerts = self._settings.alerts
        return TargetLabels(alerts.namespace_label, alerts.pod_label, alerts.deployment_label)

    def _query(self, prometheus: Prometheus, rule: BoundRule) -> Look:
        return QueryLook(rule, prometheus, self._view, self._names(), self._unanswered).look

    def _canary(self, prometheus: Prometheus, rule: BoundRule) -> Look:
        asked = self._settings.prometheus
        probe = CanaryProbe(
            rule,
            prometheus,
            self._api,
            self._view,
            self._judged,
            history=asked.history,
            shifts=self._shifts,
            occurrence=self._occurrence,
        )
        return probe.look

    def _model(self, rule: BoundRule) -> Look:
        return ModelProbe(rule, self._view, self._places).look

    def _unanswered(self, rule: str, why: str) -> None:
        if why:
            self._metrics.unanswered(rule)

    def _judged(self, rule: str, target: Target, verdict: Verdict, news: bool) -> None:
        self._metrics.verdict(rule, verdict.kind)
        if news:
            reason = Reason(verdict.kind.code, verdict.text)
            self._decided(Decision(self._clock(), Verb.JUDGE, reason, target, rule))
