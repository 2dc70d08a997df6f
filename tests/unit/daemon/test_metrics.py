"""What the metrics say: no label is a sender's to choose."""

from dataclasses import replace

import pytest

from healer.daemon.metrics import Metrics
from healer.engine.engine import Engine
from healer.engine.incidents.opening import opened
from healer.engine.safety.wide import BREAKER
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Decision, Verb
from healer.model.incident import Incident, Reason, State
from healer.model.signal import Signal
from healer.model.target import Target
from tests.support.world import ACTIONS, rule, rulebook, tuned
from tests.unit.journal.incidents import incident


def test_alerts_that_no_rule_is_about_are_one_series() -> None:
    """Their names are a sender's: personal data, secrets, one series each."""
    engine = Engine(rulebook(rule(when={"alert": ["HighLatency"]})), ACTIONS, tuned())
    metrics = Metrics()

    def count(source: str, name: str) -> None:
        signal = Signal(source, name, Target("Pod", "production", "a", "u"), True, 0.0, "key")
        metrics.signal(signal, engine.looks_for(signal))

    count("alert", "HighLatency")
    for number in range(300):
        count("alert", f"ann{number}@example.com")
    count("pod", "CrashLoopBackOff")
    found = {
        (sample.labels["source"], sample.labels["name"]): sample.value
        for family in metrics.registry.collect()
        if family.name == "healer_signals"
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert found == {("alert", "HighLatency"): 1, ("alert", "other"): 300, ("pod", "CrashLoopBackOff"): 1}


def test_an_incident_of_no_rule_that_ever_was_has_no_series_of_its_own() -> None:
    """Whoever may write incidents may write any rule's name into one."""
    metrics = Metrics()
    for name in ("crash-loop", "slow"):
        metrics.use(rulebook(rule(name)).by_name)
    for name in ("test/crash-loop", "test/slow", BREAKER, "ann@example.com"):
        metrics.incident(replace(incident(name.partition("/")[2] or "x"), rule=name))
        metrics.decision(Decision(0.0, Verb.OPEN, Reason("Slow", "slow"), Target("Pod", "p", "a", "u"), name))
    for family in ("healer_incidents", "healer_decisions"):
        [found] = [each for each in metrics.registry.collect() if each.name == family]
        assert {sample.labels["rule"] for sample in found.samples} == {"test/crash-loop", "test/slow", BREAKER, "other"}


def test_what_may_be_counted_stands_at_zero_from_the_start() -> None:
    """A counter that is born at 1 has no rate: the first failure would raise no alert."""
    metrics = Metrics()
    query = rule("slow", when={"query": {"expr": "x", "above": 1}})
    metrics.use(rulebook(rule("crash-loop"), query).by_name)
    for _ in range(2):
        value = metrics.registry.get_sample_value
        assert value("healer_actions_total", {"action": "evict", "outcome": "refused"}) == 0
        assert value("healer_unanswered_looks_total", {"rule": "test/slow"}) == 0
        assert value("healer_unanswered_looks_total", {"rule": "test/crash-loop"}) is None
        assert value("healer_incidents", {"rule": "test/crash-loop", "mode": "enforce", "state": "escalated"}) == 0
        metrics.begin_leadership()


def of_mode(mode: str = "enforce") -> Incident:
    (bound,) = rulebook(rule("slow", mode=mode)).rules
    target = Target("Deployment", "production", "serving", "u")
    return opened(bound, target, Signal("pod", "CrashLoopBackOff", target, True, 0.0, "key"), 0.0, 1)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_a_dry_run_is_neither_done_nor_refused(kind: OutcomeKind) -> None:
    metrics = Metrics()
    metrics.outcome("evict", Outcome(kind, "Reason", "text"), dry_run=True)
    assert value(metrics, "healer_actions_total", action="evict", outcome="dry-run") == 1
    assert value(metrics, "healer_actions_total", action="evict", outcome=kind) == 0


@pytest.mark.parametrize("mode", ["observe", "approve", "enforce"])
def test_incidents_carry_the_mode(mode: str) -> None:
    metrics = Metrics()
    metrics.incident(of_mode(mode))
    assert value(metrics, "healer_incidents", rule="test/slow", mode=mode, state="open") == 1


def test_a_new_term_does_not_count_again_what_an_earlier_one_healed() -> None:
    metrics, healed = Metrics(), replace(of_mode(), state=State.HEALED, changed_at=90.0)
    metrics.incident(of_mode())
    metrics.incident(healed)
    assert value(metrics, "healer_time_to_heal_seconds_count") == 1
    metrics.begin_leadership()
    metrics.incident(healed)
    assert value(metrics, "healer_time_to_heal_seconds_count") == 1
    assert value(metrics, "healer_incidents", rule="test/slow", mode="enforce", state="healed") == 1
