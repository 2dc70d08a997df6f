"""The table of the shipped rules is whole: each rule has its row, its steps, and a trouble for each name that it looks for.

What a rule does and leaves alone in the engine, at its own times, its tests beside it say (rules/NAME.test.yaml, test_tested.py);
`lab` plays the table with the daemon.
"""

import pytest

from healer.daemon.rulefiles import load_rules
from healer.model.effects import Record
from healer.rules.schema import Rule
from tests.packs.drills import FILES, begin, new_drill, rules_of
from tests.packs.rows import ROWS, Row
from tests.packs.troubles import Trouble
from tests.support.world import VOCABULARY, Drill


def _rule(row: Row) -> Rule:
    return rules_of(row.ruleset).by_name[row.rule].rule


def test_each_shipped_rule_has_its_row() -> None:
    assert sorted(row.rule for row in ROWS) == sorted(bound.name for bound in load_rules(FILES, VOCABULARY).rules)


@pytest.mark.parametrize("row", [row for row in ROWS if not _rule(row).when.trigger.judged], ids=lambda row: row.rule)
def test_each_name_that_a_rule_looks_for_has_its_trouble(row: Row) -> None:
    """A name that is added to a shipped rule needs one, and none has a name that was taken away. The names of the judge's
    verdicts are in no file: what a canary is measured by has its scenes in lab/test_canaries.py."""
    seen: set[str] = set()
    for trouble in row.troubles:
        d = _started(row, trouble)
        shown = [effect.incident for effect in d.effects if isinstance(effect, Record) and effect.incident.rule == row.rule]
        sick = [target for incident in shown for target in incident.targets.values()]
        names = {symptom.name for target in sick for symptom in target.signals.values()}
        assert names - seen, f"{trouble} shows no name of its own"
        seen |= names
    assert seen == {*_rule(row).when.names}


def _started(row: Row, trouble: Trouble) -> Drill:
    """The trouble, until the rule's first step is taken or waits for a human."""
    d = new_drill(row.ruleset, 4)
    begin(d, trouble, row.rule, "serving-1")
    d.wait(_rule(row).when.held_for + 700)
    return d


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_its_steps_are_those_of_its_row(row: Row) -> None:
    """A step that is changed, added or taken away is seen here, and played in the rule's own tests."""
    assert (row.action, *row.then) == tuple(step.action for step in _rule(row).heal)
