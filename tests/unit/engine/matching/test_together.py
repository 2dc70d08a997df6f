"""Signals that arrive together are decided together: all are known before any incident goes on."""

from itertools import pairwise
from typing import Any

from healer.model.action import OutcomeKind
from healer.model.effects import Tick, Verb
from healer.model.incident import State
from healer.model.signal import Signal
from tests.support.world import Drill, World, Yaml, codes, rule, rulebook, state, tuned

SLOW = {"alert": ["HighLatency"]}


def drill(*rules: Yaml, replicas: int = 6, **more: Any) -> Drill:
    return Drill(rulebook(*(rules or (rule(when=SLOW, **more),))), World(replicas), tuned(node_storm_pods=50))


def all_of(d: Drill, *numbers: int, firing: bool = True, occurrence: str = "1") -> list[Signal]:
    return [d.alarm(f"serving-{number}", firing=firing, occurrence=occurrence) for number in numbers]


def test_six_alerts_of_one_delivery_are_a_storm_before_a_pod_is_taken() -> None:
    d = drill()
    d.together(*all_of(d, 1, 2, 3, 4, 5, 6))
    assert d.acts == []
    assert (state(d), d.incident.reason.code) == (State.WAITING, "Storm")
    assert "6 of 6 pods are sick at once" in d.incident.reason.text


def test_what_is_no_storm_is_acted_on_at_once() -> None:
    d = drill()
    d.together(*all_of(d, 1, 2))
    assert d.acted_on == ["serving-1"]
    assert [sick.target.name for sick in d.incident.sick] == ["serving-1", "serving-2"]


def test_those_that_join_are_one_line_and_each_is_a_decision() -> None:
    d = drill(mode="observe", replicas=40)
    d.together(*all_of(d, *range(1, 11)))
    opened, joined = d.history[:2]
    assert opened.reason.text.startswith("pod/serving-1 is sick")
    assert joined.reason.text.startswith(
        "9 further signals fire: pod/serving-2 (HighLatency: HighLatency on serving-2), pod/serving-3"
    )
    assert joined.reason.text.endswith("pod/serving-6 (HighLatency: HighLatency on serving-6) and 4 more")
    assert codes(d.effects, Verb.JOIN) == ["HighLatency"] * 9


def test_those_that_end_together_are_one_line() -> None:
    d = drill(mode="observe", replicas=40)
    d.together(*all_of(d, 1, 2, 3))
    d.answer()
    d.together(*all_of(d, 1, 2, firing=False))
    text = next(entry.reason.text for entry in d.history if entry.reason.code == "Resolved")
    assert text.startswith("2 signals are resolved: pod/serving-1: HighLatency")
    assert text.endswith("; 1 sick target left")


def test_a_node_storm_is_seen_before_an_incident_opens() -> None:
    d = Drill(rulebook(rule(when=SLOW)), World(20), tuned(node_storm_pods=5))
    d.together(*all_of(d, *range(1, 11)))
    assert [incident.rule for incident in d.engine.incidents()] == ["healer/node-storm"]
    assert d.acts == []


def test_the_cluster_breaker_opens_before_a_pod_is_taken() -> None:
    rules = [rule(f"slow-{number}", when=SLOW, heal=[{"nudge": {}}]) for number in range(4)]
    d = Drill(rulebook(*rules), World(6), tuned(breaker_incidents=3))
    d.together(*all_of(d, 1))
    assert "healer/breaker" in [incident.rule for incident in d.engine.incidents()]
    assert d.acts == []


def test_what_a_condition_lets_in_at_once_is_decided_together() -> None:
    """They did not match before, so that no sick_counts knew them; a change of the workload lets all of them match."""
    d = drill(rule(when=SLOW | {"if": "workload.ready < 6"}), replicas=6)
    d.together(*all_of(d, 1, 2, 3, 4))
    d.world.unready("serving-6")
    assert d.acts == []
    assert d.incident.reason.code == "Storm"


def test_a_part_lets_nothing_go_on_before_the_last_one_has_come() -> None:
    d = drill()
    d.together(*all_of(d, 1), whole=False)
    d.wait(60)
    assert (state(d), d.acts) == (State.OPEN, [])
    d.together(*all_of(d, 2, 3), whole=False)
    d.together(*all_of(d, 4))
    assert d.acts == []
    assert d.incident.reason.code == "Storm"


def test_an_outcome_between_parts_is_taken_and_what_waited_for_it_goes_on_afterwards() -> None:
    d = drill(rule(when=SLOW), rule("other", when={"alert": ["HighErrors"]}), replicas=8)
    d.alert("serving-1")
    d.alert("serving-2", "HighErrors")
    d.together(d.alarm("serving-3", "Unheard"), whole=False)
    d.answer(OutcomeKind.DEFERRED)
    assert d.acted_on == ["serving-1"]
    d.together(d.alarm("serving-4", "Unheard"))
    assert d.acted_on == ["serving-1", "serving-2"]


def test_one_that_ends_within_the_delivery_it_came_with_opens_nothing() -> None:
    d = drill()
    d.together(*all_of(d, 1), *all_of(d, 1, firing=False))
    assert (d.acts, d.engine.incidents()) == ([], [])


def test_ended_and_fired_again_within_one_delivery_it_is_sick() -> None:
    d = drill(mode="observe")
    d.alert("serving-1")
    d.answer()
    d.together(*all_of(d, 1, firing=False), *all_of(d, 1, occurrence="2"))
    sick = [sick.target.name for incident in d.engine.incidents() for sick in incident.sick]
    assert sick == ["serving-1"]


def test_after_a_restart_nothing_goes_on_before_the_first_tick() -> None:
    d = drill()
    d.restore([], set())
    d.together(*all_of(d, 1))
    assert (state(d), d.acts) == (State.OPEN, [])
    d.wait(0)
    assert d.acted_on == ["serving-1"]


def test_what_many_nodes_and_incidents_held_goes_on_a_part_at_a_time() -> None:
    """No input decides on more than a part of it, and nothing is taken before all nodes are looked at."""
    d = Drill(rulebook(rule(when=SLOW)), World(3), tuned(breaker_incidents=1_000, budget_cluster=1_000, budget_namespace=1_000))
    stormy = [pod for number in range(25) for pod in d.world.other(f"stormy-{number}", nodes=[f"node-{number}"] * 5)]
    single = [d.world.other(f"single-{number}", nodes=[f"calm-{number}", "x", "y"])[0] for number in range(60)]
    d.together(*(d.alarm(pod) for pod in [*single, *stormy]), whole=False)
    assert _standing(d) == (0, 0)
    d.together()
    seen = [_standing(d)]
    while d.engine.goes_on:
        assert d.engine.next_wake() == d.now
        d.feed(Tick())
        seen.append(_standing(d))
    storms, acted = zip(*seen, strict=True)
    assert storms[-1] == 25
    assert max(after - before for before, after in pairwise((0, *storms))) <= 10
    assert not any(count for stormed, count in seen if stormed < 25)
    assert sorted(d.acted_on) == sorted(pod.name for pod in single)
    assert max(after - before for before, after in pairwise((0, *acted))) <= 25


def _standing(d: Drill) -> tuple[int, int]:
    """Nodes with a storm, and pods that were taken."""
    return sum(incident.workload.kind == "Node" for incident in d.engine.incidents()), len(d.acted_on)


def test_what_arrives_while_it_goes_on_is_decided_as_well() -> None:
    d = Drill(rulebook(rule(when=SLOW)), World(3), tuned(breaker_incidents=1_000, budget_cluster=1_000, budget_namespace=1_000))
    single = [d.world.other(f"single-{number}", nodes=[f"calm-{number}", "x", "y"])[0] for number in range(60)]
    d.together(*(d.alarm(pod) for pod in single[:-1]), whole=False)
    d.together()
    while not d.acted_on:
        d.feed(Tick())
    d.together(d.alarm(single[-1]), whole=False)
    d.feed(Tick())
    assert len(d.acted_on) == 25  # the rest of the delivery may make a storm of it
    d.together(d.alarm("serving-1"))
    while d.engine.goes_on:
        d.feed(Tick())
    assert sorted(d.acted_on) == sorted([*(pod.name for pod in single), "serving-1"])
