"""An incident climbs its ladder: each state, and what leads from one to the next."""

import pytest

from healer.engine.incidents.opening import MAX_HISTORY
from healer.engine.tuning import Tuning
from healer.model.action import OutcomeKind
from healer.model.effects import Verb
from healer.model.incident import State
from tests.support.world import Drill, World, Yaml, codes, decisions, rule, rulebook, state, tuned

EVICT = {"evict": {}, "verify": {"within": "5m", "stable": "1m"}}
RESTART = {"restart": {}, "verify": {"within": "5m", "stable": "1m"}}
NUDGE = {"nudge": {}, "verify": {"within": "5m", "stable": "1m"}}
GENEROUS = {"budget": {"actions": 50, "per": "1h"}}


def drill(*rules: Yaml, replicas: int = 3, tuning: Tuning | None = None) -> Drill:
    return Drill(rulebook(*(rules or (rule(),))), World(replicas), tuning or tuned())


def states(d: Drill) -> list[State]:
    """The states in which the history has lines, without repeats in a row."""
    found: list[State] = []
    for entry in d.history:
        if found[-1:] != [entry.state]:
            found.append(entry.state)
    return found


def evicted(d: Drill) -> str:
    """The eviction under way is accepted and the pod replaced; returns the successor's name."""
    target = d.waiting[0].target.name
    d.answer()
    return d.world.replace(target)


def test_a_sick_pod_opens_an_incident_and_is_acted_on_at_once() -> None:
    d = drill()
    d.world.crash("serving-2")
    assert states(d) == [State.OPEN, State.ACTING]
    (act,) = d.acts
    assert (act.action, act.target, act.step, act.attempt, act.dry_run) == ("evict", d.world.target("serving-2"), 0, 1, False)
    assert act.incident == d.incident
    assert [(x.verb, x.reason.code) for x in d.decisions if x.incident] == [
        (Verb.OPEN, "CrashLoopBackOff"),
        (Verb.ALLOW, "Allowed"),
    ]


def test_an_accepted_action_is_verified() -> None:
    d = drill()
    d.world.crash("serving-2")
    d.answer()
    assert state(d) is State.VERIFYING
    assert d.incident.deadline == d.now + 300
    assert d.incident.acted_at == (d.now,)


def test_well_for_long_enough_is_healed() -> None:
    d = drill()
    d.world.crash("serving-2")
    evicted(d)
    d.wait(59)
    assert state(d) is State.VERIFYING
    d.wait(1)
    assert state(d) is State.HEALED
    assert codes(d.effects, Verb.HEAL) == ["Healed"]
    assert states(d) == [State.OPEN, State.ACTING, State.VERIFYING, State.HEALED]


def test_a_relapse_while_stable_begins_the_stable_time_anew() -> None:
    d = drill()
    d.world.crash("serving-2")
    new = evicted(d)
    d.wait(50)
    d.world.unready(new)
    d.wait(5)
    d.world.mend(new)
    d.wait(59)
    assert state(d) is State.VERIFYING
    d.wait(1)
    assert state(d) is State.HEALED


def test_healed_is_closed_when_the_cooldown_has_passed() -> None:
    d = drill(rule(limits={"cooldown": "10m"}))
    d.world.crash("serving-2")
    evicted(d)
    d.wait(60)
    d.wait(599)
    assert state(d) is State.HEALED
    d.wait(1)
    assert state(d) is State.CLOSED
    assert d.incident.reason.code == "CooledDown"


def test_not_healed_by_the_deadline_is_the_next_step() -> None:
    d = drill(rule(heal=[EVICT, RESTART], limits=GENEROUS))
    d.world.crash("serving-2")
    new = evicted(d)
    d.world.crash(new)
    d.wait(299)
    assert (state(d), d.incident.step) == (State.VERIFYING, 0)
    d.wait(1)
    assert (state(d), d.incident.step) == (State.ACTING, 1)
    assert codes(d.effects, Verb.CLIMB) == ["StillSick"]
    assert [(act.action, act.target.name) for act in d.acts] == [("evict", "serving-2"), ("restart", new)]


def test_after_the_last_step_a_human_is_asked() -> None:
    d = drill()
    d.world.crash("serving-2")
    new = evicted(d)
    d.world.crash(new)
    d.wait(300)
    assert state(d) is State.ESCALATED
    assert codes(d.effects, Verb.ESCALATE) == ["StillSick"]
    assert "a human is needed" in d.incident.reason.text


def test_escalated_stays_until_the_signals_are_gone() -> None:
    d = drill()
    d.world.crash("serving-2")
    new = evicted(d)
    d.world.crash(new)
    d.wait(300)
    d.wait(86_400)
    assert state(d) is State.ESCALATED
    d.world.mend(new)
    assert state(d) is State.CLOSED
    assert d.incident.reason.code == "Recovered"
    assert len(d.acts) == 1


def test_an_escalation_is_not_over_while_what_healer_left_behind_is_not_well() -> None:
    """The signal went with the evicted pod, but its replacement never gets ready."""
    d = drill()
    d.world.crash("serving-2")
    d.answer()
    d.world.terminate("serving-2")
    d.world.add("late", ready=False)
    d.world.remove("serving-2")
    d.wait(3600)
    assert state(d) is State.ESCALATED
    d.world.mend("late")
    assert state(d) is State.CLOSED


def test_an_escalation_whose_workload_is_gone_is_over() -> None:
    d = drill()
    d.world.crash("serving-2")
    new = evicted(d)
    d.world.crash(new)
    d.wait(300)
    d.world.delete_deployment()
    for pod in d.world.pods:
        d.world.remove(pod.metadata.name)
    d.wait(60)
    assert state(d) is State.CLOSED


def test_signals_gone_before_the_action_close_the_incident_without_one() -> None:
    d = drill()
    d.world.pause("deployment")
    d.world.crash("serving-2")
    assert state(d) is State.WAITING
    d.world.mend("serving-2")
    assert state(d) is State.CLOSED
    assert d.incident.reason.code == "Recovered"
    assert d.acts == []


def test_signals_gone_while_a_later_step_waits_are_verified() -> None:
    d = drill(rule(heal=[EVICT, RESTART], limits=GENEROUS))
    d.world.crash("serving-2")
    new = evicted(d)
    d.world.crash(new)
    d.world.pause(new)
    d.wait(300)
    assert (state(d), d.incident.step) == (State.WAITING, 1)
    d.world.mend(new)
    assert state(d) is State.VERIFYING
    assert d.incident.reason.code == "SignalsGone"
    d.wait(60)
    assert state(d) is State.HEALED
    assert len(d.acts) == 1


def test_healed_needs_the_desired_count_of_ready_replicas() -> None:
    d = drill()
    d.world.crash("serving-2")
    d.answer()
    d.world.terminate("serving-2")
    new = d.world.add(ready=False)
    d.world.remove("serving-2")
    d.wait(120)
    assert state(d) is State.VERIFYING
    d.world.mend(new)
    d.wait(60)
    assert state(d) is State.HEALED


def test_healed_needs_the_current_revision() -> None:
    d = drill()
    d.world.crash("serving-2")
    evicted(d)
    d.world.rollout(updated_replicas=2)
    d.wait(120)
    assert state(d) is State.VERIFYING
    d.world.rollout()
    d.wait(60)
    assert state(d) is State.HEALED


def test_healed_needs_the_deployment_to_say_so_too() -> None:
    """Pods and status are watched apart: either may lag behind the other."""
    d = drill()
    d.world.crash("serving-2")
    evicted(d)
    d.world.rollout(ready_replicas=2)
    d.wait(120)
    assert state(d) is State.VERIFYING
    d.world.rollout()
    d.wait(60)
    assert state(d) is State.HEALED


def test_healed_needs_the_evicted_pod_to_be_seen_to_go() -> None:
    """The alert is over and the view has all replicas ready, for it does not know of the eviction yet."""
    d = drill(rule(when={"alert": ["HighLatency"]}, heal=[{"evict": {}, "verify": {"within": "5m", "stable": "0s"}}]))
    d.alert("serving-2")
    d.alert("serving-2", firing=False)
    d.answer()
    assert state(d) is State.VERIFYING
    d.world.replace("serving-2")
    assert state(d) is State.HEALED


def test_a_workload_that_is_deleted_meanwhile_closes_the_incident() -> None:
    d = drill()
    d.world.crash("serving-2")
    d.answer()
    d.world.remove("serving-2")
    d.world.delete_deployment()
    assert state(d) is State.CLOSED
    assert d.incident.reason.code == "WorkloadGone"


# several sick pods


def test_sick_pods_of_one_workload_are_one_incident() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    assert [t.target.name for t in d.incident.sick] == ["serving-1", "serving-2"]
    assert codes(d.effects, Verb.JOIN) == ["CrashLoopBackOff"]


def test_a_pod_that_fell_sick_anew_is_treated_after_those_sick_since() -> None:
    d = drill(replicas=5)
    d.world.pause("deployment")
    for name in ("serving-1", "serving-2"):
        d.world.crash(name)
        d.wait(1)
    d.world.mend("serving-1")
    d.world.crash("serving-1")
    assert [t.target.name for t in d.incident.sick] == ["serving-2", "serving-1"]


def test_sick_pods_are_treated_one_after_another() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}), replicas=4)
    d.alert("serving-1")
    d.alert("serving-2")
    d.answer()
    d.wait(60)
    assert d.acted_on == ["serving-1"]  # not gone yet
    d.world.terminate("serving-1")
    new = d.world.add(ready=False)
    d.world.remove("serving-1")
    assert d.acted_on == ["serving-1"]  # gone, but its replacement is not ready
    d.world.mend(new)
    assert d.acted_on == ["serving-1", "serving-2"]
    assert state(d) is State.ACTING


def test_verification_begins_anew_with_each_pod_treated() -> None:
    d = drill(replicas=4)
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.wait(10)
    evicted(d)
    d.wait(200)
    assert d.acted_on == ["serving-1", "serving-2"]
    evicted(d)
    assert d.incident.deadline == d.now + 300
    d.wait(60)
    assert state(d) is State.HEALED


def test_each_pod_is_treated_once_a_step() -> None:
    """The alert stays: the same again would help nobody."""
    d = drill(rule(when={"alert": ["HighLatency"]}, heal=[{"nudge": {}, "verify": {"within": "5m", "stable": "1m"}}]))
    d.alert("serving-1")
    d.answer()
    d.wait(299)
    assert len(d.acts) == 1
    d.wait(1)
    assert state(d) is State.ESCALATED


def test_a_pod_that_fell_sick_after_the_step_acted_and_was_there_before_is_treated_too() -> None:
    d = drill(replicas=4)
    d.world.crash("serving-1")
    evicted(d)
    d.wait(30)
    d.world.crash("serving-3")
    assert d.acted_on == ["serving-1", "serving-3"]


def test_a_sick_pod_born_after_the_step_acted_is_no_patient_but_shows_that_the_step_failed() -> None:
    d = drill(replicas=4)
    d.world.crash("serving-1")
    new = evicted(d)
    d.world.crash(new)
    d.wait(299)
    assert d.acted_on == ["serving-1"]
    d.wait(1)
    assert state(d) is State.ESCALATED


def test_a_replacement_that_is_sick_is_told_as_the_new_one() -> None:
    d = drill(rule(heal=[EVICT]))
    d.world.crash("serving-1")
    new = evicted(d)
    d.world.crash(new)
    assert d.history[-1].reason.text.startswith(f"the new pod/{new} is sick too: ")
    d.wait(400)
    assert state(d) is State.ESCALATED
    assert f"a human is needed: sick as well: the new pod/{new} (" in d.incident.reason.text


def test_the_replacement_may_be_seen_before_the_answer_and_is_no_patient_either() -> None:
    d = drill(replicas=4)
    d.world.crash("serving-1")
    new = d.world.replace("serving-1")
    d.answer()
    d.world.crash(new)
    d.wait(299)
    assert d.acted_on == ["serving-1"]


def test_a_pod_born_while_the_budget_refused_is_still_a_patient() -> None:
    """The step did nothing yet: a pod born meanwhile says nothing about it."""
    d = drill(replicas=4)
    d.world.crash("serving-1")
    d.answer(OutcomeKind.DEFERRED)
    new = d.world.replace("serving-2")
    d.world.crash(new)
    d.world.mend("serving-1")
    d.wait(15)
    assert d.acted_on == ["serving-1", new]


def test_a_new_step_treats_pods_anew() -> None:
    d = drill(rule(heal=[NUDGE, EVICT], limits=GENEROUS), replicas=4)
    d.world.crash("serving-1")
    d.answer()
    d.wait(300)
    assert [(act.action, act.target.name) for act in d.acts] == [("nudge", "serving-1"), ("evict", "serving-1")]


def test_all_treated_while_one_more_waits_climbs_not_by_waiting_but_by_the_verdict() -> None:
    d = drill(replicas=4)
    d.world.crash("serving-1")
    evicted(d)
    d.world.pause("serving-2")
    d.world.crash("serving-2")
    d.wait(3600)
    assert state(d) is State.WAITING  # a pause is no failure of the step
    assert d.incident.reason.code == "Paused"
    d.world.pause("serving-2", "")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_a_second_patient_is_taken_up_when_the_budget_has_room_again_though_nothing_else_happens() -> None:
    d = drill(rule(limits={"budget": {"actions": 1, "per": "2m"}}), replicas=4)
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    evicted(d)
    d.wait(119)
    assert d.acted_on == ["serving-1"]
    d.wait(1)
    assert d.acted_on == ["serving-1", "serving-2"]


# dedup


def test_the_same_rule_on_the_same_workload_is_one_incident() -> None:
    d = drill()
    d.world.crash("serving-1")
    d.world.crash("serving-1", restarts=6)
    assert len(d.incidents) == 1
    assert len(d.acts) == 1


def test_two_rules_on_one_workload_are_two_incidents() -> None:
    d = drill(rule("one"), rule("two"))
    d.world.crash("serving-1")
    assert [incident.rule for incident in d.incidents.values()] == ["test/one", "test/two"]


def test_two_rule_sets_may_have_a_rule_of_the_same_name() -> None:
    one, two = rulebook(rule(), name="one"), rulebook(rule(), name="two")
    d = Drill(type(one)([*one.rules, *two.rules]))
    d.world.crash("serving-1")
    assert sorted(incident.rule for incident in d.incidents.values()) == ["one/crash-loop", "two/crash-loop"]
    assert len(d.engine.incidents()) == 2


def test_a_relapse_after_healing_is_a_new_incident_and_stays_one_though_the_old_one_closes() -> None:
    d = drill(rule(limits={"cooldown": "10m"}), replicas=4)
    d.world.crash("serving-1")
    evicted(d)
    d.wait(60)
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    assert len(d.incidents) == 2
    d.wait(600)
    first, second = d.incidents.values()
    assert (first.state, second.state) == (State.CLOSED, State.ACTING)
    d.world.crash("serving-4")
    assert len(d.incidents) == 2


def test_incidents_opened_at_the_same_moment_have_their_own_ids() -> None:
    d = drill()
    d.world.pause("deployment")
    for _ in range(3):
        d.world.crash("serving-1")
        d.world.mend("serving-1")
    assert len(d.incidents) == 3


# observing


def test_observe_never_changes_anything_and_says_what_it_would_have_done() -> None:
    d = drill(rule(mode="observe"))
    d.world.crash("serving-1")
    (act,) = d.acts
    assert act.dry_run
    assert "would" in d.incident.reason.text


@pytest.mark.parametrize("kind", [OutcomeKind.DONE, OutcomeKind.GONE, OutcomeKind.RECOVERED])
def test_observe_never_claims_to_have_healed(kind: OutcomeKind) -> None:
    d = drill(rule(mode="observe"))
    d.world.crash("serving-1")
    d.answer(kind)
    d.world.mend("serving-1")
    d.wait(3600)
    assert State.HEALED not in states(d)
    assert state(d) is State.CLOSED
    assert decisions(d.effects, Verb.HEAL) == []
    assert d.incident.acted_at == ()


def test_observe_spends_no_budget() -> None:
    d = drill(rule(mode="observe", limits={"budget": {"actions": 1, "per": "1h"}, "cooldown": "1h"}))
    for name in ("serving-1", "serving-2"):
        d.world.crash(name)
        d.answer()
        d.world.mend(name)
        d.wait(120)
    assert len(d.acts) == 2


def test_a_rule_that_observes_does_not_hold_back_one_that_acts() -> None:
    d = drill(rule("watches", mode="observe"), rule("acts"))
    d.world.crash("serving-1")
    assert [(act.incident.rule, act.dry_run) for act in d.acts] == [("test/watches", True), ("test/acts", False)]


# the history


def test_a_long_history_keeps_its_beginning_and_its_end() -> None:
    d = drill(replicas=4)
    d.world.pause("deployment")
    d.world.crash("serving-1")
    for _ in range(MAX_HISTORY):
        d.world.crash("serving-2")
        d.wait(1)
        d.world.mend("serving-2")
    assert len(d.history) == MAX_HISTORY
    assert d.history[0].reason.text.startswith("pod/serving-1 is sick")
    assert d.history[-1].reason.text.endswith("is resolved; 1 sick target left")
    assert d.history[1].at > d.history[0].at


LOOK = {"collect": {}, "verify": {"within": "1h"}}


def test_after_a_step_that_only_looks_the_next_follows_at_once() -> None:
    """It is no action that counts, and nobody waits for its verification."""
    d = Drill(rulebook(rule(heal=[LOOK, {"evict": {}}])), World(3))
    d.world.crash("serving-1")
    d.answer(reason="Collected")
    assert [(act.action, act.step) for act in d.acts] == [("collect", 0), ("evict", 1)]
    assert d.incident.acted_at == ()
    assert "step 1 is done: " in next(entry for entry in d.incident.history if entry.reason.code == "Collected").reason.text


def test_as_the_last_step_it_is_followed_by_its_verification() -> None:
    """Nothing would follow but a human, and the pod may get well by itself."""
    d = Drill(rulebook(rule(heal=[LOOK])), World(3))
    d.world.crash("serving-1")
    d.answer()
    assert state(d) is State.VERIFYING
    d.wait(3601)
    assert state(d) is State.ESCALATED
