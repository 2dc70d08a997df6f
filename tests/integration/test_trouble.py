"""healer when what it depends on fails, and when it is told to end."""

import signal

import aiohttp
import pytest

from healer.lab import Lab, SeenRequest, serving
from healer.lab.apiserver.api import DeleteOptions
from healer.lab.kinds import POD
from tests.integration.conftest import Run
from tests.integration.world import (
    CHANNEL,
    CRASH_LOOP,
    LAB_TOKEN,
    NAMESPACE,
    SLOW,
    evictions,
    pods,
    ruleset,
    serve,
    serves,
    told,
    uid,
)
from tests.support.healer import alert
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack


async def test_slack_away_delays_messages_and_nothing_else(lab: Lab, run: Run, slack: FakeSlack) -> None:
    sick, *_ = await serve(lab)
    slack.down = True
    healer = await run(ruleset(CRASH_LOOP))
    await lab.behave(NAMESPACE, sick, "crash")

    healed = await healer.says("incident healed")
    await healer.says("Slack cannot be reached; healing goes on, messages wait")
    status, health = await healer.get("/healthz")
    assert (status, health["ok"]) == (200, True)
    assert (await healer.get("/readyz"))[0] == 200
    assert slack.messages == {}

    slack.down = False
    await slack.wait_for(told("healed"), PATIENCE)
    assert len(slack.messages[CHANNEL]) == 1
    assert set(slack.posted.values()) == {1}
    assert len(slack.posted) == 1 + len(healer.lines_of(healed["incident"])), "every line, once"


def _away(lab: Lab) -> None:
    """Have the API server break off every connection and take no new one."""
    lab.faults.drop(times=None)
    lab.faults.end_watch(times=None)


async def test_a_pod_that_fell_sick_while_the_api_server_was_away_is_healed_afterwards(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    healer = await run(ruleset(CRASH_LOOP))
    before = uid(lab, sick)
    _away(lab)
    await healer.says("watch failed", kind="Pod")
    await lab.behave(NAMESPACE, sick, "crash")
    assert (await healer.get("/healthz"))[0] == 200, "a restart would not bring the API server back"

    lab.faults.clear()
    await healer.says("incident healed")
    assert evictions(lab) == [sick]
    assert serves(3, without=before)(lab)


async def test_an_action_that_meets_an_api_server_away_is_tried_again(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    healer = await run(ruleset(SLOW), HEALER_HTTP__ACCEPT_TIMEOUT="1")
    before, firing = uid(lab, sick), alert("HighLatency", pod=sick)
    _away(lab)
    status, _ = await healer.post(firing)
    assert status == 503, "what cannot be journaled is not taken: Alertmanager sends it again"
    assert evictions(lab) == []

    lab.faults.clear()
    assert (await healer.post(firing))[0] == 200
    await lab.wait_for(serves(3, without=before), PATIENCE)
    await healer.post(firing | {"status": "resolved"})
    await healer.says("incident healed")
    assert evictions(lab) == [sick]


async def test_an_incident_that_cannot_be_written_keeps_no_other_from_being_decided(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """One of a group is refused by a quota, as long as it fires: the group is taken, and for that one nothing is done."""
    elsewhere = "staging"
    await lab.apply(serving(namespace=elsewhere))
    sick, *_ = await serve(lab, min_available=None)
    await lab.wait_for(lambda lab: len(lab.objects("pods", elsewhere)) == 3, PATIENCE)
    other = lab.objects("pods", elsewhere)[0]["metadata"]["name"]
    said = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "exceeded quota: incidents"}
    lab.faults.answer(
        403, body=said, verb="create", resource="incidents", match=lambda seen: seen.namespace == elsewhere, times=None
    )
    healer = await run(ruleset(SLOW).replace(f"- {NAMESPACE}", "- '*'"), HEALER_SHUTDOWN="1s", HEALER_SLACK__PATIENCE="1s")
    firing = [alert("HighLatency", namespace=elsewhere, pod=other), alert("HighLatency", pod=sick)]

    assert (await healer.post(*firing))[0] == 200
    assert (await healer.post(*firing))[0] == 200, "and again"

    await healer.says("incident verifying", namespace=NAMESPACE)
    await healer.says("incident waiting", namespace=elsewhere, reason="NotJournaled")
    assert evictions(lab) == [sick]
    await slack.wait_for(lambda slack: len(slack.threads(CHANNEL)) == 2, PATIENCE)
    assert (await healer.metrics())["healer_journal_failures_total"] >= 1


async def test_an_incident_that_somebody_deletes_while_it_is_verified_is_closed(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    healer = await run(ruleset(SLOW))
    firing = alert("HighLatency", pod=sick)
    await healer.post(firing)
    verifying = await healer.says("incident verifying")
    incident = verifying["incident"]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {LAB_TOKEN}"}) as session:
        path = f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/incidents/{incident}"
        async with session.delete(f"{lab.url}{path}") as answer:
            assert answer.ok
    another = next(name for name in pods(lab) if name != sick)

    assert (await healer.post(firing, alert("HighLatency", pod=another)))[0] == 200

    closed = await healer.says("incident closed", incident=incident)
    assert closed["reason"] == "NotKept"
    assert (await healer.post(firing))[0] == 200


async def test_an_eviction_whose_answer_is_lost_is_looked_up_not_repeated(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    healer = await run(ruleset(SLOW))
    before, firing = uid(lab, sick), alert("HighLatency", pod=sick)

    def carried_out(seen: SeenRequest) -> bool:
        lab.api.delete(POD, NAMESPACE, seen.name, DeleteOptions(uid=before))
        return True

    lab.faults.drop(verb="create", resource="pods/eviction", match=carried_out)
    await healer.post(firing)
    waiting = await healer.says("incident waiting")
    assert waiting["reason"] == "NoAnswer"
    await healer.says("incident verifying")
    await lab.wait_for(serves(3, without=before), PATIENCE)
    await healer.post(firing | {"status": "resolved"})
    await healer.says("incident healed")
    assert evictions(lab) == [sick]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_healer_ends_well_when_told_to(number: signal.Signals, lab: Lab, run: Run) -> None:
    await serve(lab)
    healer = await run(ruleset(CRASH_LOOP))
    healer.send(number)
    assert await healer.ended() == 0


async def test_a_healer_that_has_not_seen_the_cluster_yet_ends_well_when_told_to(lab: Lab, run: Run) -> None:
    listing = lab.faults.delay(30, verb="list", resource="pods", times=None)
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    await listing.used()
    healer.send(signal.SIGTERM)
    assert await healer.ended() == 0


async def test_the_end_waits_for_the_action_under_way_and_for_slack(lab: Lab, run: Run, slack: FakeSlack) -> None:
    sick, *_ = await serve(lab)
    healer = await run(ruleset(SLOW))
    before = uid(lab, sick)
    eviction = lab.faults.delay(2, verb="create", resource="pods/eviction")
    await healer.post(alert("HighLatency", pod=sick))
    await eviction.used()

    healer.send(signal.SIGTERM)
    await healer.says("healer is stopping")
    status, answer = await healer.post(alert("HighLatency", pod="another"))
    assert status == 503, "Alertmanager sends it again, to the next healer"
    assert "stopping" in answer["error"]
    assert (await healer.get("/readyz"))[0] == 503

    assert await healer.ended() == 0
    assert healer.find("healer acts no more", actions_finished=True, all_told=True)
    await lab.wait_for(serves(3, without=before), PATIENCE)
    assert healer.find("incident verifying", reason="Evicted")
    assert told("verifying")(slack), "the last line is in Slack before the end"
    (message,) = slack.messages[CHANNEL]
    assert " is evicted; " in message.text, "and the message is up to date"


async def test_the_end_does_not_wait_for_ever(lab: Lab, run: Run, slack: FakeSlack) -> None:
    sick, *_ = await serve(lab)
    slack.down = True
    healer = await run(ruleset(SLOW), HEALER_SHUTDOWN="1")
    eviction = lab.faults.delay(30, verb="create", resource="pods/eviction")
    await healer.post(alert("HighLatency", pod=sick))
    await eviction.used()
    healer.send(signal.SIGTERM)
    assert await healer.ended() == 0
    assert healer.find("healer acts no more", actions_finished=False, all_told=False)


async def test_what_healer_may_not_see_yet_is_asked_for_again(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    await lab.behave(NAMESPACE, sick, "crash")
    lab.forbid("list", "pods")
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    failed = await healer.says("watch failed", kind="Pod")
    assert "forbidden" in failed["error"]
    assert (await healer.get("/readyz"))[0] == 503
    lab.allow("list", "pods")
    await healer.says("incident healed")
    assert evictions(lab) == [sick]
