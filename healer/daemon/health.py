"""Whether the daemon is alive and ready: what the probes answer, and the wait for the definition of incidents.

Liveness depends on what a restart can mend (a loop that stands still), never on Slack, Prometheus or the API server: a watch
that is tried again and again is alive. What is wrong there is said in the body of both probes.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from healer.clock import Clock
from healer.cluster.api import Api
from healer.cluster.contact import Contact
from healer.cluster.errors import ClusterError
from healer.daemon.watchers import Watcher, Watching
from healer.http.health import Check, Health
from healer.journal.base import JournalCounts
from healer.journal.definition import flaw
from healer.sinks.base import SinkMeters

_BEAT = 1.0
_STALLED = 30.0


class HealthChecks:
    """Times by the monotonic clock, in seconds."""

    def __init__(
        self,
        watching: Watching,
        stale: float,
        contact: Contact,
        leadership: Callable[[], Check],
        incidents: Callable[[], Check],
        clock: Clock,
    ) -> None:
        self._watching = watching
        self._stale = stale
        self._contact = contact
        self._leadership = leadership
        self._incidents = incidents
        self._clock = clock
        self._beaten = clock.steady()
        self.ready = False
        """Whether the daemon takes signals."""

    async def beat(self) -> None:
        """Show that the asyncio loop runs, for ever."""
        while True:
            self._beaten = self._clock.steady()
            await asyncio.sleep(_BEAT)

    def health(self) -> Health:
        """The checks as of now."""
        now = self._clock.steady()
        lag = max(0.0, now - self._beaten - _BEAT)
        loop = Check("loop", lag < _STALLED, f"the event loop lags {lag:.1f} s")
        watches = [self._watch(watcher, now) for watcher in self._watching.all]
        synced = [replace(_synced(watcher), informative=self.ready) for watcher in self._watching.all]
        taking = Check("taking signals", self.ready, "yes" if self.ready else "starting or stopping")
        told = [self._cluster(), replace(self._leadership(), informative=True)]
        return Health(live=[loop, *watches, *told], ready=[*synced, self._incidents(), taking, *told])

    def _cluster(self) -> Check:
        """How the API server answers. Neither a restart nor another replica mends it, so that no probe fails for it."""
        ok = self._contact.heard and not self._contact.trouble and not self._contact.missing
        return Check("cluster", ok, self._contact.summary(), informative=True)

    def _watch(self, watcher: Watcher, now: float) -> Check:
        idle = watcher.idle(now)
        heard = f"last heard of {watcher.age(now):.0f} s ago" if watcher.heard else f"never heard, for {watcher.age(now):.0f} s"
        stalled = "" if idle < self._stale else f"; nothing was tried for {idle:.0f} s"
        return Check(
            f"watch {_named(watcher)}", not stalled, heard + stalled + (f": {watcher.trouble}" if watcher.trouble else "")
        )


def written_and_told(counts: JournalCounts, kept: int, problems: Sequence[str], meters: SinkMeters) -> list[Check]:
    """Whether incidents are kept and people are told, for people: no probe fails for that. `kept`: the incidents there are."""
    refused = [
        f"{sample.labels['sink']} {sample.labels['channel']}"
        for metric in meters.usable.collect()
        for sample in metric.samples
        if not sample.value
    ]
    lost = f"; {counts.lost} were lost" if counts.lost else ""
    written = f"{kept} incidents are kept, {counts.written} writes, {counts.refused} refused{lost}"
    told = [*problems, *(f"{channel} refused the last message" for channel in refused)]
    return [
        Check("journal", not counts.lost, written, informative=True),
        Check("sinks", not told, "; ".join(told) or "every address that the rules name is set up", informative=True),
    ]


def _synced(watcher: Watcher) -> Check:
    done = watcher.synced.is_set()
    if watcher.absent:
        return Check(f"{_named(watcher)} synced", done, f"not watched, for the cluster has none: {watcher.absent}")
    why = f": {watcher.trouble}" if watcher.trouble else ""
    return Check(f"{_named(watcher)} synced", done, f"listed{why}" if done else f"not listed yet{why}")


def _named(watcher: Watcher) -> str:
    return watcher.resource.plural + (f" in {watcher.namespace}" if watcher.namespace else "")


_RETRY = 2.0
"""Seconds between two looks."""


class DefinitionCheck:
    """Waits, at the start, until the cluster's definition of incidents is the one that this healer needs.

    `home` is healer's own namespace. `kept_in` is a namespace with incidents, empty for any. `needed`: incidents are objects.
    """

    def __init__(self, home: str, kept_in: str, *, needed: bool) -> None:
        self._home = home
        self._kept_in = kept_in
        self._ok = not needed
        self._problem = ""
        self._log = structlog.get_logger("healer.journal")

    def check(self) -> Check:
        """For the readiness probe: without incidents nothing may be done."""
        return Check("incidents", self._ok, "can be written" if self._ok else self._problem or "not looked at yet")

    async def wait(self, api: Api) -> None:
        """Return when it is right; say once what is wrong for as long as it stays the same."""
        while not self._ok:
            try:
                problem = await flaw(api, self._home, self._kept_in)
            except ClusterError as error:
                self._problem = str(error)  # the contact says it in the log
            else:
                if problem and problem != self._problem:
                    self._log.error("incidents cannot be written: nothing is healed", problem=problem)
                self._problem, self._ok = problem, not problem
            if not self._ok:
                await asyncio.sleep(_RETRY)
