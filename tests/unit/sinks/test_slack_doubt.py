"""How the Slack sink finds out what it has posted, and what it does while the journal cannot keep anything."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from healer.model.incident import State
from healer.sinks.memory import NotKept, ProcessMemory, TimedMemory
from tests.support.slack import TOKEN, FakeSlack, Misbehaviour, Moment
from tests.unit.sinks.incidents import incident, then
from tests.unit.sinks.story import CHANNEL, WHOLE_THREAD, Bench, healed, lines

pytestmark = pytest.mark.slow

KEY = f"slack {CHANNEL}"
LOSE = Misbehaviour("lose")


class Away:
    """A memory that can be away."""

    def __init__(self) -> None:
        self.away = True
        self.tries = 0
        self.tried = asyncio.Event()
        self.kept = ProcessMemory()

    def recall(self, incident: str, sink: str) -> Mapping[str, str]:
        return self.kept.recall(incident, sink)

    claimed = recall

    async def remember(self, incident: str, sink: str, state: Mapping[str, str]) -> None:
        self.tries += 1
        self.tried.set()
        if self.away:
            raise NotKept("the API server is away")
        await self.kept.remember(incident, sink, state)


def metadata(**payload: Any) -> dict[str, Any]:
    return {"event_type": "healer_incident", "event_payload": payload}


async def post(slack: FakeSlack, token_file: Path, name: str, channel: str = CHANNEL) -> None:
    """Have an incident told by another sink."""
    bench = Bench(slack, token_file)
    async with bench.running():
        bench.sink.tell(incident(name, notify=(channel,)))
        assert await bench.sink.flush(10)


async def in_doubt(memory: ProcessMemory, *, since: float | None = None, channel: str = CHANNEL) -> None:
    """What a sink leaves behind that was killed while it posted the message."""
    state = dict.fromkeys(("channel", "ts", "toldLast", "postingLast"), "")
    state |= {"told": "0", "posting": "0-0", "postingSince": f"{time.time() if since is None else since:.3f}"}
    await memory.remember("crash-loop-1", f"slack {channel}", state)


async def test_it_looks_through_all_pages_of_messages_channels_and_replies(slack: FakeSlack, token_file: Path) -> None:
    slack.page = 1
    memory = ProcessMemory()
    for channel in ("#a", "#b"):
        await post(slack, token_file, "other", channel)
    bench = Bench(slack, token_file, memory)
    slack.next(LOSE)
    async with bench.running():
        bench.sink.tell(incident())
        await slack.wait_for(lambda s: CHANNEL in s.messages)
    for number in range(3):
        await post(slack, token_file, f"later-{number}")
    bench = Bench(slack, token_file, memory)
    async with bench.running():
        bench.sink.resume(incident())
        assert await bench.sink.flush(10)

        async def loses_each_reply(method: str, moment: Moment) -> bool:
            if (method, moment) == ("chat.postMessage", "come"):
                slack.next(LOSE)
            return True

        slack.hook = loses_each_reply
        for snapshot in healed()[1:]:
            bench.sink.tell(snapshot)
            assert await bench.sink.flush(10)
    assert slack.twice == []
    assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD
    assert [method for method, _ in slack.calls].count("conversations.replies") > 5 * 2
    assert [method for method, _ in slack.calls].count("users.conversations") == 3


async def test_an_id_and_a_channel_that_is_known_by_its_id_need_no_search(slack: FakeSlack, token_file: Path) -> None:
    memory = ProcessMemory()
    await in_doubt(memory, channel="C0123456789")
    bench = Bench(slack, token_file, memory)
    async with bench.running():
        bench.sink.tell(incident("first"))
        assert await bench.sink.flush(10)
        slack.next(LOSE)
        bench.sink.tell(incident("second"))
        assert await bench.sink.flush(10)
        bench.sink.tell(incident(notify=("C0123456789",)))
        assert await bench.sink.flush(10)
    methods = [method for method, _ in slack.calls]
    assert methods.count("conversations.history") == 2
    assert "users.conversations" not in methods
    assert (
        slack.calls[methods.index("conversations.history", methods.index("conversations.history") + 1)][1]["channel"]
        == "C0123456789"
    )


@pytest.mark.parametrize(
    "payload",
    [
        metadata(incident="crash-loop-2", line=0, last=0),
        metadata(incident="crash-loop-1", line=1, last=1, mark="x"),
        metadata(incident="crash-loop-1", line=3, last=3, mark="1000.000 0"),
        metadata(incident="crash-loop-1"),
        metadata(incident="crash-loop-1", line=0, last="zero"),
        {"event_type": "another", "event_payload": {"incident": "crash-loop-1", "line": 0, "last": 0}},
        {"event_type": "healer_incident", "event_payload": None},
        {},
    ],
)
async def test_what_others_post_is_not_taken_for_the_message(slack: FakeSlack, token_file: Path, payload: dict[str, Any]) -> None:
    memory = ProcessMemory()
    await post(slack, token_file, "another")
    slack.messages[CHANNEL][0].metadata = payload
    await in_doubt(memory)
    bench = Bench(slack, token_file, memory)
    async with bench.running():
        bench.sink.resume(incident())
        assert await bench.sink.flush(10)
    assert len(slack.messages[CHANNEL]) == 2
    assert slack.posted[CHANNEL, "crash-loop-1", 0] == 1


@pytest.mark.parametrize("cause", ["stranger", "unknown channel", "too many messages"])
async def test_where_it_cannot_look_it_says_so_and_tells_people(slack: FakeSlack, token_file: Path, cause: str) -> None:
    memory = ProcessMemory()
    await in_doubt(memory)
    if cause != "unknown channel":
        await post(slack, token_file, "another")
    if cause == "stranger":
        slack.strangers.add(CHANNEL)
    if cause == "too many messages":
        slack.page = 1
        slack.messages[CHANNEL] *= 21
    bench = Bench(slack, token_file, memory)
    with capture_logs() as logs:
        async with bench.running():
            bench.sink.resume(incident())
            assert await bench.sink.flush(10)
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert "may be there twice" in warning["event"]
    assert warning["error"] == ("too_many_messages" if cause == "too many messages" else "not_in_channel")
    assert "channels:history" in warning["hint"]
    assert slack.posted[CHANNEL, "crash-loop-1", 0] == 1


async def test_a_channel_that_another_thread_knows_by_its_id_needs_no_search(slack: FakeSlack, token_file: Path) -> None:
    memory = ProcessMemory()
    first = Bench(slack, token_file, memory)
    known = healed("known")
    async with first.running():
        first.sink.tell(known[0])
        assert await first.sink.flush(10)
    await in_doubt(memory)
    bench = Bench(slack, token_file, memory)
    async with bench.running():
        for snapshot in (known[1], incident()):
            bench.sink.resume(snapshot)
        assert await bench.sink.flush(10)
    assert "users.conversations" not in [method for method, _ in slack.calls]
    assert slack.posted[CHANNEL, "crash-loop-1", 0] == 1


async def test_a_bad_token_is_no_reason_to_post_again(slack: FakeSlack, token_file: Path) -> None:
    memory = ProcessMemory()
    await in_doubt(memory)
    await post(slack, token_file, "another")
    calls = len(slack.calls)
    await asyncio.to_thread(token_file.write_text, "xoxb-expired")
    bench = Bench(slack, token_file, memory)
    with capture_logs() as logs:
        async with bench.running():
            bench.sink.resume(incident())
            await slack.wait_for(lambda s: len(s.calls) >= calls + 2)
            assert {method for method, _ in slack.calls[calls:]} == {"users.conversations"}
            await asyncio.to_thread(token_file.write_text, TOKEN)
            await slack.wait_for(lambda s: (CHANNEL, "crash-loop-1", 1) in s.posted)
    assert "may be there twice" not in str(logs)


async def test_a_limit_on_looking_holds_up_no_other_thread(slack: FakeSlack, token_file: Path) -> None:
    memory = ProcessMemory()
    await in_doubt(memory)
    slack.next(Misbehaviour("limit", retry_after=3600))
    bench = Bench(slack, token_file, memory)
    async with bench.running():
        bench.sink.resume(incident())
        await slack.wait_for(lambda s: len(s.calls) == 1)
        bench.sink.tell(incident("another"))
        await slack.wait_for(lambda s: (CHANNEL, "another", 1) in s.posted)
    assert bench.count("retried") == 1
    assert slack.posted[CHANNEL, "crash-loop-1", 0] == 0


@pytest.mark.parametrize("restarted", [True, False])
async def test_slack_is_given_the_time_to_show_what_it_took(slack: FakeSlack, token_file: Path, restarted: bool) -> None:
    memory = ProcessMemory()
    looked: list[float] = []
    since = time.time()

    async def note(method: str, moment: Moment) -> bool:
        if method.startswith("conversations") and moment == "come":
            looked.append(time.time())
        return True

    slack.hook = note
    slack.next(LOSE)
    bench = Bench(slack, token_file, memory, settle=0.5)
    async with bench.running():
        bench.sink.tell(incident())
        await slack.wait_for(lambda s: CHANNEL in s.messages)
        if not restarted:
            assert await bench.sink.flush(10)
    if restarted:
        again = Bench(slack, token_file, memory, settle=0.5)
        async with again.running():
            again.sink.resume(incident())
            assert await again.sink.flush(10)
    assert looked
    assert looked[0] >= since + 0.5
    assert slack.twice == []


async def test_an_intent_that_has_waited_for_long_is_kept_anew_so_that_it_is_found_at_its_time(
    slack: FakeSlack, token_file: Path
) -> None:
    memory = ProcessMemory()
    now = time.time() - 10_000
    slack.errors[CHANNEL] = "not_in_channel"
    bench = Bench(slack, token_file, memory, clock=lambda: now, reconsider=0.001)
    with capture_logs():
        async with bench.running():
            bench.sink.tell(incident())
            await slack.wait_for(lambda s: len(s.calls) >= 2)
            kept = memory.recall("crash-loop-1", KEY)["postingSince"]
            assert kept == f"{now:.3f}"
            now += 59
            tries = len(slack.calls)
            await slack.wait_for(lambda s: len(s.calls) >= tries + 2)
            assert memory.recall("crash-loop-1", KEY)["postingSince"] == kept  # no write for every try
            now += 10_000
            tries = len(slack.calls)
            await slack.wait_for(lambda s: len(s.calls) >= tries + 2)
            assert memory.recall("crash-loop-1", KEY)["postingSince"] == f"{now:.3f}"
            slack.errors.clear()
            slack.next(LOSE)
            await slack.wait_for(lambda s: (CHANNEL, "crash-loop-1", 1) in s.posted)
            assert await bench.sink.flush(10)
    assert slack.twice == []


# while the journal cannot keep anything


async def test_the_message_waits_for_the_journal_only_so_long_and_lines_wait_until_it_is_back(
    slack: FakeSlack, token_file: Path
) -> None:
    memory = Away()
    story = healed()
    bench = Bench(slack, token_file, memory, patience=0.2)
    began = time.monotonic()
    with capture_logs() as logs:
        async with bench.running():
            bench.sink.tell(story[0])
            await slack.wait_for(lambda s: CHANNEL in s.messages)
            assert time.monotonic() >= began + 0.2
            bench.sink.tell(story[3])
            await slack.wait_for(lambda s: "evicted; waiting for 3 of 3 ready" in s.messages[CHANNEL][0].text)
            tries = memory.tries
            while memory.tries < tries + 2:
                memory.tried.clear()
                await memory.tried.wait()
            assert slack.threads(CHANNEL) == [[]]
            assert not await bench.sink.flush(0)
            memory.away = False
            assert await bench.sink.flush(10)
    assert [lines(thread) for thread in slack.threads(CHANNEL)] == [WHOLE_THREAD[:4]]
    assert [entry["event"] for entry in logs] == [
        "what was told cannot be kept: trying again",
        "posted before it could be kept: it will be there twice if healer ends before it can",
    ]  # once each, not once a try
    memory.away = True
    with capture_logs() as logs:
        async with bench.running():
            bench.sink.tell(story[4])
            assert not await bench.sink.flush(0.1)
            memory.away = False
            assert await bench.sink.flush(10)
    assert [entry["event"] for entry in logs] == ["what was told cannot be kept: trying again"]
    again = Bench(slack, token_file, memory)
    async with again.running():
        again.sink.resume(story[-1])
        assert await again.sink.flush(10)
    assert slack.twice == []
    assert [lines(thread) for thread in slack.threads(CHANNEL)] == [WHOLE_THREAD]


async def test_what_was_posted_is_kept_once_the_journal_is_back_without_further_news(slack: FakeSlack, token_file: Path) -> None:
    memory = Away()
    memory.away = False
    bench = Bench(slack, token_file, memory)

    async def leaves(method: str, moment: Moment) -> bool:
        memory.away = len(slack.posted) == 2
        return True

    slack.hook = leaves
    async with bench.running():
        bench.sink.tell(incident())
        await slack.wait_for(lambda s: memory.away)
        assert not await bench.sink.flush(0.01)
        assert memory.recall("crash-loop-1", KEY)["posting"] == "1-1"
        memory.away = False
        assert await bench.sink.flush(10)
    assert memory.recall("crash-loop-1", KEY)["posting"] == ""
    assert memory.recall("crash-loop-1", KEY)["told"] == "1"


async def test_a_journal_that_does_not_answer_is_left_in_peace_for_a_while() -> None:
    class Silent(Away):
        async def remember(self, incident: str, sink: str, state: Mapping[str, str]) -> None:
            self.tries += 1
            await asyncio.Event().wait()

    memory = Silent()
    timed = TimedMemory(memory, timeout=0.01, pause=3600)
    for why in ("did not answer in 0.01 s", "did not answer a moment ago", "did not answer a moment ago"):
        with pytest.raises(NotKept, match=why):
            await timed.remember("a", "slack", {})
    assert memory.tries == 1
    timed = TimedMemory(memory, timeout=0.01, pause=0)
    for _ in range(2):
        with pytest.raises(NotKept, match=r"0\.01 s"):
            await timed.remember("a", "slack", {})
    assert memory.tries == 3


async def test_the_journal_is_written_twice_a_post_and_waiting_lines_share_one(slack: FakeSlack, token_file: Path) -> None:
    memory = Away()
    memory.away = False
    bench = Bench(slack, token_file, memory)
    for snapshot in healed():
        bench.sink.tell(snapshot)
    async with bench.running():
        assert await bench.sink.flush(10)
        assert memory.tries == 4
        assert [len(thread) for thread in slack.threads(CHANNEL)] == [1]
        bench.sink.tell(then(healed()[-1], State.OPEN, "again"))
        assert await bench.sink.flush(10)
    assert memory.tries == 6
    state = memory.recall("crash-loop-1", KEY)
    assert sum(len(key) + len(value) for key, value in state.items()) < 200


async def test_a_long_history_is_told_in_several_replies_none_of_them_too_long(slack: FakeSlack, token_file: Path) -> None:
    story = incident()
    for number in range(60):
        story = then(story, State.WAITING, f"{number} " + "&" * 400)
    bench = Bench(slack, token_file)
    async with bench.running():
        bench.sink.tell(story)
        assert await bench.sink.flush(10)
    (thread,) = slack.threads(CHANNEL)
    assert [line.split(": ")[1].split(" ")[0] for line in lines(thread)][1:] == [str(number) for number in range(60)]
    assert 5 < len(thread) < 15
    assert max(map(len, thread)) <= 3000
    assert slack.twice == []
