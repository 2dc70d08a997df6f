"""What healer leaves for those who ask later: lines of the audit, Events on the objects, and conditions to wait for."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from healer.lab import Lab
from healer.lab.apiserver.api import DeleteOptions
from healer.lab.kinds import POD
from healer.model.annotations import UNDONE_BY
from healer.model.event import REPORTER
from healer.settings.sections import JournalSettings
from tests.integration.conftest import Run
from tests.integration.test_scale import resolved, slow
from tests.integration.world import CRASH_LOOP, LAB_TOKEN, NAMESPACE, evictions, patch, rule, ruleset, serve, serves, uid
from tests.seams.house import house
from tests.support.healer import Healer, environment, verb
from tests.support.kustomize import KUBECTL
from tests.support.processes import PATIENCE

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]


def audited(healer: Healer, what: str) -> list[Object]:
    """The lines of the audit about this."""
    return healer.find("audit", what=what, logger="healer.audit")


def events(lab: Lab) -> list[Object]:
    """The Events that healer has posted, as the API stores them."""
    return [each for each in lab.objects("events") if each.get("reportingComponent") == REPORTER]


async def said(lab: Lab, reason: str, number: int = 1) -> list[Object]:
    """Those of one reason, once there are so many."""

    def found(lab: Lab) -> list[Object]:
        return [each for each in events(lab) if each["reason"] == reason]

    await lab.wait_for(lambda lab: len(found(lab)) >= number, PATIENCE)
    return found(lab)


def conditions(lab: Lab) -> dict[str, str]:
    """Those of the one incident."""
    found = [
        each for incident in lab.objects("incidents.healer.dev") for each in incident.get("status", {}).get("conditions", ())
    ]
    return {each["type"]: each["status"] for each in found}


async def test_an_action_leaves_a_line_and_events_on_the_pod_and_its_workload(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    lost = uid(lab, sick)
    healer = await run(ruleset(CRASH_LOOP))
    await lab.behave(NAMESPACE, sick, "crash")
    line = await healer.says("audit", what="evict", outcome="done")
    await lab.wait_for(lambda lab: len(events(lab)) == 2, PATIENCE)
    assert evictions(lab) == [sick]
    assert line["target"] == {"kind": "Pod", "namespace": NAMESPACE, "name": sick, "uid": lost}
    assert line["workload"]["name"] == "tensorflow-serving"
    assert line["who"].startswith("healer 0.")
    assert "CrashLoop" in line["why"]
    assert (line["rule"], line["reason"], line["dry_run"]) == ("test/crash-loop", "Evicted", False)
    assert line["before"] == {"ready": 2, "desired": 3}
    assert audited(healer, "evict") == [line], "one line for one action"
    on_pod, on_workload = sorted(events(lab), key=lambda each: each["involvedObject"]["kind"] != "Pod")
    assert (on_pod["involvedObject"]["name"], on_pod["involvedObject"]["uid"]) == (sick, lost)
    assert on_workload["involvedObject"]["kind"] == "Deployment"
    for event in (on_pod, on_workload):
        assert (event["type"], event["reason"], event["action"]) == ("Normal", "Evicted", "evict")
        assert f"pod/{sick} is evicted" in event["message"]
        assert "because CrashLoop" in event["message"]
        assert event["related"]["name"] == line["incident"]


async def test_a_dry_run_leaves_a_line_and_no_event(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    before = uid(lab, sick)
    healer = await run(ruleset(CRASH_LOOP | {"mode": "observe"}))
    await lab.behave(NAMESPACE, sick, "crash")
    line = await healer.says("audit", what="evict")
    assert (line["dry_run"], line["reason"]) == (True, "WouldEvict")
    await healer.says("incident verifying")
    assert (events(lab), uid(lab, sick)) == ([], before)


async def test_an_approval_leaves_a_line_with_the_person(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]
) -> None:
    sick, *_ = await serve(lab)
    healer = await run(ruleset(CRASH_LOOP | {"mode": "approve"}))
    await lab.behave(NAMESPACE, sick, "crash")
    waiting = await healer.says("incident waiting", reason="NeedsApproval")
    arguments = ("approve", waiting["incident"], "-n", NAMESPACE, "--by", "alice")
    code, printed = await verb(*arguments, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
    assert code == 0, printed
    await healer.says("incident healed")
    (line,) = audited(healer, "approve")
    assert (line["who"], line["approves"], line["outcome"], line["incident"]) == ("alice", "evict", "done", waiting["incident"])
    assert (line["before"], line["after"] != "waiting", "CrashLoop" in line["why"]) == ("waiting", True, True)
    (event,) = await said(lab, "Approved")
    assert (event["involvedObject"]["kind"], event["type"]) == ("Deployment", "Normal")
    assert event["message"].startswith("healer: alice approved evict, because CrashLoop")


async def test_what_is_taken_back_and_an_undo_of_what_is_closed_leave_lines_and_events(lab: Lab, run: Run) -> None:
    """The undo is what `healer undo` writes when it is done."""
    await serve(lab)
    step = {"scale": {"by": 2, "max": 5, "keepFor": "0s"}, "verify": {"within": "30s", "stable": "300ms"}}
    brief = rule("busy", when={"alert": ["HighLatency"]}, heal=[step], limits={"cooldown": "1s"})
    healer, firing = await run(ruleset(brief)), slow()
    await healer.post(firing)
    await lab.wait_for(serves(5), PATIENCE)
    await healer.post(resolved(firing))
    back = await healer.says("audit", what="take back scale")
    (before,), (after,) = back["before"].values(), back["after"].values()
    assert (before, after, back["outcome"], back["why"]) == ("5", "3", "TakenBack", "the incident is healed")
    (event,) = await said(lab, "TakenBack")
    assert "replicas of deployment/tensorflow-serving: 5 -> 3, because the incident is healed" in event["message"]

    await healer.says("incident closed", incident=back["incident"])
    place = f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/incidents/{back['incident']}"
    await patch(lab, place, {"metadata": {"annotations": {UNDONE_BY: "alice"}}})
    line = await healer.says("audit", what="undo")
    assert (line["who"], line["before"], line["after"], line["incident"]) == ("alice", "closed", "closed", back["incident"])
    (event,) = await said(lab, "Undone")
    assert event["message"].startswith("healer: alice has undone what healer did")


async def test_an_action_whose_end_nobody_saw_leaves_its_line_after_the_restart(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path], rules_folder: Path
) -> None:
    """healer is killed while its eviction is under way; the pod is gone when the next one looks."""
    sick, *_ = await serve(lab, min_available=None)
    (rules_folder / "0.yaml").write_text(ruleset(CRASH_LOOP), "utf-8")
    eviction = lab.faults.delay(600, verb="create", resource="pods/eviction")
    async with Healer(["--rules", str(rules_folder)], environment(tmp_path, settings)) as killed:
        await killed.says("healer is ready")
        await lab.behave(NAMESPACE, sick, "crash")
        await eviction.used()
        lost = uid(lab, sick)
        killed.send(signal.SIGKILL)
        assert await killed.ended() == -signal.SIGKILL
    lab.faults.clear()
    lab.api.delete(POD, NAMESPACE, sick, DeleteOptions(uid=lost))
    await lab.wait_for(serves(3, without=lost), PATIENCE)
    next_one = await run(ruleset(CRASH_LOOP))
    line = await next_one.says("audit", what="evict")
    assert (line["outcome"], line["reason"], line["before"]) == ("done", "FoundDone", {})
    assert line["target"] == {"kind": "Pod", "namespace": NAMESPACE, "name": sick, "uid": lost}
    assert "CrashLoop" in line["why"]
    kinds = {each["involvedObject"]["kind"] for each in await said(lab, "FoundDone", 2)}
    assert kinds == {"Pod", "Deployment"}


async def test_healers_own_events_are_no_signal(lab: Lab, run: Run) -> None:
    """A rule on the reason of healer's own Events would otherwise feed itself."""
    sick, *_ = await serve(lab)
    feeds = rule("feeds-itself", when={"event": {"reasons": ["Evicted"], "type": "Normal"}})
    healer = await run(ruleset(CRASH_LOOP, feeds))
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident healed", rule="test/crash-loop")
    await lab.wait_for(lambda lab: len(events(lab)) == 2, PATIENCE)
    assert healer.find("open", rule="test/feeds-itself") == []
    assert evictions(lab) == [sick]


async def test_kubectl_can_wait_for_the_healing(tmp_path: Path) -> None:
    """The lab of this test has no token: kubectl sends none without TLS."""
    async with Lab(time_scale=0.02) as lab:
        await lab.apply_yaml((ROOT / "deploy" / "healer" / "crd.yaml").read_text("utf-8"))
        sick, *_ = await serve(lab)
        kept = JournalSettings(kind="kubernetes")
        async with house(lab, tmp_path, CRASH_LOOP | {"mode": "approve"}, journal=kept):
            await lab.behave(NAMESPACE, sick, "crash")
            asks = {"Healed": "False", "NeedsHuman": "True", "Closed": "False"}
            await lab.wait_for(lambda lab: conditions(lab) == asks, PATIENCE)
            (incident,) = lab.objects("incidents.healer.dev")
            name = f"incidents.healer.dev/{incident['metadata']['name']}"
            waits = await kubectl(tmp_path, "wait", "--for=condition=Healed", "--timeout=60s", name)
            approves = await kubectl(tmp_path, "annotate", name, "healer.dev/approved-by=alice")
            assert await approves.wait() == 0
            printed, _ = await waits.communicate()
    assert waits.returncode == 0
    assert b"condition met" in printed


async def kubectl(home: Path, *arguments: str) -> asyncio.subprocess.Process:
    """The kubectl that the lock pins, in the namespace of the workloads."""
    command = (str(KUBECTL), "--kubeconfig", str(home / "kubeconfig"), "--namespace", NAMESPACE, *arguments)
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def test_a_pause_and_its_end_leave_events_that_name_the_user(
    lab: Lab, tmp_path: Path, settings: dict[str, str | Path]
) -> None:
    """As the API server knows the user. Whoever may not create Events pauses all the same."""
    await serve(lab)
    lab.reviews.add_token(LAB_TOKEN, "oidc:alice@example.com")
    on = ("deployment/tensorflow-serving", "-n", NAMESPACE)
    for verb_, more in (("pause", ("--reason", "load test")), ("resume", ())):
        code, printed = await verb(verb_, *on, *more, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
        assert (code, "note:" in printed) == (0, False), printed
    notes = {each["reason"]: (each["involvedObject"]["kind"], each["message"]) for each in events(lab)}
    by = "by oidc:alice@example.com"
    assert notes == {
        "Paused": ("Deployment", f"healer: paused {by}: load test"),
        "Resumed": ("Deployment", f"healer: goes on {by}"),
    }
    lab.forbid("create", "events")
    code, printed = await verb("pause", *on, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
    assert (code, "note: no Event says so on deployment/tensorflow-serving" in printed) == (0, True), printed
