"""What may be done in a time: by a rule on a revision of a workload; by all rules on a workload, in a namespace, anywhere."""

from typing import Any

import pytest

from healer.engine.tuning import Tuning
from healer.model.action import OutcomeKind
from healer.model.effects import Verb
from healer.model.incident import State
from healer.model.target import Target
from tests.support.world import Drill, World, codes, rule, rulebook, tuned
from tests.unit.engine.incidents.test_restart import restarted

ALERT = {"alert": ["HighLatency"]}
NAMES = [f"w{number}" for number in range(9)]


def many(tuning: Tuning, *, namespaces: str = "production", **more: Any) -> Drill:
    """Nine workloads of three, in turn in these namespaces."""
    scope = {"namespaces": ["*"]}
    d = Drill(rulebook(rule(**({"when": ALERT, "scope": scope} | more))), World(3), tuning)
    where = namespaces.split()
    for number, name in enumerate(NAMES):
        d.world.other(name, namespace=where[number % len(where)], nodes=[f"{name}-1", f"{name}-2", f"{name}-3"])
    return d


def fire(d: Drill, name: str) -> None:
    pod = d.world.view.pod(f"{name}-pod-1")
    assert pod is not None
    d.alert(Target("Pod", pod.metadata.namespace, pod.metadata.name, pod.metadata.uid))


def why(d: Drill, name: str) -> str:
    """The reason of the newest incident on a workload."""
    incident = [incident for incident in d.incidents.values() if incident.workload.name == name][-1]
    return incident.reason.code


def heal(d: Drill) -> str:
    """The eviction under way is accepted, the pod replaced, the incident healed; returns the successor's name."""
    target = d.waiting[0].target.name
    d.answer()
    new = d.world.replace(target)
    d.wait(60)
    return new


def spent(**more: Any) -> Drill:
    """A rule that may act once in six hours has acted."""
    limits = {"budget": {"actions": 1, "per": "6h"}, "cooldown": "1m"} | more
    d = Drill(rulebook(rule(limits=limits)))
    d.world.revise("7")
    d.world.crash("serving-1")
    heal(d)
    d.wait(60)
    return d


# by revision


def test_an_incident_knows_the_revision_that_it_opened_on() -> None:
    d = Drill(rulebook(rule()))
    d.world.revise("7")
    d.world.crash("serving-1")
    d.world.revise("8")
    assert d.incident.revision == "7"


def test_a_new_pod_is_not_a_new_patient() -> None:
    d = spent()
    d.world.crash("serving-2")
    assert codes(d.effects, Verb.DEFER) == ["BudgetSpent"]


@pytest.mark.parametrize("limit", ["budget", "cooldown"])
def test_a_new_revision_is(limit: str) -> None:
    d = spent(**({"cooldown": "10h"} if limit == "cooldown" else {}))
    d.world.revise("8")
    d.world.crash("serving-2")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_a_deployment_that_says_no_revision_is_limited_all_the_same() -> None:
    d = Drill(rulebook(rule(limits={"budget": {"actions": 1, "per": "6h"}, "cooldown": "1m"})))
    d.world.crash("serving-1")
    new = heal(d)
    assert d.incident.revision == ""
    d.wait(60)
    d.world.crash(new)
    assert codes(d.effects, Verb.DEFER) == ["BudgetSpent"]


@pytest.mark.parametrize(("revision", "acts"), [("7", 0), ("8", 1)])
def test_after_a_restart_too(revision: str, acts: int) -> None:
    d = restarted(spent())
    d.world.revise(revision)
    d.world.crash("serving-2")
    assert len(d.acts) == acts


# by workload


def busy(tuning: Tuning) -> Drill:
    """Two rules have acted on a workload, once each, an hour's budget being two."""
    d = Drill(rulebook(rule(limits={"cooldown": "1s"}), rule("slow", when=ALERT, limits={"cooldown": "1s"})), tuning=tuning)
    d.world.crash("serving-1")
    new = heal(d)
    d.wait(1)
    gone = d.world.target(new)
    d.alert(new)
    d.answer()
    d.world.replace(new)
    d.alert(gone, firing=False)
    d.wait(61)
    return d


def test_all_rules_together_may_do_so_much_on_a_workload() -> None:
    d = busy(tuned(budget_workload=2, budget_per=600.0))
    d.world.crash("serving-2")
    assert len(d.acts) == 2
    assert codes(d.effects, Verb.DEFER) == ["WorkloadBudget"]
    d.wait(600 - 122 - 1)
    assert len(d.acts) == 2
    d.wait(1)
    assert len(d.acts) == 3


def test_another_revision_does_not_lift_that() -> None:
    d = busy(tuned(budget_workload=2))
    d.world.revise("8")
    d.world.crash("serving-2")
    assert codes(d.effects, Verb.DEFER) == ["WorkloadBudget"]


def test_it_survives_a_restart() -> None:
    d = restarted(busy(tuned(budget_workload=2)))
    d.world.crash("serving-2")
    assert codes(d.effects, Verb.DEFER) == ["WorkloadBudget"]


def test_the_default_is_ten_an_hour() -> None:
    d = Drill(rulebook(rule(limits={"budget": {"actions": 50, "per": "1h"}, "cooldown": "1s"})), World(3))
    name = "serving-1"
    for _ in range(10):
        d.world.crash(name)
        name = heal(d)
        d.wait(2)
    d.world.crash(name)
    assert len(d.acts) == 10
    assert d.engine.incidents()[-1].reason.code == "WorkloadBudget"


# by namespace and in the cluster


def test_so_much_in_a_namespace() -> None:
    d = many(tuned(budget_namespace=2), namespaces="one two")
    for name in NAMES[:4]:
        fire(d, name)
        d.answer()
    for name in NAMES[4:6]:
        fire(d, name)
        assert why(d, name) == "NamespaceBudget"
    assert len(d.acts) == 4


def test_so_much_in_the_cluster() -> None:
    d = many(tuned(budget_cluster=3), namespaces="one two three four")
    for name in NAMES[:3]:
        fire(d, name)
        d.answer()
    fire(d, "w3")
    assert why(d, "w3") == "ClusterBudget"
    d.wait(3599)
    assert len(d.acts) == 3


def test_the_windows_slide() -> None:
    d = many(tuned(budget_cluster=2, budget_per=600.0))
    fire(d, "w0")
    d.answer()
    d.wait(300)
    fire(d, "w1")
    d.answer()
    fire(d, "w2")
    d.wait(299)
    assert len(d.acts) == 2
    d.wait(1)
    assert d.acted_on[-1] == "w2-1"


@pytest.mark.parametrize("tuning", [tuned(budget_cluster=2), tuned(budget_namespace=2)])
def test_actions_that_are_on_their_way_count(tuning: Tuning) -> None:
    """Several workloads are acted on at the same time, and no answer has come yet."""
    d = many(tuning)
    for name in NAMES[:4]:
        fire(d, name)
    assert d.acted_on == ["w0-1", "w1-1"]
    d.answer(OutcomeKind.REFUSED)
    d.wait(15)
    assert d.acted_on == ["w0-1", "w1-1", "w2-1"]


def test_an_action_whose_answer_was_lost_counts_as_on_its_way() -> None:
    d = many(tuned(budget_cluster=1))
    fire(d, "w0")
    d.answer(OutcomeKind.FAILED)
    fire(d, "w1")
    assert why(d, "w1") == "ClusterBudget"
    d.wait(15)
    assert d.acted_on == ["w0-1", "w0-1"]


def test_what_only_observes_spends_nothing() -> None:
    d = many(tuned(budget_cluster=1), mode="observe")
    for name in NAMES[:3]:
        fire(d, name)
        d.answer()
    assert len(d.acts) == 3


def test_they_survive_a_restart() -> None:
    d = many(tuned(budget_cluster=2))
    for name in NAMES[:2]:
        fire(d, name)
        d.answer()
    d = restarted(d)
    fire(d, "w2")
    assert d.acts == []
    assert why(d, "w2") == "ClusterBudget"


def test_a_budget_that_stays_spent_asks_a_human_after_the_longest_wait() -> None:
    d = many(tuned(budget_cluster=1, budget_per=86_400.0))
    fire(d, "w0")
    d.answer()
    fire(d, "w1")
    d.wait(1800)
    states = {incident.workload.name: incident.state for incident in d.engine.incidents()}
    assert states["w1"] is State.ESCALATED
