"""The schedule of the probes: each rule is asked for `every` so often, and the rules are spread over the interval."""

import asyncio
import random
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import floor, inf

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from healer.model.signal import Report
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import When
from healer.sources.base import Probe

_FIRST_SLOT, _LAST_SLOT = 0.1, 0.8
"""Probes run between these shares of their interval. The rest is for the jitter, and for Prometheus to store what it scraped."""
_JITTER = 0.1
"""The largest jitter, as a share of the interval."""
_ROUNDING = 0.01
"""Share of the interval by which a run may be before its slot because of rounding."""
_FRESH_FOR = 1.0
"""Seconds for which an answer is fresh: it is not asked for again before an action."""
_SOON = 5.0
"""Seconds within which a rule is asked for the first time."""
_CLOCK_CHECK, _SET_BACK = 1.0, 1.0
"""Seconds between two checks of the clock, and by how much it goes back when somebody set it."""
_RULES_NAMED = 10
"""Rules that the log line about late probes names."""
_LINE_AFTER, _LINE_EVERY = 1.0, 300.0
"""Seconds from the first late probe to the line about it, and from one line to the next."""


class ProbeTimes(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Once in each interval of the time since the epoch, in the slot of the rule, with a little jitter.

    APScheduler's own interval adds its jitter to the time of the last run, and so drifts: two runs may fall into one interval.
    """

    def __init__(self, every: float, name: str) -> None:
        self._every = every
        self.share = _FIRST_SLOT + (_LAST_SLOT - _FIRST_SLOT) * (zlib.crc32(name.encode()) / 2**32)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The first slot after the last run. The very first run, which comes soon, is in no slot."""
        last = max(now.timestamp() - self._every, 0.0 if previous is None or previous > now else previous.timestamp())
        slot = (floor(last / self._every) + self.share) * self._every
        if last >= slot - _ROUNDING * self._every:
            slot += self._every
        return datetime.fromtimestamp(slot + _JITTER * self._every * random.random(), UTC)


@dataclass(slots=True)
class _Scheduled:
    rule: BoundRule
    ask: Probe
    running: asyncio.Task[None] | None = None
    asked: float = -inf
    """When it was asked last (epoch, s)."""


class Probes:
    """Runs the probes of a rulebook, one for each rule whose trigger is in `makers`. `report` takes their reports, and is
    awaited.

    A probe that takes longer than its interval delays only its own rule: the next run is skipped, and `late` counts it. What a
    probe raises ends `run`, because it is an error of healer's.
    """

    def __init__(
        self,
        makers: Mapping[str, Callable[[BoundRule], Probe]],
        *,
        clock: Callable[[], float],
        report: Callable[[Sequence[Report]], Awaitable[object]],
        late: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._makers = makers
        self._clock = clock
        self._report = report
        self._count_late = late
        self._late: Counter[str] = Counter()  # runs skipped since the last line about them, by rule
        self._line: asyncio.TimerHandle | None = None
        self._probes: dict[str, _Scheduled] = {}
        self._group: asyncio.TaskGroup | None = None
        self._log = structlog.get_logger("healer.probes")
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"max_instances": 1, "coalesce": True})

    def use(self, rulebook: Rulebook) -> None:
        """Run the probes of these rules from now on. A rule with the same trigger and scope as before keeps its probe."""
        wanted = {rule.name: rule for rule in rulebook.rules if rule.rule.when.trigger.name in self._makers}
        for name, probe in list(self._probes.items()):
            if name not in wanted or not _same(probe.rule, wanted[name]):
                del self._probes[name]
                self._scheduler.remove_job(name)
                if probe.running is not None:
                    probe.running.cancel()
        for name, rule in wanted.items():
            if name not in self._probes:
                probe = self._probes[name] = _Scheduled(rule, self._makers[rule.rule.when.trigger.name](rule))
                self._schedule(probe)

    async def again(self, rule: str) -> None:
        """Ask for a rule (its full name) now, unless its answer is fresh. Returns when its reports are decided."""
        probe = self._probes.get(rule)
        if probe is None or self._group is None:
            return
        running = probe.running
        if running is None or running.done():
            if 0 <= self._clock() - probe.asked < _FRESH_FOR:
                return
            running = self._begin(probe, self._group)
        await asyncio.wait((running,))

    async def run(self) -> None:
        """Run the probes, until cancelled. Raises what a probe raises, in an ExceptionGroup."""
        async with asyncio.TaskGroup() as self._group:
            self._scheduler.start()
            try:
                await self._follow_clock()
            finally:
                await self._end()

    async def _follow_clock(self) -> None:
        """Until cancelled: plan the probes anew when the clock is set back, or they would wait for a time that has passed."""
        loop = asyncio.get_running_loop()
        ahead = datetime.now(UTC).timestamp() - loop.time()
        while True:
            await asyncio.sleep(_CLOCK_CHECK)
            now = datetime.now(UTC)  # as APScheduler reads it
            before, ahead = ahead, now.timestamp() - loop.time()
            if ahead > before - _SET_BACK:
                continue
            self._log.warning("the clock was set back: the next looks are planned anew", seconds=round(before - ahead, 1))
            for name, probe in self._probes.items():
                times = ProbeTimes(every_of(probe.rule.rule.when), name)
                self._scheduler.modify_job(name, next_run_time=times.get_next_fire_time(None, now))

    def _schedule(self, probe: _Scheduled) -> None:
        every = every_of(probe.rule.rule.when)
        times = ProbeTimes(every, probe.rule.name)
        self._scheduler.add_job(
            self._due,
            times,
            [probe],
            id=probe.rule.name,
            misfire_grace_time=None,  # a late run is run: APScheduler would skip it, with a log line for each rule
            next_run_time=datetime.now(UTC) + timedelta(seconds=times.share * min(every, _SOON)),
        )

    async def _due(self, probe: _Scheduled) -> None:
        """The scheduler's job: it starts a run and returns, so that late runs are counted here and not by the scheduler."""
        if self._group is None or self._probes.get(probe.rule.name) is not probe:
            return
        if probe.running is not None and not probe.running.done():
            self._skip(probe.rule.name)
        else:
            self._begin(probe, self._group)

    def _begin(self, probe: _Scheduled, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        probe.running = group.create_task(self._run(probe), name=f"probe {probe.rule.name}")
        return probe.running

    def _skip(self, rule: str) -> None:
        self._count_late(rule)
        self._late[rule] += 1
        if self._line is None:
            self._line = asyncio.get_running_loop().call_later(_LINE_AFTER, self._log_late)

    def _log_late(self) -> None:
        """Log one line for all rules, and no further one for a while."""
        self._line = None
        if not self._late:
            return
        rules = [name for name, _ in self._late.most_common(_RULES_NAMED)]
        self._log.warning("looks take longer than their interval", late=self._late.total(), of=len(self._late), rules=rules)
        self._late.clear()
        self._line = asyncio.get_running_loop().call_later(_LINE_EVERY, self._log_late)

    async def _run(self, probe: _Scheduled) -> None:
        probe.asked = self._clock()
        seen = await probe.ask(probe.asked)
        if seen:
            await self._report(seen)

    async def _end(self) -> None:
        """Cancel the runs first: the scheduler would cancel its jobs and log that as errors."""
        self._scheduler.pause()
        if self._line is not None:
            self._line.cancel()
        running = [probe.running for probe in self._probes.values() if probe.running is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        self._scheduler.shutdown(wait=False)


def every_of(when: When) -> float:
    """Seconds between two runs of the probe of a trigger. Raises ValueError for a trigger that is not asked for."""
    if not when.trigger.asked:
        raise ValueError(f"the trigger {when.trigger.name} is not asked for")
    every: float = when.value.every
    return every


def _same(old: BoundRule, new: BoundRule) -> bool:
    return old.rule.when == new.rule.when and old.scope == new.scope
