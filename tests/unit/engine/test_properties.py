"""What holds whatever happens: random lives of a workload, with the promises looked at after each input."""

import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from healer.engine.tuning import Tuning
from healer.engine.verify import rollout_in_progress
from healer.model.action import OutcomeKind
from healer.model.effects import Act, Decided, Effect, Input, Record
from healer.model.incident import Incident, State
from healer.model.target import Target
from tests.support.world import NAMESPACE, START, Drill, World, rule, rulebook

BUDGET, PER = 3, 1200.0
MIN_READY = 2
LIMITS = {"budget": {"actions": BUDGET, "per": "20m"}, "cooldown": "5m", "minReady": MIN_READY}
EVICT = {"evict": {}, "verify": {"within": "3m", "stable": "30s"}}
RULES = rulebook(
    rule("crash-loop", heal=[EVICT, {"restart": {}, "verify": {"within": "2m", "stable": "10s"}}], limits=LIMITS),
    rule("not-ready", when={"pod": ["NotReady"], "for": "1m"}, heal=[EVICT], limits=LIMITS),
    rule("often", when={"alert": ["HighLatency"], "count": {"atLeast": 2, "within": "10m"}}, heal=[EVICT], limits=LIMITS),
    rule("slow", when={"alert": ["HighLatency", "HighErrors"], "if": "workload.ready >= 2"}, heal=[EVICT], limits=LIMITS),
    rule("watch", when={"pod": ["CrashLoopBackOff"]}, heal=[EVICT], limits=LIMITS, mode="observe"),
)
TUNING = Tuning(max_wait=600.0, alert_expiry=3000.0)
PODS = st.integers(0, 5)
MOVES = st.one_of(
    st.tuples(st.just("crash"), PODS),
    st.tuples(st.just("unready"), PODS),
    st.tuples(st.just("mend"), PODS),
    st.tuples(st.just("terminate"), PODS),
    st.tuples(st.just("remove"), PODS),
    st.tuples(st.just("add"), st.booleans()),
    st.tuples(st.just("alert"), PODS, st.sampled_from(["HighLatency", "HighErrors"]), st.integers(0, 2)),
    st.tuples(st.just("resolve"), PODS, st.sampled_from(["HighLatency", "HighErrors"])),
    st.tuples(st.just("answer"), st.sampled_from(OutcomeKind)),
    st.tuples(st.just("evicted"), st.booleans()),
    st.tuples(st.just("evicted"), st.just(True)),
    st.tuples(st.just("wait"), st.sampled_from([1, 14, 15, 60, 180, 601, 1300])),
    st.tuples(st.just("pause"), st.sampled_from(["deployment", "namespace"]), st.booleans()),
    st.tuples(st.just("rollout"), st.sampled_from([0, 1, 2])),
    st.tuples(st.just("scale"), st.integers(1, 5)),
    st.tuples(st.just("rules"), st.booleans()),
)
LIVES = st.lists(MOVES, min_size=12, max_size=50)
EXAMPLES = int(os.environ.get("HEALER_TEST_EXAMPLES", "0"))
"""How many lives to try; 0: few, and always the same ones. A number: so many, at random."""
HURRY = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=EXAMPLES or 100, derandomize=EXAMPLES == 0
)
FEWER = rulebook(*[rule("crash-loop", heal=[EVICT], limits=LIMITS)])


def play(d: Drill, move: tuple[Any, ...]) -> None:
    """One thing that happens."""
    pods = [pod.metadata.name for pod in d.world.pods]
    match move:
        case "alert", int(number), name, occurrence:
            if pods:
                d.alert(pods[number % len(pods)], name, occurrence=str(occurrence))
        case "resolve", int(number), name:
            if pods:
                d.alert(pods[number % len(pods)], name, firing=False)
        case "add", ready:
            d.world.add(ready=ready)
        case "answer", kind:
            if d.waiting:
                d.answer(kind)
        case "evicted", well:
            if d.waiting:
                target = d.waiting[0].target.name
                d.answer()
                if target in pods:
                    new = d.world.replace(target)
                    if not well:
                        d.world.crash(new)
        case "wait", int(seconds):
            d.wait(seconds)
        case "pause", what, paused:
            d.world.pause(what, "true" if paused else "")
        case "rollout", 0:
            d.world.rollout()
        case "rollout", 1:
            d.world.rollout(updated_replicas=0)
        case "rollout", _:
            d.world.respecify(generation=d.world.deployment.metadata.generation + 1)
        case "scale", int(count):
            d.world.respecify(replicas=count)
        case "rules", all_of_them:
            d.use(RULES if all_of_them else FEWER)
        case what, int(number):
            if pods:
                getattr(d.world, what)(pods[number % len(pods)])


class Promises:
    """Looks at every input and what came of it."""

    def __init__(self) -> None:
        self.accepted: dict[tuple[str, str], list[float]] = {}
        self.known: dict[str, Incident] = {}
        self.attempts: set[tuple[str, int, int]] = set()

    def __call__(self, d: Drill, event: Input, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Act():
                    self._act(d, effect)
                case Record(incident):
                    self._record(d, incident)
                case Decided(decision):
                    assert decision.reason.code
                    assert decision.reason.text
                    assert decision.at == d.now
        self._now(d)

    def _act(self, d: Drill, act: Act) -> None:
        attempt = (act.incident.id, act.step, act.attempt)
        assert attempt not in self.attempts, "an attempt is made once"
        self.attempts.add(attempt)
        sick = act.incident.targets[act.target.uid]
        assert sick.signals, "the target's signals are all resolved"
        assert act.target.uid not in act.incident.treated, "each target once a step"
        deployment = d.world.deployment
        assert rollout_in_progress(deployment) is None
        namespace = d.world.view.namespace(NAMESPACE)
        pod = d.world.view.pod(act.target.uid)
        for obj in (pod, deployment, namespace):
            assert obj is None or obj.metadata.annotations.paused != "true", "paused"
        if act.dry_run:
            assert act.incident.mode == "observe"
            return
        target_ready = pod is not None and pod.ready
        ready = sum(pod.ready for pod in d.world.pods)
        assert ready - target_ready >= MIN_READY or (deployment.spec.replicas <= 1 and not target_ready), "below the floor"
        spent = self.accepted.get((act.incident.rule, act.incident.workload.uid), [])
        assert sum(at > d.now - PER for at in spent) < BUDGET, "over budget"
        for other in d.engine.incidents():
            down = other.disruption
            done = down is not None and down.target.uid in other.treated and other.acted_at and other.id != act.incident.id
            if done and down is not None:
                assert d.world.view.pod(down.target.uid) is None, "one disruption in flight"

    def _record(self, d: Drill, incident: Incident) -> None:
        before = self.known.get(incident.id)
        if before is not None:
            assert (before.rule, before.workload, before.opened_at) == (incident.rule, incident.workload, incident.opened_at)
            assert before.state is not State.CLOSED, "closed is closed: ids are unique"
            assert before.step <= incident.step
        times = [entry.at for entry in incident.history]
        assert times == sorted(times)
        assert times[-1] == incident.changed_at == d.now
        if before is None or len(before.acted_at) < len(incident.acted_at):
            self.accepted[incident.rule, incident.workload.uid] = [
                *self.accepted.get((incident.rule, incident.workload.uid), []),
                *incident.acted_at[len(before.acted_at) if before else 0 :],
            ]
        if incident.mode == "observe":
            assert incident.state is not State.HEALED
            assert not incident.acted_at
        self.known[incident.id] = incident

    def _now(self, d: Drill) -> None:
        incidents = d.engine.incidents()
        assert len({incident.id for incident in incidents}) == len(incidents)
        acting = [i for i in incidents if i.state is State.ACTING and i.mode == "enforce"]
        assert len(acting) <= 1, "one ladder a workload"
        unsettled = [(i.rule, i.workload.uid) for i in incidents if not i.state.settled]
        assert len(set(unsettled)) == len(unsettled), "one open incident a rule and workload"
        assert {i.id for i in incidents if i.state is State.ACTING} == {act.incident.id for act in d.waiting}
        for incident in incidents:
            assert incident.state is not State.OPEN, "decided at once"
            if incident.state in (State.WAITING, State.VERIFYING, State.HEALED):
                assert incident.wake_at is not None, f"{incident.state} and nobody looks again"


def lived(life: list[tuple[Any, ...]], every: float | None = None) -> Drill:
    d = Drill(RULES, World(4), TUNING, every=every)
    d.checks.append(Promises())
    for move in life:
        play(d, move)
    return d


def quieten(d: Drill) -> None:
    """All alerts are resolved, all pods gone, all actions answered."""
    for name in ("HighLatency", "HighErrors"):
        for number in range(1, 60):
            gone = Target("Pod", NAMESPACE, f"serving-{number}", "")
            d.alert(gone, name, firing=False)
    for pod in d.world.pods:
        d.world.remove(pod.metadata.name)
    while d.waiting:
        d.answer()


@HURRY
@given(LIVES)
def test_the_promises_hold(life: list[tuple[Any, ...]]) -> None:
    lived(life)


@HURRY
@given(LIVES)
def test_everything_ends_and_nothing_is_kept_of_it(life: list[tuple[Any, ...]]) -> None:
    d = lived(life)
    quieten(d)
    d.world.respecify(replicas=0, paused=False)
    d.world.rollout()
    for where in ("namespace", "deployment"):
        d.world.pause(where, "")
    d.wait(10_000)
    assert d.engine.incidents() == []
    assert all(incident.state is State.CLOSED for incident in d.incidents.values())
    assert kept(d) == {}
    assert d.engine.next_wake() is None


def test_nothing_is_kept_of_a_workload_that_is_deleted_while_it_is_healed() -> None:
    d = Drill(RULES, World(4), TUNING)
    d.world.crash("serving-1")
    d.answer()
    d.world.delete_deployment()
    for pod in d.world.pods:
        d.world.remove(pod.metadata.name)
    d.wait(10_000)
    assert kept(d) == {}


def kept(d: Drill) -> dict[str, object]:
    """What the engine holds on to, by attribute: for memory only, decisions are looked at elsewhere."""
    parts = {"engine": d.engine, "matcher": d.engine._matcher, "ledger": d.engine._ledger}
    return {
        f"{part}.{name}": value
        for part, obj in parts.items()
        for name, value in vars(obj).items()
        if isinstance(value, dict | list | set) and value
    }


@HURRY
@given(LIVES)
def test_ticking_when_asked_ends_like_ticking_every_second(life: list[tuple[Any, ...]]) -> None:
    woken, ticked = lived([*life, ("wait", 601)]), lived([*life, ("wait", 601)], every=1.0)
    assert woken.effects == ticked.effects


@HURRY
@given(LIVES)
def test_the_same_inputs_have_the_same_effects(life: list[tuple[Any, ...]]) -> None:
    assert lived(life).effects == lived(life).effects


def test_effects_do_not_depend_on_the_order_of_hashing() -> None:
    """In another process texts hash otherwise: a replay must decide the same, in the same order."""
    told = {
        subprocess.run(
            [sys.executable, "-c", "from tests.unit.engine.test_properties import tell; tell()"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1
    assert "evict" in told.pop()


def tell() -> None:
    """Print what becomes of many sick pods."""
    life: list[tuple[Any, ...]] = [("alert", n, name, 1) for n in range(6) for name in ("HighLatency", "HighErrors")]
    life += [
        ("crash", 0),
        ("crash", 1),
        ("alert", 2, "HighLatency", 2),
        ("add", True),
        ("wait", 60),
        ("remove", 0),
        ("remove", 0),
    ]
    for effect in lived(life).effects:
        what = effect.decision if isinstance(effect, Decided) else (type(effect).__name__, effect.incident.history[-1])
        sys.stdout.write(f"{what}\n")
        if isinstance(effect, Act):
            sys.stdout.write(f"{effect.action} {effect.target}\n")


@pytest.mark.parametrize("wait", [0, 5])
def test_a_drill_begins_at_its_start(wait: int) -> None:
    assert lived([("wait", wait)]).now == START + wait
