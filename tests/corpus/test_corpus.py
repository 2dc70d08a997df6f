"""healer in each scenario of the corpus: healed or rightly held, as a good engineer would, and never harmed."""

import re
from pathlib import Path

import pytest

from healer.rehearsal.simulate.loading import load
from healer.rehearsal.simulate.result import HEALER, NONE, simulate
from healer.rules.rulebook import Rulebook
from healer.settings import Settings
from tests.corpus.corpus import FOLDER, SCENARIOS, SEED, is_control, judge

LEFT_ALONE = {
    "a-rollout-whose-pods-crash": "people roll it back themselves, ten minutes later",
    "canary-shares-a-cause": "its rules are about the canary, and the canary is no worse",
    "paused-by-a-human": "somebody works on it, and breaks it on purpose",
    "readiness-flap": "each flap is over in seconds",
    "silenced-while-it-waits": "somebody works on it, and has silenced the alert",
    "slow-leak": "each kill is over in 90 seconds, and three hours apart",
}
"""The scenarios with a fault in which a good engineer does nothing and calls nobody, and why."""


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(SCENARIOS) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_healer_does_what_a_good_engineer_would(path: Path) -> None:
    judged = judge(path, (HEALER, NONE))
    assert judged.name == path.stem
    assert (judged.met, judged.faults) == (True, ())
    assert judged.idle is (judged.control or path.stem in LEFT_ALONE), (
        "whoever does and says nothing fails where something is wrong"
    )


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_says_what_is_to_be_done_and_what_is_not(path: Path) -> None:
    scenario = load(path)
    expect = scenario.spec.expect
    assert expect.must_not
    assert bool(expect.should or expect.told) is not (is_control(scenario) or path.stem in LEFT_ALONE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a-node-with-many-sick-pods", "crash-loop-one-pod", "poisoned-version", "quota"])
def test_healer_without_rules_fails(name: str) -> None:
    found = simulate(load(FOLDER / f"{name}.yaml"), Rulebook([]), Settings(), policies=(HEALER,), seed=SEED)
    assert found.ruling is not None
    assert not found.ruling.met


def test_the_table_of_other_lists_and_the_scenarios_name_each_other() -> None:
    """By scenario, the names of AIOpsLab and ITBench that it plays: those in the table, and those in its own lines."""
    rows = re.findall(
        r"^\| (AIOpsLab|ITBench) \| `(.+?)` \| (.+?) \| .+ \|$", (FOLDER.parent / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) == len({row[:2] for row in rows}) > 50
    table = {(scenario, f"{where} {name}") for where, name, cell in rows for scenario in re.findall(r"\[([\w-]+)\]", cell)}
    assert all("[" in cell or cell == "out of reach" for _, _, cell in rows)
    assert table == {
        (path.stem, name)
        for path in SCENARIOS
        for name in re.findall(r"^# Like: ((?:AIOpsLab|ITBench).*)$", path.read_text(), re.MULTILINE)
    }
