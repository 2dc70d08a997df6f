"""What was done is counted once, from how an incident was and is; and a question changes nothing of it."""

from copy import deepcopy
from dataclasses import replace

import pytest

from healer.engine.safety.counting import count
from healer.engine.safety.guards.question import GuardState
from healer.engine.safety.ledger import Ledger, key_of
from healer.model.incident import Disruption, Incident, Reason, State
from healer.model.target import Target
from healer.workloads.deployment import Deployment
from tests.support.world import ACTIONS, START, Drill, World, rule, rulebook

EVICT = ACTIONS["evict"]


def acting() -> tuple[Drill, Incident]:
    """An engine in which an incident acts on a pod, and that incident."""
    d = Drill(rulebook(rule()), World(3))
    d.world.crash("serving-1")
    return d, d.incident


def counted(d: Drill) -> GuardState:
    """What that engine counts."""
    state = d.engine._parts.guard_state
    assert isinstance(state, GuardState)
    return state


def accepted(incident: Incident) -> Incident:
    """The incident after its action was accepted."""
    treated = frozenset({"pod-1"})
    return replace(incident, state=State.VERIFYING, acting_on=None, treated=treated, acted_at=(START,))


def disruption(world: World, name: str, *, ready: bool = True) -> Disruption:
    """That pod was taken down, while all others were there."""
    known = frozenset(pod.metadata.uid for pod in world.pods)
    return Disruption(world.target(name), world.workload, known, START, ready)


def test_a_question_of_what_is_in_flight_changes_nothing() -> None:
    """Not even where all is made good by now: `forget` drops that."""
    world, ledger = World(3), Ledger()
    ledger.disrupted(disruption(world, "serving-1"))
    world.replace("serving-1")
    before = deepcopy(vars(ledger))
    assert ledger.in_flight("deploy-1", world.view) == []
    assert ledger.going("deploy-1", world.view) == []
    assert vars(ledger) == before
    ledger.drop_made_good("deploy-1", world.view)
    assert vars(ledger)["_disruptions"] == {}


def test_a_successor_that_is_ready_for_one_moment_has_made_nothing_good() -> None:
    """A server without a readiness probe is ready between two crashes: the pod that was taken for it still counts."""
    d = Drill(rulebook(rule()), World(3))
    d.alert("serving-1", "Unrelated")
    ledger = counted(d).ledger
    ledger.disrupted(disruption(d.world, "serving-2"))
    d.world.unready(d.world.replace("serving-2"))
    assert len(ledger.in_flight("deploy-1", d.world.view)) == 1


def test_what_is_made_good_at_a_recheck_stays_so_whatever_happens_to_the_successor() -> None:
    """A successor that falls sick later is no disruption of healer's."""
    d = Drill(rulebook(rule()), World(3))
    d.alert("serving-1", "Unrelated")
    ledger = counted(d).ledger
    ledger.disrupted(disruption(d.world, "serving-2"))
    new = d.world.replace("serving-2")
    d.wait(2 * d.tuning.engine.recheck)
    d.world.unready(new)
    assert ledger.in_flight("deploy-1", d.world.view) == []


def test_of_a_workload_that_is_not_seen_nothing_is_made_good_until_no_limit_looks_back_so_far() -> None:
    """It may be back, as after a watch that lost it: what was taken of it still counts then."""
    world, ledger = World(3), Ledger()
    ledger.disrupted(disruption(world, "serving-1"))
    world.remove("serving-1")
    deployment = world.view.drop(Deployment, "deploy-1")
    assert deployment is not None
    ledger.forget(START - 1, world.view)
    world.view.put(deployment)
    assert len(ledger.in_flight("deploy-1", world.view)) == 1
    world.view.drop(Deployment, "deploy-1")
    ledger.forget(START + 1, world.view)
    assert vars(ledger)["_disruptions"] == {}


def test_an_action_that_was_accepted_is_counted_once() -> None:
    """By the rule on the workload, by the workload, by the namespace, and as a pod that was taken."""
    d, incident = acting()
    state, after = counted(d), accepted(incident)
    count(incident, after, EVICT, state)
    count(after, replace(after, reason=Reason("Other", "something else")), EVICT, state)
    ledger = state.ledger
    assert ledger.actions_since(key_of(incident), 0.0) == [START]
    assert ledger.on_workload("deploy-1", 0.0) == ledger.in_namespace(incident.workload.namespace, 0.0) == [START]
    assert ledger.took_down("pod-1")
    assert len(ledger.going("deploy-1", d.world.view)) == 1


def test_an_action_that_takes_no_pod_down_is_no_disruption() -> None:
    d, incident = acting()
    count(incident, accepted(incident), ACTIONS["nudge"], counted(d))
    assert not counted(d).ledger.took_down("pod-1")


@pytest.mark.parametrize(
    ("code", "failed"), [("StillSick", True), ("UnknownTooLong", False), ("JournalLost", False), ("NotKept", False)]
)
def test_what_an_escalation_shows_against_its_rule(code: str, failed: bool) -> None:
    """That nothing is known, or can be kept, says nothing of what healer did."""
    d, incident = acting()
    state, after = counted(d), accepted(incident)
    breaker = rulebook(rule(limits={"breaker": {"failures": 1, "reset": "15m"}})).rules[0].rule.limits.breaker
    escalated = replace(after, state=State.ESCALATED, reason=Reason(code, "in words"), ended_at=START + 1, changed_at=START + 1)
    count(after, escalated, EVICT, state)
    assert (state.rule_breakers.objection(incident, breaker, START + 2) is not None) == failed
    assert state.ledger.last_end(key_of(incident)) == START + 1, "the cooldown runs in any case"


def test_what_a_dry_run_was_denied_stops_nobody() -> None:
    d, incident = acting()
    target = Target("Pod", incident.workload.namespace, "serving-2", "pod-2")
    for mode, known in (("observe", None), ("enforce", "no")):
        before = replace(incident, mode=mode)
        count(before, replace(before, denied={target.uid: "no"}), EVICT, counted(d))
        assert counted(d).ledger.denial(target.uid) == known
