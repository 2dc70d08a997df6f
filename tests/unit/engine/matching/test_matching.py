"""Which signals open an incident: scope, conditions, `for`, `count`, and what is not known yet."""

from typing import Any

from healer.model.effects import Verb
from healer.model.incident import State
from healer.model.signal import Signal
from tests.support.world import APP, NAMESPACE, Drill, World, codes, decisions, rule, rulebook, state

LATENCY = {"alert": ["HighLatency"]}


def drill(replicas: int = 3, **more: Any) -> Drill:
    return Drill(rulebook(rule(**more)), World(replicas))


def pods(d: Drill, name: str, pod: str, *, firing: bool = True, occurrence: str = "1") -> None:
    """A pod's condition, told directly."""
    target = d.world.target(pod)
    key = f"{target.uid}/{name}"
    d.feed(Signal("pod", name, target, firing, d.now, key, f"{key}/{occurrence}", name))


# what no rule is about


def test_a_signal_that_no_rule_is_about_is_ignored_and_said() -> None:
    d = drill()
    d.alert("serving-1")
    assert codes(d.effects, Verb.IGNORE) == ["NoRule"]
    assert d.engine.incidents() == []


def test_out_of_scope_by_labels() -> None:
    d = drill(scope={"namespaces": [NAMESPACE], "selector": {"matchLabels": {"app": "other"}}})
    d.world.crash("serving-1")
    assert "OutOfScope" in codes(d.effects, Verb.IGNORE)
    assert d.engine.incidents() == []


def test_out_of_scope_by_namespace() -> None:
    d = drill(scope={"namespaces": ["elsewhere"]})
    d.world.crash("serving-1")
    assert set(codes(d.effects, Verb.IGNORE)) == {"NoRule"}


def test_an_alert_s_other_labels_must_be_as_the_rule_says() -> None:
    d = drill(when=LATENCY | {"labels": {"severity": "page"}})
    d.alert("serving-1", severity="info")
    assert codes(d.effects, Verb.IGNORE) == ["LabelsDiffer"]
    d.alert("serving-2", severity="page")
    assert d.acted_on == ["serving-2"]


# for


def test_for_waits_until_the_condition_has_held_that_long() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "for": "2m"})
    d.world.crash("serving-1")
    assert "NotLongEnough" in codes(d.effects, Verb.PEND)
    d.wait(119)
    assert d.acts == []
    d.wait(1)
    assert d.acted_on == ["serving-1"]


def test_what_is_waited_for_is_said_by_name() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "for": "2m"})
    d.world.crash("serving-1")
    assert [x.reason.text for x in decisions(d.effects, Verb.PEND)] == ["CrashLoopBackOff held for 0 s of 2 m"]
    d = drill(when={"pod": ["CrashLoopBackOff"], "count": {"atLeast": 3, "within": "90m"}})
    d.world.crash("serving-1")
    assert [x.reason.text for x in decisions(d.effects, Verb.PEND)] == ["CrashLoopBackOff seen 1 of 3 times within 1 h 30 m"]


def test_a_gap_begins_for_anew() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "for": "2m"})
    d.world.crash("serving-1")
    d.wait(100)
    d.world.mend("serving-1")
    d.wait(10)
    d.world.crash("serving-1")
    d.wait(119)
    assert d.acts == []
    d.wait(1)
    assert d.acted_on == ["serving-1"]


def test_two_names_of_one_cause_are_no_gap() -> None:
    d = drill(when={"pod": ["ErrImagePull", "ImagePullBackOff"], "for": "2m"})
    name, other = "ErrImagePull", "ImagePullBackOff"
    pods(d, name, "serving-1")
    for _ in range(11):
        d.wait(10)
        pods(d, other, "serving-1")  # what begins is told before what ends
        pods(d, name, "serving-1", firing=False)
        name, other = other, name
    d.wait(9)
    assert d.acts == []
    d.wait(1)
    assert d.acted_on == ["serving-1"]


def test_for_is_of_each_pod() -> None:
    d = drill(4, when={"pod": ["CrashLoopBackOff"], "for": "2m"})
    d.world.crash("serving-1")
    d.wait(60)
    d.world.crash("serving-2")
    d.wait(60)
    assert [sick.target.name for sick in d.incident.sick] == ["serving-1"]
    d.wait(60)
    assert [sick.target.name for sick in d.incident.sick] == ["serving-1", "serving-2"]


def test_a_condition_that_ceases_to_be_met_is_a_gap() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "for": "1m", "if": "workload.ready >= 2"})
    d.world.crash("serving-1")
    d.wait(50)
    d.world.unready("serving-2")
    d.world.mend("serving-2")
    d.wait(59)
    assert d.acts == []
    d.wait(1)
    assert d.acted_on == ["serving-1"]


# count


def test_count_takes_distinct_occurrences() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "count": {"atLeast": 3, "within": "10m"}})
    for restarts in (1, 1, 2):
        d.world.crash("serving-1", restarts)
        d.wait(10)
    assert d.acts == []
    d.world.crash("serving-1", 3)
    assert d.acted_on == ["serving-1"]


def test_the_window_of_count_slides() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "count": {"atLeast": 3, "within": "10m"}})
    for restarts in (1, 2, 3, 4):
        d.world.crash("serving-1", restarts)
        d.wait(301)
    assert d.acts == []
    d.world.crash("serving-1", 5)
    d.wait(1)
    d.world.crash("serving-1", 6)
    assert d.acted_on == ["serving-1"]


def test_count_of_one_revision_adds_up_no_two() -> None:
    """Two of the revision before, and one of the newest, are no three; three pods of the newest are."""
    d = drill(12, when={"pod": ["CrashLoopBackOff"], "count": {"atLeast": 3, "within": "10m", "sameRevision": True}})
    for number in range(1, 6):
        d.world.relabel(f"serving-{number}", **{"app": APP, "pod-template-hash": "old" if number < 3 else "new"})
    for number in (1, 2, 3, 4):
        d.world.crash(f"serving-{number}")
    assert d.acts == []
    pending = decisions(d.effects, Verb.PEND)[-1].reason.text
    assert pending == "CrashLoopBackOff seen 2 of 3 times within 10 m at its revision"
    d.world.crash("serving-5")
    assert len(d.acts) == 1


def test_count_is_of_the_workload_whichever_pod() -> None:
    d = drill(4, when={"pod": ["CrashLoopBackOff"], "count": {"atLeast": 2, "within": "10m"}})
    d.world.crash("serving-1")
    assert d.acts == []
    d.world.crash("serving-2")
    assert len(d.acts) == 1


def test_what_was_counted_is_kept_though_it_ended_and_though_time_passes() -> None:
    d = drill(when=LATENCY | {"count": {"atLeast": 2, "within": "10m"}})
    d.alert("serving-1", occurrence="1")
    d.alert("serving-1", firing=False)
    d.wait(590)
    d.alert("serving-1", occurrence="2")
    assert d.acted_on == ["serving-1"]


def test_an_alert_that_is_repeated_for_hours_counts_once() -> None:
    d = drill(when=LATENCY | {"count": {"atLeast": 2, "within": "10m"}})
    for _ in range(20):
        d.alert("serving-1")
        d.wait(300)
    d.alert("serving-2")
    d.wait(300)
    assert codes(d.effects, Verb.OPEN) == []


# if


def test_a_condition_met_by_a_later_event_opens_the_incident_then() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "if": "pod.restarts >= 5"})
    d.world.crash("serving-1", restarts=4)
    assert "ConditionUnmet" in codes(d.effects, Verb.IGNORE)
    d.wait(1)
    d.world.crash("serving-1", restarts=5)
    assert d.acted_on == ["serving-1"]


def test_a_condition_met_by_a_change_of_the_workload_opens_the_incident_then() -> None:
    d = drill(when=LATENCY | {"if": "workload.ready >= 4"})
    d.alert("serving-1")
    assert d.acts == []
    d.world.add()
    assert d.acted_on == ["serving-1"]


def test_a_condition_met_by_time_alone_opens_the_incident_at_the_next_look() -> None:
    d = drill(when=LATENCY | {"if": "pod.age > duration('10m')"})
    d.alert("serving-1")
    d.wait(600)
    assert d.acts == []
    d.wait(15)
    assert d.acted_on == ["serving-1"]


def test_an_unmet_condition_is_said_once() -> None:
    d = drill(when=LATENCY | {"if": "pod.age > duration('10m')"})
    d.alert("serving-1")
    d.wait(500)
    d.alert("serving-1")
    assert codes(d.effects) == ["ConditionUnmet"]


def test_a_condition_that_cannot_be_evaluated_is_no_match() -> None:
    d = drill(when=LATENCY | {"if": "pod.labels.model == 'x'"})
    d.alert("serving-1")
    assert codes(d.effects) == ["ConditionFailed"]


def test_once_matched_a_signal_is_part_of_the_incident_until_it_ends() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "if": "pod.restarts == 5"})
    d.world.pause("deployment")
    d.world.crash("serving-1", restarts=5)
    d.world.crash("serving-1", restarts=6)
    assert len(d.incident.sick) == 1


# what is not known (yet)


def test_a_signal_whose_owner_is_not_known_yet_is_not_lost() -> None:
    d = drill()
    known = d.world.forget_owner()
    d.world.crash("serving-1")
    assert "NoWorkload" in codes(d.effects, Verb.IGNORE)
    assert d.acts == []
    known()
    d.wait(15)
    assert d.acted_on == ["serving-1"]


def test_an_alert_about_an_object_that_is_not_there_heals_nothing() -> None:
    d = drill(when=LATENCY)
    gone = d.world.target("serving-1")
    d.alert(type(gone)("Pod", NAMESPACE, "never-was", ""))
    assert codes(d.effects) == ["TargetGone"]
    d.wait(60)
    assert len(decisions(d.effects)) == 1


def test_every_decision_has_a_reason_in_words() -> None:
    d = drill(when={"pod": ["CrashLoopBackOff"], "for": "2m"})
    d.alert("serving-1")
    d.world.crash("serving-1")
    d.wait(120)
    d.answer()
    d.world.replace("serving-1")
    d.wait(3600)
    assert state(d) is State.CLOSED
    assert {decision.verb for decision in d.decisions} >= {Verb.IGNORE, Verb.PEND, Verb.OPEN, Verb.ALLOW, Verb.HEAL, Verb.CLOSE}
    for decision in d.decisions:
        assert decision.reason.code.isalnum()
        assert " " in decision.reason.text


# what has finished


def test_an_alert_about_a_pod_that_has_finished_matches_no_rule() -> None:
    d = drill(when=LATENCY)
    d.world.finish("serving-1")
    d.alert("serving-1")
    assert codes(d.effects, Verb.IGNORE)[-1] == "TargetFinished"
    assert d.engine.incidents() == []


def test_an_alert_leaves_its_incident_when_the_pod_finishes() -> None:
    """While it waits: the ladder has nothing to do for the record, nor for the workload because of it."""
    d = drill(when=LATENCY, heal=[{"evict": {}}, {"rollback": {}}])
    d.world.pause("deployment")
    d.alert("serving-1")
    d.world.finish("serving-1")
    d.world.pause("deployment", "")
    d.wait(3600)
    assert d.acts == []
    assert state(d) is State.CLOSED


def test_records_of_long_ago_do_not_count_as_of_now() -> None:
    """When healer starts, it sees all records at once."""
    d = drill(when={"pod": ["Evicted"], "count": {"atLeast": 3, "within": "1h"}}, replicas=4)
    for name in ("serving-1", "serving-2", "serving-3"):
        d.world.finish(name)
    d.now = d.world.now = d.now + 86_400
    fresh = Drill(d.rules, d.world, now=d.now)
    for pod in d.world.pods:
        for signal in fresh.source.put(pod, None, fresh.now):
            fresh.feed(signal)
    assert fresh.engine.incidents() == []
    assert codes(fresh.effects, Verb.PEND)[-1] == "NotOftenEnough"
