"""The Slack sink against a local Slack: one message, its thread, each line once, whatever happens in between."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.slack import TOKEN, FakeSlack, Misbehaviour
from tests.unit.sinks.incidents import incident
from tests.unit.sinks.story import CHANNEL, WHOLE_THREAD, Bench, healed, lines

CUT = Misbehaviour("cut")


def mount(file: Path, secret: str) -> None:
    """Change a secret as kubelet does: at once, never half."""
    new = file.with_suffix(".new")
    new.write_text(secret)
    new.replace(file)


async def test_one_message_edited_as_the_incident_proceeds_with_its_history_in_the_thread(
    slack: FakeSlack, token_file: Path
) -> None:
    bench = Bench(slack, token_file)
    async with bench.running():
        for told, snapshot in enumerate(healed(), start=1):
            bench.sink.tell(snapshot)
            assert await bench.sink.flush(10)
            assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD[:told]
    (message,) = slack.messages[CHANNEL]
    assert len(message.edits) == 5
    assert message.text == (
        ":white_check_mark: CrashLoopBackOff: back-off 5m0s on pod/tensorflow-serving-7b5b8c9d4-xyz12 · "
        "deployment/tensorflow-serving in production: over, without an action of healer: cooldown over"
    )
    assert [block["type"] for block in message.blocks] == ["header", *["section"] * 4, "context"]
    assert list(slack.messages) == [CHANNEL]
    assert bench.count("sent") == 6 + 1 + 5
    assert bench.count("failed") == bench.count("retried") == 0


async def test_snapshots_told_at_once_are_coalesced_and_no_line_is_lost(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    for snapshot in healed():
        bench.sink.tell(snapshot)
    async with bench.running():
        assert await bench.sink.flush(10)
    (message,) = slack.messages[CHANNEL]
    assert message.edits == []
    assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD


async def test_a_long_history_holds_up_no_other_incident(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    bench.sink.tell(healed("long")[-1])
    bench.sink.tell(incident("new"))
    async with bench.running():
        assert await bench.sink.flush(10)
    assert [arguments.get("thread_ts") for _, arguments in slack.calls][:2] == [None, None]
    assert [len(lines(thread)) for thread in slack.threads(CHANNEL)] == [6, 1]


async def test_an_older_snapshot_does_not_undo_a_newer_one(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    story = healed()
    async with bench.running():
        for snapshot in (story[3], story[1]):
            bench.sink.tell(snapshot)
            assert await bench.sink.flush(10)
    assert "evicted; waiting for 3 of 3 ready" in slack.messages[CHANNEL][0].text
    assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD[:4]


async def test_every_channel_of_the_rule_is_told_and_the_default_one_without(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    async with bench.running():
        bench.sink.tell(incident("a", notify=("#one", "#two", "#one")))
        bench.sink.tell(incident("b", notify=()))
        assert await bench.sink.flush(10)
    assert {name: len(messages) for name, messages in slack.messages.items()} == {"#one": 1, "#two": 1, "#default": 1}


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(CUT, id="cut"),
        pytest.param(Misbehaviour("status", status=500), id="500"),
        pytest.param(Misbehaviour("status", status=503), id="503"),
        pytest.param(Misbehaviour("status", status=503, code="not_documented"), id="503 in JSON"),
        pytest.param(Misbehaviour("page"), id="a proxy's page"),
        pytest.param(Misbehaviour("garbage"), id="half an answer"),
        pytest.param(Misbehaviour("list"), id="another answer"),
        pytest.param(Misbehaviour("limit", retry_after=0), id="429"),
        pytest.param(Misbehaviour("error", code="internal_error"), id="internal_error"),
        pytest.param(Misbehaviour("lose"), id="answer lost"),
    ],
)
@pytest.mark.parametrize("first", range(4))
async def test_what_passes_is_retried_and_nothing_is_lost_or_doubled(
    slack: FakeSlack, token_file: Path, trouble: Misbehaviour, first: int
) -> None:
    bench = Bench(slack, token_file)
    story = healed()
    bench.sink.tell(story[0])
    async with bench.running():
        if first:
            assert await bench.sink.flush(10)
        slack.next(*[trouble] * 3)
        for snapshot in story[: 1 + first]:
            bench.sink.tell(snapshot)
        assert await bench.sink.flush(10)
        bench.sink.tell(story[-1])
        assert await bench.sink.flush(10)
    assert len(slack.messages[CHANNEL]) == 1
    assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD
    assert bench.count("retried") == 3


@pytest.mark.parametrize(
    ("misbehaviour", "seconds"),
    [
        (Misbehaviour("limit", retry_after=37), 37),
        (Misbehaviour("error", code="ratelimited"), 30),
        (Misbehaviour("limit", retry_after=10**9), 600),
    ],
)
async def test_a_limit_holds_up_its_channel_alone(
    misbehaviour: Misbehaviour, seconds: int, slack: FakeSlack, token_file: Path
) -> None:
    """As long as Slack says, to the last digit; 30 s when it names no time; never for days."""
    bench = Bench(slack, token_file)
    slack.next(misbehaviour)
    async with bench.running():
        bench.sink.tell(incident("a", notify=("#busy",)))
        await slack.wait_for(lambda s: len(s.calls) == 1)
        bench.sink.tell(incident("b", notify=("#quiet",)))
        bench.sink.tell(incident("c", notify=("#busy",)))
        await slack.wait_for(lambda s: [len(thread) for thread in s.threads("#quiet")] == [1])
        left = bench.sink._channels.paused_until("#busy") - asyncio.get_running_loop().time()
    assert "#busy" not in slack.messages
    assert sum(arguments.get("channel") == "#busy" for _, arguments in slack.calls) == 1
    assert seconds - 5 < left <= seconds + 0.1


async def test_the_wait_doubles_with_jitter_and_starts_afresh_after_a_success(slack: FakeSlack, token_file: Path) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    bench = Bench(slack, token_file, sleep=note, backoff=1.0, backoff_most=8.0)
    slack.next(*[CUT] * 40)
    async with bench.running():
        bench.sink.tell(incident())
        assert await bench.sink.flush(10)
        slack.next(CUT)
        bench.sink.tell(healed()[1])
        assert await bench.sink.flush(10)
    assert all(0 <= seconds <= min(8, 2**number) for number, seconds in enumerate(waits[:40]))
    assert max(waits) > 4  # it does grow; 36 draws below 4 of 8 have a chance of 2^-36
    assert len(set(waits)) == 41
    assert waits[40] <= 1


async def test_slack_down_and_back_with_many_incidents_under_way(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    stories = [healed(f"incident-{number}") for number in range(20)]
    async with bench.running():
        for story in stories:
            bench.sink.tell(story[0])
        await slack.wait_for(lambda s: len(s.calls) >= 10)
        slack.down = True
        for moment in range(1, 6):
            for story in stories:
                bench.sink.tell(story[moment])
        tries = len(slack.calls)
        await slack.wait_for(lambda s: len(s.calls) >= tries + 5)
        assert not await bench.sink.flush(0)
        slack.down = False
        assert await bench.sink.flush(20)
    assert len(slack.messages[CHANNEL]) == 20
    assert [lines(thread) for thread in slack.threads(CHANNEL)] == [WHOLE_THREAD] * 20


async def test_nobody_listens_at_first(token_file: Path) -> None:
    slack = FakeSlack()
    bench = Bench(slack, token_file)
    with capture_logs() as logs:
        async with bench.running():
            bench.sink.tell(incident())
            while bench.count("retried") < 3:
                await asyncio.wait_for(bench.sink._served.wait(), 10)
                bench.sink._served.clear()
            async with slack:
                assert await bench.sink.flush(10)
    assert len(slack.messages[CHANNEL]) == 1
    assert [entry["event"] for entry in logs] == [
        "Slack cannot be reached; healing goes on, messages wait",
        "Slack answers again",
    ]  # once each, not once a try


async def test_a_refused_channel_is_said_once_and_holds_up_nobody(slack: FakeSlack, token_file: Path) -> None:
    slack.errors["#gone"] = "channel_not_found"
    bench = Bench(slack, token_file, reconsider=3600.0)
    bad, good = healed("bad", notify=("#gone",)), healed("good", notify=("#here",))
    with capture_logs() as logs:
        async with bench.running():
            for moment in range(6):
                bench.sink.tell(bad[moment])
                bench.sink.tell(good[moment])
                assert not await bench.sink.flush(10)  # says so, at once
    assert lines(slack.threads("#here")[0]) == WHOLE_THREAD
    (complaint,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert complaint["error"] == "channel_not_found"
    assert "invite the app" in complaint["hint"]
    assert complaint["channel"] == "#gone"
    assert bench.count("failed") == 1
    assert sum(arguments["channel"] == "#gone" for _, arguments in slack.calls) == 1


@pytest.mark.parametrize("code", ["is_archived", "channel_not_found", "not_in_channel", "restricted_action"])
async def test_what_a_channel_refuses_is_told_in_the_default_channel(code: str, slack: FakeSlack, token_file: Path) -> None:
    """A rule's channel was archived when the team moved: people must hear of the incident all the same, from beginning to end."""
    slack.errors["#moved"] = code
    bench = Bench(slack, token_file, reconsider=3600.0)
    story = healed(notify=("#moved",))
    with capture_logs():
        async with bench.running():
            for snapshot in story:
                bench.sink.tell(snapshot)
                await slack.wait_for(lambda s: len(s.threads("#default")) == 1)
                await bench.sink.flush(10)
            bench.sink.tell(incident("next", notify=("#moved",)))
            await slack.wait_for(lambda s: len(s.threads("#default")) == 2)
    assert lines(slack.threads("#default")[0]) == WHOLE_THREAD
    assert f"Slack refuses the rule's channel: #moved ({code})" in slack.messages["#default"][0].text
    assert bench.usable("#moved") == 0
    assert bench.usable("#default") == 1


async def test_a_channel_that_takes_messages_again_needs_nobody_to_stand_in(slack: FakeSlack, token_file: Path) -> None:
    slack.errors["#moved"] = "is_archived"
    bench = Bench(slack, token_file)
    with capture_logs():
        async with bench.running():
            bench.sink.tell(incident("first", notify=("#moved",)))
            await slack.wait_for(lambda s: len(s.messages.get("#default", [])) == 1)
            del slack.errors["#moved"]
            await slack.wait_for(lambda s: [len(thread) for thread in s.threads("#moved")] == [1])
            bench.sink.tell(incident("second", notify=("#moved",)))
            assert await bench.sink.flush(10)
    assert len(slack.messages["#default"]) == 1
    assert bench.usable("#moved") == 1


async def test_a_token_that_slack_refuses_is_no_matter_of_a_channel(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file, reconsider=3600.0)
    slack.token = "xoxb-another"
    with capture_logs():
        async with bench.running():
            bench.sink.tell(incident(notify=("#one",)))
            assert not await bench.sink.flush(10)
    assert [arguments["channel"] for _, arguments in slack.calls] == ["#one"]


async def test_a_check_finds_what_would_keep_messages_from_people(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    slack.joined = {"#default", "#here", "#old"}
    slack.errors["#old"] = "is_archived"
    assert await bench.sink.check(["#here"]) == []
    found = await bench.sink.check(["#here", "#old", "#never"])
    assert [problem.split(",")[0] for problem in found] == ["Slack's app is not in #old", "Slack's app is not in #never"]
    slack.scopes = {"channels:read"}
    (lacking,) = await bench.sink.check(["#here"])
    assert "lacks the scope chat:write" in lacking
    slack.token = "xoxb-another"
    (refused,) = await bench.sink.check(["#here"])
    assert refused.startswith("Slack refuses healer's token (invalid_auth)")
    assert "xoxb" not in refused.replace("(xoxb-...)", "")


async def test_a_check_says_nothing_of_channels_that_it_cannot_know(slack: FakeSlack, token_file: Path) -> None:
    """chat:write.public posts to any public channel; without channels:read nobody can say which were joined."""
    bench = Bench(slack, token_file)
    for scopes in ({"chat:write", "chat:write.public", "channels:read"}, {"chat:write"}):
        slack.scopes = scopes
        assert await bench.sink.check(["#anywhere"]) == []


async def test_once_the_cause_is_gone_everything_is_told_after_all(slack: FakeSlack, token_file: Path) -> None:
    slack.errors[CHANNEL] = "not_in_channel"
    bench = Bench(slack, token_file)
    with capture_logs() as logs:
        async with bench.running():
            for snapshot in healed():
                bench.sink.tell(snapshot)
            await slack.wait_for(lambda s: len(s.calls) >= 3)
            del slack.errors[CHANNEL]
            await slack.wait_for(lambda s: len(s.threads(CHANNEL)) == 1 and len(lines(s.threads(CHANNEL)[0])) == 6)
            assert await bench.sink.flush(10)
    assert [entry["error"] for entry in logs] == ["not_in_channel"]  # said once, whatever the number of tries
    assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD


async def test_a_rotated_token_is_used_without_a_restart(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    slack.token = "xoxb-new-token"
    with capture_logs() as logs:
        async with bench.running():
            bench.sink.tell(incident())
            await slack.wait_for(lambda s: len(s.calls) >= 1)
            await asyncio.to_thread(mount, token_file, slack.token)
            await slack.wait_for(lambda s: [len(thread) for thread in s.threads(CHANNEL)] == [1])
            assert await bench.sink.flush(10)
    (complaint,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert complaint["error"] == "invalid_auth"
    assert "xoxb-1" not in str(logs)
    assert "token" in complaint["hint"]


async def test_a_missing_token_file_is_said_and_healed_by_mounting_it(slack: FakeSlack, tmp_path: Path) -> None:
    token_file = tmp_path / "later"
    bench = Bench(slack, token_file)
    with capture_logs() as logs:
        async with bench.running():
            bench.sink.tell(incident())
            assert not await bench.sink.flush(10)
            assert slack.calls == []
            await asyncio.to_thread(mount, token_file, TOKEN)
            await slack.wait_for(lambda s: [len(thread) for thread in s.threads(CHANNEL)] == [1])
            assert await bench.sink.flush(10)
    assert [entry["error"] for entry in logs if entry["log_level"] == "error"] == ["no_token"]


async def test_when_a_message_cannot_be_edited_its_thread_goes_on(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    story = healed()
    async with bench.running():
        bench.sink.tell(story[0])
        assert await bench.sink.flush(10)
        slack.next(Misbehaviour("error", code="edit_window_closed"))
        for snapshot in story[1:]:
            bench.sink.tell(snapshot)
        assert await bench.sink.flush(10)
    assert slack.messages[CHANNEL][0].edits == []
    assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD


async def test_blocks_that_slack_dislikes_are_left_out(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    slack.next(Misbehaviour("error", code="invalid_blocks"))
    async with bench.running():
        for snapshot in healed():
            bench.sink.tell(snapshot)
        assert await bench.sink.flush(10)
    (message,) = slack.messages[CHANNEL]
    assert message.blocks == []
    assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD


async def test_memory_is_bounded_and_what_is_told_goes_first(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file, capacity=3)
    async with bench.running():
        bench.sink.tell(incident("told"))
        bench.sink.tell(healed("closed")[-1])
        assert await bench.sink.flush(10)
        slack.down = True
        for name in ("new", "newer"):
            bench.sink.tell(incident(name))
        assert [key for key, _ in bench.sink._threads.known] == ["told", "new", "newer"]
        for name in ("newest", "latest"):
            bench.sink.tell(incident(name))
        assert [key for key, _ in bench.sink._threads.known] == ["newer", "newest", "latest"]
        slack.down = False
        assert await bench.sink.flush(10)
    assert bench.count("dropped") == 1
    assert len(slack.messages[CHANNEL]) == 5


async def test_a_history_whose_oldest_lines_were_cut_off_is_continued(slack: FakeSlack, token_file: Path) -> None:
    bench = Bench(slack, token_file)
    story = healed()
    async with bench.running():
        bench.sink.tell(story[2])
        assert await bench.sink.flush(10)
        bench.sink.tell(replace(story[4], history=story[4].history[2:]))
        assert await bench.sink.flush(10)
        bench.sink.tell(replace(story[5], history=story[5].history[5:]))
        assert await bench.sink.flush(10)
    assert lines(slack.threads(CHANNEL)[0]) == WHOLE_THREAD
