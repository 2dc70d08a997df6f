"""The driver plays the daemon's part in virtual time: sources, ticks when they are due, plans, outcomes."""

from functools import partial

import pytest

from healer.model.action import Outcome, OutcomeKind
from healer.model.autoscaler import HorizontalPodAutoscaler, ScaleTarget, ScalingSpec, ScalingStatus
from healer.model.effects import Act, Effect, Input, Record, Tick, Together
from healer.model.event import Event, Regarding
from healer.model.incident import State
from healer.model.kube import Condition, Meta
from healer.model.node import Node, WatchedNodeMeta, WatchedNodeStatus
from healer.rehearsal.driver import Driver
from healer.rehearsal.world import START, World
from tests.support.world import NAMESPACE, Yaml, rule, rulebook

DONE = Outcome(OutcomeKind.DONE, "Evicted", "evicted")


def driver(*rules: Yaml, pods: int = 4) -> Driver:
    world = World(NAMESPACE)
    world.serve("llm", pods)
    return Driver(rulebook(*rules), world)


def on(trigger: str, written: object) -> Yaml:
    return rule("told", when={trigger: written}, heal=[{"page": {}}])


def names(d: Driver) -> set[str]:
    """What the incidents were opened for."""
    targets = [target for incident in d.incidents.values() for target in incident.targets.values()]
    return {symptom.name for target in targets for symptom in target.signals.values()}


def test_whatever_a_source_of_the_daemon_reads_off_the_world_is_fed() -> None:
    """A pod, an event, a node and an autoscaler, each by the objects alone."""
    d = driver(
        on("pod", ["CrashLoopBackOff"]),
        on("event", {"reasons": ["FailedMount"]}) | {"name": "mount"},
        on("node", ["XIDErrors"]) | {"name": "node"},
        on("workload", ["HpaUnableToScale"]) | {"name": "blind"},
        pods=20,
    )
    d.world.crash("llm-1")
    regarding = Regarding("Pod", NAMESPACE, "llm-2", d.world.pod("llm-2").metadata.uid)
    d.world.put(Event(Meta("e", "e", NAMESPACE), "FailedMount", "Warning", "no volume", regarding))
    ill = Condition("XIDErrors", "True", "Xid", "79")
    d.world.put(Node(WatchedNodeMeta("node-1", "n"), status=WatchedNodeStatus((ill,))))
    blind = Condition("ScalingActive", "False", "FailedGetResourceMetric", "no metrics")
    spec, status = ScalingSpec(ScaleTarget("Deployment", "llm"), 20), ScalingStatus(20, None, (blind,))
    d.world.put(HorizontalPodAutoscaler(Meta("h", "h", NAMESPACE), spec, status))
    d.wait(60)
    assert names(d) == {"CrashLoopBackOff", "FailedMount", "XIDErrors", "HpaUnableToScale"}


def test_hours_pass_with_the_ticks_that_are_due_and_no_others() -> None:
    d = driver(rule(when={"pod": ["CrashLoopBackOff"], "for": "3h"}))
    fed: list[Input] = []
    d.watchers.append(lambda event, effects: fed.append(event))
    d.world.crash("llm-1")
    acted: list[float] = []
    d.watchers.append(lambda event, effects: acted.extend(d.now for each in effects if isinstance(each, Act)))
    d.wait(86_400)
    assert (d.now, acted) == (START + 86_400, [START + 10_800])
    assert 1 <= sum(isinstance(each, Tick) for each in fed) < 1000


def test_plans_are_carried_out_at_their_time_and_in_their_order_before_a_tick_of_the_same_moment() -> None:
    d = driver(rule(when={"pod": ["CrashLoopBackOff"], "for": "60s"}))
    seen: list[tuple[str, float]] = []
    d.plan(30, lambda: seen.append(("second", d.now)))
    d.plan(10, lambda: d.plan(5, lambda: seen.append(("first", d.now))))
    d.plan(30, lambda: seen.append(("third", d.now)))
    d.world.crash("llm-1")
    d.plan(60, lambda: d.world.replace("llm-1"))
    d.wait(20)
    assert (seen, d.now) == ([("first", START + 15)], START + 20)
    d.wait(40)
    assert seen == [("first", START + 15), ("second", START + 30), ("third", START + 30)]
    assert d.acts == [], "another was in its place at that very moment"


def test_an_outcome_is_reported_by_whoever_answers() -> None:
    d = driver(rule())

    def answer(event: Input, effects: list[Effect]) -> None:
        for act in [each for each in effects if isinstance(each, Act)]:
            d.plan(1, partial(d.report, act, DONE))
            d.plan(60, partial(d.world.replace, act.target.name))

    d.watchers.append(answer)
    d.world.crash("llm-1")
    assert [act.target.name for act in d.waiting] == ["llm-1"]
    d.wait(3600)
    assert d.waiting == []
    (incident,) = d.incidents.values()
    assert incident.state is State.CLOSED
    states = [effect.incident.state for effect in d.effects if isinstance(effect, Record)]
    assert State.HEALED in states


@pytest.mark.parametrize("together", [True, False])
def test_what_happens_at_once_is_seen_at_once(together: bool) -> None:
    """Three of four pods fall ill: as one it is a storm from the first, one by one the first is taken."""
    d = driver(rule())
    fed: list[Input] = []
    d.watchers.append(lambda event, effects: fed.append(event))
    if together:
        with d.at_once():
            for number in (1, 2, 3):
                d.world.crash(f"llm-{number}")
    else:
        for number in (1, 2, 3):
            d.world.crash(f"llm-{number}")
    assert sum(isinstance(each, Together) for each in fed) == (1 if together else 3)
    assert len(d.acts) == (0 if together else 1)


def test_nothing_of_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test says the same on every machine."""
    monkeypatch.setenv("HEALER_LIMITS__BUDGET_WORKLOAD", "none")
    monkeypatch.setenv("HEALER_PODS__SETTLE", "3000")
    d = driver(rule())
    d.world.crash("llm-1")
    assert len(d.acts) == 1
