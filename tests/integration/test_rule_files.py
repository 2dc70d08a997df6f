"""Rule files that change while healer runs."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from healer.lab import Lab
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.world import evictions, rule, ruleset, serve
from tests.support.healer import Healer, alert
from tests.support.processes import PATIENCE


def _edit(folder: Path, text: str) -> None:
    """As an editor does it: all at once."""
    fresh = folder / ".0.yaml.swp"
    fresh.write_text(text, "utf-8")
    fresh.replace(folder / "0.yaml")


def _mount(folder: Path, version: str, text: str) -> None:
    """As the kubelet does it for a ConfigMap: files are links through ..data, which is swapped."""
    (folder / version).mkdir()
    (folder / version / "0.yaml").write_text(text, "utf-8")
    (folder / "..new").symlink_to(version)
    (folder / "..new").replace(folder / "..data")
    if not (folder / "0.yaml").is_symlink():
        (folder / "0.yaml").symlink_to("..data/0.yaml")


def _about(alert: str) -> str:
    return ruleset(rule("any", when={"alert": [alert]}))


async def test_new_rules_are_used_without_a_restart(lab: Lab, run: Run, rules_folder: Path) -> None:
    sick, *_ = await serve(lab)
    healer = await run(_about("Before"))
    await healer.post(alert("After", pod=sick))
    await healer.says("ignore", reason="NoRule")

    _edit(rules_folder, _about("After"))

    await healer.says("rules reloaded", rules=1)
    await healer.says("incident verifying", rule="test/any")  # the alert that fired all along
    assert evictions(lab) == [sick]


async def test_the_rules_of_a_configmap_are_read_again(lab: Lab, run: Run, rules_folder: Path) -> None:
    sick, *_ = await serve(lab)
    _mount(rules_folder, "..1", _about("Before"))
    healer = await run()
    _mount(rules_folder, "..2", _about("After"))
    await healer.says("rules reloaded", rules=1)
    await healer.post(alert("After", pod=sick))
    await healer.says("incident verifying")
    assert evictions(lab) == [sick]


@pytest.mark.parametrize("broken", ["spec: [", "", _about("After").replace("enforce", "enforced")])
async def test_a_broken_edit_keeps_the_last_good_rules(broken: str, lab: Lab, run: Run, rules_folder: Path) -> None:
    sick, *_ = await serve(lab)
    healer = await run(_about("Before"))

    _edit(rules_folder, broken)

    complaint = await healer.says("rule files have errors: the last good rules stay")
    assert complaint["level"] == "error"
    assert f"{rules_folder / '0.yaml'}:" in complaint["problems"][0], "with the file and the line"
    await healer.post(alert("Before", pod=sick))
    await healer.says("incident verifying", rule="test/any")
    assert evictions(lab) == [sick]


async def test_rule_files_that_vanish_keep_the_last_good_rules(lab: Lab, run: Run, rules_folder: Path) -> None:
    sick, *_ = await serve(lab)
    healer = await run(_about("Before"))
    (rules_folder / "0.yaml").unlink()
    await healer.says("rule files have errors: the last good rules stay")
    await healer.post(alert("Before", pod=sick))
    await healer.says("incident verifying")


WITHIN = 5.0
"""Seconds from a change of the files to other rules in force."""


def _at(line: dict[str, Any]) -> float:
    """When the daemon logged that, by its own clock."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


async def _loaded(healer: Healer) -> dict[str, Any]:
    """What the page shows of the rules as a whole."""
    status, state = await healer.get("/state")
    assert status == 200
    found: dict[str, Any] = state["loaded"]
    return found


async def _told(lab: Lab, reason: str, number: int = 1) -> Object:
    """The latest Event on healer's Lease with that reason, once there are so many."""

    def events(lab: Lab) -> list[Object]:
        return [each for each in lab.objects("events") if each["involvedObject"]["kind"] == "Lease" and each["reason"] == reason]

    await lab.wait_for(lambda lab: len(events(lab)) >= number, PATIENCE)
    return events(lab)[-1]


async def test_a_change_counts_within_seconds_and_is_seen_on_the_page_in_metrics_and_as_an_event(
    lab: Lab, run: Run, rules_folder: Path
) -> None:
    """With the settings as they ship. The files change as the kubelet changes a mounted ConfigMap: good, broken, mended."""
    _mount(rules_folder, "..1", _about("Before"))
    healer = await run(HEALER_RULES_RELOAD="3.0")
    (lease,) = lab.objects("leases")
    before = await _loaded(healer)

    _mount(rules_folder, "..2", _about("After"))
    reloaded = await healer.says("rules reloaded")
    assert _at(reloaded) - (rules_folder / "..data").lstat().st_mtime < WITHIN
    event = await _told(lab, "RulesReloaded")
    assert (event["type"], event["involvedObject"]["uid"]) == ("Normal", lease["metadata"]["uid"])
    good, figures = await _loaded(healer), await healer.metrics()
    assert good["at"] > before["at"]
    assert (good["digest"] != before["digest"], good["problems"]) == (True, [])
    assert good["digest"] in event["message"]
    assert figures[f"healer_rules_info{{digest={good['digest']}}}"] == 1
    await healer.says("the digest of the rules in force", digest=good["digest"])

    _mount(rules_folder, "..3", _about("After").replace("enforce", "enforced"))
    await healer.says("rule files have errors: the last good rules stay")
    event = await _told(lab, "RulesRefused")
    assert event["type"] == "Warning"
    assert "0.yaml:" in event["message"]
    broken, figures = await _loaded(healer), await healer.metrics()
    assert (broken["at"], broken["digest"]) == (good["at"], good["digest"]), "the rules in force are the same"
    assert "'enforced' is not known" in broken["problems"][0]
    assert figures["healer_rules_last_reload_successful"] == 0

    _mount(rules_folder, "..4", _about("Third"))
    await _told(lab, "RulesReloaded", 2)
    mended, figures = await _loaded(healer), await healer.metrics()
    assert mended["problems"] == []
    assert mended["digest"] != good["digest"]
    assert figures["healer_rules_last_reload_successful"] == 1
    assert figures["healer_rules_last_reload_success_timestamp_seconds"] == mended["at"]


async def test_a_rule_that_goes_takes_its_open_incident_along(lab: Lab, run: Run, rules_folder: Path) -> None:
    sick, *_ = await serve(lab)
    mine, other = rule("mine", when={"alert": ["Slow"]}, mode="approve"), rule("other", when={"alert": ["Unrelated"]})
    healer = await run(ruleset(mine, other))
    await healer.post(alert("Slow", pod=sick))
    waiting = await healer.says("incident waiting", rule="test/mine")

    _edit(rules_folder, ruleset(other))

    closed = await healer.says("incident closed", incident=waiting["incident"])
    assert (closed["reason"], evictions(lab)) == ("RuleChanged", [])


async def test_a_rule_that_changes_while_its_action_is_under_way_acts_once_and_no_further(
    lab: Lab, run: Run, rules_folder: Path
) -> None:
    """The request is with the API server when the rules change: what was sent is verified, and no further step follows."""
    sick, *_ = await serve(lab)
    lab.faults.delay(5.0, verb="create", resource="pods/eviction")
    healer = await run(ruleset(rule("any", when={"alert": ["Slow"]})))
    await healer.post(alert("Slow", pod=sick))
    acting = await healer.says("incident acting", rule="test/any")
    await lab.wait_for(lambda lab: evictions(lab) == [sick], PATIENCE)

    _edit(rules_folder, ruleset(rule("any", when={"alert": ["Slow"]}, mode="observe")))

    reloaded = await healer.says("rules reloaded")
    done = await healer.says("incident verifying", incident=acting["incident"], reason="Evicted")
    assert _at(reloaded) < _at(done)
    await healer.says("incident healed", incident=acting["incident"])
    assert evictions(lab) == [sick]
