"""Each shipped rule in the engine, at the rule's own times: it heals its trouble, and leaves alone what only looks like it."""

import pytest

from healer.daemon.rulefiles import load_rules
from healer.model.effects import Approval, Record
from healer.model.incident import State
from healer.model.node import Node, Taint, WatchedNodeMeta, WatchedNodeSpec
from healer.rules.schema import Mode, Rule
from tests.packs.alert_times import latest, shipped
from tests.packs.drills import FILES, begin, end, new_drill, rules_of
from tests.packs.rows import ROWS, Hold, Row
from tests.packs.troubles import Trouble
from tests.support.world import APP, VOCABULARY, Drill

PODS = ("serving-1", "serving-2", "serving-3")
CLOSED_NODE = Node(WatchedNodeMeta("node-1", "node-1"), WatchedNodeSpec(taints=(Taint("example.com/gpu-broken", "NoSchedule"),)))
"""The node of all pods, which takes no further one: people have seen to that."""
TROUBLES = [(row, trouble) for row in ROWS for trouble in row.troubles]
LADDERS = [row for row in ROWS if row.then]
HOLDS = [(row, hold) for row in ROWS for hold in row.holds]


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
        d, _ = _started(row, trouble)
        shown = [effect.incident for effect in d.effects if isinstance(effect, Record) and effect.incident.rule == row.rule]
        sick = [target for incident in shown for target in incident.targets.values()]
        names = {symptom.name for target in sick for symptom in target.signals.values()}
        assert names - seen, f"{trouble} shows no name of its own"
        seen |= names
    assert seen == {*_rule(row).when.names}


def _started(row: Row, trouble: Trouble) -> tuple[Drill, Mode]:
    """The trouble, until the rule's first step is taken or waits for a human."""
    rule = _rule(row)
    d = new_drill(row.ruleset, 4)
    begin(d, trouble, row.rule, PODS[0])
    d.wait(rule.when.held_for + 700)
    return d, rule.mode


@pytest.mark.parametrize(("row", "trouble"), TROUBLES, ids=[f"{row.rule}: {trouble}" for row, trouble in TROUBLES])
def test_it_heals(row: Row, trouble: Trouble) -> None:
    """It does what it says to the sick pod or the workload alone, and calls it healed when it is."""
    d, mode = _started(row, trouble)
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
    _cure(d, row, trouble, gone=mode is not Mode.OBSERVE)
    d.wait(1200)
    ended = State.CLOSED if mode is Mode.OBSERVE else State.HEALED
    assert d.incidents[incident.id].state in (ended, State.CLOSED), d.incidents[incident.id].reason


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_its_steps_are_those_of_its_row(row: Row) -> None:
    """A step that is changed, added or taken away is seen here, and played below."""
    assert (row.action, *row.then) == tuple(step.action for step in _rule(row).heal)


@pytest.mark.parametrize("row", LADDERS, ids=lambda row: row.rule)
def test_it_takes_its_next_step_when_one_has_not_helped(row: Row) -> None:
    """The successor of a pod is as sick as the pod was, and what was changed of the workload cures nothing. An alert needs its
    time before it says so of the successor."""
    d, _ = _started(row, row.trouble)
    d.world.view.put(CLOSED_NODE)  # else a pod that is to come elsewhere stays
    successors = []
    for step in _rule(row).heal:
        for incident in [each for each in d.incidents.values() if each.reason.code == "NeedsApproval"]:
            d.feed(Approval(incident.id, "ann"))
        taken = [act.target.name for act in d.waiting if act.action == "evict"]
        while d.waiting:
            d.answer()
        for pod in taken:
            successors.append(d.world.replace(pod))
            d.wait(latest(row.trouble.name) if row.trouble.name in shipped() else 0)
            begin(d, row.trouble, row.rule, successors[-1])
        d.wait(step.verify.within + _rule(row).when.held_for + 700)
    acts = [act for act in d.acts if act.incident.rule == row.rule]
    assert [(act.step, act.action) for act in acts] == [*enumerate((row.action, *row.then))]
    assert {act.target.name for act in acts if act.action == "evict"} <= {*PODS, *successors}
    assert {act.incident.id for act in acts} == {acts[0].incident.id}, "one incident, and not two beginnings"


def _cure(d: Drill, row: Row, trouble: Trouble, *, gone: bool) -> None:
    """What the action brings about: another pod, or a workload that is well."""
    if gone and row.action == "evict":
        d.world.replace(d.acts[0].target.name)
    else:
        for pod in list(d.world.pods):
            end(d, trouble, row.rule, pod.metadata.name)


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
    rule = _rule(row)
    d = new_drill(row.ruleset, hold.replicas)
    _tempt(d, row, hold, rule.when.held_for)
    changes = [act for act in d.acts if act.action != "page" and not act.dry_run]
    assert [act for act in changes if act.incident.rule == row.rule or not hold.for_another] == []
    assert row.action != "page" or [act for act in d.acts if act.incident.rule == row.rule] == []
    if hold.reason == "NotOftenEnough":  # the rule has not matched at all: nobody is asked either
        assert [each for each in d.incidents.values() if each.rule == row.rule] == []
    if hold.reason:
        assert hold.reason in {decision.reason.code for decision in d.decisions if decision.rule == row.rule}
