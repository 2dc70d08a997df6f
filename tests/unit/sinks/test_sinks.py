"""The log sink, and all sinks together behind redaction."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from structlog.testing import capture_logs

from healer.model.incident import Entry, Reason, State
from healer.sinks.base import Progress, notifications
from healer.sinks.log import LogSettings, LogSink
from healer.sinks.registry import build
from tests.support.slack import TOKEN, FakeSlack
from tests.unit.sinks.incidents import incident, then


def test_the_log_has_one_event_for_each_line_of_the_history() -> None:
    registry = CollectorRegistry()
    sink = LogSink(LogSettings(), notifications(registry))
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
    sink = LogSink(LogSettings(), notifications(CollectorRegistry()))
    with capture_logs():
        for number in range(1500):
            sink.tell(then(incident(str(number)), State.CLOSED, "over"))
    assert len(sink._progress) == 1000


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
    progress = Progress()
    for entry in told:
        progress.tell(told, entry)
    assert tuple(progress.unseen(history)) == unseen


async def test_whatever_the_sink_what_it_gets_is_redacted(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    await asyncio.to_thread(token_file.write_text, TOKEN)
    async with FakeSlack() as slack:
        sinks = build(
            {"log": {}, "slack": {"token_file": token_file, "channel": "#ml", "base_url": slack.url}},
            notifications(CollectorRegistry()),
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


def test_an_unknown_sink_or_option_is_an_error_that_says_so() -> None:
    counter = notifications(CollectorRegistry())
    with pytest.raises(ValueError, match=r"there is no sink 'slak'; there are log, slack"):
        build({"slak": {}}, counter)
    with pytest.raises(ValidationError, match=r"chanel"):
        build({"slack": {"token_file": "/t", "channel": "#a", "chanel": "#b"}}, counter)
    with pytest.raises(ValidationError, match=r"channel"):
        build({"slack": {"token_file": "/t"}}, counter)
