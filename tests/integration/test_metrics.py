"""What /metrics of a running healer shows in the trouble that a metric is for, and before."""

import asyncio
import signal
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.test_trust import forged, moment, write
from tests.integration.world import CRASH_LOOP, NAMESPACE, SLOW, patch, ruleset, serve
from tests.support.healer import Healer, alert, verb
from tests.support.processes import PATIENCE

ASKING = SLOW | {"mode": "approve"}
_INCIDENTS = f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/incidents"

Numbers = dict[str, float]


async def when(healer: Healer, holds: Callable[[Numbers], bool]) -> Numbers:
    """The first numbers of which that holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds(now := await healer.metrics()):  # noqa: ASYNC110 - another process tells nobody what it counts
            await asyncio.sleep(0.05)
        return now


def journal(numbers: Numbers) -> dict[str, float]:
    """What is counted of the journal, but how often it wrote."""
    names = ("failures_total", "conflicts_total", "unreadable_total", "objects")
    return {name: numbers[f"healer_journal_{name}"] for name in names}


async def test_the_version_that_runs_is_shown_before_it_leads(lab: Lab, run: Run, tmp_path: Path) -> None:
    """Of replicas that do not run the same one, each shows its own."""
    lab.faults.answer(503, resource="leases", times=None)
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    numbers = await healer.metrics()
    assert numbers[f"healer_build_info{{version={version('healer')}}}"] == 1
    assert len([name for name in numbers if name.startswith("healer_build_info")]) == 1
    assert numbers["healer_leader"] == 0
    assert (await verb("--version", home=tmp_path))[1].split()[-1] == version("healer")


async def test_one_replica_shows_that_it_leads_and_another_when_that_one_is_gone(lab: Lab, run: Run) -> None:
    leader = await run(ruleset(CRASH_LOOP))
    await when(leader, lambda now: now["healer_leader"] == 1)
    follower = await run()
    assert (await follower.metrics())["healer_leader"] == 0
    leader.send(signal.SIGTERM)
    await leader.ended()
    await when(follower, lambda now: now["healer_leader"] == 1)


async def test_nobody_shows_that_it_leads_when_the_lease_cannot_be_renewed(lab: Lab, run: Run) -> None:
    """The daemon lives on, and its probes stay green: the sum of the metric is what tells."""
    healer = await run(
        ruleset(CRASH_LOOP), HEALER_LEADER__DURATION="3s", HEALER_LEADER__DEADLINE="2s", HEALER_LEADER__RENEW="500ms"
    )
    await when(healer, lambda now: now["healer_leader"] == 1)
    lab.faults.answer(403, resource="leases", times=None)
    await when(healer, lambda now: now["healer_leader"] == 0)
    assert (await healer.get("/healthz"))[0] == 200
    lab.faults.clear()
    await when(healer, lambda now: now["healer_leader"] == 1)


async def test_rules_that_cannot_be_read_are_shown_for_as_long_as_they_cannot(lab: Lab, run: Run, rules_folder: Path) -> None:
    healer = await run(ruleset(CRASH_LOOP))
    before = await healer.metrics()
    assert before["healer_rules_last_reload_successful"] == 1
    (rules_folder / "0.yaml").write_text("kind: RuleSet", "utf-8")
    broken = await when(healer, lambda now: now["healer_rules_last_reload_successful"] == 0)
    at = "healer_rules_last_reload_success_timestamp_seconds"
    assert broken[at] == before[at], "of the rules that are in force"
    (rules_folder / "0.yaml").write_text(ruleset(SLOW), "utf-8")
    mended = await when(healer, lambda now: now["healer_rules_last_reload_successful"] == 1)
    assert mended[at] > before[at]


async def test_incidents_that_are_written_and_kept_are_counted(lab: Lab, run: Run) -> None:
    slow, *_ = await serve(lab)
    healer = await run(ruleset(ASKING))
    before = await healer.metrics()
    assert journal(before) == {"failures_total": 0, "conflicts_total": 0, "unreadable_total": 0, "objects": 0}
    assert (await healer.post(alert("HighLatency", pod=slow)))[0] == 200
    after = await healer.metrics()
    assert journal(after) == journal(before) | {"objects": 1}
    assert after["healer_journal_writes_total"] > before["healer_journal_writes_total"]


async def test_incidents_that_the_server_refuses_are_counted(lab: Lab, run: Run) -> None:
    slow, *_ = await serve(lab)
    healer = await run(ruleset(ASKING), HEALER_HTTP__ACCEPT_TIMEOUT="1s", HEALER_SHUTDOWN="1s")
    lab.faults.answer(422, verb="create", match=lambda seen: seen.permission.startswith("incidents"), times=None)
    await healer.post(alert("HighLatency", pod=slow))
    refused = await when(healer, lambda now: now["healer_journal_failures_total"] > 0)
    assert (refused["healer_journal_writes_total"], refused["healer_journal_conflicts_total"]) == (0, 0)
    assert refused["healer_journal_objects"] == 1, "it is known, and not written"


async def test_an_incident_that_somebody_else_writes_is_counted(lab: Lab, run: Run) -> None:
    slow, *_ = await serve(lab)
    healer = await run(ruleset(ASKING))
    assert (await healer.post(alert("HighLatency", pod=slow)))[0] == 200
    assert (await healer.metrics())["healer_journal_conflicts_total"] == 0
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    path = f"{_INCIDENTS}/{incident['metadata']['name']}"
    await patch(lab, f"{path}/status", {"status": {"approvals": [{"step": 0, "by": "mallory", "at": moment(0), "storm": False}]}})
    await patch(lab, path, {"metadata": {"annotations": {"healer.dev/approved-by": "alice"}}})
    await healer.says("incident escalated", reason="JournalLost")
    assert (await healer.metrics())["healer_journal_conflicts_total"] == 1


async def test_objects_that_are_no_incidents_are_counted_and_shown_as_set_aside(lab: Lab, run: Run) -> None:
    slow, *_ = await serve(lab)
    odd = forged(lab, slow)
    for sick in odd["status"]["targets"].values():
        sick["signals"]["key"] |= {"source": "of-a-newer-healer"}
    await write(lab, odd)
    healer = await run(ruleset(SLOW))
    numbers = await when(healer, lambda now: now["healer_leader"] == 1 and now["healer_journal_unreadable_total"] > 0)
    assert numbers["healer_journal_unreadable_total"] == 1
    await when(healer, lambda now: now.get("healer_journal_set_aside{reason=Unreadable}") == 1)
