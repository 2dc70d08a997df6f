"""A rule whose steps only tell people counts for no storm and no breaker of the others, and no storm holds its page."""

from dataclasses import replace
from typing import Any

import pytest

from healer.engine.incidents.outcomes import paged
from healer.model.target import Target
from tests.support.world import Drill, World, rule, rulebook, tuned
from tests.unit.engine.incidents.test_restart import restarted
from tests.unit.sinks.incidents import incident

INFO = {"alert": ["CPUThrottlingHigh"]}
PAGE = {"page": {"channels": ["#leads"]}, "verify": {"within": "5m", "stable": "1m"}}
ROLL = {"rolloutRestart": {}, "verify": {"within": "5m"}}
NODE = "node-bad"


def drill(*rules: dict[str, Any], replicas: int = 4, **tuning: Any) -> Drill:
    """A rule that only pages, and others."""
    return Drill(rulebook(rule("told", when=INFO, heal=[PAGE]), *(rules or (rule(),))), World(replicas), tuned(**tuning))


def crowded(*rules: dict[str, Any], workloads: int = 5) -> tuple[Drill, list[list[Target]]]:
    """Workloads with a pod on one node and two elsewhere; five sick pods on it are a storm of the node."""
    d = drill(*rules, node_storm_pods=5)
    return d, [d.world.other(f"w{number}", nodes=[NODE, "node-good", "node-good"]) for number in range(workloads)]


def pages(d: Drill) -> list[str]:
    return [act.target.name for act in d.acts if act.action == "page"]


def test_the_pods_that_people_are_told_of_make_no_storm() -> None:
    d = drill(rule(onStorm=ROLL))
    d.together(d.alarm("serving-2", "CPUThrottlingHigh"), d.alarm("serving-3", "CPUThrottlingHigh"))
    d.answer()
    d.world.crash("serving-1")
    assert [(act.action, act.target.name) for act in d.acts][1:] == [("evict", "serving-1")]


def test_nor_after_a_restart() -> None:
    d = drill(rule(onStorm=ROLL))
    d.together(d.alarm("serving-2", "CPUThrottlingHigh"), d.alarm("serving-3", "CPUThrottlingHigh"))
    d.answer()
    again = restarted(d)
    again.world.crash("serving-1")
    assert [(act.action, act.target.name) for act in again.acts] == [("evict", "serving-1")]


def test_a_pod_counts_for_the_rule_that_acts_though_another_only_tells_of_it() -> None:
    d = drill(rule("slow", when=INFO | {"for": "10m"}), rule(onStorm=ROLL))
    d.together(d.alarm("serving-2", "CPUThrottlingHigh"), d.alarm("serving-3", "CPUThrottlingHigh"))
    d.answer()
    d.world.crash("serving-1")
    assert [act.action for act in d.acts] == ["page", "rolloutRestart"]


def test_they_make_no_storm_of_a_node() -> None:
    d, pods = crowded(rule(when={"alert": ["HighLatency"]}))
    for each in pods:
        d.alert(each[0], "CPUThrottlingHigh")
    d.alert(pods[0][0], "HighLatency")
    assert [act.target.name for act in d.acts if act.action == "evict"] == ["w0-1"]
    assert len(pages(d)) == 5


def test_a_storm_of_a_node_holds_no_page() -> None:
    d, pods = crowded(rule(when={"alert": ["HighLatency"]}), workloads=6)
    d.together(*[d.alarm(each[0]) for each in pods[:5]])
    assert [incident.rule for incident in d.engine.incidents()] == ["healer/node-storm"]
    for each in pods:
        d.alert(each[0], "CPUThrottlingHigh")
    assert pages(d) == [f"w{number}" for number in range(6)]


def test_it_closes_no_incident_whose_page_is_still_to_come() -> None:
    d, pods = crowded(rule(when={"alert": ["HighLatency"]}))
    d.world.view.paused_everywhere = "ann"
    d.alert(pods[0][0], "CPUThrottlingHigh")
    d.together(*[d.alarm(each[0]) for each in pods])
    assert {incident.rule for incident in d.engine.incidents()} == {"healer/node-storm", "test/told"}
    d.world.view.paused_everywhere = ""
    d.wait(15)
    assert pages(d) == ["w0"]


@pytest.mark.parametrize(("mode", "told"), [("enforce", ("#ml", "#leads")), ("observe", ())])
def test_the_pages_of_ladders_that_it_cuts_off_are_made_by_it(mode: str, told: tuple[str, ...]) -> None:
    d, pods = crowded(rule(when={"alert": ["HighLatency"]}, heal=[{"evict": {}}, PAGE], notify=["#ml"], mode=mode))
    d.together(*[d.alarm(each[0]) for each in pods])
    storms = [incident.notify for incident in d.incidents.values() if incident.rule == "healer/node-storm"]
    assert storms == ([told] if told else [])


@pytest.mark.parametrize("again", [False, True])
def test_its_incidents_open_no_breaker(again: bool) -> None:
    d = drill(rule(when={"alert": ["HighLatency"]}), breaker_incidents=3)
    pods = [d.world.other(f"w{number}")[0] for number in range(8)]
    for each in pods:
        d.alert(each, "CPUThrottlingHigh")
    d = restarted(d) if again else d
    d.alert(pods[0])
    assert [act.target.name for act in d.acts if act.action == "evict"] == ["w0-1"]
    assert all(incident.rule != "healer/breaker" for incident in d.engine.incidents())


def test_pages_add_up_and_an_address_of_notify_is_none_of_theirs() -> None:
    """A restart takes `notify` from the rule, and adds those whom pages have asked."""
    first = paged(replace(incident(), notify=("#ml",), paged=None), ("#ml", "#sre"))
    assert (first.notify, first.paged) == (("#ml", "#sre"), ("#sre",))
    second = paged(first, ("#sre", "#leads"))
    assert (second.notify, second.paged) == (("#ml", "#sre", "#leads"), ("#sre", "#leads"))
    restored = paged(replace(second, notify=("#ml",)), second.paged or ())
    assert (restored.notify, restored.paged) == (second.notify, second.paged)
