"""What is gone is not sick: an alert that fires on about a pod that healer took says nothing about the replacement."""

from dataclasses import replace

import pytest

from healer.model.effects import Dropped, Loss, Verb
from healer.model.incident import State
from tests.support.world import Drill, World, decisions, rule, rulebook, state
from tests.unit.engine.incidents.test_restart import restarted

SLOW = {"alert": ["HighLatency"]}
LADDER = [{"evict": {}, "verify": {"within": "5m", "stable": "1m"}}, {"rolloutRestart": {}}]


def drill(*rules: object, replicas: int = 4) -> Drill:
    return Drill(rulebook(*(rules or (rule(when=SLOW, heal=LADDER),))), World(replicas))  # type: ignore[arg-type]


def taken(d: Drill) -> str:
    """Its alert fires on for a window and a group interval, the pod itself is replaced; returns the successor's name."""
    d.alert("serving-1")
    d.answer()
    return d.world.replace("serving-1")


def test_an_alert_that_lingers_on_the_pod_that_was_taken_climbs_nothing() -> None:
    d = drill()
    gone = d.world.target("serving-1")
    taken(d)
    d.alert(gone)
    d.wait(60)
    assert state(d) is State.HEALED
    d.alert(gone)
    d.wait(3600)
    assert [act.action for act in d.acts] == ["evict"]


def test_it_is_ignored_while_the_pod_is_still_going() -> None:
    """On a node that is lost it stays in Terminating, and the alert with it."""
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.world.terminate("serving-1")
    d.world.add()
    d.wait(300)
    assert state(d) is State.HEALED
    d.alert("serving-1")
    d.wait(3600)
    assert [act.action for act in d.acts] == ["evict"]


def test_a_later_time_of_it_on_the_pod_that_is_gone_opens_nothing() -> None:
    d = drill()
    gone = d.world.target("serving-1")
    taken(d)
    d.wait(60)
    d.alert(gone, firing=False)
    d.alert(gone, occurrence="2")
    d.wait(3600)
    assert [act.action for act in d.acts] == ["evict"]
    assert d.engine.incidents() == []


def test_an_alert_on_the_replacement_counts() -> None:
    d = drill()
    new = taken(d)
    d.wait(30)
    d.alert(new)
    d.wait(270)
    assert [(act.action, act.target.name) for act in d.acts] == [("evict", "serving-1"), ("rolloutRestart", "serving")]


def test_it_blocks_no_other_rule() -> None:
    """The first ladder has nothing sick left and all is well: the other one does not wait for its last step to run out."""
    d = drill(rule(when=SLOW, heal=LADDER), rule("errors", when={"alert": ["HighErrors"]}))
    taken(d)
    d.alert("serving-2", "HighErrors")
    assert [act.target.name for act in d.acts] == ["serving-1"]
    d.wait(60)
    assert [act.target.name for act in d.acts] == ["serving-1", "serving-2"]


def test_an_alert_of_another_rule_on_the_pod_that_was_taken_is_of_the_past_too() -> None:
    d = drill(rule(when=SLOW, heal=LADDER), rule("errors", when={"alert": ["HighErrors"]}))
    d.alert("serving-1")
    d.alert("serving-1", "HighErrors")
    d.answer()
    d.world.replace("serving-1")
    d.wait(3600)
    assert [act.target.name for act in d.acts] == ["serving-1"]
    assert d.engine.incidents() == []


def test_it_is_of_the_past_after_a_restart_as_well() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.world.terminate("serving-1")
    d.world.add()
    d = restarted(d)
    d.alert("serving-1")
    d.wait(300)
    assert (state(d), d.acts) == (State.HEALED, [])


def test_an_alert_that_names_the_workload_keeps_its_say() -> None:
    d = drill(rule(when=SLOW, heal=[{"nudge": {}, "verify": {"within": "5m", "stable": "1m"}}, {"rolloutRestart": {}}]))
    d.alert(d.world.workload)
    d.answer()
    d.wait(300)
    assert [act.action for act in d.acts] == ["nudge", "rolloutRestart"]


def test_a_pod_that_somebody_else_deletes_is_going_and_its_alert_counts_until_it_is_gone() -> None:
    d = drill(rule("stuck", when={"alert": ["PodStuckTerminating"]}, heal=[{"page": {}}]))
    d.world.terminate("serving-1")
    d.alert("serving-1", "PodStuckTerminating")
    assert [act.action for act in d.acts] == ["page"]


def test_while_the_pod_that_was_taken_is_going_what_falls_sick_is_part_of_the_incident() -> None:
    """All is well but for its end: it is not healed yet, so that no cooldown keeps healer from the next one."""
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.world.terminate("serving-1")
    d.world.add()
    d.wait(120)
    assert state(d) is State.VERIFYING
    d.alert("serving-2")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_its_end_is_not_waited_for_beyond_the_step_s_time_and_nothing_fails_by_it() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.world.terminate("serving-1")
    d.world.add()
    d.wait(300)
    assert (state(d), len(d.acts)) == (State.HEALED, 1)


def test_when_it_ends_the_incident_is_healed_at_once() -> None:
    d = drill()
    d.alert("serving-1")
    d.answer()
    d.world.terminate("serving-1")
    d.world.add()
    d.wait(120)
    d.world.remove("serving-1")
    assert state(d) is State.HEALED


def test_another_rule_does_not_wait_for_that_end() -> None:
    d = drill(rule(when=SLOW, heal=LADDER), rule("errors", when={"alert": ["HighErrors"]}))
    d.alert("serving-1")
    d.answer()
    d.world.terminate("serving-1")
    d.world.add()
    d.alert("serving-2", "HighErrors")
    assert d.acted_on == ["serving-1", "serving-2"]


@pytest.mark.parametrize("kind", ["Pod", "Deployment"])
def test_what_was_made_after_the_alert_began_is_not_what_it_is_about(kind: str) -> None:
    """The source knows that by the times, and gives no uid: the name alone is there."""
    d = drill()
    named = d.world.target("serving-1") if kind == "Pod" else d.world.workload
    d.alert(replace(named, uid=""))
    (ignored,) = decisions(d.effects, Verb.IGNORE)
    assert ignored.reason.code == "TargetGone"
    assert "that there is was made after HighLatency began" in ignored.reason.text
    assert d.incidents == {}


def test_where_incidents_cannot_be_kept_one_is_told_and_no_other_is_opened() -> None:
    """Its namespace is being deleted: each repeat of an alert opened an incident, and a thread in Slack."""
    d = drill(rule("slow", when=SLOW, heal=LADDER), rule("errors", when={"alert": ["HighErrors"]}))
    d.world.pause("deployment")
    d.alert("serving-1")
    (first,) = d.incidents
    d.feed(Dropped(first, "namespace production is being deleted", Loss.NO_NAMESPACE))
    for _ in range(3):
        d.alert("serving-1")
        d.alert("serving-2")
        d.wait(60)
    assert list(d.incidents) == [first]
    assert d.engine.incidents() == []
    ignored = decisions(d.effects, Verb.IGNORE)
    assert {each.reason.code for each in ignored} == {"NotKept"}
    assert ignored[0].reason.text == (
        "namespace production is being deleted: no further incident of deployment/serving is opened"
    )
    assert len(ignored) >= 2, "each is counted"
    d.alert("serving-1", "HighErrors")
    assert len(d.incidents) == 2, "another rule's is tried, and told, for itself"
