"""Buttons in Slack: who may press, what the verb does, who it was, gone for all; and no request that is not Slack's."""

import hashlib
import hmac
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from healer.model.incident import Incident, State
from healer.secret import SecretFile
from healer.sinks.commands import CommandRefused, PostRefused
from healer.sinks.memory import ProcessMemory
from healer.sinks.site import Site
from healer.sinks.slack.buttons import Press, parse_press
from healer.sinks.slack.interactions import INTERACTIONS, Interactions
from healer.sinks.slack.message import SlackForm, render
from healer.sinks.slack.settings import SlackSettings
from healer.sinks.slack.signature import BadSignature, check_signature
from tests.support.slack import APP_TOKEN, SIGNING_SECRET, FakeSlack, _problem
from tests.unit.sinks.incidents import incident, then
from tests.unit.sinks.story import CHANNEL, Bench

ANN, BOB = "U0ANN000000", "U0BOB000000"
GROUP = "S0GROUP0000"


class Commands:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.refuse = ""

    def _do(self, *asked: str) -> str:
        if self.refuse:
            raise CommandRefused(self.refuse)
        self.asked.append(asked)
        return f"done: {asked[0]} <now> & here"

    async def approve(self, namespace: str, name: str, by: str, shown: str = "", *, step: str = "") -> str:
        return self._do("approve", namespace, name, by, step)

    async def undo(self, namespace: str, name: str, by: str) -> str:
        return self._do("undo", namespace, name, by)

    async def pause(self, what: str, namespace: str, by: str, reason: str = "") -> str:
        return self._do("pause", what, namespace, by, reason)

    async def resume(self, what: str, namespace: str, by: str) -> str:
        return self._do("resume", what, namespace, by)

    async def explain(self, namespace: str, name: str) -> str:
        return self._do("explain", namespace, name)


def asking() -> Incident:
    """It waits for approval, and has rolled back before."""
    waiting = then(then(incident(), State.ACTING, "will roll back", step=1), State.WAITING, "a human must approve", step=1)
    return replace(waiting, mode="approve", asked_at=1002.0, acted_at=(1001.0,))


def bench(slack: FakeSlack, token_file: Path, memory: ProcessMemory | None = None, **more: Any) -> tuple[Bench, Commands]:
    app_token = token_file.with_name("app-token")
    app_token.write_text(APP_TOKEN)
    options: dict[str, Any] = {"app_token_file": app_token, "allow": f"{ANN},{GROUP}"} | more
    made = Bench(slack, token_file, memory, **options)
    commands = Commands()
    made.sink.use(commands)
    return made, commands


def shown(slack: FakeSlack) -> list[str]:
    """The texts of the buttons under the first message."""
    blocks = slack.messages[CHANNEL][0].blocks
    return [each["text"]["text"] for block in blocks if block["type"] == "actions" for each in block["elements"]]


def said(slack: FakeSlack) -> str:
    return str(slack.messages[CHANNEL][0].blocks)


async def test_each_button_does_what_its_verb_does_in_the_name_of_who_pressed(slack: FakeSlack, token_file: Path) -> None:
    made, commands = bench(slack, token_file)
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
        assert shown(slack) == ["Approve", "Pause", "Undo", "Explain"]
        assert ["confirm" in each for each in slack.messages[CHANNEL][0].blocks[-2]["elements"]] == [False, True, True, False]
        with capture_logs() as logs:
            for number, button in enumerate(("Approve", "Pause", "Undo", "Explain"), 1):
                await slack.press(CHANNEL, 0, button, ANN)
                await slack.wait_for(lambda s, number=number: len(s.whispers) == number)  # type: ignore[misc]
    by = f"slack:{ANN} (ann)"
    assert commands.asked == [
        ("approve", "production", "crash-loop-1", by, "1"),
        ("pause", "deployment/tensorflow-serving", "production", by, "incident crash-loop-1"),
        ("undo", "production", "crash-loop-1", by),
        ("explain", "production", "crash-loop-1"),
    ]
    assert slack.whispers[-1] == (ANN, "done: explain &lt;now&gt; &amp; here")
    presses = [entry for entry in logs if entry["event"] == "a person pressed a button in Slack"]
    assert [(entry["verb"], entry["by"], entry["outcome"]) for entry in presses] == [
        (verb, by, "done") for verb in ("approve", "pause", "undo", "explain")
    ]


async def test_what_was_pressed_is_gone_for_all_and_says_who(slack: FakeSlack, token_file: Path) -> None:
    made, _ = bench(slack, token_file)
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
        for button in ("Approve", "Pause", "Undo"):
            await slack.press(CHANNEL, 0, button, ANN)
        await slack.wait_for(lambda s: shown(s) == ["Resume", "Explain"])
        assert f"Approved by <@{ANN}> · Paused by <@{ANN}> · Undone by <@{ANN}>" in said(slack)
        await slack.press(CHANNEL, 0, "Resume", ANN)
        await slack.wait_for(lambda s: shown(s) == ["Pause", "Explain"])
        assert "Paused by" not in said(slack)


async def test_another_step_asks_for_approval_anew(slack: FakeSlack, token_file: Path) -> None:
    made, _ = bench(slack, token_file)
    async with made.running():
        first = replace(asking(), step=0)
        made.sink.tell(first)
        assert await made.sink.flush(10)
        await slack.press(CHANNEL, 0, "Approve", ANN)
        await slack.wait_for(lambda s: "Approve" not in shown(s))
        made.sink.tell(replace(then(first, State.WAITING, "a human must approve", step=1), asked_at=1010.0))
        await slack.wait_for(lambda s: "Approve" in shown(s))
    assert "Approved by" not in said(slack), "of the step before"


async def test_who_pressed_is_known_after_a_restart(slack: FakeSlack, token_file: Path) -> None:
    memory = ProcessMemory()
    made, _ = bench(slack, token_file, memory)
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
        await slack.press(CHANNEL, 0, "Pause", ANN)
        await slack.wait_for(lambda s: "Resume" in shown(s))
        assert await made.sink.flush(10)
    other, _ = bench(slack, token_file, memory)
    async with other.running():
        other.sink.resume(then(asking(), State.WAITING, "still", step=1))
        assert await other.sink.flush(10)
    assert len(slack.messages[CHANNEL]) == 1
    assert "Resume" in shown(slack)
    assert f"Paused by <@{ANN}>" in said(slack)


async def test_a_replica_that_does_not_tell_of_the_incident_edits_the_message_all_the_same(
    slack: FakeSlack, token_file: Path
) -> None:
    leader, _ = bench(slack, token_file)
    async with leader.running():
        leader.sink.tell(asking())
        assert await leader.sink.flush(10)
    follower, commands = bench(slack, token_file)
    async with follower.running():
        await slack.press(CHANNEL, 0, "Undo", ANN)
        await slack.wait_for(lambda s: shown(s) == ["Approve", "Pause", "Explain"])
    assert f"Undone by <@{ANN}>" in said(slack)
    assert len(commands.asked) == 1


async def test_nobody_else_may_press(slack: FakeSlack, token_file: Path) -> None:
    made, commands = bench(slack, token_file)
    slack.groups[GROUP] = []
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
        await slack.press(CHANNEL, 0, "Undo", BOB, "bob")
        await slack.wait_for(lambda s: len(s.whispers) == 1)
        del slack.groups[GROUP]
        await slack.press(CHANNEL, 0, "Undo", BOB, "bob")
        await slack.wait_for(lambda s: len(s.whispers) == 2)
    assert commands.asked == []
    assert [user for user, _ in slack.whispers] == [BOB, BOB]
    assert "you (U0BOB000000) are not allowed to" in slack.whispers[0][1]
    assert "Slack does not say who is in the user group S0GROUP0000 (no_such_subteam)" in slack.whispers[1][1]
    assert "Undo" in shown(slack)


async def test_a_button_of_another_clusters_healer_does_nothing_here(slack: FakeSlack, token_file: Path) -> None:
    """Two healers with one Slack app: Slack gives a press to either, and both have a deployment of that name."""
    there, _ = bench(slack, token_file)
    async with there.running():
        there.sink.tell(asking())
        assert await there.sink.flush(10)
    app_token = token_file.with_name("app-token")
    here = Bench(slack, token_file, site=Site(cluster="prod-eu-2"), app_token_file=app_token, allow=ANN)
    commands = Commands()
    here.sink.use(commands)
    async with here.running():
        await slack.press(CHANNEL, 0, "Pause", ANN)
        await slack.wait_for(lambda s: len(s.whispers) == 1)
    assert commands.asked == []
    assert "this button is of the healer of another cluster (without a name)" in slack.whispers[0][1]
    assert "Pause" in shown(slack)


async def test_a_member_of_a_group_that_is_allowed_may(slack: FakeSlack, token_file: Path) -> None:
    made, commands = bench(slack, token_file)
    slack.groups[GROUP] = [BOB]
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
        for number in (1, 2):
            await slack.press(CHANNEL, 0, "Explain", BOB)
            await slack.wait_for(lambda s, number=number: len(s.whispers) == number)  # type: ignore[misc]
    assert len(commands.asked) == 2
    assert sum(method == "usergroups.users.list" for method, _ in slack.calls) == 1, "and is not asked for each time"


async def test_what_cannot_be_done_is_told_to_who_pressed_and_the_button_stays(slack: FakeSlack, token_file: Path) -> None:
    made, commands = bench(slack, token_file)
    commands.refuse = "incident crash-loop-1 changed meanwhile"
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
        await slack.press(CHANNEL, 0, "Approve", ANN)
        await slack.wait_for(lambda s: len(s.whispers) == 1)
        assert await made.sink.flush(10)
    assert slack.whispers == [(ANN, "approve: incident crash-loop-1 changed meanwhile")]
    assert "Approve" in shown(slack)


async def test_slack_sends_the_connection_away_and_presses_go_on(slack: FakeSlack, token_file: Path) -> None:
    made, commands = bench(slack, token_file)
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
        await slack.wait_for(lambda s: bool(s._sockets))
        await slack.send_away()
        await slack.press(CHANNEL, 0, "Explain", ANN)
        await slack.wait_for(lambda s: len(s.whispers) == 1)
    assert len(commands.asked) == 1


async def test_without_people_who_may_there_are_no_buttons(slack: FakeSlack, token_file: Path) -> None:
    made, _ = bench(slack, token_file, allow="")
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
    assert shown(slack) == []
    assert all(method != "apps.connections.open" for method, _ in slack.calls)


def test_settings_that_make_no_buttons_are_said(tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert "nobody may press them" in SlackSettings(token_file=file, app_token_file=file).incomplete
    assert "no buttons to press" in SlackSettings(token_file=file, allow=ANN).incomplete
    assert SlackSettings(token_file=file, app_token_file=file, allow=ANN).incomplete == ""
    with pytest.raises(ValidationError, match="'ann' is no ID: write those of users"):
        SlackSettings(allow="ann")


def test_the_buttons_keep_slacks_limits() -> None:
    long = replace(asking(), id="x" * 253, workload=replace(asking().workload, name="n" * 253, namespace="m" * 63))
    message = render(long, "", SlackForm(buttons=True))
    assert _problem({"text": message.text, "blocks": list(message.blocks)}) == ""
    assert "actions" in [block["type"] for block in message.blocks]


# what Slack posts


def signed(body: bytes, at: float | None = None, secret: str = SIGNING_SECRET) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}


def test_the_signature_of_slacks_documentation() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
        b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
        b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d"
        b"10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    check_signature(SIGNING_SECRET, headers, body, 1531420618.0 + 299)
    with pytest.raises(BadSignature, match="too old"):
        check_signature(SIGNING_SECRET, headers, body, 1531420618.0 + 301)
    with pytest.raises(BadSignature, match="the signature is not"):
        check_signature(SIGNING_SECRET, headers, body + b"&", 1531420618.0)
    with pytest.raises(BadSignature, match="the signature is not"):
        check_signature(SIGNING_SECRET[:-1], headers, body, 1531420618.0)


@given(
    st.dictionaries(st.sampled_from(["x-slack-request-timestamp", "x-slack-signature"]), st.text(max_size=30)),
    st.binary(max_size=50),
)
def test_nothing_else_is_believed(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(BadSignature):
        check_signature(SIGNING_SECRET, headers, body, 1531420618.0)


async def test_what_slack_posts_is_taken_and_nothing_else(slack: FakeSlack, token_file: Path, tmp_path: Path) -> None:
    made, _ = bench(slack, token_file)
    async with made.running():
        made.sink.tell(asking())
        assert await made.sink.flush(10)
    payload = slack.payload(CHANNEL, 0, "Pause", ANN)
    secret = tmp_path / "signing"
    secret.write_text(SIGNING_SECRET)
    taken: list[Press] = []
    room = 1

    def take(press: Press) -> bool:
        taken.append(press)
        return len(taken) <= room

    interactions = Interactions(SecretFile(secret), take, time.time)

    async def post(body: bytes, headers: dict[str, str] | None = None) -> int:
        try:
            await interactions.receive(signed(body) if headers is None else headers, body)
        except PostRefused as error:
            return error.status
        return 200

    body = urlencode({"payload": json.dumps(payload)}).encode()
    assert await post(body) == 200
    assert [(press.verb, press.by) for press in taken] == [("pause", f"slack:{ANN} (ann)")]
    assert await post(body) == 503, "the queue is full"
    assert await post(body, signed(body, secret="another")) == 401
    assert await post(body, signed(body, time.time() - 400)) == 401
    assert await post(body, {}) == 401
    assert await post(b"payload=%7B") == 400
    assert await post(b"\xff") == 400
    assert await post(urlencode({"payload": "{}"}).encode()) == 400
    assert len(taken) == 2
    secret.unlink()
    assert await post(body) == 503


async def test_the_path_is_there_with_a_signing_secret_alone(slack: FakeSlack, token_file: Path) -> None:
    made, _ = bench(slack, token_file)
    assert made.sink.posts == {}
    made, _ = bench(slack, token_file, app_token_file=None, signing_secret_file=token_file)
    assert list(made.sink.posts) == [INTERACTIONS]


def test_a_payload_of_another_app_is_nobodys() -> None:
    other = {"type": "block_actions", "actions": [{"action_id": "other"}]}
    assert parse_press(other) is None
    payloads: tuple[Any, ...] = (
        None,
        [],
        {},
        {"type": "block_actions", "actions": []},
        {"type": "block_actions", "actions": [{"action_id": "healer_x", "value": "{"}], "user": {"id": "U"}},
    )
    for broken in payloads:
        with pytest.raises(ValueError, match="not a payload of a button"):
            parse_press(broken)
