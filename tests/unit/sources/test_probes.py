"""The schedule: each rule in its turn, none twice at once, none because of another; changed rules begin anew."""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo

import apscheduler.schedulers.base
import pytest
from apscheduler.events import EVENT_JOB_SUBMITTED
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

import healer.sources.probes
from healer.model.signal import Report, Signal
from healer.model.target import Target
from healer.rules.rulebook import BoundRule, Rulebook, scaled
from healer.sources.base import Probe
from healer.sources.probes import Probes, ProbeTimes
from tests.support.world import Yaml, rule, rulebook

pytestmark = pytest.mark.slow

FASTER = 0.05


def asking(name: str, **query: object) -> Yaml:
    """A rule that is looked at once a second, which FASTER makes 50 ms."""
    return rule(name, when={"query": {"expr": "up", "above": 1, "every": "1s"} | query}, heal=[{"page": {}}])


def fast(*rules: Yaml) -> Rulebook:
    return scaled(rulebook(*rules), FASTER)


class Watched:
    """Probes whose looks are counted by rule; a look waits for `gate`, then raises `error`, or sees one signal."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.begun: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.told: list[str] = []
        self.news = asyncio.Condition()
        self.closed: set[str] = set()
        """Rules whose looks do not end."""
        self.error: Exception | None = None
        self.now = 7.0
        self.late: list[str] = []
        self.probes = Probes({"query": self._make}, clock=lambda: self.now, report=self._tell, late=self._was_late)

    def _was_late(self, rule: str) -> None:
        self.late.append(rule)

    def _make(self, bound: BoundRule) -> Probe:
        self.made.append(bound.name)

        async def look(now: float) -> list[Signal]:
            name = bound.name
            self.begun[name] = self.begun.get(name, 0) + 1
            async with self.news:
                self.news.notify_all()
            if name in self.closed:
                await asyncio.Event().wait()
            if self.error is not None:
                raise self.error
            self.ended[name] = self.ended.get(name, 0) + 1
            return [Signal("query", "QueryPassed", Target("Pod", "a", "b", "c"), firing=True, at=now, key=name)]

        return look

    async def _tell(self, signals: Sequence[Report]) -> None:
        self.told += [signal.key for signal in signals if isinstance(signal, Signal)]

    async def until(self, name: str, looks: int) -> None:
        """Wait until so many looks of a rule have begun."""
        async with asyncio.timeout(30), self.news:
            await self.news.wait_for(lambda: self.begun.get(name, 0) >= looks)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From entry to exit; what ends it early is raised."""
        task = asyncio.create_task(self.probes.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_each_rule_is_looked_at_again_and_again() -> None:
    watched = Watched()
    watched.probes.use(fast(asking("one"), asking("two"), rule("pods")))
    async with watched.running():
        await watched.until("test/one", 3)
        await watched.until("test/two", 3)
    assert sorted(watched.made) == ["test/one", "test/two"], "a rule about pods is not asked for"
    assert set(watched.told) == {"test/one", "test/two"}


async def test_a_look_that_hangs_is_not_begun_twice_and_delays_no_other() -> None:
    watched = Watched()
    watched.closed.add("test/one")
    watched.probes.use(fast(asking("one"), asking("two")))
    async with watched.running():
        await watched.until("test/one", 1)
        await watched.until("test/two", 5)
        assert watched.begun["test/one"] == 1


async def test_rules_that_stay_the_same_keep_their_evidence() -> None:
    watched = Watched()
    watched.probes.use(fast(asking("one"), asking("two")))
    async with watched.running():
        watched.probes.use(fast(asking("one") | {"severity": "info"}, asking("two", above=2)))
        await watched.until("test/one", 1)
    assert watched.made == ["test/one", "test/two", "test/two"]


async def test_a_rule_that_is_gone_is_looked_at_no_more_and_what_it_sees_is_not_told() -> None:
    watched = Watched()
    watched.closed.add("test/one")
    watched.probes.use(fast(asking("one")))
    async with watched.running():
        await watched.until("test/one", 1)
        watched.probes.use(fast(asking("two")))
        await watched.until("test/two", 5)
    assert watched.begun["test/one"] == 1
    assert "test/one" not in watched.told


async def test_an_unexpected_error_is_loud() -> None:
    watched = Watched()
    watched.error = ZeroDivisionError("a defect")
    watched.probes.use(fast(asking("one")))
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(30):
            await watched.probes.run()
    assert raised.group_contains(ZeroDivisionError)


async def test_it_ends_in_the_middle_of_a_look_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.closed.add("test/one")
    watched.probes.use(fast(asking("one")))
    with caplog.at_level(logging.WARNING):
        async with watched.running():
            await watched.until("test/one", 1)
        await asyncio.sleep(0)
    assert not watched.ended
    assert not caplog.records
    assert len(asyncio.all_tasks()) == 1, "nothing is left running"


class Shifted(datetime):
    """A clock that is set wrong by so many seconds."""

    ahead = 0.0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Shifted":
        return cls.fromtimestamp(time.time() + cls.ahead, tz)


async def test_a_clock_that_is_set_back_stops_no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were planned by the clock before would wait for an hour, and a question before an action would not be asked."""
    for module in (apscheduler.schedulers.base, healer.sources.probes):
        monkeypatch.setattr(module, "datetime", Shifted)
    monkeypatch.setattr(Shifted, "ahead", 3600.0)
    watched = Watched()
    watched.probes.use(fast(asking("one")))
    async with watched.running():
        await watched.until("test/one", 3)
        monkeypatch.setattr(Shifted, "ahead", 0.0)
        watched.now -= 3600
        looked = watched.begun["test/one"]
        await watched.probes.again("test/one")
        await watched.until("test/one", looked + 5)


@given(st.text(min_size=1), st.floats(1, 3600), st.floats(0, 2e9))
def test_a_beat_falls_once_into_each_interval(name: str, every: float, start: float) -> None:
    beat = ProbeTimes(every, name)
    at: datetime | None = None
    now = datetime.fromtimestamp(start, UTC)
    intervals: list[int] = []
    for _ in range(20):
        at = beat.get_next_fire_time(at, now)
        now = max(now, at) + timedelta(seconds=every * 0.01)
        share, interval = math.modf(at.timestamp() / every)
        assert 0.09 <= share <= 0.91
        intervals.append(int(interval))
    assert intervals == list(range(intervals[0], intervals[0] + 20))


@given(st.text(min_size=1), st.floats(1, 3600), st.floats(1e9, 2e9))
def test_a_beat_follows_the_first_look_within_an_interval(name: str, every: float, first: float) -> None:
    at = datetime.fromtimestamp(first, UTC)
    gap = (ProbeTimes(every, name).get_next_fire_time(at, at + timedelta(seconds=0.01)) - at).total_seconds()
    assert 0 < gap <= 1.12 * every


def test_beats_of_many_rules_are_spread() -> None:
    shares = sorted(ProbeTimes(30, f"rules/query-{number}").share for number in range(200))
    gaps = [after - before for before, after in itertools.pairwise(shares)]
    assert max(gaps) < 0.05


async def test_forty_late_looks_are_one_line_and_counted_by_rule(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """APScheduler said of each, each second, that its maximum number of running instances was reached."""
    monkeypatch.setattr("healer.sources.probes._LINE_AFTER", 2.0)  # 40 intervals: each rule is late by then
    said, say = asyncio.Event(), Probes._log_late

    def saying(probes: Probes) -> None:
        say(probes)
        said.set()

    monkeypatch.setattr(Probes, "_log_late", saying)
    names = [f"slow-{number}" for number in range(40)]
    watched = Watched()
    watched.closed = {f"test/{name}" for name in names}
    with capture_logs() as logs, caplog.at_level(logging.WARNING):
        watched.probes.use(fast(*(asking(name) for name in names)))
        async with watched.running(), asyncio.timeout(30):
            await said.wait()
    (line,) = logs
    assert (line["event"], line["of"], len(line["rules"])) == ("looks take longer than their interval", 40, 10)
    assert set(watched.late) == watched.closed
    assert len(watched.late) >= line["late"] > 40
    assert not [record for record in caplog.records if record.name.startswith("apscheduler")]


async def test_a_standstill_leaves_no_look_out_and_says_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """A process that had no processor while looks were due: APScheduler said of each rule that its run was missed."""
    watched = Watched()

    def stand_still(_: object) -> None:
        watched.probes._scheduler.remove_listener(stand_still)
        time.sleep(1.5)

    with capture_logs() as logs, caplog.at_level(logging.WARNING):
        watched.probes.use(fast(asking("a")))
        watched.probes._scheduler.add_listener(stand_still, EVENT_JOB_SUBMITTED)
        async with watched.running():
            await watched.until("test/a", 2)
    assert not [record for record in caplog.records if record.name.startswith("apscheduler")]
    assert logs == []


# asked again


async def test_asked_again_right_before_acting() -> None:
    """A look at once, told before it returns; none when the last one is as good as new; one for both when one is under way."""
    watched = Watched()
    watched.probes.use(rulebook(rule("one", when={"query": {"expr": "up", "above": 1, "every": "1h"}}, heal=[{"page": {}}])))
    async with watched.running():
        await asyncio.sleep(0)
        await watched.probes.again("test/one")
        assert watched.told == ["test/one"]
        await watched.probes.again("test/one")
        assert watched.begun == {"test/one": 1}, "a moment ago"
        watched.now += 10
        await asyncio.gather(watched.probes.again("test/one"), watched.probes.again("test/one"))
        assert watched.begun == {"test/one": 2}
        await watched.probes.again("test/of-no-query")
