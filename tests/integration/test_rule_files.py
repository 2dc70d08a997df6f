"""Rule files that change while healer runs."""

from pathlib import Path

import pytest

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import evictions, rule, ruleset, serve
from tests.support.healer import alert


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
