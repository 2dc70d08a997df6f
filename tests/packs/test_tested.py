"""Each shipped rule has tests beside it, which `healer test rules` plays: they pass, reach everything, and can fail."""

from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from healer.daemon.rulefiles import vocabulary
from healer.engine.safety.guards.question import Guards
from healer.engine.safety.guards.registry import GUARDS
from healer.engine.safety.guards.stops import no_storm
from healer.rehearsal.testing.coverage import covered
from healer.rehearsal.testing.loading import LoadedFile, LoadedTest, load_tests
from healer.rehearsal.testing.report import failure
from healer.rehearsal.testing.running import GUARD_NAMES, Reached, guard_name, play
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from tests.packs.drills import FILES, RULES

TESTED = {file: file.with_name(f"{file.stem}.test.yaml") for file in FILES}
EXAMPLES = RULES.parent / "docs" / "examples"
ONLY_TOLD_OF = {"kserve/version-failing"}
"""A rule that pages at once whenever its alert fires: nothing holds it back."""


@cache
def loaded(file: Path) -> LoadedFile:
    return load_tests(TESTED[file], vocabulary())


def named(file: Path) -> str:
    return str(file.relative_to(RULES))


@pytest.mark.parametrize("file", FILES, ids=named)
def test_the_tests_of_a_file_reach_all_of_it_and_fail_when_a_rule_does_no_more_what_it_did(file: Path) -> None:
    """They pass with all rules of the file in force; each rule, step and name is reached, each rule is held back. Of each rule
    some test expects an act."""
    reached, acting = Reached(), defaultdict[str, list[LoadedTest]](list)
    for test in loaded(file).tests:
        result = play(test)
        assert result.passed, "\n".join(line.text for line in failure(result))
        reached.add(result.reached)
        for rule in {name for name, _ in result.reached.steps}:
            acting[rule].append(test)
    found = covered(loaded(file).rules.rules, reached)
    assert (found.unopened, found.unshown, found.untaken, {*found.unheld} - ONLY_TOLD_OF) == ((), (), (), set())
    for rule in loaded(file).rules.by_name:
        assert not all(play(_muted(test, rule)).passed for test in acting[rule]), rule


def _muted(test: LoadedTest, name: str) -> LoadedTest:
    """The test with a rule that only observes."""
    silent = {"mode": Mode.OBSERVE}
    rules = [replace(each, rule=each.rule.model_copy(update=silent)) if each.name == name else each for each in test.rules.rules]
    return replace(test, rules=Rulebook(rules))


# guards


HOLDING = [RULES / "vllm.test.yaml", RULES / "gpu.test.yaml", RULES / "canary" / "vllm.test.yaml", *EXAMPLES.glob("*.test.yaml")]
"""The tests in which each guard objects: those that no shipped rule can meet in the examples."""
BEHIND = {guard_name(no_storm)}
"""It stands behind `deciding.py`, which waits for the end of a storm before it asks any guard."""


def test_each_guard_objects_in_some_test_which_fails_without_it() -> None:
    objects: dict[str, list[LoadedTest]] = {name: [] for name in GUARD_NAMES}
    for file in HOLDING:
        for test in load_tests(file, vocabulary()).tests:
            for name in play(test).reached.guards:
                objects[name].append(test)
    assert [name for name, tests in objects.items() if not tests] == []
    needless = [name for name, tests in objects.items() if all(play(test, guards=_without(name)).passed for test in tests)]
    assert set(needless) == BEHIND


def _without(name: str) -> Guards:
    """The guards but for one, which asks nothing."""
    acting, telling = (tuple(each for each in guards if guard_name(each) != name) for guards in (GUARDS.acting, GUARDS.telling))
    return Guards(acting, telling)


def test_the_coverage_lists_the_guards_that_objected_and_no_other() -> None:
    """Of one test: the guard that it is about; without that guard it is listed as the others are."""
    test = next(
        each for each in load_tests(RULES / "vllm.test.yaml", vocabulary()).tests if "within the cooldown" in each.case.name
    )
    objecting = {name for name in GUARD_NAMES if name not in covered(test.rules.rules, play(test).reached).silent}
    assert objecting == {"cooled_down"}
    without = play(test, guards=_without("cooled_down")).reached
    assert covered(test.rules.rules, without).silent == tuple(GUARD_NAMES)
