"""Whether the alerts that matter still fire: asked of Alertmanager again and again, for as long as there are any.

Alertmanager tells its receivers nothing of an alert that is silenced, inhibited or muted, its end included; a 413 or a restart
loses an end too. What its API says counts as if Alertmanager had sent it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from healer.model.signal import Signal
from healer.model.view import View
from healer.sources.alertmanager.alert import read
from healer.sources.alertmanager.api import Alertmanagers, Listed, NoAnswer
from healer.sources.base import SourceContext
from healer.sources.targets import TargetLabels

ABSENT = "Alertmanager does not have it (any more)"
_REQUESTS_PER_REPORT = 3
"""How often Alertmanager is asked while a report of an alert is fresh: one answer may be lost."""
_Answers = list[tuple[str, Mapping[str, Listed]]]
"""The URLs that answered, and what they have by key."""


class StandingAlerts:
    """`known` are the alerts that fire as far as is known; `tell` is given what is heard of them, every `every` seconds.

    An alert that is missing is left alone at once, and is over when it has been missing for `absent` seconds: an Alertmanager
    that has just started knows only what Prometheus has sent it since. With several, one that has it suppressed is enough to
    leave it alone, and it is missing only where all have answered. `heard` is told whether all did. Times in seconds.
    """

    def __init__(
        self,
        alertmanagers: Alertmanagers,
        *,
        view: View,
        labels: TargetLabels,
        replicas: Sequence[str],
        known: Callable[[], Sequence[Signal]],
        tell: Callable[[list[Signal]], object],
        heard: Callable[[bool], None],
        clock: Callable[[], float],
        every: float,
        absent: float,
    ) -> None:
        self._alertmanagers = alertmanagers
        self._view = view
        self._labels = labels
        self._replicas = replicas
        self._known = known
        self._tell = tell
        self._heard = heard
        self._clock = clock
        self._every = every
        self._absent = absent
        self._missing: dict[str, float] = {}  # key -> since when
        self._why = ""
        self._log = structlog.get_logger("healer.alertmanager")

    async def run(self) -> None:
        """Ask, until cancelled."""
        async with aclosing(self._alertmanagers):
            while True:
                if known := self._known():
                    self._tell(await self.look(known))
                await asyncio.sleep(self._every)

    async def look(self, known: Sequence[Signal]) -> list[Signal]:
        """What is heard of these alerts now; nothing of those of which nothing can be said."""
        names = {signal.name for signal in known}
        asked = [self._ask(url, names) for url in self._alertmanagers.urls]
        answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
        whole = len(answers) == len(self._alertmanagers.urls)
        self._heard(whole)
        if whole:
            self._say("")
        keys = {signal.key for signal in known}
        self._missing = {key: since for key, since in self._missing.items() if key in keys}
        told = [await self._word(signal, answers, whole) for signal in known]
        return [signal for signal in told if signal is not None]

    async def _ask(self, url: str, names: set[str]) -> tuple[str, Mapping[str, Listed]] | None:
        try:
            return url, await self._alertmanagers.listed(url, names)
        except NoAnswer as error:
            self._say(str(error))
            return None

    async def _word(self, signal: Signal, answers: _Answers, whole: bool) -> Signal | None:
        """What is heard of one alert; None where that is nothing."""
        now = self._clock()
        having = [(url, found[signal.key]) for url, found in answers if signal.key in found]
        if not having:
            return self._without(signal, now) if whole else None
        self._missing.pop(signal.key, None)
        held = ""
        for url, listed in having:
            held = held or await self._held(url, listed)
        heard = read(having[0][1].alert, self._view, self._labels, self._replicas, now, held)
        return heard if isinstance(heard, Signal) else None

    async def _held(self, url: str, listed: Listed) -> str:
        try:
            return await self._alertmanagers.why_held(url, listed.status)
        except NoAnswer:
            return "it is silenced"

    def _without(self, signal: Signal, now: float) -> Signal:
        """What follows for an alert that no Alertmanager has."""
        since = self._missing.setdefault(signal.key, now)
        if now < since + self._absent:
            return replace(signal, suppressed=ABSENT, at=now)
        del self._missing[signal.key]
        return replace(signal, firing=False, at=now)

    def _say(self, why: str) -> None:
        """Tell of a change between answers and none."""
        if bool(why) is not bool(self._why):
            if why:
                self._log.warning(
                    "Alertmanager cannot be asked: nothing is done about alerts that it does not repeat", reason=why
                )
            else:
                self._log.info("Alertmanager answers again")
        self._why = why


def standing_alerts(context: SourceContext) -> StandingAlerts | None:
    """None where the settings name no Alertmanager: then an alert counts for as long as its last report is fresh."""
    alerts = context.settings.alerts
    if not alerts.url:
        return None
    urls = [url.strip() for url in alerts.url.split(",")]
    return StandingAlerts(
        Alertmanagers(urls, token_file=alerts.token_file, ca_file=alerts.ca_file, timeout=alerts.timeout),
        view=context.view,
        labels=TargetLabels.of(alerts),
        replicas=alerts.replica_labels,
        known=context.firing,
        tell=context.report,
        heard=context.confirmed,
        clock=context.clock,
        every=alerts.freshness / _REQUESTS_PER_REPORT,
        absent=alerts.absent,
    )
