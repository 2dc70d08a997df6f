"""Each shipped rule has tests beside it, which `healer test rules` plays: they pass, reach everything, and can fail."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from healer.daemon.rulefiles import vocabulary
from healer.rehearsal.testing.coverage import covered
from healer.rehearsal.testing.loading import LoadedFile, LoadedTest, load_tests
from healer.rehearsal.testing.report import failure
from healer.rehearsal.testing.running import Reached, play
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from tests.packs.drills import FILES, RULES

TESTED = {file: file.with_name(f"{file.stem}.test.yaml") for file in FILES}
ONLY_TOLD_OF = {"kserve/version-failing"}
"""A rule that pages at once whenever its alert fires: nothing holds it back."""


@cache
def loaded(file: Path) -> LoadedFile:
    return load_tests(TESTED[file], vocabulary())


def named(file: Path) -> str:
    return str(file.relative_to(RULES))


@pytest.mark.parametrize("file", FILES, ids=named)
def test_the_tests_of_a_file_pass_and_reach_each_rule_and_each_step_of_it_and_hold_each_rule_back(file: Path) -> None:
    reached = Reached()
    for test in loaded(file).tests:
        result = play(test)
        assert result.passed, "\n".join(line.text for line in failure(result))
        reached.add(result.reached)
    found = covered(loaded(file).rules.rules, reached)
    assert (found.unopened, found.untaken, {*found.unheld} - ONLY_TOLD_OF) == ((), (), set())


def _muted(test: LoadedTest) -> LoadedTest:
    """The test with rules that only observe."""
    silent = [replace(each, rule=each.rule.model_copy(update={"mode": Mode.OBSERVE})) for each in test.rules.rules]
    return replace(test, rules=Rulebook(silent))


@pytest.mark.parametrize("file", FILES, ids=named)
def test_they_fail_when_a_rule_does_no_more_what_it_did(file: Path) -> None:
    """Of each rule some test expects an act."""
    failed: set[str] = set()
    for test in loaded(file).tests:
        if test.rules.by_name.keys() - failed and not play(_muted(test)).passed:
            failed |= test.rules.by_name.keys()
    assert failed >= {bound.name for bound in loaded(file).rules.rules}
