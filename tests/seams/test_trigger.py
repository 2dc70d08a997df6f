"""The seam of triggers: two of the test's own, added with their sources, can be written in rules and are healed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pytest
from cel_expr_python import cel
from pydantic import Field

from healer.actions.registry import ACTIONS
from healer.cluster.resources import RESOURCES
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.model.action import permissions
from healer.model.duration import Duration
from healer.model.incident import State
from healer.model.kube import Pod
from healer.model.signal import Answered, Report, Signal
from healer.model.view import target_of
from healer.operate.rbac import needed
from healer.rules.form import Model, Number, Text
from healer.rules.loading import load
from healer.rules.reference import tables
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import build
from healer.rules.triggers import TRIGGERS, Ending, Origin, Trigger, Variable
from healer.sources.base import Asked, Probe, SourceContext, Watched
from tests.integration.world import NAMESPACE, evictions, patch, rule, ruleset, serve
from tests.seams.house import house
from tests.support.processes import PATIENCE

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


class MarkedPods:
    """The source of pods that an operator of the cluster has marked by a label `example.com/...`."""

    def put(self, pod: Pod, before: Pod | None, now: float) -> list[Signal]:
        marks, were = _marks(pod), set() if before is None else _marks(before)
        return [_marked(pod, mark, now, firing=mark in marks) for mark in sorted(marks ^ were)]

    def drop(self, pod: Pod, now: float) -> list[Signal]:
        return [_marked(pod, mark, now, firing=False) for mark in sorted(_marks(pod))]

    def resume(self, pod: Pod, had: set[str], now: float) -> list[Signal]:
        return self.put(pod, None, now)

    def due(self, now: float) -> list[Signal]:
        return []

    def next_due(self) -> float | None:
        return None

    def says(self, pod: Pod, name: str, now: float) -> str:
        return ""

    def still(self, pod: Pod, name: str, now: float) -> bool:
        return name in _marks(pod)


def _marks(pod: Pod) -> set[str]:
    return {label.removeprefix("example.com/") for label in pod.metadata.labels if label.startswith("example.com/")}


def _marked(pod: Pod, mark: str, now: float, *, firing: bool) -> Signal:
    key = f"mark/{pod.metadata.uid}/{mark}"
    return Signal(MARK.name, mark, target_of(pod), firing, now, key, key, "somebody has marked it")


MARKED_PODS = Watched((Pod,), lambda marks: (RESOURCES[Pod],), lambda context: MarkedPods())
MARK: Trigger[tuple[str, ...]] = Trigger(
    "mark",
    Annotated[tuple[Text, ...], Field(min_length=1)],
    "an operator has marked a pod.",
    names=lambda marks: marks,
    source=f"{__name__}:MARKED_PODS",
    origin=Origin.WATCHED,
    ends=Ending.OBJECT,
)


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    """The entries that the table needs, one each."""
    TRIGGERS.update({trigger.name: trigger for trigger in (TEMPERATURE, MARK)})
    build()
    yield
    for trigger in (TEMPERATURE, MARK):
        del TRIGGERS[trigger.name]
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


async def test_a_pod_that_a_new_watched_source_reports_is_evicted(lab: Lab, tmp_path: Path) -> None:
    """It was marked before healer started, so that the source is asked for the pods as they are; the next one is marked later."""
    first, second, _ = await serve(lab)
    await patch(lab, f"/api/v1/namespaces/{NAMESPACE}/pods/{first}", {"metadata": {"labels": {"example.com/drain": ""}}})
    marked = rule("marked", when={"mark": ["drain"]}, limits={"cooldown": "100ms", "maxUnhealthy": "100%"})
    async with house(lab, tmp_path, marked) as healer:
        await healer.told.until(State.CLOSED)
        await patch(lab, f"/api/v1/namespaces/{NAMESPACE}/pods/{second}", {"metadata": {"labels": {"example.com/drain": ""}}})
        await lab.wait_for(lambda lab: len(evictions(lab)) == 2, PATIENCE)
    assert evictions(lab) == [first, second]


def test_a_new_trigger_is_known_to_the_language() -> None:
    """Its key, its variables and the messages about triggers come from the table, and so does the page."""
    rules, problems = load(ruleset(HOT), "rules.yaml", vocabulary())
    assert problems == []
    assert ("example.com", "thermometers", "get") in needed(Rulebook(rules), ACTIONS)
    (problem,) = load(ruleset(rule("none", when={"for": "1m"})), "rules.yaml", vocabulary())[1]
    every = "pod, workload, event, node, alert, query, model, canary, temperature, mark"
    assert problem.message == f"exactly one of {every} is needed, none is given"
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
    TRIGGERS[TEMPERATURE.name] = TEMPERATURE
    build()
    assert problem.message == "unknown key 'temperature'"
