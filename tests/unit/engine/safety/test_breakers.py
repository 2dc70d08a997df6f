"""What stops a rule, or everything, after too much has gone wrong, and what lets it go on."""

from typing import Any

import msgspec
import pytest

from healer.engine.tuning import Tuning
from healer.model.action import OutcomeKind
from healer.model.effects import Approval, Record, Verb, WorkloadChanged
from healer.model.incident import Incident, State
from healer.model.kube import Pod
from healer.model.target import Target
from tests.support.world import START, Drill, World, codes, decisions, rule, rulebook, tuned
from tests.unit.engine.incidents.test_restart import restarted

pytestmark = pytest.mark.slow

ALERT = {"alert": ["HighLatency"]}
NAMES = [f"w{number}" for number in range(30)]


def several(count: int, tuning: Tuning | None = None, **more: Any) -> Drill:
    """So many workloads of three, and a rule on an alert."""
    more = {"when": ALERT, "heal": [{"evict": {}, "verify": {"within": "5m", "stable": "1m"}}]} | more
    d = Drill(rulebook(rule(**more)), World(3), tuning or tuned())
    for name in NAMES[:count]:
        d.world.other(name, nodes=[f"{name}-1", f"{name}-2", f"{name}-3"])
    return d


def fire(d: Drill, name: str, *, firing: bool = True, occurrence: str = "1") -> None:
    d.alert(Target("Pod", "production", f"{name}-1", f"{name}-pod-1"), firing=firing, occurrence=occurrence)


def on(d: Drill, name: str) -> Incident:
    """The newest incident on a workload."""
    return [incident for incident in d.incidents.values() if incident.workload.name == name][-1]


# a rule's breaker


def fail(d: Drill, name: str) -> None:
    """It is acted upon, does not help, and a human is needed."""
    fire(d, name)
    assert d.acted_on[-1] == f"{name}-1"
    d.answer()
    d.wait(300)
    assert on(d, name).state is State.ESCALATED


def heal(d: Drill, name: str) -> None:
    """What was done helped."""
    d.answer()
    fire(d, name, firing=False)
    pod = d.world.view.pod(f"{name}-pod-1")
    assert pod is not None
    d.world.view.drop(Pod, pod.metadata.uid)
    d.world.view.put(msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, uid=f"{name}-pod-1b")))
    d.feed(WorkloadChanged(f"{name}-uid"))
    d.wait(60)
    assert on(d, name).state is State.HEALED


def broken(count: int = 3, **more: Any) -> Drill:
    """So many healings have failed in a row."""
    d = several(12, **more)
    for name in NAMES[:count]:
        fail(d, name)
    return d


def test_after_three_failures_in_a_row_the_rule_acts_no_more_and_says_why() -> None:
    d = broken()
    fire(d, "w3")
    assert len(d.acts) == 3
    waiting = on(d, "w3")
    assert (waiting.state, waiting.reason.code) == (State.WAITING, "RuleBreaker")
    assert "3 incidents of test/crash-loop in a row" in waiting.reason.text
    assert "one may act in 1 h" in waiting.reason.text


def test_before_that_it_does() -> None:
    d = broken(2)
    fire(d, "w2")
    assert len(d.acts) == 3


def test_it_is_as_the_rule_says() -> None:
    d = broken(1, limits={"breaker": {"failures": 1, "reset": "10m"}})
    fire(d, "w1")
    assert on(d, "w1").reason.code == "RuleBreaker"
    d.wait(600)
    assert d.acted_on == ["w0-1", "w1-1"]


def test_an_escalation_without_an_action_is_no_failure() -> None:
    d = several(6)
    for name in NAMES[:4]:
        fire(d, name)
        d.answer(OutcomeKind.REFUSED)
        assert on(d, name).state is State.ESCALATED
    fire(d, "w4")
    assert d.acted_on[-1] == "w4-1"


def test_what_only_observes_does_not_fail() -> None:
    d = several(6, mode="observe")
    for name in NAMES[:4]:
        fire(d, name)
        d.answer()
        d.wait(300)
    fire(d, "w4")
    assert len(d.acts) == 5


def test_it_waits_patiently() -> None:
    d = broken(limits={"breaker": {"failures": 3, "reset": "1d"}})
    fire(d, "w3")
    d.wait(40_000)
    assert on(d, "w3").state is State.WAITING


def test_half_open_one_may_act() -> None:
    d = broken()
    for name in ("w3", "w4"):
        fire(d, name)
    d.wait(3600)
    assert d.acted_on[3:] == ["w3-1"]
    assert on(d, "w4").reason.code == "RuleBreaker"
    d.answer(OutcomeKind.FAILED)
    d.wait(60)
    assert d.acted_on[3:] == ["w3-1", "w3-1"]  # the one that has the try may try again


def test_healed_closes_it() -> None:
    d = broken()
    fire(d, "w3")
    d.wait(3600)
    heal(d, "w3")
    for name in ("w4", "w5"):
        fire(d, name)
    assert d.acted_on[3:] == ["w3-1", "w4-1", "w5-1"]


def test_a_healing_between_breaks_the_row() -> None:
    d = broken(2)
    fire(d, "w2")
    heal(d, "w2")
    for name in ("w3", "w4"):
        fail(d, name)
    fire(d, "w5")
    assert d.acted_on[-1] == "w5-1"


def test_the_row_is_read_from_the_journal_in_its_order() -> None:
    d = broken(2)
    fire(d, "w2")
    heal(d, "w2")
    fail(d, "w3")
    d = restarted(d)
    fire(d, "w4")
    assert d.acted_on == ["w4-1"]


def test_another_failure_opens_it_again() -> None:
    d = broken()
    fire(d, "w3")
    d.wait(3600)
    d.answer()
    d.wait(300)
    assert on(d, "w3").state is State.ESCALATED
    fire(d, "w4")
    d.wait(3500)
    assert d.acted_on[3:] == ["w3-1"]
    d.wait(115)
    assert d.acted_on[3:] == ["w3-1", "w4-1"]


def test_a_try_that_ends_otherwise_leaves_it_to_the_next() -> None:
    d = broken()
    for name in ("w3", "w4"):
        fire(d, name)
    d.wait(3600)
    d.answer(OutcomeKind.RECOVERED)
    fire(d, "w3", firing=False)
    assert on(d, "w3").state is State.CLOSED
    d.wait(15)
    assert d.acted_on[3:] == ["w3-1", "w4-1"]


def test_it_is_of_one_rule() -> None:
    d = Drill(rulebook(rule(when=ALERT, limits={"breaker": {"failures": 1, "reset": "1h"}}), rule("other")), World(3))
    d.world.other("w0", nodes=["a", "b", "c"])
    fail(d, "w0")
    d.world.crash("serving-1")
    assert d.acted_on == ["w0-1", "serving-1"]


def test_it_survives_a_restart() -> None:
    d = restarted(broken())
    fire(d, "w3")
    assert d.acts == []
    assert on(d, "w3").reason.code == "RuleBreaker"
    d.wait(3600)
    assert d.acted_on == ["w3-1"]


def test_the_one_that_has_the_try_has_it_after_a_restart() -> None:
    d = broken()
    fire(d, "w3")
    d.wait(3600)
    d.answer()
    d = restarted(d)
    fire(d, "w4")
    d.wait(60)
    assert d.acts == []
    assert "w3" in on(d, "w4").reason.text


def test_the_row_goes_by_when_incidents_ended() -> None:
    """The first one to open is the last one to end, and it fails."""
    d = several(6, limits={"breaker": {"failures": 1, "reset": "1h"}})
    fire(d, "w0")
    fire(d, "w1")
    d.waiting.reverse()
    heal(d, "w1")
    d.answer()
    d.wait(300)
    assert [on(d, name).state for name in ("w0", "w1")] == [State.ESCALATED, State.HEALED]
    d = restarted(d)
    fire(d, "w2")
    assert d.acts == []


# the cluster-wide breaker

FEW = tuned(breaker_incidents=3, breaker_window=300.0, breaker_quiet=600.0, home="healer")


def tripped(tuning: Tuning = FEW) -> Drill:
    """One incident more than the breaker allows; the first ones have acted."""
    d = several(12, tuning)
    for name in NAMES[: tuning.limits.breaker_incidents + 1]:
        fire(d, name)
    return d


def breaker(d: Drill) -> Incident:
    """The newest incident of the breaker."""
    return [incident for incident in d.incidents.values() if incident.rule == "healer/breaker"][-1]


def test_more_incidents_at_once_than_that_stop_everything() -> None:
    d = tripped()
    assert d.acted_on == ["w0-1", "w1-1", "w2-1"]
    incident = breaker(d)
    assert incident.workload == Target("Cluster", "healer", "cluster", "cluster")
    assert (incident.state, incident.steps, incident.severity) == (State.ESCALATED, (), "critical")
    assert d.engine.incident(incident.id) == incident
    assert f"kubectl annotate incident {incident.id} -n healer healer.dev/approved-by=YOU" in incident.reason.text
    waiting = on(d, "w3")
    assert (waiting.state, waiting.reason.code) == (State.WAITING, "ClusterBreaker")
    assert incident.id in waiting.reason.text


def test_the_default_is_twenty_in_five_minutes() -> None:
    d = several(25)
    for name in NAMES[:20]:
        fire(d, name)
    assert len(d.acts) == 20
    fire(d, "w20")
    assert breaker(d).state is State.ESCALATED
    assert len(d.acts) == 20


def test_those_that_open_over_a_longer_time_do_not() -> None:
    d = several(12, FEW)
    for name in NAMES[:8]:
        fire(d, name)
        d.wait(101)
    assert "ClusterBreaker" not in codes(d.effects)
    assert len(d.acts) == 8


def test_everywhere_is_everywhere() -> None:
    d = several(12, FEW, limits={"maxUnhealthy": "100%"})
    for name in NAMES[:3]:
        fire(d, name)
    d.answer()
    d.alert(Target("Pod", "production", "w0-2", "w0-pod-2"), key="second")
    fire(d, "w3")
    pod = d.world.view.pod("w0-pod-1")
    assert pod is not None
    d.world.view.drop(type(pod), "w0-pod-1")
    d.world.other("elsewhere", namespace="production", nodes=["x", "y", "z"])
    fire(d, "elsewhere")
    d.wait(200)
    assert d.acted_on == ["w0-1", "w1-1", "w2-1"]


def test_it_is_told_once() -> None:
    d = tripped()
    for name in NAMES[4:8]:
        fire(d, name)
    d.wait(300)
    assert len([e for e in d.effects if isinstance(e, Record) and e.incident.rule == "healer/breaker"]) == 1
    assert len([x for x in decisions(d.effects, Verb.OPEN) if x.rule == "healer/breaker"]) == 1


def test_it_closes_by_itself_after_a_quiet_time() -> None:
    d = tripped()
    d.wait(599)
    assert len(d.acts) == 3
    d.wait(1)
    assert (breaker(d).state, breaker(d).reason.code) == (State.CLOSED, "Quiet")
    assert d.acted_on == ["w0-1", "w1-1", "w2-1", "w3-1"]


def test_a_further_opening_begins_the_quiet_time_anew() -> None:
    d = tripped()
    d.wait(599)
    fire(d, "w4")
    d.wait(599)
    assert breaker(d).state is State.ESCALATED
    d.wait(1)
    assert d.acted_on[3:] == ["w3-1", "w4-1"]


def test_a_human_has_it_go_on_at_once() -> None:
    d = tripped()
    effects = d.feed(Approval(breaker(d).id, "ann"))
    assert (breaker(d).state, breaker(d).reason.text) == (State.CLOSED, "ann lets healer continue")
    assert [x.reason.code for x in decisions(effects, Verb.APPROVE)] == ["Approved"]
    assert d.acted_on == ["w0-1", "w1-1", "w2-1", "w3-1"]


def test_what_opened_before_that_does_not_count_again() -> None:
    d = tripped()
    d.feed(Approval(breaker(d).id, "ann"))
    for name in NAMES[4:7]:
        fire(d, name)
    assert breaker(d).state is State.CLOSED
    assert len(d.acts) == 7
    fire(d, "w7")
    assert breaker(d).state is State.ESCALATED
    assert len({i.id for i in d.incidents.values() if i.rule == "healer/breaker"}) == 2


def test_it_waits_patiently_for_a_human() -> None:
    d = tripped(tuned(breaker_incidents=3, breaker_quiet=100_000.0))
    d.wait(40_000)
    assert on(d, "w3").state is State.WAITING


@pytest.mark.parametrize("away", [0, 300, 700])
def test_it_survives_a_restart_and_closes_when_it_would_have(away: int) -> None:
    d = tripped()
    d.waiting.clear()
    d.now += away
    d = restarted(d)
    assert d.acts == [], "no source has said anything yet"
    fire(d, "w3")
    assert ("w3-1" in d.acted_on) == (away >= 600)
    d.wait(max(0, 600 - away))
    assert breaker(d).state is State.CLOSED
    assert "w3-1" in d.acted_on


def test_openings_are_counted_over_a_restart() -> None:
    d = several(12, FEW)
    for name in NAMES[:3]:
        fire(d, name)
    d = restarted(d)
    fire(d, "w3")
    assert breaker(d).state is State.ESCALATED


def test_what_a_human_has_let_pass_is_not_counted_after_a_restart() -> None:
    d = tripped()
    d.wait(1)
    d.feed(Approval(breaker(d).id, "ann"))
    d = restarted(d)
    fire(d, "w4")
    assert not [i for i in d.engine.incidents() if i.rule == "healer/breaker"]
    assert d.now == START + 1
