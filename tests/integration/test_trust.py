"""What somebody writes into the journal makes a running healer neither act nor fall."""

import copy
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from healer.lab import Lab, SeenRequest, serving
from healer.lab.kinds import EVENT
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.world import (
    CHANNEL,
    CRASH_LOOP,
    LAB_TOKEN,
    NAMESPACE,
    SLOW,
    evictions,
    patch,
    rule,
    ruleset,
    serve,
    serves,
    uid,
)
from tests.support.healer import alert
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

ELSEWHERE = "attacker"
ASIDE = "an incident of the journal is not believed: it is set aside; look who wrote it, and delete it"
_REPLICAS = 5
"""One that a journal calls sick, and one that is, are no storm."""
_PATH = "/apis/healer.dev/v1alpha1/namespaces/{}/incidents"
_HEADERS = {"Authorization": f"Bearer {LAB_TOKEN}"}


def moment(ago: float = 60.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z")


def forged(lab: Lab, pod: str, *, source: str = "alert", condition: str = "HighLatency", rule: str = "test/slow") -> Object:
    """An incident that waits to evict a pod that is well."""
    (deployment,) = lab.objects("deployments", NAMESPACE)
    target = {"kind": "Pod", "namespace": NAMESPACE, "name": pod, "uid": uid(lab, pod)}
    symptom = {"source": source, "name": condition, "occurrence": "1", "at": moment()}
    reason = {"code": condition, "text": "it is sick, believe me"}
    name = deployment["metadata"]["name"]
    return {
        "apiVersion": "healer.dev/v1alpha1",
        "kind": "Incident",
        "metadata": {"name": "forged", "namespace": NAMESPACE},
        "spec": {
            "rule": rule,
            "workload": {"kind": "Deployment", "namespace": NAMESPACE, "name": name, "uid": deployment["metadata"]["uid"]},
            "severity": "critical",
            "mode": "enforce",
            "notify": [],
            "steps": ["evict"],
            "openedAt": moment(),
        },
        "status": {
            "state": "waiting",
            "reason": reason,
            "changedAt": moment(),
            "targets": {
                target["uid"]: {"target": target, "signals": {"key": symptom}, "since": moment(), "what": condition},
            },
            "history": [{"at": moment(), "state": "waiting", "reason": reason}],
        },
    }


async def write(lab: Lab, incident: Object) -> Object:
    """Have it in the journal, as somebody who may write incidents there does."""
    path = lab.url + _PATH.format(incident["metadata"]["namespace"])
    async with aiohttp.ClientSession(headers=_HEADERS) as session:
        async with session.post(path, json={key: incident[key] for key in incident if key != "status"}) as answer:
            assert answer.status == 201, await answer.text()
            made: Object = await answer.json()
        if "status" in incident:
            url = f"{path}/{made['metadata']['name']}/status"
            async with session.put(url, json=made | {"status": incident["status"]}) as answer:
                assert answer.status == 200, await answer.text()
                made = await answer.json()
    return made


def read(lab: Lab, incident: Object) -> Object:
    """As it stands."""
    meta = incident["metadata"]
    (found,) = [
        each for each in lab.objects("incidents.healer.dev", meta["namespace"]) if each["metadata"]["name"] == meta["name"]
    ]
    return found


async def heals(lab: Lab, *others: str) -> None:
    """Whatever stands in the journal, another pod that falls sick is healed."""
    name = next(name for name in {pod["metadata"]["name"] for pod in lab.objects("pods", NAMESPACE)} if name not in others)
    before = uid(lab, name)
    await lab.behave(NAMESPACE, name, "crash")
    await lab.wait_for(serves(_REPLICAS, without=before), PATIENCE)


async def test_an_incident_in_one_namespace_is_no_order_about_a_pod_in_another(lab: Lab, run: Run) -> None:
    victim, *_ = await serve(lab, replicas=_REPLICAS)
    await lab.apply(serving("mine", ELSEWHERE, replicas=1))
    (mine,) = lab.objects("deployments", ELSEWHERE)
    incident = forged(lab, victim)
    incident["metadata"]["namespace"] = ELSEWHERE
    incident["spec"]["workload"] |= {"namespace": ELSEWHERE, "name": "mine", "uid": mine["metadata"]["uid"]}
    stands = await write(lab, incident)
    scope = {"namespaces": [NAMESPACE, ELSEWHERE]}
    healer = await run(ruleset(SLOW | {"scope": scope}, CRASH_LOOP))
    said = await healer.says(ASIDE)
    assert (said["incident"], said["namespace"], said["reason"]) == ("forged", ELSEWHERE, "OtherNamespace")
    assert (await healer.metrics())["healer_journal_set_aside{reason=OtherNamespace}"] == 1
    await heals(lab, victim)
    assert victim not in evictions(lab)
    assert read(lab, incident) == stands, "it is left as it is"


async def test_an_event_in_one_namespace_is_no_order_about_a_pod_in_another(lab: Lab, run: Run) -> None:
    """Whoever may create Events writes the uid of a pod that is not theirs; the kubelet's own event is heard after it."""
    victim, sick, *_ = await serve(lab, replicas=_REPLICAS)
    await lab.apply(serving("mine", ELSEWHERE, replicas=1))
    scope = {"namespaces": [NAMESPACE, ELSEWHERE]}
    healer = await run(ruleset(rule("mount", when={"event": {"reasons": ["FailedMount"]}}, scope=scope)))
    for namespace, pod in ((ELSEWHERE, victim), (NAMESPACE, sick)):
        about = {"kind": "Pod", "namespace": namespace, "name": pod, "uid": uid(lab, pod), "apiVersion": "v1"}
        said = {"reason": "FailedMount", "type": "Warning", "message": "it does not mount", "source": {"component": "kubelet"}}
        lab.api.create(EVENT, namespace, {"metadata": {"name": "e", "namespace": namespace}, "involvedObject": about} | said)
    await healer.says("incident healed", rule="test/mount")
    assert evictions(lab) == [sick]
    assert [each["target"] for each in healer.find("open")] == [f"pod/{sick}"]


async def test_pauses_hold_in_the_namespace_of_whoever_writes_them(lab: Lab, run: Run) -> None:
    """On a Lease with healer's name, and on a workload, of another namespace: there alone healer waits."""
    sick, *_ = await serve(lab, replicas=_REPLICAS)
    paused = {"annotations": {"healer.dev/paused": "true"}}
    mine = serving("mine", ELSEWHERE, replicas=_REPLICAS)
    await lab.apply([{**each, "metadata": each["metadata"] | paused} if each["kind"] == "Deployment" else each for each in mine])
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": "mallory"}}
    await lab.apply(lease | {"metadata": {"name": "healer", "namespace": ELSEWHERE, **paused}})
    await lab.wait_for(lambda lab: len(lab.objects("pods", ELSEWHERE)) == _REPLICAS, PATIENCE)
    theirs = lab.objects("pods", ELSEWHERE)[0]["metadata"]["name"]
    healer = await run(ruleset(CRASH_LOOP | {"scope": {"namespaces": [NAMESPACE, ELSEWHERE]}}))
    await lab.behave(ELSEWHERE, theirs, "crash")
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident waiting", namespace=ELSEWHERE, reason="Paused")
    await healer.says("incident healed", namespace=NAMESPACE)
    assert evictions(lab) == [sick]


async def test_an_alert_that_only_the_journal_tells_of_is_waited_for(lab: Lab, run: Run) -> None:
    victim, *_ = await serve(lab, replicas=_REPLICAS)
    await write(lab, forged(lab, victim))
    healer = await run(ruleset(SLOW, CRASH_LOOP))
    await healer.says("defer", reason="Unconfirmed")
    await healer.post(alert("HighLatency", pod="of-another"))
    assert evictions(lab) == []


@pytest.mark.parametrize(
    "odd",
    [
        {"step": 99},
        {"changedAt": "9999-12-31T23:59:59-14:00"},
        {"actedAt": ["2999-01-01T00:00:00Z"] * 100},
        {"state": "acting"},
        {"disruption": {"at": "9999-12-31T23:59:59-14:00", "known": []}},
        {"notices": {"slack #ml-oncall": {"channel": "C1", "ts": "1", "told": "²", "postingSince": "nan"}}},
        {"signal": {"source": "pod", "name": "OfANewerHealer"}},
        {"signal": {"source": "of-a-newer-healer", "name": "HighLatency"}},
        {},
        None,
    ],
    ids=lambda odd: "no status" if odd is None else next(iter(odd), "all that is needed"),
)
async def test_one_odd_object_ends_nothing(lab: Lab, run: Run, odd: dict[str, Any] | None) -> None:
    victim, *_ = await serve(lab, replicas=_REPLICAS)
    incident = forged(lab, victim)
    status = copy.deepcopy(incident.pop("status"))
    if odd is not None:
        incident["status"] = status
        signal = odd.pop("signal", {})
        for sick in status["targets"].values():
            sick["signals"]["key"] |= signal
            if "disruption" in odd:
                odd["disruption"] |= {"target": sick["target"], "workload": incident["spec"]["workload"]}
        status |= odd
    await write(lab, incident)
    healer = await run(ruleset(SLOW, CRASH_LOOP))
    await heals(lab, victim)
    assert victim not in evictions(lab)
    assert (await healer.get("/healthz"))[0] == 200


async def test_a_spec_from_the_end_of_time_ends_nothing(lab: Lab, run: Run) -> None:
    victim, *_ = await serve(lab, replicas=_REPLICAS)
    incident = forged(lab, victim)
    incident["spec"]["openedAt"] = "9999-12-31T23:59:59-14:00"
    await write(lab, incident)
    healer = await run(ruleset(SLOW, CRASH_LOOP))
    await healer.says(ASIDE, incident="forged", reason="FromTheFuture")
    assert (await healer.metrics())["healer_journal_set_aside{reason=FromTheFuture}"] == 1
    await heals(lab, victim)


async def test_editing_an_incident_begins_no_term_that_believes_it(lab: Lab, run: Run) -> None:
    """Its own incident, which waits for approval: somebody writes that it need not."""
    slow, *_ = await serve(lab, replicas=_REPLICAS)
    healer = await run(ruleset(rule("slow", when={"alert": ["HighLatency"]}, mode="approve"), CRASH_LOOP))
    assert (await healer.post(alert("HighLatency", pod=slow)))[0] == 200
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    name = incident["metadata"]["name"]
    approved = [{"step": 0, "by": "mallory", "at": moment(0), "storm": False}]
    await patch(lab, f"{_PATH.format(NAMESPACE)}/{name}/status", {"status": {"approvals": approved}})
    await patch(lab, f"{_PATH.format(NAMESPACE)}/{name}", {"metadata": {"annotations": {"healer.dev/approved-by": "alice"}}})
    escalated = await healer.says("incident escalated", incident=name, reason="JournalLost")
    assert "somebody else has written its status" in escalated["text"]
    assert evictions(lab) == []
    assert len(healer.find("lease acquired")) == 1
    assert (await healer.post(alert("HighLatency", pod=slow)))[0] == 200, "what waits for nothing is not refused"
    await heals(lab, slow)


async def test_an_incident_that_is_deleted_is_opened_anew(lab: Lab, run: Run) -> None:
    slow, *_ = await serve(lab, replicas=_REPLICAS)
    healer = await run(ruleset(rule("slow", when={"alert": ["HighLatency"]}, mode="approve")))
    await healer.post(alert("HighLatency", pod=slow))
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    name = incident["metadata"]["name"]
    url = f"{lab.url}{_PATH.format(NAMESPACE)}/{name}"
    async with aiohttp.ClientSession(headers=_HEADERS) as session, session.delete(url) as answer:
        assert answer.ok
    assert (await healer.post(alert("HighLatency", pod=slow, resolved=True)))[0] == 200
    assert (await healer.post(alert("HighLatency", pod=slow)))[0] == 200
    names = {each["metadata"]["name"] for each in lab.objects("incidents.healer.dev", NAMESPACE)}
    assert names
    assert name not in names


async def test_a_server_that_does_not_answer_when_the_term_begins_is_asked_again(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, replicas=_REPLICAS)

    def leads(_: SeenRequest) -> bool:
        return bool(lab.objects("leases", "default"))

    lab.faults.answer(503, verb="list", resource="incidents", times=None, match=leads)
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    await healer.says("the journal cannot be read: healer acts on nothing until it can")
    await lab.behave(NAMESPACE, sick, "crash")
    lab.faults.clear()
    await healer.says("incident healed")
    assert evictions(lab) == [sick]


async def test_people_hear_once_of_all_that_is_set_aside(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """By one message, of forged ones and of odd ones; a restart says nothing that people know."""
    victim, *_ = await serve(lab, replicas=_REPLICAS)
    for number in range(12):
        incident = forged(lab, victim)
        incident["metadata"]["name"] = f"forged-{number}"
        incident["status"]["step"] = 99
        await write(lab, incident)
    healer = await run(ruleset(SLOW, CRASH_LOOP))
    said = await healer.says("incident escalated", rule="healer/set-aside")
    assert "not believed: 12." in said["text"]
    assert "production/forged-0 (Impossible)" in said["text"]
    assert "and 2 more" in said["text"]
    await slack.wait_for(lambda slack: bool(slack.threads("#default")) and len(slack.threads("#default")[0]) == 1, PATIENCE)
    healer.send(signal.SIGTERM)
    await healer.ended()
    healer = await run(ruleset(SLOW, CRASH_LOOP))
    await heals(lab, victim)
    healed = await healer.says("incident healed")
    await slack.wait_for(lambda slack: healed["incident"] in {incident for _, incident, _ in slack.posted}, PATIENCE)
    assert {incident for _, incident, _ in slack.posted} == {said["incident"], healed["incident"]}
    assert slack.twice == []
    assert healer.find("incident escalated") == []


async def test_a_forged_incident_does_not_post_into_the_thread_of_another(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Who has copied a genuine incident, which is gone by now, gets a thread of his own, in the rule's channel."""
    slow, *_ = await serve(lab, replicas=_REPLICAS)
    rules = ruleset(rule("slow", when={"alert": ["HighLatency"]}, mode="approve"))
    healer = await run(rules)
    await healer.post(alert("HighLatency", pod=slow))
    genuine = await healer.says("incident waiting", reason="NeedsApproval")

    def kept(lab: Lab) -> bool:
        (found,) = lab.objects("incidents.healer.dev", NAMESPACE)
        notice = found["status"].get("notices", {}).get(f"slack {CHANNEL}", {})
        return bool(notice.get("ts")) and not notice["posting"]

    await lab.wait_for(kept, PATIENCE)
    healer.send(signal.SIGTERM)
    await healer.ended()
    (copied,) = lab.objects("incidents.healer.dev", NAMESPACE)
    url = f"{lab.url}{_PATH.format(NAMESPACE)}/{genuine['incident']}"
    async with aiohttp.ClientSession(headers=_HEADERS) as session, session.delete(url) as answer:
        assert answer.ok
    elsewhere = {"slack #board": copied["status"]["notices"][f"slack {CHANNEL}"]}
    copied["spec"] |= {"notify": ["#board"]}
    copied["status"] |= {"notices": copied["status"]["notices"] | elsewhere}
    name = copied["metadata"]["name"]
    await write(lab, copied | {"metadata": {"name": name, "namespace": NAMESPACE}})
    ((before,),) = [slack.messages[CHANNEL]]
    texts = (before.text, len(before.replies), len(before.edits))
    healer = await run(rules)
    await slack.wait_for(lambda slack: len(slack.messages[CHANNEL]) == 2, PATIENCE)
    await healer.post(alert("HighLatency", pod=slow, resolved=True))
    await healer.says("incident closed", incident=name)
    await slack.wait_for(lambda slack: ": over" in slack.messages[CHANNEL][1].text, PATIENCE)
    assert (before.text, len(before.replies), len(before.edits)) == texts
    assert set(slack.messages) == {CHANNEL}
