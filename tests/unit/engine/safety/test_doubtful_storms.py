"""Storms and breakers are made of what is known to fire.

What is silenced or not repeated counts for nothing; what is not known holds pods back, and is no cause to act on the workload.
"""

from dataclasses import replace
from typing import Any

import pytest

from healer.model.signal import Answered, Signal, Unanswered
from healer.model.target import Target
from tests.support.world import Drill, World, rule, rulebook, tuned
from tests.unit.engine.incidents.test_restart import restarted

ROLL: dict[str, Any] = {"rolloutRestart": {}, "verify": {"within": "5m"}}
SLOW = {"alert": ["HighLatency"], "for": "10m"}
FRESH = 30.0


def drill(*, when: dict[str, Any] = SLOW, on_storm: bool = True, **tuning: Any) -> Drill:
    """A rule that waits, and one that evicts and in a storm restarts the rollout, on four pods."""
    rules = rulebook(rule("slow", when=when), rule(onStorm=ROLL) if on_storm else rule())
    return Drill(rules, World(4), tuned(**({"alert_freshness": FRESH} | tuning)))


def held(d: Drill, *pods: str | Target) -> list[Signal]:
    """Alerts that are silenced."""
    return [replace(d.alarm(pod), suppressed="it is silenced by ann") for pod in pods]


def done(d: Drill) -> list[tuple[str, str]]:
    return [(act.action, act.target.name) for act in d.acts]


PODS = ("serving-2", "serving-3")
EVICTED, ROLLED = [("evict", "serving-1")], [("rolloutRestart", "serving")]


# silenced


def test_silenced_alerts_make_no_storm() -> None:
    d = drill()
    d.together(*held(d, *PODS))
    d.world.crash("serving-1")
    assert done(d) == EVICTED


def test_alerts_that_fire_do() -> None:
    d = drill()
    d.together(*map(d.alarm, PODS))
    d.world.crash("serving-1")
    assert done(d) == ROLLED


def test_alerts_count_no_more_when_they_are_silenced() -> None:
    d = drill(on_storm=False)
    d.together(*map(d.alarm, PODS))
    d.world.crash("serving-1")
    assert d.acts == []
    d.together(*held(d, *PODS))
    assert done(d) == EVICTED


def test_alerts_count_when_their_silence_ends() -> None:
    d = drill()
    d.world.pause("deployment")
    d.together(*held(d, *PODS))
    d.world.crash("serving-1")
    d.together(*map(d.alarm, PODS))
    d.world.pause("deployment", "")
    assert done(d) == ROLLED


def test_a_silenced_incident_speaks_for_no_workload() -> None:
    """It is the older one: it would wait for its silence to end, and all others for it."""
    d = drill(when={"alert": ["HighLatency"]})
    d.together(*held(d, "serving-4"))
    d.world.pause("deployment")
    for number in (1, 2, 3):
        d.world.crash(f"serving-{number}")
    d.world.pause("deployment", "")
    d.wait(15)
    assert done(d) == ROLLED


def test_a_silenced_incident_sets_no_limit() -> None:
    d = Drill(rulebook(rule("slow", when={"alert": ["HighLatency"]}, limits={"maxUnhealthy": 1}), rule()), World(6))
    d.together(*held(d, "serving-4"))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.world.pause("deployment", "")
    d.wait(15)
    assert done(d) == EVICTED


def test_silenced_alerts_make_no_storm_of_a_node() -> None:
    d = drill(when={"alert": ["HighLatency"]}, node_storm_pods=3)
    d.together(*held(d, "serving-2", "serving-3", "serving-4"))
    d.world.crash("serving-1")
    assert done(d) == EVICTED
    assert all(incident.rule != "healer/node-storm" for incident in d.engine.incidents())


def test_incidents_of_silenced_alerts_open_no_breaker_before_that_ends() -> None:
    d = drill(when={"alert": ["HighLatency"]}, breaker_incidents=3)
    pods = [d.world.other(f"w{number}")[0] for number in range(8)]
    d.together(*held(d, *pods))
    assert all(incident.rule != "healer/breaker" for incident in d.engine.incidents())
    d.together(*map(d.alarm, pods))
    assert any(incident.rule == "healer/breaker" for incident in d.engine.incidents())


# not repeated


def test_alerts_that_are_not_repeated_make_no_storm() -> None:
    d = drill()
    d.together(*map(d.alarm, PODS))
    d.wait(FRESH)
    d.world.crash("serving-1")
    assert done(d) == EVICTED


def test_pods_that_a_storm_held_are_treated_when_its_alerts_are_not_repeated() -> None:
    d = drill(on_storm=False)
    d.together(*map(d.alarm, PODS))
    d.world.crash("serving-1")
    d.wait(FRESH - 1)
    assert d.acts == []
    d.wait(1)
    assert done(d) == EVICTED


def test_alerts_that_are_repeated_count_on() -> None:
    d = drill(on_storm=False)
    d.together(*map(d.alarm, PODS))
    d.world.crash("serving-1")
    for _ in range(10):
        d.wait(FRESH - 1)
        d.together(*map(d.alarm, PODS))
    assert d.acts == []


def test_after_a_restart_they_count_for_caution_until_they_should_have_been_repeated() -> None:
    d = drill(when={"alert": ["HighLatency"]})
    d.world.pause("deployment")
    d.together(*map(d.alarm, PODS))
    again = restarted(d)
    again.world.pause("deployment", "")
    again.world.crash("serving-1")
    assert again.acts == []
    again.wait(FRESH + 15)
    assert done(again) == EVICTED


# not known


class Asked(Drill):
    """A drill whose rule has a query."""

    def look(self, *pods: str) -> None:
        signals = [self._signal(pod) for pod in pods]
        for signal in signals:
            self.feed(signal)
        self.feed(Answered("test/slow", frozenset(signal.key for signal in signals)))

    def _signal(self, pod: str) -> Signal:
        target = self.world.target(pod)
        key = f"query/{target.uid}"
        return Signal("query", "QueryPassed", target, True, self.now, key, f"{key}@1", "9 above 1", rule="test/slow")


def asked(**more: Any) -> Asked:
    when = {"query": {"expr": "x", "above": 1}, "for": "10m"}
    return Asked(rulebook(rule("slow", when=when), rule(onStorm=ROLL, **more)), World(4))


def test_what_is_not_known_holds_pods_back_and_sets_off_nothing() -> None:
    d = asked()
    d.look(*PODS)
    d.feed(Unanswered("test/slow", "503"))
    d.world.crash("serving-1")
    d.wait(300)
    assert d.acts == []
    (incident,) = d.engine.incidents()
    assert (incident.reason.code, incident.storm) == ("Storm", False)
    assert "may be sick" in incident.reason.text


@pytest.mark.parametrize(("pods", "then"), [(PODS, ROLLED), ((), EVICTED)])
def test_it_is_decided_when_it_is_known_again(pods: tuple[str, ...], then: list[tuple[str, str]]) -> None:
    d = asked()
    d.look(*PODS)
    d.feed(Unanswered("test/slow", "503"))
    d.world.crash("serving-1")
    d.look(*pods)
    assert done(d) == then


def test_an_on_storm_that_waits_is_not_taken_when_the_storm_is_known_no_more() -> None:
    d = asked()
    d.world.pause("deployment")
    d.look(*PODS)
    d.world.crash("serving-1")
    d.feed(Unanswered("test/slow", "503"))
    d.world.pause("deployment", "")
    d.wait(60)
    assert d.acts == []
    d.look(*PODS)
    d.wait(15)
    assert done(d) == ROLLED


def test_a_ladder_goes_to_no_step_on_the_workload_for_it() -> None:
    d = asked(heal=[{"evict": {}}, ROLL])
    d.look(*PODS)
    d.feed(Unanswered("test/slow", "503"))
    d.world.crash("serving-1")
    d.wait(300)
    assert d.acts == []
