"""What healer does not act on stops nothing: observing rules, owners that it cannot treat. But people are told of it."""

import pytest

from healer.model.effects import Verb
from healer.model.incident import State
from healer.model.kube import Meta, OwnerReference, Pod, PodSpec
from healer.model.target import Target
from healer.model.view import target_of
from tests.support.world import NAMESPACE, Drill, World, codes, rule, rulebook, state, tuned
from tests.unit.engine.incidents.test_restart import restarted

INFO = {"alert": ["CPUThrottlingHigh"]}
PAGE = {"page": {"channels": ["#sre"]}, "verify": {"within": "5m", "stable": "1m"}}
KINDS = ["Job", "ReplicationController", "PyTorchJob"]


def drill(*more: object, replicas: int = 4, **tuning: int) -> Drill:
    watch = rule("watch", when=INFO, mode="observe")
    return Drill(rulebook(watch, rule(), *more), World(replicas), tuned(**tuning))  # type: ignore[arg-type]


def foreign(d: Drill, kind: str, number: int, node: str = "node-1") -> Target:
    """A pod of an owner of a kind, or of nobody."""
    owner = (OwnerReference(kind, f"nightly-{number}", f"{kind}-{number}", controller=True),) if kind else ()
    pod = Pod(Meta(f"{kind or 'bare'}-{number}", f"foreign-{number}", NAMESPACE, owner_references=owner), PodSpec(node))
    d.world.view.put(pod)
    return target_of(pod)


def test_an_observing_rule_makes_no_storm_for_one_that_acts() -> None:
    d = drill()
    d.together(d.alarm("serving-2", "CPUThrottlingHigh"), d.alarm("serving-3", "CPUThrottlingHigh"))
    d.answer()
    d.world.crash("serving-1")
    assert [(act.target.name, act.dry_run) for act in d.acts][-1] == ("serving-1", False)


def test_an_observing_rule_makes_no_storm_of_a_node() -> None:
    d = drill(replicas=10, node_storm_pods=3)
    d.together(*[d.alarm(f"serving-{number}", "CPUThrottlingHigh") for number in range(2, 10)])
    d.world.crash("serving-1")
    assert [(act.target.name, act.dry_run) for act in d.acts][-1] == ("serving-1", False)
    assert all(incident.rule != "healer/node-storm" for incident in d.engine.incidents())


@pytest.mark.parametrize("kind", KINDS)
def test_owners_that_healer_cannot_treat_make_no_storm_of_a_node(kind: str) -> None:
    d = drill(rule("slow", when={"alert": ["HighLatency"]}), node_storm_pods=3)
    d.together(*[d.alarm(foreign(d, kind, number), "HighLatency") for number in range(8)])
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


@pytest.mark.parametrize("kind", [*KINDS, ""])
def test_their_incidents_open_no_breaker(kind: str) -> None:
    d = drill(rule("slow", when={"alert": ["HighLatency"]}, heal=[PAGE]), breaker_incidents=3)
    for number in range(8):
        d.alert(foreign(d, kind, number, node=""), "HighLatency")
    d.world.crash("serving-1")
    assert d.acted_on[-1] == "serving-1"
    again = restarted(d)
    again.alert("serving-2", "HighLatency")
    assert all(incident.rule != "healer/breaker" for incident in again.engine.incidents())


def test_incidents_of_observing_rules_open_no_breaker() -> None:
    watching = [rule(f"watch-{number}", when=INFO, mode="observe") for number in range(8)]
    d = drill(*watching, breaker_incidents=3)
    d.alert("serving-2", "CPUThrottlingHigh")
    d.world.crash("serving-1")
    assert [act.target.name for act in d.acts if not act.dry_run] == ["serving-1"]


@pytest.mark.parametrize("kind", [*KINDS, ""])
def test_people_are_paged_whoever_owns_the_pod(kind: str) -> None:
    d = drill(rule("slow", when={"alert": ["HighLatency"]}, heal=[PAGE]))
    d.alert(foreign(d, kind, 1), "HighLatency")
    assert [act.action for act in d.acts] == ["page"]
    d.answer()
    assert d.incident.notify == ("#sre",)
    d.alert(foreign(d, kind, 1), "HighLatency", firing=False)
    d.wait(60)
    assert state(d) is State.CLOSED
    assert "is gone" not in d.incident.reason.text


@pytest.mark.parametrize("kind", [*KINDS, ""])
def test_other_steps_on_it_are_refused_in_words_and_the_page_follows(kind: str) -> None:
    d = drill(rule("slow", when={"alert": ["HighLatency"]}, heal=[{"evict": {}}, {"rollback": {}}, PAGE]))
    d.alert(foreign(d, kind, 1), "HighLatency")
    assert [act.action for act in d.acts] == ["page"]
    assert len(codes(d.effects, Verb.REFUSE)) == 2


@pytest.mark.parametrize(("kind", "advice"), [("Job", "see to the Job itself"), ("", "delete it by hand")])
def test_what_healer_leaves_alone_is_told_once_with_what_to_do(kind: str, advice: str) -> None:
    """A rule that pages nobody has an incident too; for the same pod no other one follows."""
    d = drill(rule("slow", when={"alert": ["HighLatency"]}))
    pod = foreign(d, kind, 1)
    for _ in range(3):
        d.alert(pod, "HighLatency")
        d.wait(60)
    assert d.acts == []
    assert (state(d), d.incident.reason.code) == (State.ESCALATED, "UnsupportedWorkload")
    assert advice in d.incident.reason.text
    d.alert(pod, "HighLatency", firing=False)
    assert state(d) is State.CLOSED


def test_many_pods_that_nobody_owns_are_no_storm() -> None:
    """Each is a case of its own, and none keeps healer from what it can treat."""
    d = drill(rule("slow", when={"alert": ["HighLatency"]}), node_storm_pods=3)
    d.together(*[d.alarm(foreign(d, "", number), "HighLatency") for number in range(8)])
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]
    assert all("storm" not in incident.rule for incident in d.engine.incidents())


@pytest.mark.parametrize("label", ["pod-template-hash", "controller-revision-hash"])
def test_a_pod_that_its_controller_has_released_is_no_case(label: str) -> None:
    """Somebody keeps it for a look, and another one serves in its place."""
    d = drill(rule("slow", when={"alert": ["HighLatency"]}))
    foreign(d, "", 1)
    d.world.relabel("bare-1", **{label: "7b5b8c9d4"})
    d.alert("bare-1", "HighLatency")
    assert d.engine.incidents() == []
    assert codes(d.effects, Verb.IGNORE) == ["NoWorkload"]
