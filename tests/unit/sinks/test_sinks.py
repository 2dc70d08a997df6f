"""The log sink, and all sinks together: a fault of one harms no other."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from structlog.testing import capture_logs

from healer.model.incident import Entry, Incident, Reason, State
from healer.sinks.base import HistoryProgress, LineMark, SinkMeters
from healer.sinks.error_boundary import ErrorBoundary
from healer.sinks.group import Member
from healer.sinks.log import LogSettings, LogSink
from healer.sinks.memory import ProcessMemory
from healer.sinks.registry import SINKS, build
from tests.support.slack import TOKEN, FakeSlack
from tests.unit.sinks.incidents import incident, then


def test_the_log_has_one_event_for_each_line_of_the_history() -> None:
    registry = CollectorRegistry()
    sink = LogSink(LogSettings(), SinkMeters(registry))
    story = incident()
    with capture_logs() as logs:
        sink.tell(story)
        sink.tell(story)
        for state, text in ((State.ACTING, "evicting"), (State.VERIFYING, "evicted"), (State.ESCALATED, "spent")):
            story = then(story, state, text)
        sink.tell(story)
        sink.tell(then(story, State.CLOSED, "over"))
        sink.tell(then(story, State.CLOSED, "over"))
    assert [(entry["state"], entry["text"], entry["log_level"]) for entry in logs] == [
        ("open", "CrashLoopBackOff for 2 min", "info"),
        ("acting", "evicting", "info"),
        ("verifying", "evicted", "info"),
        ("escalated", "spent", "warning"),
        ("closed", "over", "info"),
    ]
    assert logs[1] == {
        "event": "incident acting",
        "log_level": "info",
        "incident": "crash-loop-1",
        "rule": "tensorflow-serving/crash-loop",
        "workload": "deployment/tensorflow-serving",
        "namespace": "production",
        "state": "acting",
        "step": "evict",
        "reason": "Because",
        "text": "evicting",
        "at": 1001.0,
    }
    assert registry.get_sample_value("healer_notifications_total", {"sink": "log", "outcome": "sent"}) == 5


def test_the_log_sink_forgets_closed_incidents_in_the_end() -> None:
    sink = LogSink(LogSettings(), SinkMeters(CollectorRegistry()))
    with capture_logs():
        for number in range(1500):
            sink.tell(then(incident(str(number)), State.CLOSED, "over"))
    assert len(sink._progress) == 1000


def test_the_log_goes_on_after_a_restart_with_what_is_new() -> None:
    sink = LogSink(LogSettings(), SinkMeters(CollectorRegistry()))
    story = then(incident(), State.ACTING, "evicting")
    with capture_logs() as logs:
        sink.resume(story)
        sink.tell(then(story, State.VERIFYING, "evicted"))
        sink.reset()
        assert sink._progress == {}
        sink.resume(then(story, State.VERIFYING, "evicted"))
        sink.tell(then(then(story, State.VERIFYING, "evicted"), State.HEALED, "3 of 3 ready"))
    assert [entry["text"] for entry in logs] == ["evicted", "3 of 3 ready"]


async def test_a_memory_of_this_process_keeps_what_was_remembered_last_and_not_without_end() -> None:
    memory = ProcessMemory(most=2)
    for name in ("a", "b", "a", "c"):
        await memory.remember(name, "one", {"told": name})
        await memory.remember(name, "two", {"told": "other"})
    await memory.remember("c", "one", {"told": "again"})
    assert memory.recall("a", "one") == {"told": "a"}
    assert memory.recall("b", "one") == {}
    assert (memory.recall("c", "one"), memory.recall("c", "two")) == ({"told": "again"}, {"told": "other"})


def test_a_line_is_known_again_after_a_journal_has_kept_it() -> None:
    line = Entry(1700000000.1234567, State.WAITING, Reason("Because", "a text that is longer than any journal wants to keep"))
    mark = LineMark.parse(str(LineMark.of(line)))
    kept = replace(line, at=1700000000.123457, reason=Reason("Because", line.reason.text[:29] + "…"))
    assert mark.fits(line)
    assert mark.fits(kept)
    for other in (
        replace(line, at=line.at + 1),
        replace(line, state=State.ACTING),
        replace(line, step=0),
        replace(line, reason=Reason("Other", line.reason.text)),
        replace(line, reason=Reason("Because", "another text")),
    ):
        assert not mark.fits(other)


def lines(*texts: str, at: float = 1.0) -> tuple[Entry, ...]:
    return tuple(Entry(at, State.WAITING, Reason("Because", text)) for text in texts)


@pytest.mark.parametrize(
    ("told", "history", "unseen"),
    [
        (lines("a", "b"), lines("a", "b", "c", "d"), lines("c", "d")),
        (lines("a", "a"), lines("a", "a", "a"), lines("a")),  # the same line again is another line
        (lines("a", "b"), lines("b", "c", "d"), lines("c", "d")),  # cut off at the front, all at one time
        (lines("a", "b"), lines("b"), ()),
        (lines("a", "b"), lines("c", at=1.0) + lines("d", at=2.0), lines("d", at=2.0)),  # what was told last is gone
        ((), lines("a"), lines("a")),
    ],
)
def test_what_is_unseen_of_a_history(told: tuple[Entry, ...], history: tuple[Entry, ...], unseen: tuple[Entry, ...]) -> None:
    progress = HistoryProgress()
    for entry in told:
        progress.advance(entry)
    assert tuple(progress.unseen(history)) == unseen


async def test_whatever_the_sink_what_it_gets_is_redacted(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    await asyncio.to_thread(token_file.write_text, TOKEN)
    async with FakeSlack() as slack:
        sinks = build(
            {"log": {}, "slack": {"token_file": token_file, "channel": "#ml", "base_url": slack.url}},
            SinkMeters(CollectorRegistry()),
        )
        with capture_logs() as logs:
            task = asyncio.create_task(sinks.run())
            sinks.tell(then(incident(), State.WAITING, "bob@example.com paused it"))
            assert await sinks.flush(10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert [entry["text"] for entry in logs][-1] == "[email] paused it"
        assert slack.messages["#ml-oncall"][0].text.endswith("[email] paused it")
        assert "bob" not in str(slack.calls) + str(logs)


async def test_all_sinks_resume_and_forget_together_and_share_one_memory(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    await asyncio.to_thread(token_file.write_text, TOKEN)
    memory = ProcessMemory()
    story = then(incident(), State.WAITING, "bob@example.com paused it")
    async with FakeSlack() as slack:
        wanted = {"log": {}, "slack": {"token_file": token_file, "channel": "#ml", "base_url": slack.url}}
        for _ in range(2):
            sinks = build(wanted, SinkMeters(CollectorRegistry()), memory=memory)
            sinks.resume(story)
            sinks.reset()
            with capture_logs() as logs:
                task = asyncio.create_task(sinks.run())
                assert await sinks.flush(10)  # what was resumed is forgotten
                sinks.resume(story)
                assert await sinks.flush(10)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        assert logs == []
        assert sorted(slack.posted.values()) == [1, 1, 1]
        assert "bob" not in str(slack.calls)


@pytest.mark.parametrize(
    ("notify", "paged", "slack", "pager"),
    [
        ((), None, (), ()),
        (("#ml", "pager:ml"), None, ("#ml",), ("ml",)),
        (("pager:ml",), None, None, ("ml",)),
        (("#ml",), None, ("#ml",), None),
        (("pager:ml",), ("pager:ml",), (), ("ml",)),  # of a rule without `notify`: the default channel goes on
        (("#ml", "pager:ml"), ("pager:ml",), ("#ml",), ("ml",)),
        (("pager:ml", "#sre"), ("#sre",), ("#sre",), ("ml",)),
    ],
)
def test_a_sink_with_addresses_sees_its_own_and_a_page_takes_nobody_else_s_away(
    notify: tuple[str, ...], paged: tuple[str, ...] | None, slack: tuple[str, ...] | None, pager: tuple[str, ...] | None
) -> None:
    """None: the incident is for others alone. A sink without addresses is told of every incident, as it is."""
    told = replace(incident(), notify=notify, paged=paged)
    log = LogSink(LogSettings(), SinkMeters(CollectorRegistry()))
    for kind, own in (("", slack), ("pager", pager), (None, notify)):
        seen = Member(log, kind).addressed(told)
        assert (None if seen is None else seen.notify) == own


def test_an_unknown_sink_or_option_is_an_error_that_says_so() -> None:
    meters = SinkMeters(CollectorRegistry())
    with pytest.raises(ValueError, match=rf"there is no sink 'slak'; there are {', '.join(sorted(SINKS))}$"):
        build({"slak": {}}, meters)
    with pytest.raises(ValidationError, match=r"chanel"):
        build({"slack": {"token_file": "/t", "channel": "#a", "chanel": "#b"}}, meters)
    with pytest.raises(ValueError, match=r"channel"):
        build({"slack": {"token_file": "/t"}}, meters)
    with pytest.raises(ValueError, match=r"token file"):
        build({"slack": {"channel": "#a"}}, meters)


class Faulty:
    """A sink that fails at what one incident tells, and whose worker ends by a fault once."""

    name = "faulty"

    def __init__(self) -> None:
        self.told: list[str] = []
        self.runs = 0
        self.again = asyncio.Event()

    def tell(self, incident: Incident) -> None:
        if incident.id == "odd":
            raise KeyError("no such colour")
        self.told.append(incident.id)

    resume = tell

    def reset(self) -> None:
        raise RuntimeError("nothing to forget")

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise ExceptionGroup("worker", [ValueError("a worker fell")])
        self.again.set()
        await asyncio.Event().wait()

    async def check(self, channels: Collection[str]) -> list[str]:
        raise LookupError("nobody there")

    async def flush(self, within: float) -> bool:
        raise OSError("no way out")


async def test_a_fault_of_a_sink_harms_neither_the_others_nor_the_next_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healer.sinks.group._PAUSE", 0.0)
    registry = CollectorRegistry()
    faulty = Faulty()
    sinks = build({"log": {}}, SinkMeters(registry), [faulty])
    with capture_logs() as logs:
        for name in ("one", "odd", "odd", "two"):
            sinks.tell(incident(name))
            sinks.resume(incident(name))
        running = asyncio.create_task(sinks.run())
        async with asyncio.timeout(30):
            await faulty.again.wait()
        assert not await sinks.flush(1.0)
        assert await sinks.check([]) == []
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        sinks.reset()
    assert faulty.told == ["one", "one", "two", "two"]
    assert [entry["incident"] for entry in logs if entry["event"] == "incident open"] == ["one", "odd", "two"]
    said = [entry["error"] for entry in logs if entry["event"] == "a sink failed at what it was told; all else goes on"]
    assert said[0] == "KeyError: 'no such colour'"
    assert len(said) == len(set(said)) == 4, "each fault is said once"
    assert registry.get_sample_value("healer_notifications_total", {"sink": "faulty", "outcome": "failed"}) == 7


def test_an_observer_of_decisions_may_fail() -> None:
    heard: list[int] = []

    def observe(number: int) -> None:
        heard.append(10 // number)

    contained = ErrorBoundary("observer", SinkMeters(CollectorRegistry())).around(observe)
    with capture_logs():
        for number in (1, 0, 2):
            contained(number)
    assert heard == [10, 5]
