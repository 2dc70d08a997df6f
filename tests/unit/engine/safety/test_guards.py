"""What keeps healer from making things worse: each guard, when it holds an action back and when it lets go."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from healer.engine.safety.guards.replicas import Replicas, above_floor
from healer.engine.tuning import Tuning
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Acted, Verb
from healer.model.incident import State
from healer.model.kube import Condition
from healer.model.node import Node
from healer.workloads.deployment import DeploymentSpec
from tests.support.world import Drill, World, Yaml, codes, rule, rulebook, state, tuned
from tests.unit.engine.incidents.test_restart import restarted
from tests.unit.rules.test_nodes import node

GENEROUS = {"budget": {"actions": 50, "per": "1h"}}


def drill(*rules: Yaml, replicas: int = 3, tuning: Tuning | None = None) -> Drill:
    return Drill(rulebook(*(rules or (rule(),))), World(replicas), tuning or tuned())


def heal(d: Drill) -> str:
    """The eviction under way is accepted, the pod replaced, the incident healed; returns the successor's name."""
    target = d.waiting[0].target.name
    d.answer()
    new = d.world.replace(target)
    d.wait(60)
    return new


# cooldown


def test_after_healing_the_workload_is_left_alone_for_the_cooldown() -> None:
    d = drill(rule(limits={"cooldown": "10m"}))
    d.world.crash("serving-1")
    heal(d)
    d.wait(100)
    d.world.crash("serving-2")
    assert codes(d.effects, Verb.DEFER) == ["Cooldown"]
    (second,) = [incident for incident in d.engine.incidents() if incident.state is State.WAITING]
    assert second.reason.text == "the last healing ended 1 m 40 s ago; 8 m 20 s of cooldown left"
    d.wait(499)
    assert d.acted_on == ["serving-1"]
    d.wait(1)
    assert d.acted_on == ["serving-1", "serving-2"]


def test_a_cooldown_longer_than_the_longest_wait_is_no_failure_of_the_step() -> None:
    d = drill(rule(limits={"cooldown": "2h"}))
    d.world.crash("serving-1")
    heal(d)
    d.world.crash("serving-2")
    d.wait(7200)
    assert d.acted_on == ["serving-1", "serving-2"]
    assert codes(d.effects, Verb.ESCALATE) == []


def test_the_cooldown_is_of_one_rule() -> None:
    d = drill(rule(limits={"cooldown": "1h"}), rule("other", when={"alert": ["HighLatency"]}))
    d.world.crash("serving-1")
    heal(d)
    d.alert("serving-2")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_the_cooldown_runs_after_an_escalation_too() -> None:
    d = drill(rule(limits={"cooldown": "1h"}))
    d.world.crash("serving-1")
    d.answer()
    new = d.world.replace("serving-1")
    d.world.crash(new)
    d.wait(300)
    d.world.mend(new)
    d.world.crash("serving-2")
    assert codes(d.effects, Verb.DEFER) == ["Cooldown"]


def test_within_an_incident_there_is_no_cooldown() -> None:
    d = drill(rule(limits={"cooldown": "1h"}), replicas=4)
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.answer()
    d.world.replace("serving-1")
    assert d.acted_on == ["serving-1", "serving-2"]


# budget


def test_the_budget_is_a_sliding_window() -> None:
    d = drill(rule(limits={"budget": {"actions": 2, "per": "20m"}, "cooldown": "1m"}))
    sent = []
    d.checks.append(
        lambda drill, event, effects: sent.extend([drill.now] * len([1 for e in effects if type(e).__name__ == "Act"]))
    )
    begin, name = d.now, "serving-1"
    for _ in range(4):
        d.world.crash(name)
        while not d.waiting:
            d.wait(1)
        name = heal(d)
        d.wait(60)
    assert [at - begin for at in sent] == [0, 120, 1200, 1320]


def test_a_budget_that_stays_spent_asks_a_human_after_the_longest_wait() -> None:
    d = drill(rule(limits={"budget": {"actions": 1, "per": "6h"}, "cooldown": "1m"}))
    d.world.crash("serving-1")
    heal(d)
    d.wait(60)
    d.world.crash("serving-2")
    d.wait(1799)
    assert codes(d.effects, Verb.ESCALATE) == []
    d.wait(1)
    assert codes(d.effects, Verb.ESCALATE) == ["WaitedTooLong"]
    assert len(d.acts) == 1


def test_the_budget_counts_accepted_actions_only() -> None:
    d = drill(rule(limits={"budget": {"actions": 1, "per": "6h"}}))
    d.world.crash("serving-1")
    for _ in range(3):
        d.answer(OutcomeKind.DEFERRED)
        d.wait(15)
    assert d.acted_on == ["serving-1"] * 4


def test_the_budget_belongs_to_the_workload_not_to_the_pod() -> None:
    d = drill(rule(limits={"budget": {"actions": 1, "per": "6h"}, "cooldown": "1m"}))
    d.world.crash("serving-1")
    new = heal(d)
    d.wait(60)
    d.world.crash(new)
    assert codes(d.effects, Verb.DEFER) == ["BudgetSpent"]


# the floor


@pytest.mark.parametrize(
    ("ready", "in_flight", "target_ready", "desired", "min_ready", "allowed"),
    [
        (3, 0, True, 3, 1, True),
        (3, 0, True, 3, 2, True),
        (3, 0, True, 3, 3, False),
        (2, 0, False, 3, 2, True),
        (1, 0, False, 3, 2, False),
        (2, 1, True, 3, 1, False),  # one is on its way down already, and looks ready
        (3, 1, True, 3, 1, True),
        (1, 0, True, 3, 1, False),  # the last ready replica
        (0, 0, False, 3, 1, False),  # nothing serves: that is no single pod's fault
        (1, 0, True, 1, 1, False),  # a single replica that serves
        (0, 0, False, 1, 1, True),  # a single replica that does not: nothing is lost
        (0, 0, False, 0, 1, True),
        (1, 0, True, 2, 0, False),  # minReady below 1 counts as 1
    ],
)
def test_the_floor(ready: int, in_flight: int, target_ready: bool, desired: int, min_ready: int, allowed: bool) -> None:
    replicas = Replicas(
        target=World().target("serving-1"),
        rollout=None,
        takes_one=True,
        target_ready=target_ready,
        down="",
        in_flight=in_flight,
        count_ready=lambda: ready,
        desired=desired,
        min_ready=min_ready,
    )
    assert (above_floor(replicas) is None) == allowed


def test_the_last_ready_replica_is_never_taken() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}))
    d.world.ready(1)
    d.alert("serving-1")
    d.wait(600)
    assert d.acts == []
    assert codes(d.effects, Verb.DEFER) == ["BelowFloor"]


def test_min_ready_raises_the_floor() -> None:
    d = drill(rule(limits={"minReady": 3}))
    d.world.crash("serving-1")
    assert codes(d.effects, Verb.DEFER) == ["BelowFloor"]
    d.world.add()
    assert d.acted_on == ["serving-1"]


def test_a_single_replica_that_is_not_ready_may_be_taken() -> None:
    d = drill(replicas=1)
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


def test_a_single_replica_that_is_ready_may_not() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}), replicas=1)
    d.alert("serving-1")
    assert codes(d.effects, Verb.DEFER) == ["BelowFloor"]
    assert d.incident.reason.text == "it would leave 0 ready replicas; minReady asks for 1"


def test_a_terminating_pod_does_not_count_as_ready() -> None:
    d = drill(replicas=3)
    d.world.terminate("serving-2")
    d.world.respecify(replicas=2)
    d.world.remove("serving-3")
    d.world.add(ready=False)
    d.world.crash("serving-1")
    assert codes(d.effects, Verb.DEFER) == ["BelowFloor"]


def test_the_floor_does_not_concern_an_action_that_takes_no_pod_down() -> None:
    d = drill(rule(heal=[{"nudge": {}}]))
    d.world.ready(0)
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


# one disruption in flight


def in_flight() -> Drill:
    """Two pods that are ready are slow; the first was evicted and is going."""
    d = drill(rule(when={"alert": ["HighLatency"]}), replicas=4)
    d.alert("serving-1")
    d.alert("serving-2")
    d.answer()
    return d


def test_nothing_more_while_the_pod_is_not_seen_to_go() -> None:
    d = in_flight()
    d.world.add("early")
    d.wait(60)
    assert d.acted_on == ["serving-1"]


def test_a_pod_that_never_ends_blocks_nothing_once_it_is_replaced() -> None:
    """Its node is lost: nobody confirms its end, and its ReplicaSet has long made another."""
    d = in_flight()
    d.world.terminate("serving-1")
    new = d.world.add(ready=False)
    d.wait(60)
    assert d.acted_on == ["serving-1"]
    d.world.mend(new)
    assert d.acted_on == ["serving-1", "serving-2"]


def test_a_pod_that_is_not_ready_is_taken_whatever_is_in_flight() -> None:
    d = drill(replicas=6)
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.answer()
    assert d.acted_on == ["serving-1", "serving-2"]


def test_a_pod_that_is_not_ready_is_taken_while_a_ready_one_is_in_flight() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}), replicas=6)
    d.alert("serving-1")
    d.answer()
    d.world.remove("serving-1")
    d.world.add(ready=False)
    d.world.unready("serving-2")
    d.alert("serving-2")
    assert d.acted_on == ["serving-1", "serving-2"]
    d.answer()
    d.alert("serving-3")
    assert d.acted_on == ["serving-1", "serving-2"], "the ready one is still not made good"


def test_a_pod_that_was_ready_at_the_last_look_is_a_disruption_whatever_the_view_had() -> None:
    d = drill(replicas=6)
    d.world.crash("serving-1")
    act = d.waiting.pop(0)
    d.feed(Acted(act.incident.id, act.step, act.attempt, Outcome(OutcomeKind.DONE, "Evicted", "evicted", ready=True)))
    d.world.remove("serving-1")
    d.world.add(ready=False)
    assert d.engine._parts.guard_state.ledger.in_flight("deploy-1", d.world.view) != []


def test_the_floor_holds_for_a_pod_that_is_not_ready_too() -> None:
    d = drill(rule(limits={"minReady": 4}), replicas=6)
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.world.unready("serving-3")
    d.answer()
    d.wait(60)
    assert d.acted_on == ["serving-1"]
    d.world.mend("serving-3")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_a_replacement_that_is_sick_itself_is_treated_by_another_rule() -> None:
    """The first rule waits for that very pod to be ready, so that it does not keep others off it."""
    d = drill(rule("slow", when={"alert": ["HighLatency"]}), rule(), replicas=4)
    d.alert("serving-1")
    d.answer()
    d.world.remove("serving-1")
    new = d.world.add(ready=False)
    d.world.crash(new)
    assert d.acted_on == ["serving-1", new]
    d.answer()
    d.world.replace(new)
    d.wait(60)
    assert [incident.state for incident in d.engine.incidents()] == [State.HEALED, State.HEALED]


def test_another_pod_that_is_not_ready_waits_for_the_ladder_that_climbs() -> None:
    d = drill(rule("slow", when={"alert": ["HighLatency"]}), rule(), replicas=6)
    d.alert("serving-1")
    d.answer()
    d.world.replace("serving-1")
    d.world.crash("serving-2")
    assert d.acted_on == ["serving-1"]
    assert codes(d.effects, Verb.DEFER) == ["OtherIncident"]


def test_nothing_more_while_the_replacement_is_not_ready() -> None:
    d = in_flight()
    d.world.remove("serving-1")
    new = d.world.add(ready=False)
    d.wait(60)
    assert d.acted_on == ["serving-1"]
    d.world.mend(new)
    assert d.acted_on == ["serving-1", "serving-2"]


def test_another_pod_that_gets_ready_is_no_replacement() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}), replicas=5)
    d.world.unready("serving-5")
    d.alert("serving-1")
    d.alert("serving-2")
    d.answer()
    d.world.remove("serving-1")
    d.world.add(ready=False)
    d.world.mend("serving-5")
    d.wait(60)
    assert d.acted_on == ["serving-1"]


def test_a_workload_that_was_scaled_down_meanwhile_needs_no_replacement() -> None:
    d = in_flight()
    d.world.remove("serving-1")
    assert d.acted_on == ["serving-1"]
    d.world.respecify(replicas=2)
    assert d.acted_on == ["serving-1", "serving-2"]


def test_one_in_flight_across_rules() -> None:
    """The first rule's incident is over (its step was given up), its pod not replaced yet."""
    d = drill(rule(when={"alert": ["HighErrors"]}), rule("other", when={"alert": ["HighLatency"]}), replicas=4)
    d.alert("serving-1", "HighErrors")
    d.answer()
    d.world.remove("serving-1")
    new = d.world.add(ready=False)
    d.alert("serving-2")
    d.wait(300)
    assert [incident.state for incident in d.incidents.values()] == [State.ESCALATED, State.WAITING]
    assert d.engine.incidents()[1].reason.code == "DisruptionInFlight"
    d.world.mend(new)
    assert d.acted_on == ["serving-1", "serving-2"]


def test_an_action_that_takes_no_pod_down_does_not_wait_for_a_disruption() -> None:
    nudge = rule("nudges", when={"alert": ["HighLatency"]}, heal=[{"nudge": {}}])
    d = drill(rule(heal=[{"evict": {}, "verify": {"within": "1m", "stable": "1s"}}]), nudge, replicas=4)
    d.world.crash("serving-1")
    d.answer()
    d.world.remove("serving-1")
    d.world.add(ready=False)
    d.wait(60)
    d.alert("serving-2")
    assert [(act.action, act.target.name) for act in d.acts] == [("evict", "serving-1"), ("nudge", "serving-2")]


# rollouts


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"observed_generation": 0}, "has not seen its newest spec"),
        ({"updated_replicas": 2}, "2 of 3 replicas are of the current revision"),
        ({"replicas": 4}, "1 replicas of an older revision remain"),
    ],
)
def test_nothing_during_a_rollout(status: dict[str, int], why: str) -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}))
    d.world.rollout(**status)
    d.alert("serving-1")
    assert d.acts == []
    assert codes(d.effects, Verb.DEFER) == ["RolloutInProgress"]
    assert why in d.incident.reason.text
    d.world.rollout()
    assert d.acted_on == ["serving-1"]


QUOTA = 'pods "serving-7d-x2k9q" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2'


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ((Condition("ReplicaFailure", "True", "FailedCreate", QUOTA),), f"ReplicaFailure=True (FailedCreate): {QUOTA}"),
        (
            (
                Condition(
                    "Progressing", "False", "ProgressDeadlineExceeded", 'ReplicaSet "serving-7d" has timed out progressing.'
                ),
            ),
            'Progressing=False (ProgressDeadlineExceeded): ReplicaSet "serving-7d" has timed out progressing.',
        ),
        (
            (
                Condition("Progressing", "False", "ReplicaSetCreateError", "late"),
                Condition("ReplicaFailure", "True", "FailedCreate", "now"),
            ),
            "ReplicaFailure=True (FailedCreate): now",
        ),
    ],
)
def test_a_rollout_that_is_stuck_is_told_in_the_deployment_s_words(conditions: tuple[Condition, ...], said: str) -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}))
    d.world.rollout(updated_replicas=2)
    d.alert("serving-1")
    d.world.rollout(updated_replicas=2, conditions=conditions)
    d.wait(15)
    assert codes(d.effects, Verb.DEFER) == ["RolloutInProgress", "RolloutStuck"]  # told anew: it is another reason now
    assert d.incident.reason.text == f"2 of 3 replicas are of the current revision, and serving makes no progress: {said}"
    assert d.acts == []


def test_conditions_that_say_that_all_is_well_keep_nothing_back() -> None:
    well = (
        Condition("Available", "True", "MinimumReplicasAvailable"),
        Condition("Progressing", "True", "NewReplicaSetAvailable"),
    )
    d = drill(rule(when={"alert": ["HighLatency"]}))
    d.world.rollout(conditions=(*well, Condition("ReplicaFailure", "False", "FailedCreate", "long ago")))
    d.alert("serving-1")
    assert d.acted_on == ["serving-1"]


def test_nothing_while_the_rollout_is_paused() -> None:
    d = drill()
    d.world.respecify(paused=True)
    d.world.crash("serving-1")
    assert codes(d.effects, Verb.DEFER) == ["RolloutInProgress"]
    assert "spec.paused" in d.incident.reason.text


def test_a_rollout_that_never_ends_gives_the_step_up() -> None:
    d = drill()
    d.world.respecify(paused=True)
    d.world.crash("serving-1")
    d.wait(1800)
    assert state(d) is State.ESCALATED
    assert "rollout is paused" in d.incident.reason.text


# paused


@pytest.mark.parametrize("where", ["serving-1", "deployment", "namespace"])
def test_paused_stops_everything_and_never_escalates_by_waiting(where: str) -> None:
    d = drill()
    d.world.pause(where)
    d.world.crash("serving-1")
    d.wait(86_400)
    assert state(d) is State.WAITING
    assert d.incident.reason.code == "Paused"
    assert d.acts == []
    assert len(d.history) == 2  # said once
    d.world.pause(where, "")
    d.wait(15)
    assert d.acted_on == ["serving-1"]


@pytest.mark.parametrize("where", ["serving-1", "deployment", "namespace"])
def test_a_pause_with_an_end_ends_by_itself(where: str) -> None:
    d = drill()
    d.world.pause(where, by="ann", until=datetime.fromtimestamp(d.now + 7200, UTC).isoformat())
    d.world.crash("serving-1")
    d.wait(7199)
    assert d.acts == []
    assert "(by ann until 20" in d.incident.reason.text
    d.wait(2)
    assert d.acted_on == ["serving-1"]


@pytest.mark.parametrize("until", ["soon", "2026-13-01T00:00:00Z", "2020-01-01T00:00:00"])
def test_a_pause_whose_end_cannot_be_read_goes_on(until: str) -> None:
    """No time zone is no time: somebody wanted healer to keep out, and only an end that is sure lets it in again."""
    d = drill()
    d.world.pause("deployment", until=until)
    d.world.crash("serving-1")
    d.wait(86_400)
    assert d.acts == []


def test_paused_for_long_and_then_put_off_begins_the_longest_wait_anew() -> None:
    d = drill()
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.wait(86_400)
    d.world.respecify(paused=True)
    d.world.pause("deployment", "")
    d.wait(1799)
    assert state(d) is State.WAITING
    d.wait(1)
    assert state(d) is State.ESCALATED


def test_pausing_one_pod_leaves_the_others_to_be_treated() -> None:
    """The pause is of the pod that has been sick longest."""
    d = drill(replicas=4)
    d.world.pause("serving-1")
    d.world.crash("serving-1")
    d.wait(1)
    d.world.crash("serving-2")
    d.wait(60)
    assert d.acted_on == ["serving-2"]


def test_paused_everywhere_stops_everything_and_is_said_first() -> None:
    d = drill()
    d.world.pause("deployment")
    d.world.view.paused_everywhere = "by ann: the store is moved"
    d.world.crash("serving-1")
    d.wait(86_400)
    assert (state(d), d.acts) == (State.WAITING, [])
    assert d.incident.reason.code == "Paused"
    assert d.incident.reason.text == "healer is paused everywhere: by ann: the store is moved"
    d.world.view.paused_everywhere = ""
    d.world.pause("deployment", "")
    d.wait(15)
    assert d.acted_on == ["serving-1"]


@pytest.mark.parametrize(
    ("by", "reason", "said"),
    [
        ("", "", ""),
        ("ann", "", " (by ann)"),
        ("", "the store is moved", " (the store is moved)"),
        ("ann", "the store is moved", " (by ann: the store is moved)"),
    ],
)
def test_who_paused_and_why_is_said(by: str, reason: str, said: str) -> None:
    d = drill()
    d.world.pause("deployment", by=by, reason=reason)
    d.world.crash("serving-1")
    assert d.incident.reason.text == f'healer.dev/paused is "true" on deployment/serving{said}'


def test_only_true_pauses() -> None:
    d = drill()
    d.world.pause("deployment", "false")
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


# one ladder


def test_one_ladder_climbs_on_a_workload_at_a_time() -> None:
    d = drill(rule("one"), rule("two", when={"alert": ["HighLatency"]}), replicas=4)
    d.world.crash("serving-1")
    d.alert("serving-2")
    assert codes(d.effects, Verb.DEFER) == ["OtherIncident"]
    d.answer()
    d.world.replace("serving-1")
    assert d.acted_on == ["serving-1"]  # verifying
    d.wait(60)
    assert d.acted_on == ["serving-1", "serving-2"]


def test_the_other_ladder_goes_on_at_once_when_the_first_is_put_off() -> None:
    d = drill(rule("one"), rule("two", when={"alert": ["HighLatency"]}), replicas=4)
    d.world.crash("serving-1")
    d.alert("serving-2")
    d.answer(OutcomeKind.DEFERRED)
    assert d.acted_on == ["serving-1", "serving-2"]


def test_the_other_ladder_waits_while_it_is_not_known_whether_the_first_acted() -> None:
    d = drill(rule("one"), rule("two", when={"alert": ["HighLatency"]}), replicas=4)
    d.world.crash("serving-1")
    d.alert("serving-2")
    d.answer(OutcomeKind.FAILED)
    d.wait(14)
    assert d.acted_on == ["serving-1"]
    d.wait(1)
    assert d.acted_on == ["serving-1", "serving-1"]


def test_workloads_do_not_wait_for_each_other() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}, heal=[{"nudge": {}}]))
    other = msgspec.structs.replace(d.world.deployment.metadata, name="other", uid="deploy-2")
    d.world.view.put(msgspec.structs.replace(d.world.deployment, metadata=other, spec=DeploymentSpec(3)))
    d.alert(d.world.workload)
    d.alert(replace(d.world.workload, name="other", uid="deploy-2"))
    assert d.acted_on == ["serving", "other"]


# what healer cannot treat


def test_an_action_that_does_not_fit_the_target_is_refused_and_the_next_step_tried() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}, heal=[{"evict": {}}, {"nudge": {}}]))
    d.alert(d.world.workload)
    assert codes(d.effects, Verb.REFUSE) == ["WrongTarget"]
    assert [act.action for act in d.acts] == ["nudge"]


def test_a_workload_of_another_kind_is_a_human_s_matter() -> None:
    d = Drill(rulebook(rule()), World(owner="Job"))
    d.world.crash("serving-1")
    assert d.acts == []
    assert codes(d.effects, Verb.REFUSE) == ["UnsupportedWorkload"]
    assert state(d) is State.ESCALATED
    d.world.mend("serving-1")
    assert state(d) is State.CLOSED


def test_a_target_that_does_not_fit_leaves_the_others_to_be_treated() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}), replicas=4)
    d.alert("serving-1")
    d.alert(d.world.workload)
    d.wait(1)
    d.alert("serving-2")
    d.answer()
    d.world.replace("serving-1")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_a_workload_that_the_view_does_not_hold_is_not_acted_on() -> None:
    d = drill()
    d.world.delete_deployment()
    d.world.crash("serving-1")
    assert d.acts == []
    assert codes(d.effects, Verb.DEFER) == ["WorkloadGone"]


# records


def test_no_floor_is_under_a_record() -> None:
    """It serves nobody: to delete it leaves the workload what it has."""
    d = drill(rule("tidy", when={"pod": ["Failed"]}, limits={"minReady": 3}), replicas=2)
    d.world.finish("serving-1", "OutOfmemory")
    assert d.acted_on == ["serving-1"]
    assert set(codes(d.effects, Verb.DEFER)) == {"RolloutInProgress"}  # before its successor was there


def test_a_record_that_is_gone_is_healed_however_the_workload_is() -> None:
    """The ladder of a rule on records neither climbs nor holds up others for what living pods suffer."""
    tidy = rule(
        "tidy", when={"pod": ["Failed"]}, heal=[{"evict": {}, "verify": {"within": "5m", "stable": "10s"}}, {"rollback": {}}]
    )
    d = drill(tidy, replicas=3)
    d.world.finish("serving-1", "OutOfmemory")
    d.world.unready("serving-2")
    d.answer()
    d.world.remove("serving-1")
    d.wait(10)
    assert d.incident.state is State.HEALED


@pytest.mark.parametrize("conditions", [["Evicted", "Failed"], ["Failed", "OOMKilled"]])
def test_a_ladder_about_records_keeps_none_off_the_living(conditions: list[str]) -> None:
    """It is verified for as long as the records stay, which may be weeks."""
    records = rule("records", when={"pod": conditions}, heal=[{"nudge": {}, "verify": {"within": "1h", "stable": "1m"}}])
    d = drill(records, rule(), replicas=3)
    d.world.finish("serving-1", "OutOfcpu")
    d.answer()
    d.world.crash("serving-2")
    assert [(act.action, act.target.name) for act in d.acts] == [("nudge", "serving-1"), ("evict", "serving-2")]


def test_what_is_still_sick_is_told_with_what_keeps_the_workload_from_its_replicas() -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}), replicas=4)
    d.alert("serving-1")
    d.answer()
    d.world.remove("serving-1")
    d.alert("serving-2")
    d.world.rollout(updated_replicas=3, conditions=(Condition("ReplicaFailure", "True", "FailedCreate", QUOTA),))
    d.wait(300)
    assert "still sick: pod/serving-2" in d.incident.reason.text
    assert f"ReplicaFailure=True (FailedCreate): {QUOTA}" in d.incident.reason.text


def test_a_ladder_about_records_that_rolls_the_workload_keeps_others_off_it() -> None:
    records = rule("records", when={"pod": ["Failed"]}, heal=[{"divert": {"stable": {"deployment": "serving"}}}])
    d = drill(records, rule(), replicas=3)
    d.world.finish("serving-1", "OutOfcpu")
    d.answer()
    d.world.crash("serving-2")
    assert codes(d.effects, Verb.DEFER)[-1] == "OtherIncident"


# rules that only tell people


PAGE = {"page": {"channels": ["#ops"]}, "verify": {"within": "10m", "stable": "1m"}}


@pytest.mark.parametrize("heal", [[PAGE], [PAGE, {"evict": {}}]], ids=["a ladder of a page", "a ladder that begins with a page"])
def test_a_step_that_only_tells_people_holds_up_no_other_rule(heal: list[dict[str, Any]]) -> None:
    d = drill(rule("told", when={"alert": ["HighLatency"]}, heal=heal), rule(), replicas=6)
    d.alert("serving-1")
    assert [act.action for act in d.acts] == ["page"]
    d.world.crash("serving-2")
    assert [act.action for act in d.acts] == ["page", "evict"], "while the page is under way"
    assert codes(d.effects, Verb.DEFER) == []


def test_a_page_whose_effect_is_looked_at_holds_up_nobody() -> None:
    d = drill(rule("told", when={"alert": ["HighLatency"]}, heal=[PAGE]), rule(), replicas=6)
    d.alert("serving-1")
    d.answer()
    assert d.incident.state is State.VERIFYING
    d.world.crash("serving-2")
    assert [act.action for act in d.acts] == ["page", "evict"]


@pytest.mark.parametrize("again", [False, True])
def test_a_step_that_found_nothing_to_do_holds_up_nobody(again: bool) -> None:
    """The pod was being deleted already: healer took nothing from the workload, so that there is nothing to wait for."""
    d = drill(rule("slow", when={"alert": ["HighLatency"]}), rule(), replicas=6)
    d.alert("serving-1")
    if again:
        d.answer(OutcomeKind.GONE, "AlreadyTerminating")
        d = restarted(d)
    d.world.crash("serving-2")
    if not again:
        assert d.acted_on == ["serving-1"]
        d.answer(OutcomeKind.GONE, "AlreadyTerminating")
    assert d.acted_on[-1:] == ["serving-2"]


def test_what_an_earlier_step_took_holds_others_until_it_is_made_good() -> None:
    """The second step found nothing to do, but the replacement of the pod that the first one took is not ready yet."""
    verify = {"within": "1m", "stable": "10s"}
    ladder = [{"evict": {}, "verify": verify}, {"restart": {}, "verify": {"within": "10m"}}]
    d = drill(rule("slow", when={"alert": ["HighLatency"]}, heal=ladder), rule(), replicas=6)
    d.alert("serving-1")
    d.world.terminate("serving-1")
    successor = d.world.add(ready=False)
    d.answer()
    d.wait(60)
    d.world.unready("serving-3")
    d.alert("serving-3")
    d.answer(OutcomeKind.GONE, "AlreadyTerminating")
    d.world.crash("serving-4")
    assert [(act.action, act.target.name) for act in d.acts] == [("evict", "serving-1"), ("restart", "serving-3")]
    assert codes(d.effects, Verb.DEFER)[-1] == "OtherIncident"
    d.world.mend(successor)
    d.wait(15)
    assert d.acted_on[-1] == "serving-4"


def test_a_page_that_failed_holds_up_nobody() -> None:
    d = drill(rule("told", when={"alert": ["HighLatency"]}, heal=[PAGE]), rule(), replicas=6)
    d.alert("serving-1")
    d.answer(OutcomeKind.FAILED)
    d.world.crash("serving-2")
    assert [act.action for act in d.acts] == ["page", "evict"]


def test_a_ladder_that_comes_to_a_page_lets_go_at_once() -> None:
    """What waited for its eviction goes on when that is given up, and not at its next look."""
    d = drill(rule("slow", when={"alert": ["HighLatency"]}, heal=[{"evict": {}}, PAGE]), rule(), replicas=6)
    d.alert("serving-1")
    d.world.crash("serving-3")
    assert codes(d.effects, Verb.DEFER) == ["OtherIncident"]
    d.answer(OutcomeKind.REFUSED)
    assert [act.action for act in d.acts] == ["evict", "page", "evict"]
    assert d.acts[-1].target.name == "serving-3"


def test_a_rule_that_only_tells_people_does_not_take_over_a_workload_from_one_that_acts() -> None:
    """It is the older one, and its page is nothing that helps in a storm; the other one has something."""
    told = rule("told", when={"alert": ["HighLatency"]}, heal=[PAGE])
    acts = rule(onStorm={"rolloutRestart": {}, "verify": {"within": "5m"}})
    d = drill(told, acts, replicas=6)
    d.alert("serving-1")
    d.answer()
    d.world.pause("deployment")
    for number in (2, 3, 4, 5):
        d.world.crash(f"serving-{number}")
    d.world.pause("deployment", "")
    d.wait(15)
    assert [act.action for act in d.acts] == ["page", "rolloutRestart"]
    assert [incident.rule for incident in d.engine.incidents() if incident.storm] == ["test/crash-loop"]


def test_the_limit_of_a_rule_that_only_tells_people_holds_back_no_other() -> None:
    told = rule("told", when={"alert": ["HighLatency"]}, heal=[PAGE], limits={"maxUnhealthy": 1})
    d = drill(told, rule(limits={"maxUnhealthy": "100%"}), replicas=6)
    d.alert("serving-1")
    d.alert("serving-2")
    d.world.crash("serving-3")
    assert d.acts[-1].action == "evict"
    assert not [incident for incident in d.engine.incidents() if incident.storm]


# the node of the replacement


def test_what_is_to_be_placed_elsewhere_waits_until_its_node_takes_no_such_pod() -> None:
    """The replacement could come back to what is broken there."""
    d = drill(rule(heal=[{"evict": {"elsewhere": True}}]))
    d.world.view.put(node())
    d.world.crash("serving-1")
    assert codes(d.effects, Verb.DEFER) == ["SameNode"]
    d.wait(300)
    assert d.acted_on == []
    d.world.view.put(node(taints=("example.com/broken",)))
    d.wait(60)
    assert d.acted_on == ["serving-1"]


def test_what_is_to_be_placed_elsewhere_stays_where_nodes_are_not_seen() -> None:
    d = drill(rule(heal=[{"evict": {"elsewhere": True}}, {"page": {}}]))
    d.world.crash("serving-1")
    assert codes(d.effects, Verb.REFUSE) == ["NodeUnseen"]
    assert [act.action for act in d.acts] == ["page"]


def test_a_node_that_is_not_seen_among_others_is_not_one_that_is_gone() -> None:
    """The watch of nodes fails, or is behind. A human is asked in the end; the deletion of a node is seen as well."""
    d = drill(rule(heal=[{"evict": {"elsewhere": True}}, {"page": {}}]))
    d.world.view.put(node(name="another"))
    d.world.crash("serving-1")
    assert codes(d.effects, Verb.DEFER) == ["NodeUnseen"]
    d.wait(300)
    assert d.acts == []
    d.world.view.put(node())
    d.world.view.drop(Node, "node-1")
    d.wait(60)
    assert d.acted_on == ["serving-1"]


def test_while_a_node_is_not_seen_it_is_not_known_that_nobody_treats_it() -> None:
    """Of a pod, and of a workload all of whose sick pods are on such nodes; for a bounded time."""
    for action, sick in (("evict", 1), ("rolloutRestart", 3)):
        heal = [{action: {}, "verify": {"within": "10m", "stable": "1m"}}, PAGE]
        d = drill(rule(heal=heal, limits={"maxUnhealthy": "100%"}))
        d.world.view.put(node(name="another"))
        for number in range(sick):
            d.world.crash(f"serving-{number + 1}")
        assert set(codes(d.effects, Verb.DEFER)) == {"NodeUnseen"}
        assert d.acts == []
        d.wait(1860)
        assert [act.action for act in d.acts] == ["page"]


def test_a_pod_on_a_node_that_is_gone_or_seen_does_not_wait_for_it() -> None:
    d = drill()
    d.world.view.put(node(name="another"))
    d.world.view.put(node())
    d.world.view.drop(Node, "node-1")
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


def test_the_node_is_of_no_matter_to_an_eviction_that_does_not_ask_for_it() -> None:
    d = drill()
    d.world.view.put(node())
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]
