"""A stranger in Slack, with the daemon: what a thread says of a crash loop, a storm and an escalation; and buttons that do it."""

import hashlib
import hmac
import json
import time
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from healer.lab import Lab
from healer.lab.kinds import POD
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.world import CHANNEL, CRASH_LOOP, NAMESPACE, evictions, ruleset, serve, told
from tests.support.processes import PATIENCE
from tests.support.slack import APP_TOKEN, SIGNING_SECRET, FakeSlack
from tests.support.slack import TOKEN as SLACK_TOKEN

pytestmark = pytest.mark.slow
ANN = "U0ANN000000"


def headline(slack: FakeSlack) -> str:
    return str(slack.messages[CHANNEL][0].blocks[0]["text"]["text"])


def thread(slack: FakeSlack) -> list[str]:
    """The lines of the only thread, without times."""
    (replies,) = slack.threads(CHANNEL)
    return [line.rpartition("> ")[2] for text in replies for line in text.split("\n") if "<!date" in line]


async def test_a_crash_loop_is_approved_by_a_button_and_the_thread_tells_all(
    lab: Lab, run: Run, slack: FakeSlack, tmp_path: Path
) -> None:
    sick, *_ = await serve(lab)
    (tmp_path / "app-token").write_text(APP_TOKEN)
    (tmp_path / "signing-secret").write_text(SIGNING_SECRET)
    healer = await run(
        ruleset(CRASH_LOOP | {"mode": "approve"}),
        HEALER_SLACK__APP_TOKEN_FILE=tmp_path / "app-token",
        HEALER_SLACK__SIGNING_SECRET_FILE=tmp_path / "signing-secret",
        HEALER_SLACK__ALLOW=ANN,
        HEALER_SLACK__MENTION="here",
    )
    await lab.behave(NAMESPACE, sick, "crash")
    waiting = await healer.says("incident waiting", reason="NeedsApproval")
    await slack.wait_for(told("waiting"), PATIENCE)
    assert slack.messages[CHANNEL][0].replies[-1].text.startswith("<!here> ")

    await slack.press(CHANNEL, 0, "Approve", "U0BOB000000", "bob")
    await slack.wait_for(lambda s: len(s.whispers) == 1, PATIENCE)
    assert "are not allowed to" in slack.whispers[0][1]
    assert evictions(lab) == []

    await slack.press(CHANNEL, 0, "Explain", ANN)
    await slack.wait_for(lambda s: len(s.whispers) == 2, PATIENCE)
    assert "next: " in slack.whispers[1][1]
    await slack.press(CHANNEL, 0, "Approve", ANN)
    await slack.wait_for(told("healed"), PATIENCE)
    assert evictions(lab) == [sick]
    (incident,) = lab.objects("incidents.healer.dev")
    assert [approval["by"] for approval in incident["status"]["approvals"]] == [f"slack:{ANN} (ann)"]
    audited = await healer.says("audit", what="approve")
    assert (audited["who"], audited["outcome"]) == (f"slack:{ANN} (ann)", "done")

    said = thread(slack)
    assert said[0].startswith(f"*Seen*: pod/{sick} is sick: CrashLoopBackOff")
    assert f"*Approved* (evict): approved by slack:{ANN} (ann)" in said
    assert any(line.startswith(f"*Done* (evict): pod/{sick} is evicted") for line in said), said
    assert said[-1].startswith("*Healed* (evict): deployment/tensorflow-serving is at its desired ready count")
    assert headline(slack).startswith(":white_check_mark: CrashLoopBackOff")
    assert f"Approved by <@{ANN}>" in str(slack.messages[CHANNEL][0].blocks)

    stamp, body = str(int(time.time())), urlencode({"payload": json.dumps(slack.payload(CHANNEL, 0, "Explain", ANN))})
    digest = hmac.new(SIGNING_SECRET.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    headers = {"X-Slack-Request-Timestamp": stamp, "Content-Type": "application/x-www-form-urlencoded"}
    url = f"{await healer.listens()}/slack/interactions"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=body, headers=headers | {"X-Slack-Signature": f"v0={digest}"}) as answer:
            assert answer.status == 200
        async with session.post(url, data=body, headers=headers | {"X-Slack-Signature": f"v0={digest[::-1]}"}) as answer:
            assert answer.status == 401
    await slack.wait_for(lambda s: len(s.whispers) == 4, PATIENCE)
    assert "healed" in slack.whispers[-1][1]
    assert waiting["incident"] == incident["metadata"]["name"]


async def test_the_last_words_of_a_container_are_told_once_and_redacted(lab: Lab, run: Run, slack: FakeSlack) -> None:
    sick, *_ = await serve(lab)
    await run(ruleset(CRASH_LOOP))
    ended = {"exitCode": 1, "reason": "Error", "message": f"OSError: no model at s3://models\ntoken={SLACK_TOKEN}\n"}
    waits = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}

    def crashed(obj: Object) -> None:
        status = {"ready": False, "restartCount": 3, "state": {"waiting": waits}, "lastState": {"terminated": ended}}
        obj["status"]["containerStatuses"][0] |= status

    await lab.behave(NAMESPACE, sick, "manual")
    lab.api.modify(POD, NAMESPACE, sick, crashed, subresource="status")
    await slack.wait_for(told("healed"), PATIENCE)
    broke = f"*Seen*: pod/{sick} is sick: CrashLoopBackOff: container tensorflow-serving crashed 4 times, last exit 1 (Error)"
    said = thread(slack)
    assert said[0].startswith(f"{broke}; it said: OSError: no model at s3://models token=[secret]")
    assert SLACK_TOKEN not in str(slack.messages)
    assert "\n".join(said).count("OSError") == 1
    assert headline(slack).endswith(f"last exit 1 (Error) on pod/{sick}"), "the headline is short"


async def test_a_storm_calls_a_human_where_no_step_acts(lab: Lab, run: Run, slack: FakeSlack) -> None:
    pods = await serve(lab)
    await run(ruleset(CRASH_LOOP), HEALER_SLACK__MENTION="S0123456789")
    for pod in pods:
        await lab.behave(NAMESPACE, pod, "crash")
    await slack.wait_for(
        lambda s: any(reply.broadcast for message in s.messages.get(CHANNEL, []) for reply in message.replies), PATIENCE
    )
    said = thread(slack)
    assert any("3 of 3 pods are sick at once, more than 50%" in line for line in said), said
    (message,) = slack.messages[CHANNEL]
    (alarm,) = [reply for reply in message.replies if reply.broadcast]
    assert alarm.text.startswith("<!subteam^S0123456789> ")
    assert "*A human is needed* (evict): 3 of 3 pods are sick at once" in alarm.text
    assert "healer does nothing more until fewer are sick, because no step acts on the workload\n" in alarm.text
    assert "`healer explain incident/" in alarm.text
    assert headline(slack).startswith(":rotating_light: 3 of 3 pods are sick at once")


async def test_what_nobody_could_heal_is_an_alarm_in_the_channel(lab: Lab, run: Run, slack: FakeSlack) -> None:
    sick, *_ = await serve(lab)
    heal = [{"evict": {}, "verify": {"within": "1s", "stable": "300ms"}}]
    healer = await run(ruleset(CRASH_LOOP | {"heal": heal}), HEALER_SLACK__MENTION="here", HEALER_ENGINE__MAX_WAIT="1")
    lab.forbid("create", "pods/eviction")
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident escalated")
    await slack.wait_for(told("escalated"), PATIENCE)
    (message,) = slack.messages[CHANNEL]
    (alarm,) = [reply for reply in message.replies if reply.broadcast]
    assert alarm.text.startswith("<!here> ")
    assert "*A human is needed* (evict)" in alarm.text
    assert "pods/eviction" in alarm.text, "why"
    assert headline(slack).startswith(":rotating_light: CrashLoopBackOff: container tensorflow-serving crashed")
