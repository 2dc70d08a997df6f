"""The seam of triggers: one of the test's own, added from this file with its source, can be written in rules and is healed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pytest
from cel_expr_python import cel
from pydantic import Field

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.model.action import permissions
from healer.model.duration import Duration
from healer.model.incident import State
from healer.model.signal import Answered, Report, Signal
from healer.model.view import target_of
from healer.operate.rbac import needed
from healer.rules.form import Model, Number
from healer.rules.loading import load
from healer.rules.reference import tables
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import build
from healer.rules.triggers import TRIGGERS, Ending, Origin, Trigger, Variable
from healer.sources.base import Asked, Probe, SourceContext
from tests.integration.world import evictions, rule, ruleset, serve
from tests.seams.house import house

pytestmark = pytest.mark.slow

READINGS: dict[str, float] = {}
"""What the thermometers show, in degrees Celsius, by the name of the pod."""


class Temperature(Model):
    """The temperature of the device that a pod uses."""

    above: Number
    """It fires while the temperature is higher, in degrees Celsius."""
    every: Annotated[Duration, Field(gt=0)] = 30.0
    """Time between two readings."""


def read_thermometers(context: SourceContext, rule: BoundRule) -> Probe:
    """The probe of one rule."""
    limit = rule.rule.when.get(TEMPERATURE)
    assert limit is not None

    async def ask(now: float) -> Sequence[Report]:
        hot = [
            Signal(
                source=TEMPERATURE.name,
                name="TooHot",
                target=target_of(pod),
                firing=True,
                at=now,
                key=f"temperature/{pod.metadata.uid}",
                occurrence=f"temperature/{pod.metadata.uid}",
                message=f"{READINGS[pod.metadata.name]:.0f} degrees",
                labels={"celsius": str(READINGS[pod.metadata.name])},
                rule=rule.name,
            )
            for pod in context.view.pods()
            if READINGS.get(pod.metadata.name, 0.0) > limit.above
        ]
        return [*hot, Answered(rule.name, frozenset(signal.key for signal in hot))]

    return ask


SOURCE = Asked(read_thermometers, lambda temperature: permissions("example.com", "thermometers", "get"))
TEMPERATURE: Trigger[Temperature] = Trigger(
    "temperature",
    Temperature,
    "the device of a pod is too hot.",
    names=lambda temperature: ("TooHot",),
    source=f"{__name__}:SOURCE",
    origin=Origin.ASKED,
    ends=Ending.ABSENT,
    variables={
        "temperature.celsius": Variable(cel.Type.DOUBLE, "the temperature", lambda signal: float(signal.labels["celsius"]))
    },
)


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    """The one entry that the table needs."""
    TRIGGERS[TEMPERATURE.name] = TEMPERATURE
    build()
    yield
    del TRIGGERS[TEMPERATURE.name]
    build()
    READINGS.clear()


HOT = rule("hot", when={"temperature": {"above": 80, "every": "200ms"}, "if": "temperature.celsius > 90.0"})


async def test_a_pod_that_a_new_trigger_finds_is_evicted(lab: Lab, tmp_path: Path) -> None:
    """Of two that are too hot, only one meets the `if` on the trigger's own variable."""
    sick, warm, _ = await serve(lab)
    READINGS.update({sick: 95.0, warm: 85.0})
    async with house(lab, tmp_path, HOT) as healer:
        healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]
    assert [each.what for each in healed.targets.values()] == ["TooHot: 95 degrees"]


def test_a_new_trigger_is_known_to_the_language() -> None:
    """Its key, its variables and the messages about triggers come from the table, and so does the page."""
    rules, problems = load(ruleset(HOT), "rules.yaml", vocabulary())
    assert problems == []
    assert ("example.com", "thermometers", "get") in needed(Rulebook(rules), ACTIONS)
    (problem,) = load(ruleset(rule("none", when={"for": "1m"})), "rules.yaml", vocabulary())[1]
    assert problem.message == "exactly one of pod, alert, query, model, canary, temperature is needed, none is given"
    elsewhere = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "if": "temperature.celsius > 90.0"})
    (problem,) = load(ruleset(elsewhere), "rules.yaml", vocabulary())[1]
    assert problem.hint == "temperature.celsius is for rules with the trigger `temperature`"
    page = tables(vocabulary())
    assert "| `temperature` | [Temperature](#temperature) | none | Trigger: the device of a pod is too hot. |" in page["When"]
    assert "degrees Celsius" in page["Temperature"]
    assert "| `temperature.celsius` | double | temperature |" in page["variables"]
    assert "| `temperature` | a pod or a workload | asked for by healer, for one rule |" in page["triggers"]


def test_the_language_forgets_a_trigger_that_is_taken_away() -> None:
    """So that no test has what another one has added."""
    del TRIGGERS[TEMPERATURE.name]
    build()
    (problem,) = load(ruleset(HOT), "rules.yaml", vocabulary())[1]
    assert problem.message == "unknown key 'temperature'"
    TRIGGERS[TEMPERATURE.name] = TEMPERATURE
    build()
