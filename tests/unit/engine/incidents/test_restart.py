"""After a restart of healer the incidents go on from the journal, and what fires finds them again."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from healer.model.action import OutcomeKind
from healer.model.incident import Incident, State
from tests.support.world import Drill, World, rule, rulebook, state


def restarted(before: Drill, written: Callable[[Incident], Incident] = lambda incident: incident) -> Drill:
    """A new engine on the same world, with what the journal holds, as it was `written`, and the pods as they are."""
    after = Drill(before.rules, before.world, before.tuning, now=before.now)
    before.world.listeners.clear()
    before.world.listeners.append(after.changed)
    signals = [s for pod in before.world.pods for s in after.source.put(pod, None, after.now)]
    after.restore(list(map(written, before.incidents.values())), {signal.key for signal in signals})
    for signal in signals:
        after.feed(signal)
    after.wait(0)
    return after


def test_a_signal_that_fires_on_still_ends_its_incident() -> None:
    d = Drill(rulebook(rule()))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d = restarted(d)
    d.world.mend("serving-1")
    assert state(d) is State.CLOSED


def test_an_alert_still_expires() -> None:
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]}, mode="observe")))
    d.alert("serving-1")
    d.answer()
    d.wait(1000)
    assert state(d) is State.VERIFYING
    d = restarted(d)
    d.wait(d.tuning.alert_expiry)
    assert state(d) is State.CLOSED


def test_a_claimed_action_that_took_effect_counts_and_is_not_repeated() -> None:
    d = Drill(rulebook(rule()))
    d.world.crash("serving-1")
    d.world.listeners.clear()
    d.world.replace("serving-1")
    d = restarted(d)
    assert d.acts == []
    assert len(d.incident.acted_at) == 1
    d.wait(60)
    assert state(d) is State.HEALED


def test_a_claimed_action_that_had_no_effect_is_tried_again() -> None:
    d = Drill(rulebook(rule()))
    d.world.crash("serving-1")
    d = restarted(d)
    assert d.acted_on == ["serving-1"]
    assert state(d) is State.ACTING


@pytest.mark.parametrize("kind", [OutcomeKind.DEFERRED, OutcomeKind.FAILED, None])
def test_a_try_that_took_no_pod_down_is_no_disruption_in_flight(kind: OutcomeKind | None) -> None:
    """One pod is treated; the second one's eviction was put off, failed, or is under way as healer dies."""
    d = Drill(rulebook(rule()), World(4))
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.answer()
    d.world.replace("serving-1")
    if kind is not None:
        d.answer(kind)
    d = restarted(d)
    d.wait(15)
    assert d.acted_on == ["serving-2"]


def test_a_pod_that_was_taken_down_stays_in_flight() -> None:
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]})), World(4))
    d.alert("serving-1")
    d.alert("serving-2")
    d.answer()
    d.world.terminate("serving-1")
    new = d.world.add(ready=False)
    d.world.remove("serving-1")
    d = restarted(d)
    d.alert("serving-2")  # what a journal says of an alert counts for nothing before it is said again
    d.wait(15)
    assert d.acted_on == []
    d.world.mend(new)
    assert d.acted_on == ["serving-2"]


def test_a_pod_that_was_taken_down_stays_in_flight_when_one_that_was_not_ready_was_taken_after_it() -> None:
    """Of the last one alone the journal would know that nothing is missing for it."""
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]})), World(6))
    d.alert("serving-1")
    d.world.unready("serving-2")
    d.alert("serving-2")
    d.alert("serving-3")
    d.answer()
    d.world.remove("serving-1")
    d.answer()
    assert d.acted_on == ["serving-1", "serving-2"]
    d = restarted(d)
    d.wait(15)
    assert d.acted_on == []


def test_the_cooldown_survives() -> None:
    d = Drill(rulebook(rule(limits={"cooldown": "10m"})))
    d.world.crash("serving-1")
    d.answer()
    d.world.replace("serving-1")
    d.wait(60)
    d = restarted(d)
    d.world.crash("serving-2")
    assert d.acts == []
    d.wait(600)
    assert d.acted_on == ["serving-2"]


def test_an_incident_whose_rule_is_gone_is_closed() -> None:
    d = Drill(rulebook(rule(), rule("other", when={"alert": ["HighLatency"]})), World(4))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.alert("serving-2")
    d.rules = rulebook(rule("other", when={"alert": ["HighLatency"]}))
    d = restarted(d)
    assert [(i.rule, i.state) for i in d.incidents.values() if i.state is State.CLOSED] == [("test/crash-loop", State.CLOSED)]
    assert [(i.rule, i.state) for i in d.engine.incidents()] == [("test/other", State.WAITING)]


def test_what_was_closed_stays_closed() -> None:
    d = Drill(rulebook(rule()))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.world.mend("serving-1")
    d = restarted(d)
    assert d.effects == []
    assert d.engine.incidents() == []


def test_an_alert_that_is_repeated_after_the_restart_is_no_news() -> None:
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]})))
    d.world.pause("deployment")
    d.alert("serving-1")
    d = restarted(d)
    assert d.alert("serving-1") == []
    d.alert("serving-1", firing=False)
    assert state(d) is State.CLOSED


def test_the_budget_survives() -> None:
    d = Drill(rulebook(rule(limits={"budget": {"actions": 1, "per": "6h"}, "cooldown": "1m"})))
    d.world.crash("serving-1")
    d.answer()
    d.world.replace("serving-1")
    d.wait(120)
    d = restarted(d)
    d.world.crash("serving-2")
    d.wait(60)
    assert d.acts == []
    assert [incident.reason.code for incident in d.engine.incidents()] == ["BudgetSpent"]


@pytest.mark.parametrize("action", ["rolloutRestart", "rollback"])
def test_a_try_on_the_workload_that_may_have_ended_the_alert_is_counted(action: str) -> None:
    """healer died while it acted, and the alert is over before it can look: it does not say that it had done nothing."""
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]}, heal=[{action: {}, "verify": {"within": "5m", "stable": "1m"}}])))
    d.alert(d.world.workload)
    assert state(d) is State.ACTING
    d.world.pause("deployment")
    d = restarted(d)
    assert state(d) is State.WAITING
    d.alert(d.world.workload, firing=False)
    assert (state(d), d.incident.reason.code) == (State.VERIFYING, "AnswerLost")
    assert len(d.incident.acted_at) == 1
    d.wait(60)
    assert state(d) is State.HEALED


def test_a_try_that_certainly_did_nothing_is_not_counted() -> None:
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]}, heal=[{"rollback": {}}])))
    d.alert(d.world.workload)
    d.answer(OutcomeKind.DEFERRED)
    d.alert(d.world.workload, firing=False)
    assert (state(d), d.incident.reason.code) == (State.CLOSED, "Recovered")


def test_an_incident_of_many_targets_is_gone_on_with_a_part_at_a_time() -> None:
    """The daemon's loop goes on between the steps."""
    before = Drill(rulebook(rule(when={"alert": ["HighLatency"]})), World(3))
    pods = before.world.other("large", nodes=[f"node-{number}" for number in range(250)])
    signals = [before.alarm(pod) for pod in pods]
    before.together(*signals)
    after = Drill(before.rules, before.world)
    known = [0]
    for _ in after.engine.restore(list(before.incidents.values()), set(), before.world.view, before.now):
        known.append(sum(bool(after.engine.incidents_of(signal.key)) for signal in signals))
    assert known[-1] == 250
    assert max(now - then for then, now in pairwise(known)) == 100
