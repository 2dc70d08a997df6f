"""What healer asks for during one term of leadership: probes on the schedule of the rules, and whether signals still fire."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from healer.cluster.api import Api
from healer.daemon.canary_board import CanaryBoard
from healer.daemon.metrics import Metrics
from healer.model.duration import about
from healer.model.effects import Decision, Verb
from healer.model.incident import Reason
from healer.model.signal import Report, Signal
from healer.model.view import View
from healer.model_servers.asking import TokenSlots
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from healer.settings import Settings
from healer.sources.base import Asked, Judgement, Occurrence, Pushed, Shifts, SourceContext, sources
from healer.sources.probes import Probes
from healer.sources.prometheus.client import connect

_SERVERS_AT_ONCE = 16
"""Model servers that are asked at the same time."""
_TOKENS_AT_ONCE = 8
"""Idle engines that generate a token for healer at the same time."""
_RULES_NAMED = 5
"""Rules that a log line names."""


class ScheduledProbes:
    """Runs the probes and the confirmers of the sources. `report` takes their reports, `decided` the judge's verdicts.

    Both are called on the loop. `firing`, `shifts`, `occurrence` and `own_silence`: see `healer.sources.base.SourceContext`.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        api: Api,
        view: View,
        metrics: Metrics,
        clock: Callable[[], float],
        report: Callable[[Sequence[Report]], Awaitable[object]],
        decided: Callable[[Decision], None],
        firing: Callable[[], Sequence[Signal]],
        shifts: Shifts,
        occurrence: Occurrence,
        own_silence: Callable[[str, str], bool],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self.canaries = CanaryBoard()
        """What the looks at canaries have found."""
        self._clock = clock
        self._decided = decided
        self._prometheus = (
            connect(settings.prometheus) if settings.prometheus.url else None
        )  # then rules that need it are refused
        context = SourceContext(
            settings=settings,
            api=api,
            view=view,
            clock=clock,
            prometheus=self._prometheus,
            server_slots=asyncio.Semaphore(_SERVERS_AT_ONCE),
            token_slots=TokenSlots(_TOKENS_AT_ONCE),
            report=report,
            firing=firing,
            shifts=shifts,
            occurrence=occurrence,
            own_silence=own_silence,
            judged=self._judged,
            unanswered=self._unanswered,
            confirmed=metrics.alertmanager,
        )
        self._log = structlog.get_logger("healer.alertmanager")
        makers = {name: partial(source.probe, context) for name, source in sources().items() if isinstance(source, Asked)}
        self._probes = Probes(makers, clock=clock, report=report, late=metrics.late)
        confirmers = {name: source.confirmer(context) for name, source in sources().items() if isinstance(source, Pushed)}
        self._confirmers = {name: confirmer for name, confirmer in confirmers.items() if confirmer is not None}

    def use(self, rulebook: Rulebook) -> None:
        """Ask for these rules from now on."""
        self._probes.use(rulebook)
        unconfirmed = [
            rule.name
            for rule in rulebook.rules
            if rule.rule.when.trigger.fades
            and rule.rule.when.trigger.name not in self._confirmers
            and rule.rule.mode is not Mode.OBSERVE
        ]
        if unconfirmed:
            self._log.warning(
                "alerts that wait are left alone: healer cannot ask whether they still fire",
                rules=unconfirmed[:_RULES_NAMED],
                fresh_for=about(self._settings.alerts.freshness),
                hint="set alerts.url (HEALER_ALERTS__URL) to Alertmanager's address",
            )

    async def again(self, rule: str) -> None:
        """Ask for a rule (full name) now; returns when the answer is decided. Does nothing for a rule without a probe."""
        await self._probes.again(rule)

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with contextlib.AsyncExitStack() as stack:
            if self._prometheus is not None:
                await stack.enter_async_context(contextlib.aclosing(self._prometheus))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._probes.run(), name="probes")
                for name, confirmer in self._confirmers.items():
                    group.create_task(confirmer.run(), name=f"confirm {name}")

    def _unanswered(self, rule: str, why: str) -> None:
        if why:
            self._metrics.unanswered(rule)

    def _judged(self, judgement: Judgement) -> None:
        now, verdict = self._clock(), judgement.verdict
        self._metrics.verdict(judgement.rule, verdict.kind)
        self.canaries.judged(judgement, now)
        if judgement.news:
            reason = Reason(verdict.kind.code, verdict.text)
            self._decided(Decision(now, Verb.JUDGE, reason, judgement.target, judgement.rule))
