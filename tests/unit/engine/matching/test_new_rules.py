"""Rules that change while incidents are open: unchanged ones go on, changed ones act no further, nothing that fires is lost."""

from typing import Any

from healer.model.action import OutcomeKind
from healer.model.effects import Verb
from healer.model.incident import State
from tests.support.world import Drill, World, codes, rule, rulebook, state


def drill(**more: Any) -> Drill:
    return Drill(rulebook(rule(**more)), World(4))


def test_the_same_rules_again_change_nothing() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.answer()
    before = d.incident
    assert d.use(rulebook(rule())) == []
    assert d.incident == before


def test_a_changed_rule_closes_what_waits_and_takes_its_signals_over() -> None:
    d = drill()
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.use(rulebook(rule(severity="critical")))
    old, new = d.incidents.values()
    assert (old.state, old.reason.code) == (State.CLOSED, "RuleChanged")
    assert (new.state, new.severity) == (State.WAITING, "critical")


def test_a_removed_rule_acts_no_further() -> None:
    d = drill()
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.use(rulebook(rule("other", when={"alert": ["X"]})))
    d.world.pause("deployment", "")
    d.wait(3600)
    assert d.acts == []
    assert state(d) is State.CLOSED


def test_what_is_being_verified_is_verified_to_its_end() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.answer()
    d.use(rulebook(rule("other", when={"alert": ["X"]})))
    d.world.replace("serving-1")
    d.wait(60)
    assert state(d) is State.HEALED


def test_an_action_under_way_finishes_and_no_other_pod_is_taken() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.use(rulebook(rule("other", when={"alert": ["X"]})))
    assert state(d) is State.ACTING
    d.answer()
    d.world.replace("serving-1")
    d.wait(3600)
    assert d.acted_on == ["serving-1"]
    assert state(d) is State.CLOSED


def test_a_failed_attempt_of_a_removed_rule_is_not_repeated() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.use(rulebook(rule("other", when={"alert": ["X"]})))
    d.answer(OutcomeKind.FAILED)
    d.wait(3600)
    assert len(d.acts) == 1


def test_what_fires_on_when_a_changed_rule_s_incident_ends_is_the_new_rule_s() -> None:
    """The old incident is verifying when the rule changes: its signals are handed over when it gives up, not before."""
    d = drill(limits={"cooldown": "1s"})
    d.world.crash("serving-1")
    d.answer()
    new = d.world.replace("serving-1")
    d.world.crash(new)
    d.use(rulebook(rule(limits={"cooldown": "2s"})))
    d.wait(299)
    assert len(d.incidents) == 1
    d.wait(3)
    assert d.acted_on == ["serving-1", new]
    assert len(d.incidents) == 2


def test_the_cooldown_outlives_a_change_of_the_rule() -> None:
    d = drill(limits={"cooldown": "10m"})
    d.world.crash("serving-1")
    d.answer()
    new = d.world.replace("serving-1")
    d.world.crash(new)
    d.use(rulebook(rule(limits={"cooldown": "20m"})))
    d.wait(300)
    assert codes(d.effects, Verb.DEFER) == ["Cooldown"]
    assert d.acted_on == ["serving-1"]


def test_a_change_of_one_rule_does_not_begin_the_others_for_anew() -> None:
    slow = rule("slow", when={"pod": ["CrashLoopBackOff"], "for": "10m"})
    d = Drill(rulebook(slow, rule("other", when={"alert": ["X"]})))
    d.world.crash("serving-1")
    d.wait(500)
    d.use(rulebook(slow, rule("other", when={"alert": ["Y"]})))
    d.wait(100)
    assert d.acted_on == ["serving-1"]


def test_a_change_of_one_rule_does_not_forget_what_others_counted() -> None:
    often = rule("often", when={"alert": ["HighLatency"], "count": {"atLeast": 2, "within": "10m"}})
    d = Drill(rulebook(often))
    d.alert("serving-1")
    d.alert("serving-1", firing=False)
    d.use(rulebook(often, rule()))
    d.alert("serving-1", occurrence="2")
    assert d.acted_on == ["serving-1"]


def test_a_new_rule_takes_up_what_fires_already() -> None:
    d = drill(when={"alert": ["X"]})
    d.world.crash("serving-1")
    assert d.acts == []
    d.use(rulebook(rule()))
    assert d.acted_on == ["serving-1"]


def test_the_budget_outlives_a_change_of_the_rule() -> None:
    d = drill(limits={"budget": {"actions": 1, "per": "6h"}, "cooldown": "1m"})
    d.world.crash("serving-1")
    d.answer()
    d.world.replace("serving-1")
    d.wait(120)
    d.use(rulebook(rule(limits={"budget": {"actions": 1, "per": "5h"}, "cooldown": "1m"})))
    d.world.crash("serving-2")
    assert codes(d.effects, Verb.DEFER) == ["BudgetSpent"]


def test_an_escalated_incident_of_a_changed_rule_is_the_new_rule_s() -> None:
    d = drill(heal=[{"restart": {}}])
    d.world.crash("serving-1")
    d.answer(OutcomeKind.REFUSED)
    d.use(rulebook(rule()))
    old, new = d.incidents.values()
    assert (old.state, old.reason.code) == (State.CLOSED, "RuleChanged")
    assert [act.action for act in d.acts] == ["restart", "evict"]
    assert new.state is State.ACTING


def test_a_removed_rule_asks_no_human() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.answer()
    d.use(rulebook(rule("other", when={"alert": ["X"]})))
    d.wait(3600)
    assert state(d) is State.CLOSED
    assert codes(d.effects, Verb.ESCALATE) == []
