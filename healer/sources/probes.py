"""The schedule of what healer asks for itself: each rule has a look `every` so often, spread over the time."""

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

_FIRST, _LAST = 0.1, 0.8
"""Looks fall between these shares of their interval. The rest is for the jitter, and for Prometheus to store what it scraped."""
_JITTER = 0.1
"""Of the interval."""
_NEAR = 0.01
"""Of the interval: a run that is so little before its place is the run at it, by rounding."""
_FRESH = 1.0
"""Seconds for which an answer is new enough not to be asked for again before an action."""
_SOON = 5.0
"""Seconds within which a rule is looked at for the first time."""
_CLOCK_LOOK, _SET_BACK = 1.0, 1.0
"""Seconds between two looks at the clock, and by how much it goes back when somebody set it."""
_NAMED = 10
"""Rules that are named in the log line about late looks."""
_GATHER, _AGAIN = 1.0, 300.0
"""Seconds for which late looks are gathered into one such line, and until the next one."""


class Beat(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Once in each interval of the time since the epoch, at a place in it that is the rule's own, and a little jitter.

    APScheduler's own interval adds its jitter to the time of the run before, and so wanders: two looks may fall into one.
    """

    def __init__(self, every: float, name: str) -> None:
        self._every = every
        self.share = _FIRST + (_LAST - _FIRST) * (zlib.crc32(name.encode()) / 2**32)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The first place after the last run; the very first run, which comes soon, is at none."""
        last = max(now.timestamp() - self._every, 0.0 if previous is None or previous > now else previous.timestamp())
        place = (floor(last / self._every) + self.share) * self._every
        if last >= place - _NEAR * self._every:
            place += self._every
        return datetime.fromtimestamp(place + _JITTER * self._every * random.random(), UTC)


@dataclass(slots=True)
class _Scheduled:
    rule: BoundRule
    ask: Probe
    running: asyncio.Task[None] | None = None
    asked: float = -inf
    """When it was asked last (epoch, s)."""


class Probes:
    """Looks for every rule of a rulebook whose trigger has a maker; `tell` is given what they see, and awaited.

    A look that takes longer than its interval delays only its own rule: the next one is left out, and `late` is told the rule.
    What a look raises ends `run`: the error is healer's.
    """

    def __init__(
        self,
        makers: Mapping[str, Callable[[BoundRule], Probe]],
        *,
        clock: Callable[[], float],
        tell: Callable[[Sequence[Report]], Awaitable[object]],
        late: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._makers = makers
        self._clock = clock
        self._tell = tell
        self._tell_late = late
        self._late: Counter[str] = Counter()  # left out since the last line about it, by rule
        self._line: asyncio.TimerHandle | None = None
        self._probes: dict[str, _Scheduled] = {}
        self._group: asyncio.TaskGroup | None = None
        self._log = structlog.get_logger("healer.probes")
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"max_instances": 1, "coalesce": True})

    def use(self, rulebook: Rulebook) -> None:
        """Look for these rules from now on. A rule whose trigger and scope are what they were keeps its evidence."""
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
        """Look at once, unless that has just been done; returns when what was seen is told. `rule`: its full name."""
        probe = self._probes.get(rule)
        if probe is None or self._group is None:
            return
        running = probe.running
        if running is None or running.done():
            if 0 <= self._clock() - probe.asked < _FRESH:
                return
            running = self._begin(probe, self._group)
        await asyncio.wait((running,))

    async def run(self) -> None:
        """Look, until cancelled. Raises what a look raises, in an ExceptionGroup."""
        async with asyncio.TaskGroup() as self._group:
            self._scheduler.start()
            try:
                await self._keep_time()
            finally:
                await self._end()

    async def _keep_time(self) -> None:
        """Until cancelled: let no look wait for a time of the day that has gone, when the clock is set back."""
        loop = asyncio.get_running_loop()
        ahead = datetime.now(UTC).timestamp() - loop.time()
        while True:
            await asyncio.sleep(_CLOCK_LOOK)
            now = datetime.now(UTC)  # as APScheduler reads it
            before, ahead = ahead, now.timestamp() - loop.time()
            if ahead > before - _SET_BACK:
                continue
            self._log.warning("the clock was set back: the next looks are planned anew", seconds=round(before - ahead, 1))
            for name, probe in self._probes.items():
                beat = Beat(every_of(probe.rule.rule.when), name)
                self._scheduler.modify_job(name, next_run_time=beat.get_next_fire_time(None, now))

    def _schedule(self, probe: _Scheduled) -> None:
        every = every_of(probe.rule.rule.when)
        beat = Beat(every, probe.rule.name)
        self._scheduler.add_job(
            self._due,
            beat,
            [probe],
            id=probe.rule.name,
            misfire_grace_time=None,  # however late: APScheduler would leave it out, with a line for each rule
            next_run_time=datetime.now(UTC) + timedelta(seconds=beat.share * min(every, _SOON)),
        )

    async def _due(self, probe: _Scheduled) -> None:
        """The scheduler's job: it begins a look and is over, so that what is late is for us to count and to say."""
        if self._group is None or self._probes.get(probe.rule.name) is not probe:
            return
        if probe.running is not None and not probe.running.done():
            self._left_out(probe.rule.name)
        else:
            self._begin(probe, self._group)

    def _begin(self, probe: _Scheduled, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        probe.running = group.create_task(self._look(probe), name=f"look {probe.rule.name}")
        return probe.running

    def _left_out(self, rule: str) -> None:
        self._tell_late(rule)
        self._late[rule] += 1
        if self._line is None:
            self._line = asyncio.get_running_loop().call_later(_GATHER, self._say_late)

    def _say_late(self) -> None:
        """One line for all rules, and no further one for a while."""
        self._line = None
        if not self._late:
            return
        rules = [name for name, _ in self._late.most_common(_NAMED)]
        self._log.warning("looks take longer than their interval", late=self._late.total(), of=len(self._late), rules=rules)
        self._late.clear()
        self._line = asyncio.get_running_loop().call_later(_AGAIN, self._say_late)

    async def _look(self, probe: _Scheduled) -> None:
        probe.asked = self._clock()
        seen = await probe.ask(probe.asked)
        if seen:
            await self._tell(seen)

    async def _end(self) -> None:
        """Looks first, for the scheduler would cancel its jobs and log that as errors."""
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
    """Seconds between two looks of a trigger that is asked for. Raises ValueError for another."""
    if not when.trigger.asked:
        raise ValueError(f"the trigger {when.trigger.name} is not asked for")
    every: float = when.value.every
    return every


def _same(old: BoundRule, new: BoundRule) -> bool:
    return old.rule.when == new.rule.when and old.scope == new.scope
