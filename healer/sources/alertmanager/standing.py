"""Asks Alertmanager whether alerts still fire, while there are alerts that a rule looks for.

Alertmanager sends its receivers nothing about an alert that is silenced, inhibited or muted, not even its end; a 413 or a restart
loses an end too. An answer of its API counts as if Alertmanager had sent it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from healer.model.signal import Signal
from healer.model.view import View
from healer.sources.alertmanager.alert import read
from healer.sources.alertmanager.api import Alertmanagers, Listed, NoAnswer, Own
from healer.sources.alertmanager.silences import of_settings
from healer.sources.base import SourceContext
from healer.sources.targets import TargetLabels

ABSENT = "Alertmanager does not have it (any more)"
_REQUESTS_PER_REPORT = 3
"""How often Alertmanager is asked while a report of an alert is fresh: one answer may be lost."""
_Answers = list[tuple[str, Mapping[str, Listed]]]
"""The URLs that answered, and the alerts that each has, by key."""


class StandingAlerts:
    """Asks about the alerts of `known`, those that fire as far as is known, every `every` seconds; `report` takes the answers.

    An alert that is missing is suppressed at once, and has ended when it has been missing for `absent` seconds: an Alertmanager
    that has just started knows only what Prometheus has sent it since. Of several Alertmanagers, one that suppresses an alert is
    enough; an alert is missing only when all have answered. `answered` is given whether all have. What only a silence of healer's
    `own` suppresses counts as firing. Times are in seconds.
    """

    def __init__(
        self,
        alertmanagers: Alertmanagers,
        *,
        view: View,
        labels: TargetLabels,
        replicas: Sequence[str],
        known: Callable[[], Sequence[Signal]],
        report: Callable[[list[Signal]], object],
        answered: Callable[[bool], None],
        clock: Callable[[], float],
        every: float,
        absent: float,
        own: Own = lambda _: False,
    ) -> None:
        self._alertmanagers = alertmanagers
        self._view = view
        self._labels = labels
        self._replicas = replicas
        self._known = known
        self._report = report
        self._answered = answered
        self._clock = clock
        self._every = every
        self._absent = absent
        self._own = own
        self._missing: dict[str, float] = {}  # key -> since when
        self._why = ""
        self._log = structlog.get_logger("healer.alertmanager")

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with aclosing(self._alertmanagers):
            while True:
                if known := self._known():
                    self._report(await self.ask(known))
                await asyncio.sleep(self._every)

    async def ask(self, known: Sequence[Signal]) -> list[Signal]:
        """The signals of these alerts as Alertmanager has them now; none of an alert whose state is not known."""
        names = {signal.name for signal in known}
        asked = [self._ask(url, names) for url in self._alertmanagers.urls]
        answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
        whole = len(answers) == len(self._alertmanagers.urls)
        self._answered(whole)
        if whole:
            self._log_change("")
        keys = {signal.key for signal in known}
        self._missing = {key: since for key, since in self._missing.items() if key in keys}
        reports = [await self._report_of(signal, answers, whole) for signal in known]
        return [signal for signal in reports if signal is not None]

    async def _ask(self, url: str, names: set[str]) -> tuple[str, Mapping[str, Listed]] | None:
        try:
            return url, await self._alertmanagers.listed(url, names)
        except NoAnswer as error:
            self._log_change(str(error))
            return None

    async def _report_of(self, signal: Signal, answers: _Answers, whole: bool) -> Signal | None:
        """The signal of one alert; None when its state is not known."""
        now = self._clock()
        having = [(url, found[signal.key]) for url, found in answers if signal.key in found]
        if not having:
            return self._missing_now(signal, now) if whole else None
        self._missing.pop(signal.key, None)
        suppressed = ""
        for url, listed in having:
            suppressed = suppressed or await self._suppression(url, listed)
        answered = read(having[0][1].alert, self._view, self._labels, self._replicas, now, suppressed)
        return answered if isinstance(answered, Signal) else None

    async def _suppression(self, url: str, listed: Listed) -> str:
        try:
            return await self._alertmanagers.suppression(url, listed.status, self._own)
        except NoAnswer:
            return "it is silenced"

    def _missing_now(self, signal: Signal, now: float) -> Signal:
        """The signal of an alert that no Alertmanager has: suppressed, and ended after a while."""
        since = self._missing.setdefault(signal.key, now)
        if now < since + self._absent:
            return replace(signal, suppressed=ABSENT, at=now)
        del self._missing[signal.key]
        return replace(signal, firing=False, at=now)

    def _log_change(self, why: str) -> None:
        """Log when Alertmanager stops answering, and when it answers again."""
        if bool(why) is not bool(self._why):
            if why:
                self._log.warning(
                    "Alertmanager cannot be asked: nothing is done about alerts that it does not repeat", reason=why
                )
            else:
                self._log.info("Alertmanager answers again")
        self._why = why


def standing_alerts(context: SourceContext) -> StandingAlerts | None:
    """As the settings say; None when they name no Alertmanager: then an alert counts while its last report is fresh."""
    alerts = context.settings.alerts
    if not alerts.url:
        return None
    return StandingAlerts(
        of_settings(alerts),
        view=context.view,
        labels=TargetLabels.of(alerts),
        replicas=alerts.replica_labels,
        known=context.firing,
        report=context.report,
        answered=context.confirmed,
        clock=context.clock,
        every=alerts.freshness / _REQUESTS_PER_REPORT,
        absent=alerts.absent,
        own=lambda silence: context.own_silence(silence.created_by, silence.comment),
    )
