"""A node that fails with many pods on it is one incident of the node, not one of each workload."""

from typing import Any

import pytest

from healer.model.effects import Record, Verb
from healer.model.incident import Incident, State
from healer.model.target import Target
from tests.support.world import Drill, World, codes, decisions, rule, rulebook, tuned
from tests.unit.engine.incidents.test_restart import restarted

ALERT = {"alert": ["HighLatency"]}
BAD, GOOD = "node-bad", "node-good"


def drill(*, pods: int = 5, elsewhere: int = 5, **more: Any) -> Drill:
    """Workloads a, b, c ... with a pod on the bad node each, and so many pods elsewhere."""
    d = Drill(rulebook(rule(**({"when": ALERT} | more))), World(3), tuned(home="healer"))
    for name in "abcdefgh"[:pods]:
        d.world.other(name, nodes=[BAD, *[GOOD] * elsewhere])
    return d


def pod(d: Drill, name: str, number: int = 1) -> Target:
    found = d.world.view.pod(f"{name}-pod-{number}")
    assert found is not None
    return Target("Pod", "production", found.metadata.name, found.metadata.uid)


def fail(d: Drill, names: str, **more: Any) -> None:
    """An alert about the pod on the bad node, of each of these workloads."""
    for name in names:
        d.alert(pod(d, name), **more)


def node(d: Drill) -> Incident:
    """The only incident of a node there was."""
    (found,) = [incident for incident in d.incidents.values() if incident.rule == "healer/node-storm"]
    return found


def test_five_sick_pods_on_a_node_are_one_incident_of_the_node() -> None:
    d = drill()
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    incident = node(d)
    assert incident.workload == Target("Node", "healer", BAD, f"node/{BAD}")
    assert (incident.state, incident.steps, incident.severity) == (State.ESCALATED, (), "critical")
    assert [i.id for i in d.engine.incidents()] == [incident.id]
    assert d.engine.incident(incident.id) == incident
    assert {t.target.name for t in incident.sick} == {f"{name}-1" for name in "abcde"}
    assert "5 of 5 pods on node/node-bad are sick at once: production/a (1), production/b (1)" in incident.reason.text


def test_a_human_is_told_once_and_where_the_rules_say() -> None:
    d = drill(pods=8, notify=["#ml"])
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcdefgh")
    records = [e for e in d.effects if isinstance(e, Record) and e.incident.rule == "healer/node-storm"]
    assert [e.entry is not None for e in records] == [True, False, False, False]
    assert len(records[-1].incident.sick) == 8
    assert records[0].incident.notify == ("#ml",)
    assert len([x for x in d.decisions if x.incident == node(d).id and x.verb is Verb.OPEN]) == 1


def test_fewer_are_none() -> None:
    d = drill()
    fail(d, "abcd")
    assert {incident.rule for incident in d.incidents.values()} == {"test/crash-loop"}
    assert d.acted_on == ["a-1", "b-1", "c-1", "d-1"]


def test_less_than_half_of_the_pods_on_it_are_none() -> None:
    d = drill()
    d.world.other("well", nodes=[BAD] * 6)
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    assert len(d.engine.incidents()) == 5
    assert "healer/node-storm" not in {incident.rule for incident in d.incidents.values()}


def test_half_of_them_is_enough() -> None:
    d = drill()
    d.world.other("well", nodes=[BAD] * 5)
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    assert node(d).state is State.ESCALATED


def test_pods_that_are_not_scheduled_are_on_no_node() -> None:
    d = Drill(rulebook(rule(when=ALERT)), World(3))
    for name in "abcde":
        d.world.other(name, nodes=["", GOOD, GOOD])
        d.alert(pod(d, name))
    assert len(d.acts) == 5


def test_pods_that_a_rule_is_still_waiting_for_count() -> None:
    d = drill(when=ALERT | {"for": "2m"})
    fail(d, "a")
    d.wait(60)
    fail(d, "bcde")
    assert node(d).state is State.ESCALATED
    d.wait(120)
    assert d.acts == []
    assert [i.id for i in d.engine.incidents()] == [node(d).id]


def test_incidents_that_have_done_nothing_are_closed_naming_it() -> None:
    d = drill()
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    closed = [incident for incident in d.incidents.values() if incident.rule == "test/crash-loop"]
    assert [(i.state, i.reason.code) for i in closed] == [(State.CLOSED, "Storm")] * 4
    assert all(node(d).id in i.reason.text for i in closed)


def test_new_matches_join_it_and_open_nothing() -> None:
    d = drill(pods=6)
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    seen = len(d.effects)
    d.alert(pod(d, "f"))
    assert [x.reason.code for x in decisions(d.effects[seen:], Verb.JOIN)] == ["NodeStorm"]
    assert d.engine.incidents_of("HighLatency-f-1") == [node(d).id]
    assert len(node(d).sick) == 6
    d.alert(pod(d, "f"))
    assert len(decisions(d.effects[seen:], Verb.JOIN)) == 1


def test_incidents_that_also_have_pods_elsewhere_stay_and_treat_those() -> None:
    d = drill()
    d.world.view.paused_everywhere = "ann"
    fail(d, "a")
    d.alert(pod(d, "a", 2))
    fail(d, "bcde")
    d.world.view.paused_everywhere = ""
    d.wait(15)
    assert d.acted_on == ["a-2"]


def test_those_that_act_go_on_but_take_no_further_pod_of_that_node() -> None:
    d = drill(limits={"maxUnhealthy": "90%"})
    d.world.other("z", nodes=[BAD, BAD, GOOD, GOOD, GOOD])
    fail(d, "z")
    assert d.acted_on == ["z-1"]
    d.world.view.paused_everywhere = "ann"
    d.alert(pod(d, "z", 2))
    fail(d, "abc")
    d.world.view.paused_everywhere = ""
    d.answer()
    d.wait(300)
    case = next(i for i in d.engine.incidents() if i.workload.name == "z")
    assert (case.state, case.reason.code) == (State.WAITING, "NodeStorm")
    assert d.acted_on == ["z-1"]
    assert node(d).id in case.reason.text


def test_a_further_signal_of_a_pod_that_an_incident_has_joins_that() -> None:
    d = drill(limits={"maxUnhealthy": "90%"})
    d.world.other("z", nodes=[BAD, GOOD, GOOD])
    fail(d, "z")
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcd")
    assert node(d).state is State.ESCALATED
    d.alert(pod(d, "z"), key="second")
    case = next(i for i in d.engine.incidents() if i.workload.name == "z")
    assert set(case.sick[0].signals) == {"HighLatency-z-1", "second"}


def test_what_has_acted_and_failed_stays_a_human_s_matter() -> None:
    d = drill(pods=6)
    fail(d, "a")
    d.answer()
    d.wait(300)
    d.world.view.paused_everywhere = "ann"
    fail(d, "bcdef")
    assert node(d).state is State.ESCALATED
    assert [(i.workload.name, i.state) for i in d.engine.incidents()] == [("a", State.ESCALATED), (BAD, State.ESCALATED)]


def test_it_closes_when_fewer_are_sick_and_the_rules_have_the_rest() -> None:
    d = drill()
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    d.world.view.paused_everywhere = ""
    d.wait(60)
    assert d.acts == []
    d.alert(pod(d, "a"), firing=False)
    assert (node(d).state, node(d).reason.code) == (State.CLOSED, "Recovered")
    assert d.acted_on == ["b-1", "c-1", "d-1", "e-1"]


def test_a_pod_that_is_gone_is_not_sick_on_it() -> None:
    d = drill()
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    gone = d.world.view.pod("a-pod-1")
    assert gone is not None
    d.world.view.drop(type(gone), "a-pod-1")
    d.wait(15)
    d.alert(pod(d, "b"), occurrence="2")
    d.alert(Target("Pod", "production", "a-1", "a-pod-1"), occurrence="2")
    assert node(d).state is State.CLOSED


def test_it_comes_again_as_another_incident() -> None:
    d = drill()
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    d.alert(pod(d, "a"), firing=False)
    d.alert(pod(d, "a"), occurrence="2")
    assert len({i.id for i in d.incidents.values() if i.rule == "healer/node-storm"}) == 2


def test_it_goes_on_after_a_restart_and_ends_if_it_is_over_by_then() -> None:
    d = drill()
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    d.wait(60)
    after = restarted(d)
    assert [e for e in after.effects if isinstance(e, Record)] == []
    assert after.acts == []
    assert [i.rule for i in after.engine.incidents()] == ["healer/node-storm"]
    after.world.view.paused_everywhere = ""
    fail(after, "abcd")
    after.wait(60)
    assert after.acts == []


def test_after_a_restart_new_rules_do_not_end_it() -> None:
    """Of an alert only its name is kept: whether a rule on its labels matches is not known before it is repeated."""
    when = ALERT | {"labels": {"team": "ml"}}
    d = drill(when=when)
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde", team="ml")
    after = restarted(d)
    after.use(rulebook(rule(when=when), rule("other")))
    assert [i.rule for i in after.engine.incidents()] == ["healer/node-storm"]


def test_after_a_restart_what_fires_again_is_for_the_rules_to_judge() -> None:
    d = drill()
    d.world.view.paused_everywhere = "ann"
    fail(d, "abcde")
    d.rules = rulebook(rule(when=ALERT | {"if": "pod.name != 'a-1'"}))
    after = restarted(d)
    assert [i.rule for i in after.engine.incidents()] == ["healer/node-storm"]
    fail(after, "a")
    assert node(after).state is State.CLOSED
    assert [i.workload.name for i in after.engine.incidents()] == ["b", "c", "d", "e"]


def test_of_one_workload_alone_it_is_a_storm_of_the_node_as_well() -> None:
    d = Drill(rulebook(rule()), World(6))
    for number in (1, 2, 3, 4, 5):
        d.world.pause("deployment")
        d.world.crash(f"serving-{number}")
    assert [i.rule for i in d.engine.incidents()] == ["healer/node-storm"]
    d.world.pause("deployment", "")
    d.wait(600)
    assert d.acts == []


@pytest.mark.parametrize("pods", [3, 7])
def test_the_number_is_tuned(pods: int) -> None:
    d = Drill(rulebook(rule(when=ALERT)), World(3), tuned(node_storm_pods=pods))
    d.world.view.paused_everywhere = "ann"
    for number, name in enumerate("abcdefg", 1):
        d.world.other(name, nodes=[BAD, GOOD])
        d.alert(pod(d, name))
        assert (codes(d.effects, Verb.OPEN).count("NodeStorm") == 1) == (number >= pods)


# the dead are not counted


def test_records_on_a_node_are_neither_sick_nor_on_it() -> None:
    """Four sick of five that live, beside six records: neither do the records make it five, nor do they make it a minority."""
    d = Drill(rulebook(rule(when=ALERT), rule("tidy", when={"pod": ["Evicted"]})), World(3), tuned(home="healer"))
    d.world.view.paused_everywhere = "ann"
    for _ in range(6):
        name = d.world.add(node=BAD)
        d.world.finish(name)
    for name in "abcde":
        d.world.other(name, nodes=[BAD, GOOD, GOOD, GOOD])
    fail(d, "abcd")
    assert not any(incident.rule == "healer/node-storm" for incident in d.engine.incidents())
    fail(d, "e")
    assert "5 of 5 pods on node/node-bad are sick at once" in node(d).reason.text
