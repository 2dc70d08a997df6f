"""A pod whose eviction was not granted is never deleted: by no later step, no other rule, and not after a restart either."""

import pytest

from healer.model.action import OutcomeKind
from healer.model.effects import Verb
from healer.model.incident import State
from tests.support.world import Drill, World, Yaml, codes, rule, rulebook, state, tuned
from tests.unit.engine.incidents.test_restart import restarted

SLOW = {"alert": ["HighLatency"]}
LADDER = [{"evict": {}}, {"restart": {}}, {"rolloutRestart": {}, "verify": {"within": "5m", "stable": "1m"}}]
NO = pytest.mark.parametrize("kind", [OutcomeKind.REFUSED, OutcomeKind.DEFERRED, OutcomeKind.FAILED])


def drill(*rules: Yaml, replicas: int = 6) -> Drill:
    return Drill(rulebook(*(rules or (rule(when=SLOW, heal=LADDER),))), World(replicas), tuned(max_wait=120))


def denied(d: Drill, kind: OutcomeKind) -> None:
    """Each eviction is answered with a no, until the step is given up."""
    while d.waiting and d.waiting[0].action == "evict":
        d.answer(kind, denied=True)
        d.wait(60)


@NO
def test_the_next_step_is_no_delete_but_one_on_the_workload_is_taken(kind: OutcomeKind) -> None:
    d = drill()
    d.alert("serving-1")
    denied(d, kind)
    assert "restart" not in [act.action for act in d.acts]
    assert [act.action for act in d.waiting] == ["rolloutRestart"]
    assert "EvictionDenied" in codes(d.effects, Verb.REFUSE)
    refused = next(each for each in d.decisions if each.reason.code == "EvictionDenied")
    assert f"evict pod/serving-1: {kind}" in refused.reason.text, "the server's words are kept"


@NO
def test_no_other_pod_of_the_incident_is_deleted_instead(kind: OutcomeKind) -> None:
    """Who says no to one of a workload's pods speaks for the others too, as far as anybody knows."""
    d = drill()
    d.alert("serving-1")
    d.alert("serving-2")
    d.answer(kind, denied=True)
    d.alert("serving-1", firing=False)
    d.wait(1)
    denied(d, kind)
    assert "restart" not in [act.action for act in d.acts]


def test_another_rule_does_not_delete_it_either() -> None:
    d = drill(rule(when=SLOW, heal=[{"evict": {}}]), rule("other", when={"alert": ["HighErrors"]}, heal=[{"restart": {}}]))
    d.alert("serving-1")
    d.answer(OutcomeKind.REFUSED, denied=True)
    d.alert("serving-1", "HighErrors")
    assert [act.action for act in d.acts] == ["evict"]
    assert [incident.state for incident in d.engine.incidents()] == [State.ESCALATED, State.ESCALATED]


def test_nor_a_later_incident_of_the_same_pod() -> None:
    d = drill(rule(when=SLOW, heal=[{"evict": {}}]), rule("other", when={"alert": ["HighErrors"]}, heal=[{"restart": {}}]))
    d.alert("serving-1")
    d.answer(OutcomeKind.REFUSED, denied=True)
    d.alert("serving-1", firing=False)
    assert d.engine.incidents() == []
    d.wait(3600)
    d.alert("serving-1", "HighErrors")
    assert [act.action for act in d.acts] == ["evict"]


def test_nor_after_a_restart_of_healer() -> None:
    rules = (rule(when=SLOW, heal=[{"evict": {}}]), rule("other", when={"alert": ["HighErrors"]}, heal=[{"restart": {}}]))
    d = drill(*rules)
    d.alert("serving-1")
    d.answer(OutcomeKind.REFUSED, denied=True)
    again = restarted(d)
    again.wait(0)
    again.alert("serving-1", "HighErrors")
    assert again.acts == []


def test_another_pod_may_be_deleted_by_another_rule() -> None:
    d = drill(rule(when=SLOW, heal=[{"evict": {}}]), rule("other", when={"alert": ["HighErrors"]}, heal=[{"restart": {}}]))
    d.alert("serving-1")
    d.answer(OutcomeKind.REFUSED, denied=True)
    d.alert("serving-2", "HighErrors")
    assert [(act.action, act.target.name) for act in d.acts] == [("evict", "serving-1"), ("restart", "serving-2")]


def test_what_a_dry_run_was_told_stops_no_rule_that_acts() -> None:
    d = drill(
        rule(when=SLOW, heal=[{"evict": {}}], mode="observe"),
        rule("other", when={"alert": ["HighErrors"]}, heal=[{"restart": {}}]),
    )
    d.alert("serving-1")
    d.answer(OutcomeKind.REFUSED, denied=True)
    d.alert("serving-1", "HighErrors")
    assert [act.action for act in d.acts] == ["evict", "restart"]


def test_a_delete_as_the_first_step_stays_what_it_is() -> None:
    d = drill(rule(when=SLOW, heal=[{"restart": {}}]))
    d.alert("serving-1")
    assert (state(d), d.acts[0].action) == (State.ACTING, "restart")


def test_an_eviction_that_was_put_off_without_being_asked_for_forbids_nothing() -> None:
    d = drill(rule(when=SLOW, heal=LADDER[:2]))
    d.alert("serving-1")
    while d.waiting and d.waiting[0].action == "evict":
        d.answer(OutcomeKind.DEFERRED)
        d.wait(60)
    assert [act.action for act in d.waiting] == ["restart"]


def test_what_was_denied_is_kept_for_as_long_as_the_pod_is_there() -> None:
    d = drill()
    d.alert("serving-1")
    denied(d, OutcomeKind.REFUSED)
    ledger = d.engine._parts.guard_state.ledger
    assert ledger.denial(d.world.target("serving-1").uid) is not None
    gone = d.world.target("serving-1")
    d.world.replace("serving-1")
    d.wait(60)
    assert ledger.denial(gone.uid) is None


def test_an_incident_keeps_so_many_answers_and_no_more() -> None:
    rules = rulebook(rule(when=SLOW, heal=[{"evict": {}}], limits={"maxUnhealthy": "100%"}))
    d = Drill(rules, World(120), tuned(node_storm_pods=999))
    d.together(*[d.alarm(f"serving-{number}") for number in range(1, 121)])
    for _ in range(105):
        name = d.waiting[0].target.name
        d.answer(OutcomeKind.DEFERRED, denied=True)
        d.alert(name, firing=False)
        d.wait(15)
    assert len(d.incident.denied) == 100
    assert "pod-1" not in d.incident.denied
