"""Asks Alertmanager whether alerts still fire, while there are alerts that a rule looks for.

Alertmanager sends its receivers nothing about an alert that is silenced, inhibited or muted, not even its end; a restart
loses an end too, and a 413 keeps it back. An answer of its API counts as if Alertmanager had sent it.
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
_Answers = Mapping[str, Mapping[str, Listed]]
"""The alerts of each Alertmanager that answered, by its URL and by their keys."""


class StandingAlerts:
    """Asks every Alertmanager about the alerts that fire as far as is known.

    What follows for an alert, from all answers together:

    - It is in one of them: it fires as that one says. It is suppressed when any of them suppresses it; a silence that healer
      itself has made does not count.
    - It is in none, and all have answered: it is suppressed at once, and has ended when it has been missing for a while. An
      Alertmanager that has just started knows only what Prometheus has sent it since.
    - It is in none, and not all have answered: nothing is known, and nothing is reported.

    `known` gives the alerts that fire as far as is known, and `report` takes their signals after each round, one every `every`
    seconds. `answered` is told whether all Alertmanagers have answered. A missing alert has ended after `absent` seconds. `own`
    says whether a silence is healer's; `clock` gives seconds since the epoch.
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
        answers = await self._answers({signal.name for signal in known})
        all_answered = len(answers) == len(self._alertmanagers.urls)
        self._answered(all_answered)
        if all_answered:
            self._log_change("")
        keys = {signal.key for signal in known}
        self._missing = {key: since for key, since in self._missing.items() if key in keys}
        reports = [await self._report_of(signal, answers, all_answered) for signal in known]
        return [signal for signal in reports if signal is not None]

    async def _answers(self, names: set[str]) -> _Answers:
        async def ask(url: str) -> Mapping[str, Listed] | None:
            try:
                return await self._alertmanagers.listed(url, names)
            except NoAnswer as error:
                self._log_change(str(error))
                return None

        urls = self._alertmanagers.urls
        found = await asyncio.gather(*map(ask, urls))
        return {url: listed for url, listed in zip(urls, found, strict=True) if listed is not None}

    async def _report_of(self, signal: Signal, answers: _Answers, all_answered: bool) -> Signal | None:
        """The signal of one alert; None when its state is not known."""
        now = self._clock()
        having = {url: found[signal.key] for url, found in answers.items() if signal.key in found}
        if not having:
            return self._missing_since(signal, now) if all_answered else None
        self._missing.pop(signal.key, None)
        first = next(iter(having.values()))
        fires = read(first.alert, self._view, self._labels, self._replicas, now, await self._suppression(having))
        return fires if isinstance(fires, Signal) else None

    async def _suppression(self, having: Mapping[str, Listed]) -> str:
        """Why an Alertmanager suppresses the alert, in words; "" when none does."""
        for url, listed in having.items():
            try:
                why = await self._alertmanagers.suppression(url, listed.status, self._own)
            except NoAnswer:
                why = "it is silenced"
            if why:
                return why
        return ""

    def _missing_since(self, signal: Signal, now: float) -> Signal:
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
