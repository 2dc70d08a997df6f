"""What healer leaves for those who ask later: lines of the audit, Events on the objects, and conditions to wait for."""

import asyncio
from pathlib import Path
from typing import Any

from healer.lab import Lab
from healer.model.event import REPORTER
from healer.settings.sections import JournalSettings
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, evictions, rule, ruleset, serve, uid
from tests.seams.house import house
from tests.support.healer import Healer, verb
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
