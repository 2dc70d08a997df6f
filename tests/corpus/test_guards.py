"""The corpus is a judgement: where a guard or a limit of healer's is off, some scenario says that it does harm."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from healer.daemon.rulefiles import load_rules, vocabulary
from healer.engine.engine import Engine
from healer.engine.safety.guards.question import Guard
from healer.engine.safety.guards.registry import GUARDS
from healer.engine.safety.guards.replicas import InNumbers
from healer.rehearsal.simulate.loading import load
from healer.rehearsal.simulate.result import HEALER, NONE, simulate
from healer.settings import isolated
from tests.corpus.corpus import FOLDER, SEED

pytestmark = pytest.mark.slow

GUARDED = {
    "above_floor": "alarm-about-the-last-ready-pod",
    "cluster_breaker": "all-workloads-at-once",
    "cooled_down": "ill-again-after-each-cure",
    "known_verdict": "canary-nobody-can-judge",
    "no_rollout": "a-rollout-whose-pods-crash",
    "one_disruption": "alarms-about-three-of-four",
    "one_ladder": "two-alerts-of-one-trouble",
    "rule_breaker": "a-cure-that-never-helps",
    "within_budget": "more-crashes-than-a-budget",
    "within_caps": "more-crashes-than-a-workload-bears",
}
"""The scenario that a guard alone keeps from harm."""
LIMITED: dict[str, dict[str, Any]] = {
    "a-node-with-many-sick-pods": {"limits": {"node_storm_pods": 1000}},
    "silenced-while-it-waits": {"alerts": {"freshness": 36_000}},
}
"""The scenarios that a setting keeps from harm, and the settings with which it does not."""


def verdict(name: str, settings: Mapping[str, Any] | None = None) -> str:
    path = FOLDER / f"{name}.yaml"
    scenario = load(path)
    rules = load_rules([path.parent / each for each in scenario.spec.rules], vocabulary())
    used = isolated({**scenario.spec.settings, **(settings or {})}, name)
    found = simulate(scenario, rules, used, policies=(HEALER, NONE), seed=SEED)
    assert found.ruling is not None
    return found.ruling.verdict


def named(guard: Guard) -> str:
    return (guard.guard if isinstance(guard, InNumbers) else guard).__name__


@pytest.mark.parametrize(("guard", "scenario"), GUARDED.items())
def test_without_a_guard_healer_does_harm(guard: str, scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked neither by the engine nor, in numbers, right before the action."""
    left = replace(
        GUARDS, **{part: tuple(each for each in getattr(GUARDS, part) if named(each) != guard) for part in ("acting", "telling")}
    )
    assert len(left.acting) == len(GUARDS.acting) - 1
    monkeypatch.setattr("healer.rehearsal.simulate.healing.Engine", partial(Engine, guards=left))
    monkeypatch.setattr("healer.actions.shared.recheck.GUARDS", left)
    assert verdict(scenario) == "harmed"


@pytest.mark.parametrize(("scenario", "settings"), LIMITED.items())
def test_without_a_limit_healer_does_harm(scenario: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Alertmanager is not asked either, so that an old report of an alert is all there is."""

    class Nobody:
        async def run(self) -> None:
            """Nothing."""

    monkeypatch.setattr("healer.rehearsal.simulate.healing.Healer._standing_alerts", lambda _: Nobody())
    assert verdict(scenario, settings) == "harmed"
