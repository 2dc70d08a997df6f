"""Verdicts: what a good engineer would and would not do, held against what was done."""

from typing import Any

import pytest

from healer.rehearsal.simulate.judging import judge
from healer.rehearsal.simulate.life import Life
from healer.rehearsal.simulate.scenario import Expectation
from tests.unit.rehearsal.simulate.played import EVICT, play, scenario

HANG: dict[str, Any] = {"name": "hang", "at": "10m", "target": {"workload": "llm", "pods": 1}, "shows": {"pod": "hang"}}


@pytest.fixture(scope="module")
def lives() -> tuple[Life, Life]:
    """One pod hangs: with healer, which evicts it at 660 s, and without."""
    read = scenario(faults=[HANG])
    return play(read), play(read, "none")


def expectation(**written: Any) -> Expectation:
    return Expectation.model_validate(written, context={})


@pytest.mark.parametrize(
    ("expected", "verdict", "met", "said"),
    [
        ({"verdict": "healed"}, "healed", True, ""),
        ({"verdict": "healed", "should": [{"action": "evict", "workload": "llm"}]}, "healed", True, ""),
        (
            {"verdict": "healed", "should": [{"action": "rollback"}]},
            "missed",
            False,
            "should rollback at least once, and did not",
        ),
        ({"verdict": "healed", "should": [{"action": "evict", "before": "11m"}]}, "healed", True, ""),
        ({"verdict": "healed", "should": [{"action": "evict", "before": "10m"}]}, "missed", False, "before 10 m"),
        ({"verdict": "held"}, "acted", False, "should have left alone"),
        ({"verdict": "held", "should": [{"action": "evict"}]}, "held", True, ""),
        (
            {"mustNot": [{"action": "*", "why": "it is a control"}]},
            "harmed",
            False,
            "did once: it is a control",
        ),
        ({"mustNot": [{"action": "evict", "moreThan": 1}]}, "healed", True, ""),
        ({"told": [{"workload": "llm"}]}, "missed", False, "people should be called for llm, and were not"),
        (
            {"told": [{"approve": "rollback", "before": "1h", "why": "it is new"}]},
            "missed",
            False,
            "people should be asked to approve rollback before 1 h, and were not: it is new",
        ),
        ({"availability": "99.99%"}, "missed", False, "availability is"),
        ({"healsWithin": "1m"}, "missed", False, "hang-1 took 1 m 30 s to heal"),
    ],
)
def test_a_life_is_judged(lives: tuple[Life, Life], expected: dict[str, Any], verdict: str, met: bool, said: str) -> None:
    ruling = judge(expectation(**expected), *lives)
    assert (ruling.verdict, ruling.met) == (verdict, met)
    assert said in "; ".join(ruling.faults)
    assert bool(ruling.faults) is not met


def test_more_failures_than_without_healer_are_harm(lives: tuple[Life, Life]) -> None:
    """The two lives exchanged: 15,000 fail in place of 450."""
    healed, without = lives
    ruling = judge(expectation(), without, healed)
    assert ruling.verdict == "harmed"
    assert ruling.faults[0] == "14,550 more requests failed than without healer"


def test_what_is_still_broken_is_not_healed(lives: tuple[Life, Life]) -> None:
    ruling = judge(expectation(), lives[1], None)
    assert (ruling.verdict, ruling.faults) == ("unhealed", ("not healed: hang-1",))


def test_a_fault_whose_time_is_past_is_healed_although_another_one_sits_on_the_workload() -> None:
    """The first hangs one pod for five minutes, and the second another one for ever: the first is healed at 900 s."""
    brief = HANG | {"name": "brief", "lasts": "5m"}
    stays = HANG | {"name": "stays", "at": "11m", "sits": "workload", "target": {"workload": "llm", "pods": 1}}
    life = play(scenario(faults=[brief, stays], workload={"replicas": 4}), "none", seed=2)
    assert {strike.spec.name: strike.healed for strike in life.strikes} == {"brief": 900, "stays": None}
    assert judge(expectation(), life, None).faults == ("not healed: stays-1",)


def test_a_fault_is_not_healed_while_the_pods_that_it_cost_are_not_back() -> None:
    """The pod that is deleted for the first fault is back after 30 s, whatever the second one does."""
    brief = HANG | {"name": "brief"}
    stays = HANG | {"name": "stays", "at": "9m", "sits": "workload", "target": {"workload": "llm", "pods": 1}}
    life = play(scenario(faults=[brief, stays], workload={"replicas": 4}), "restart-at-once", seed=1)
    healed = {strike.spec.name: strike.healed for strike in life.strikes}
    assert healed["stays"] is None
    assert 630 <= (healed["brief"] or 0) < 640


@pytest.mark.parametrize(
    ("mode", "told", "heard"),
    [
        ("approve", {"approve": "evict", "workload": "llm", "after": "11m", "before": "12m"}, True),
        ("approve", {"approve": "evict", "before": "10m"}, False),
        ("approve", {"approve": "rollback"}, False),
        ("approve", {}, False),
        ("enforce", {"workload": "llm", "after": "10m"}, True),
        ("enforce", {"after": "50m"}, False),
        ("enforce", {"approve": "evict"}, False),
    ],
)
def test_what_people_must_hear_is_that_they_are_called_or_asked(mode: str, told: dict[str, Any], heard: bool) -> None:
    """A pod hangs whatever is done: in the mode approve healer asks, and else it evicts once, and escalates."""
    life = play(scenario(faults=[HANG | {"sits": "workload"}]), text=EVICT.replace("enforce", mode))
    said = judge(expectation(should=[{"action": "evict", "atLeast": 1}], told=[told]), life, None).faults
    assert any(each.startswith("people should") for each in said) is not heard
