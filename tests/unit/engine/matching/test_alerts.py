"""Alerts over their life: repeated, resolved at any moment, re-fired about another pod, never resolved at all."""

from dataclasses import replace
from typing import Any

from healer.engine.matching.matcher import MOST_UNMATCHED
from healer.model.effects import Record, Verb
from healer.model.incident import State
from healer.model.signal import Signal
from tests.support.world import Drill, World, codes, rule, rulebook, state


def drill(replicas: int = 4, **more: Any) -> Drill:
    return Drill(rulebook(rule(**({"when": {"alert": ["HighLatency"]}} | more))), World(replicas))


# resolved


def test_resolved_before_the_action_stops_the_ladder() -> None:
    d = drill()
    d.world.pause("deployment")
    d.alert("serving-1")
    d.alert("serving-1", firing=False)
    d.world.pause("deployment", "")
    d.wait(3600)
    assert d.acts == []
    assert state(d) is State.CLOSED


def test_resolved_while_acting_ends_in_verification_of_what_was_done() -> None:
    d = drill()
    d.alert("serving-1")
    d.alert("serving-1", firing=False)
    assert state(d) is State.ACTING
    assert d.incident.sick == []
    d.answer()
    d.world.replace("serving-1")
    d.wait(60)
    assert state(d) is State.HEALED


def test_resolved_while_verifying_is_healed_when_stable() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer()
    new = d.world.replace("serving-1")
    d.alert(new)
    d.wait(120)
    assert state(d) is State.VERIFYING
    d.alert(new, firing=False)
    d.wait(60)
    assert state(d) is State.HEALED


def test_resolved_for_one_pod_leaves_the_other_sick() -> None:
    d = drill()
    d.world.pause("deployment")
    d.alert("serving-1")
    d.alert("serving-2")
    d.alert("serving-1", firing=False)
    d.world.pause("deployment", "")
    assert d.acted_on == ["serving-2"]


def test_that_a_signal_is_over_is_recorded() -> None:
    d = drill()
    d.world.pause("deployment")
    d.alert("serving-1")
    d.alert("serving-2")
    (effect,) = d.alert("serving-1", firing=False)
    assert isinstance(effect, Record)
    assert effect.entry == effect.incident.history[-1]
    assert (
        effect.incident.history[-1].reason.text
        == "pod/serving-1: HighLatency: HighLatency on serving-1 is resolved; 1 sick target left"
    )


def test_a_pod_with_two_alerts_is_sick_until_both_are_over() -> None:
    d = drill(when={"alert": ["HighLatency", "HighErrors"]})
    d.world.pause("deployment")
    d.alert("serving-1")
    d.alert("serving-1", "HighErrors")
    d.alert("serving-1", firing=False)
    assert [s.target.name for s in d.incident.sick] == ["serving-1"]
    d.alert("serving-1", "HighErrors", firing=False)
    assert state(d) is State.CLOSED


def test_a_resolve_without_a_firing_does_nothing() -> None:
    d = drill()
    assert d.alert("serving-1", firing=False) == []
    assert d.engine.incidents() == []


# repeated


def test_a_repeated_alert_does_nothing() -> None:
    d = drill()
    d.alert("serving-1")
    before = d.incident
    assert d.alert("serving-1") == []
    assert d.incident == before


def test_a_repeated_alert_keeps_its_pod_though_its_name_has_another_one_by_now() -> None:
    """Names recur; a pod that took the name of a sick one is not sick."""
    d = drill()
    d.alert("serving-1", key="a")
    d.answer()
    d.world.replace("serving-1", "serving-1")
    d.alert("serving-1", key="a")
    d.wait(200)
    assert [act.target.uid for act in d.acts] == ["pod-1"]
    assert d.incident.sick == []


def test_an_alert_whose_pod_is_gone_keeps_it_when_repeated_without_one() -> None:
    d = drill()
    d.alert("serving-1", key="a")
    target = d.world.target("serving-1")
    d.alert(replace(target, uid=""), key="a")
    assert [s.target for s in d.incident.sick] == [target]


# fired again


def test_fired_again_about_another_pod_of_the_name_the_old_one_is_sick_no_more() -> None:
    d = drill()
    d.world.pause("deployment")
    d.alert("serving-1", key="a")
    d.world.replace("serving-1", "serving-1")
    d.alert("serving-1", key="a", occurrence="2")
    first, second = d.incidents.values()
    assert first.state is State.CLOSED
    assert [s.target.uid for s in second.sick] == [d.world.target("serving-1").uid]
    d.world.pause("deployment", "")
    assert [act.target for act in d.acts] == [d.world.target("serving-1")]


def test_fired_again_about_another_pod_the_old_one_does_not_hold_the_incident_open() -> None:
    d = drill()
    d.world.pause("deployment")
    d.alert("serving-2", key="b")
    d.alert("serving-1", key="a")
    d.world.replace("serving-1", "serving-1")
    d.alert("serving-1", key="a", occurrence="2")
    assert [s.target.uid for s in d.incident.sick] == ["pod-2", d.world.target("serving-1").uid]
    d.alert("serving-1", key="a", firing=False)
    d.alert("serving-2", key="b", firing=False)
    assert state(d) is State.CLOSED


def test_fired_again_about_the_same_pod_goes_on() -> None:
    d = drill(when={"alert": ["HighLatency"], "for": "2m"})
    d.alert("serving-1")
    d.wait(60)
    d.alert("serving-1", occurrence="2")
    d.wait(60)
    assert d.acted_on == ["serving-1"]


# never resolved


def test_an_alert_that_is_not_repeated_any_more_expires() -> None:
    """The incident is open and every rule has matched: time alone must do it."""
    d = drill(mode="observe")
    d.alert("serving-1")
    d.answer()
    d.wait(43_200)
    assert state(d) is State.VERIFYING
    d.wait(15 + 60)
    assert state(d) is State.CLOSED


def test_a_repeat_keeps_it_alive() -> None:
    d = drill(mode="observe")
    d.alert("serving-1")
    d.answer()
    for _ in range(4):
        d.wait(14_400)
        d.alert("serving-1")
    assert state(d) is State.VERIFYING


def test_an_alert_that_no_rule_is_about_expires_too() -> None:
    d = drill()
    d.alert("serving-1", "Unheard")
    d.wait(43_230)
    d.use(rulebook(rule(when={"alert": ["Unheard"]})))
    assert d.acts == []


def test_alerts_that_no_rule_is_about_are_bounded_and_kept_without_what_they_say() -> None:
    """A rule that comes later is asked about those that are left, with their labels."""
    d = drill()
    target = d.world.target("serving-1")
    for number in range(MOST_UNMATCHED + 3):
        labels = {"severity": "page", "pad": "x" * 10_000 if number == 5 else ""}
        text = {"summary": "x" * 1000}
        d.feed(Signal("alert", "Unheard", target, True, d.now, str(number), f"{number}@1", "x" * 1000, labels, text))
    kept = {firing.signal.key: firing.signal for firing in d.engine._matcher.all()}
    assert len(kept) == MOST_UNMATCHED
    assert codes(d.effects, Verb.IGNORE).count("Forgotten") == 3
    assert min(map(int, kept)) == 3, "the oldest are forgotten"
    assert (kept["7"].message, kept["7"].annotations, kept["7"].labels["severity"]) == ("Unheard", {}, "page")
    assert kept["5"].labels == {}
    d.alert("serving-2", key="heard")
    d.use(rulebook(rule(when={"alert": ["Unheard"], "labels": {"severity": "page"}})))
    assert len(d.incident.targets[target.uid].signals) == MOST_UNMATCHED - 1


def test_a_pod_s_condition_never_expires() -> None:
    d = Drill(rulebook(rule(mode="observe")))
    d.world.crash("serving-1")
    d.answer()
    d.wait(100_000)
    assert state(d) is State.VERIFYING
    assert codes(d.effects, Verb.CLOSE) == []
