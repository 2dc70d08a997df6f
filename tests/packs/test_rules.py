"""Each shipped rule in the engine, at the rule's own times: it heals its trouble, and leaves alone what only looks like it."""

import pytest

from healer.daemon.rulefiles import load_rules
from healer.model.effects import Approval
from healer.model.incident import State
from healer.rules.schema import Mode
from tests.packs.drills import FILES, begin, end, new_drill, rules_of
from tests.packs.rows import ROWS, Hold, Row
from tests.support.world import APP, VOCABULARY, Drill

PODS = ("serving-1", "serving-2", "serving-3")
HOLDS = [(row, hold) for row in ROWS for hold in row.holds]


def test_each_shipped_rule_has_its_row() -> None:
    assert sorted(row.rule for row in ROWS) == sorted(bound.name for bound in load_rules(FILES, VOCABULARY).rules)


def _started(row: Row) -> tuple[Drill, Mode]:
    """Its trouble, until the rule's first step is taken or waits for a human."""
    ruleset = row.rule.partition("/")[0]
    rule = rules_of(ruleset).by_name[row.rule].rule
    d = new_drill(ruleset, 4)
    begin(d, row.trouble, row.rule, PODS[0])
    d.wait(rule.when.held_for + 700)
    return d, rule.mode


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_it_heals(row: Row) -> None:
    """It does what it says to the sick pod or the workload alone, and calls it healed when it is."""
    d, mode = _started(row)
    (incident,) = (each for each in d.incidents.values() if each.rule == row.rule)
    if mode is Mode.APPROVE:
        assert (d.acts, incident.reason.code) == ([], "NeedsApproval")
        d.feed(Approval(incident.id, "ann"))
    on_workload = row.action != "evict"
    acts = [act for act in d.acts if act.incident.rule == row.rule]
    assert [(act.action, act.target.name) for act in acts] == [(row.action, APP if on_workload else acts[0].target.name)]
    assert on_workload or acts[0].target.name in PODS
    assert [act.dry_run for act in acts] == [mode is Mode.OBSERVE]
    assert [act for act in d.acts if act not in acts and not act.dry_run] == []
    while d.waiting:
        d.answer()
    _cure(d, row, gone=mode is Mode.ENFORCE)
    d.wait(1200)
    ended = State.CLOSED if mode is Mode.OBSERVE else State.HEALED
    assert d.incidents[incident.id].state in (ended, State.CLOSED), d.incidents[incident.id].reason


def _cure(d: Drill, row: Row, *, gone: bool) -> None:
    """What the action brings about: another pod, or a workload that is well."""
    if gone and row.action == "evict":
        d.world.replace(d.acts[0].target.name)
    else:
        for pod in list(d.world.pods):
            end(d, row.trouble, row.rule, pod.metadata.name)


def _tempt(d: Drill, row: Row, hold: Hold, held: float) -> None:
    trouble = hold.trouble or row.trouble
    d.world.respecify(paused=hold.rollout)
    d.world.pause("deployment")  # until all are sick: they fall ill at once
    for pod in PODS[: hold.sick]:
        begin(d, trouble, row.rule, pod)
    d.world.pause("deployment", "")
    if hold.brief:
        d.wait(held - 90)
        end(d, trouble, row.rule, PODS[0])
    d.wait(held + hold.lasts)


@pytest.mark.parametrize(("row", "hold"), HOLDS, ids=[f"{row.rule}: {hold.name}" for row, hold in HOLDS])
def test_it_holds_back(row: Row, hold: Hold) -> None:
    """Nothing in the cluster is changed, and the reason is said."""
    ruleset = row.rule.partition("/")[0]
    rule = rules_of(ruleset).by_name[row.rule].rule
    d = new_drill(ruleset, hold.replicas)
    _tempt(d, row, hold, rule.when.held_for)
    changes = [act for act in d.acts if act.action != "page" and not act.dry_run]
    assert [act for act in changes if act.incident.rule == row.rule or not hold.for_another] == []
    assert row.action != "page" or [act for act in d.acts if act.incident.rule == row.rule] == []
    if hold.reason == "NotOftenEnough":  # the rule has not matched at all: nobody is asked either
        assert [each for each in d.incidents.values() if each.rule == row.rule] == []
    if hold.reason:
        assert hold.reason in {decision.reason.code for decision in d.decisions if decision.rule == row.rule}
