"""A journal is input: what anybody may have written into it makes healer neither act, nor count, nor fall."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from healer.engine.incidents.trust import sift
from healer.engine.matching.ended import Ended
from healer.engine.safety.wide import BREAKER, NODE_STORM
from healer.model.effects import Dropped, Loss
from healer.model.incident import Approved, Disruption, Entry, Incident, Reason, SickTarget, State, Symptom
from healer.model.target import Target
from tests.support.world import NAMESPACE, START, Drill, World, rule, rulebook

ALERT = {"alert": ["HighLatency"]}
YEAR_9000 = 221_845_392_000.0


def forged(d: Drill, pod: str = "serving-1", *, source: Any = "pod", name: str = "CrashLoopBackOff", **more: Any) -> Incident:
    """What somebody writes into the journal: a waiting incident about a healthy pod."""
    target = d.world.target(pod)
    opened = Entry(d.now - 10, State.OPEN, Reason(name, "it is sick, believe me"))
    key = f"{target.uid}/{name}"
    incident = Incident(
        id="forged-1",
        rule="test/crash-loop",
        workload=d.world.workload,
        severity="critical",
        mode="enforce",
        notify=(),
        opened_at=d.now - 10,
        changed_at=d.now - 10,
        state=State.WAITING,
        reason=opened.reason,
        targets={target.uid: SickTarget(target, {key: Symptom(source, name, f"{key}/1", d.now - 10)}, d.now - 10, name)},
        steps=("evict",),
        history=(opened,),
    )
    return replace(incident, **more)


def restored(d: Drill, *incidents: Incident) -> list[str]:
    """What a daemon makes of a journal: it sifts, restores, feeds what is sick, and lets go. Returns the codes of the doubts."""
    sifted = d.engine.sift(incidents, d.world.view, d.now)
    signals = [signal for pod in d.world.pods for signal in d.source.put(pod, None, d.now)]
    d.restore(list(sifted.believed), {signal.key for signal in signals})
    for signal in signals:
        d.feed(signal)
    d.wait(0)
    return [reason.code for _, reason in sifted.doubted]


def about(target: Target, sick: Incident) -> dict[str, SickTarget]:
    """The targets of an incident, with that one among them."""
    (first,) = sick.targets.values()
    return {**sick.targets, target.uid: replace(first, target=target)}


# across namespaces


def elsewhere(d: Drill) -> tuple[Target, Target]:
    """A workload in the attacker's own namespace, and its pod."""
    (pod,) = d.world.other("mine", namespace="attacker", nodes=["node-1"])
    return Target("Deployment", "attacker", "mine", "mine-uid"), pod


def test_a_workload_of_ones_own_with_a_target_in_another_namespace() -> None:
    d = Drill(rulebook(rule(scope={"namespaces": ["*"]})))
    mine, _ = elsewhere(d)
    d.world.crash("serving-1")
    d.world.pause("namespace")
    assert restored(d, forged(d, workload=mine)) == ["OtherNamespace"]
    assert "forged-1" not in d.incidents


@pytest.mark.parametrize("state", [State.WAITING, State.ACTING, State.VERIFYING, State.CLOSED])
def test_targets_of_two_namespaces(state: State) -> None:
    d = Drill(rulebook(rule(scope={"namespaces": ["*"]})))
    mine, pod = elsewhere(d)
    incident = forged(d, workload=mine, state=state, acting_on=pod)
    assert restored(d, replace(incident, targets=about(pod, incident))) == ["OtherNamespace"]
    assert d.acts == []


@pytest.mark.parametrize("field", ["acting_on", "disruption"])
def test_what_it_acts_on_or_has_taken_is_in_its_namespace(field: str) -> None:
    d = Drill(rulebook(rule(scope={"namespaces": ["*"]})))
    mine, pod = elsewhere(d)
    victim = d.world.target("serving-1")
    value: Any = victim if field == "acting_on" else Disruption(victim, mine, frozenset(), d.now)
    incident = replace(forged(d, workload=mine, state=State.ACTING, acting_on=pod), targets={})
    assert restored(d, replace(incident, **{field: value})) == ["OtherNamespace"]


@pytest.mark.parametrize(
    "workload",
    [
        Target("Deployment", "attacker", "serving", "deploy-1"),
        Target("Deployment", NAMESPACE, "other", "deploy-1"),
        Target("StatefulSet", NAMESPACE, "serving", "deploy-1"),
    ],
)
def test_the_uid_of_another_s_workload(workload: Target) -> None:
    d = Drill(rulebook(rule(scope={"namespaces": ["*"]})))
    assert restored(d, replace(forged(d, workload=workload), targets={})) == ["OtherWorkload"]


def test_a_pod_of_another_workload_in_the_same_namespace() -> None:
    d = Drill(rulebook(rule()))
    d.world.other("neighbour")
    workload = Target("Deployment", NAMESPACE, "neighbour", "neighbour-uid")
    assert restored(d, forged(d, workload=workload)) == ["OtherWorkload"]


def test_the_uid_of_a_pod_under_another_name() -> None:
    d = Drill(rulebook(rule()))
    incident = forged(d)
    ((uid, sick),) = incident.targets.items()
    claimed = replace(sick, target=replace(sick.target, name="serving-2"))
    assert restored(d, replace(incident, targets={uid: claimed})) == ["OtherPod"]


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        (BREAKER, Target("Cluster", "attacker", "cluster", "cluster")),
        (NODE_STORM, Target("Node", "attacker", "node-1", "node/node-1")),
        (BREAKER, Target("Deployment", NAMESPACE, "serving", "deploy-1")),
        ("test/crash-loop", Target("Node", "default", "node-1", "node/node-1")),
    ],
)
def test_what_stops_all_of_healer_is_written_in_its_own_namespace(name: str, workload: Target) -> None:
    d = Drill(rulebook(rule()))
    stopper = forged(d, workload=workload, state=State.ESCALATED, steps=(), targets={}, rule=name)
    assert restored(d, stopper) == ["NotHealers"]
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


# what it says of signals


@pytest.mark.parametrize("name", ["CrashLoopBackOff", "Restarting", "OOMKilled", "OfANewerHealer"])
def test_a_pod_that_is_well_is_not_sick_because_a_journal_says_so(name: str) -> None:
    d = Drill(rulebook(rule(when={"pod": ["CrashLoopBackOff", "Restarting", "OOMKilled"]})))
    assert restored(d, forged(d, name=name)) == []
    d.wait(7200)
    assert d.acts == []
    assert d.incident.state is State.CLOSED


def test_nothing_is_done_on_an_alert_that_only_a_journal_tells_of() -> None:
    d = Drill(rulebook(rule(when=ALERT)))
    restored(d, forged(d, source="alert", name="HighLatency"))
    d.wait(7200)
    assert (d.acts, d.incident.reason.code) == ([], "Unconfirmed")
    d.alert("serving-1", key=f"{d.world.target('serving-1').uid}/HighLatency")
    assert d.acted_on == ["serving-1"]


def test_an_alert_with_the_same_key_is_about_whom_its_source_says() -> None:
    """A forged incident that has an alert's fingerprint does not lead it to another pod."""
    d = Drill(rulebook(rule(when=ALERT)))
    incident = forged(d, source="alert", name="HighLatency")
    (sick,) = incident.targets.values()
    symptom = Symptom("alert", "HighLatency", "fp@1", d.now)
    restored(d, replace(incident, targets={sick.target.uid: replace(sick, signals={"fp": symptom})}))
    d.alert("serving-2", key="fp", occurrence="1")
    assert d.acted_on == ["serving-2"]


def test_an_alert_that_the_rule_is_not_about() -> None:
    d = Drill(rulebook(rule(when=ALERT)))
    restored(d, forged(d, source="alert", name="SomethingElse"))
    assert (d.acts, d.incident.state) == ([], State.CLOSED)


def test_a_journal_makes_no_storm_on_a_node() -> None:
    """Pods of others are on it."""
    d = Drill(rulebook(rule(when=ALERT), rule("other")), World(6))
    incident = forged(d, source="alert", name="HighLatency")
    (sick,) = incident.targets.values()
    targets = {}
    for number in range(1, 7):
        target = d.world.target(f"serving-{number}")
        symptom = Symptom("alert", "HighLatency", "1", d.now)
        targets[target.uid] = replace(sick, target=target, signals={f"fp-{number}": symptom})
    restored(d, replace(incident, targets=targets))
    assert [i.rule for i in d.engine.incidents()] == ["test/crash-loop"]


def test_the_end_of_an_alert_that_a_journal_tells_of_holds_in_its_own_namespace() -> None:
    ended = Ended()
    ended.learn({"fp": START}, "attacker", START)
    assert ended.spans("fp", START - 10, "attacker")
    assert not ended.spans("fp", START - 10, NAMESPACE)
    ended.note("fp", START)
    assert ended.spans("fp", START - 10, NAMESPACE)


def test_an_end_by_a_clock_that_is_ahead_costs_no_incident_and_a_senseless_one_only_itself() -> None:
    """Ends are dated by the clocks of those that send alerts."""
    d = Drill(rulebook(rule()))
    incident = replace(forged(d), ended={"ahead": START + 600, "senseless": YEAR_9000, "usual": START - 10})
    assert restored(d, incident) == []
    ended = Ended()
    ended.learn(incident.ended, NAMESPACE, START)
    assert [key for key in incident.ended if ended.spans(key, START - 20, NAMESPACE)] == ["ahead", "usual"]


# what the rule says


def test_the_mode_is_the_rule_s() -> None:
    d = Drill(rulebook(rule(mode="approve")))
    d.world.listeners.clear()
    d.world.crash("serving-1")
    restored(d, forged(d, mode="enforce"))
    assert d.acts == []
    incident = d.engine.incident("forged-1")
    assert incident is not None
    assert (incident.mode, incident.reason.code) == ("approve", "NeedsApproval")


def test_the_channels_and_the_severity_are_the_rule_s() -> None:
    page = {"page": {"channels": ["#help"]}}
    d = Drill(rulebook(rule(notify=["#ml"], severity="info", heal=[page])))
    incident = forged(d, notify=("#board",), severity="critical", paged=("#board", "#help"), steps=("page",))
    (believed,) = d.engine.sift([incident], d.world.view, d.now).believed
    assert (believed.notify, believed.severity, believed.paged) == (("#ml",), "info", ("#help",))


def test_an_incident_without_a_rule_is_told_where_healer_s_rules_tell() -> None:
    d = Drill(rulebook(rule(notify=["#ml"])))
    (believed,) = d.engine.sift([forged(d, rule="test/gone", notify=("#board", "#ml"))], d.world.view, d.now).believed
    assert believed.notify == ("#ml",)


# odd


@pytest.mark.parametrize(
    "odd",
    [
        {"step": 99},
        {"step": -1},
        {"attempt": -1},
        {"failures": -7},
        {"state": State.ACTING, "acting_on": None},
        {"steps": (), "step": 1},
    ],
)
def test_what_healer_never_writes_is_set_aside_and_ends_nothing(odd: dict[str, Any]) -> None:
    d = Drill(rulebook(rule()))
    d.world.listeners.clear()
    d.world.crash("serving-2")
    assert restored(d, forged(d, **odd)) == ["Impossible"]
    assert d.acted_on == ["serving-2"]


@pytest.mark.parametrize(
    "when",
    [
        lambda i: {"opened_at": YEAR_9000},
        lambda i: {"changed_at": YEAR_9000},
        lambda i: {"acted_at": (YEAR_9000,) * 60},
        lambda i: {"ended_at": YEAR_9000},
        lambda i: {"wake_at": YEAR_9000},
        lambda i: {"deadline": YEAR_9000},
        lambda i: {"approvals": (Approved(0, "me", YEAR_9000),)},
        lambda i: {"history": (Entry(YEAR_9000, State.OPEN, Reason("a", "b")),)},
        lambda i: {"targets": {uid: replace(sick, since=YEAR_9000) for uid, sick in i.targets.items()}},
    ],
)
def test_what_is_said_to_have_happened_in_the_future(when: Callable[[Incident], dict[str, Any]]) -> None:
    d = Drill(rulebook(rule()))
    incident = forged(d)
    assert restored(d, replace(incident, **when(incident))) == ["FromTheFuture"]


def test_the_clock_of_the_healer_before_may_have_been_a_little_ahead() -> None:
    d = Drill(rulebook(rule()))
    (believed,) = d.engine.sift([forged(d, acted_at=(d.now + 60,), changed_at=d.now + 60)], d.world.view, d.now).believed
    assert (believed.acted_at, believed.changed_at) == ((d.now,), d.now)


# budgets and breakers


def spent(d: Drill, number: int, **more: Any) -> Incident:
    """A closed incident that says that healer acted and failed."""
    entry = Entry(d.now - 5, State.ESCALATED, Reason("a", "b"))
    return forged(
        d, id=f"spent-{number}", state=State.CLOSED, acted_at=(d.now - 5,) * 40, ended_at=d.now - 5, history=(entry,), **more
    )


def test_a_workload_that_is_not_there_spends_nobody_s_budget() -> None:
    d = Drill(rulebook(rule()))
    ghost = Target("Deployment", NAMESPACE, "ghost", "ghost-uid")
    restored(d, *(replace(spent(d, number, workload=ghost), targets={}) for number in range(10)))
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


def test_one_namespace_spends_at_most_its_own_share_of_the_cluster_s_budget() -> None:
    d = Drill(rulebook(rule(scope={"namespaces": ["*"]}, limits={"breaker": {"failures": 100, "reset": "1h"}})))
    mine, _ = elsewhere(d)
    restored(d, *(replace(spent(d, number, workload=mine), targets={}) for number in range(10)))
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


def test_a_namespace_out_of_the_rule_s_scope_opens_no_breaker_of_the_rule() -> None:
    d = Drill(rulebook(rule()))
    mine, _ = elsewhere(d)
    restored(d, *(replace(spent(d, number, workload=mine), targets={}) for number in range(10)))
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


@pytest.mark.parametrize("empty", [True, False])
def test_many_objects_about_one_workload_open_no_breaker_of_the_cluster(empty: bool) -> None:
    d = Drill(rulebook(rule(), rule("other", when=ALERT)))
    many = [forged(d, id=f"forged-{number}", state=State.OPEN) for number in range(25)]
    restored(d, *(replace(each, targets={}, history=()) if empty else each for each in many))
    d.alert("serving-2")
    assert not [incident for incident in d.engine.incidents() if incident.rule == BREAKER]


# a restart is no reload


def test_an_incident_of_a_workload_that_is_gone_is_closed() -> None:
    d = Drill(rulebook(rule()))
    incident = forged(d)
    d.world.delete_deployment()
    assert restored(d, incident) == []
    assert (d.incident.state, d.incident.reason.code) == (State.CLOSED, "WorkloadGone")


@pytest.mark.parametrize(
    ("now", "code"),
    [
        ({"scope": {"namespaces": ["elsewhere"]}}, "OutOfScope"),
        ({"scope": {"namespaces": [NAMESPACE], "selector": {"matchLabels": {"app": "other"}}}}, "OutOfScope"),
        ({"when": {"pod": ["OOMKilled"]}}, "NotAbout"),
        ({"heal": [{"rollback": {}}]}, "RuleChanged"),
    ],
)
def test_a_rule_that_was_narrowed_while_healer_was_away_ends_its_incident(now: dict[str, Any], code: str) -> None:
    d = Drill(rulebook(rule(**now)))
    d.world.listeners.clear()
    d.world.crash("serving-1")
    assert restored(d, forged(d)) == []
    d.wait(7200)
    incident = d.incidents["forged-1"]
    assert incident.state is State.CLOSED
    assert code in [entry.reason.code for entry in incident.history]
    assert [act for act in d.acts if act.incident.id == "forged-1" or act.action == "evict"] == []


def test_a_condition_that_was_added_while_healer_was_away_is_asked() -> None:
    d = Drill(rulebook(rule(when={"pod": ["CrashLoopBackOff"], "if": "pod.restarts >= 50"})))
    d.world.listeners.clear()
    d.world.crash("serving-1")
    restored(d, forged(d))
    d.wait(7200)
    assert (d.acts, d.incident.state, d.incident.reason.code) == ([], State.WAITING, "ConditionUnmet")


@pytest.mark.parametrize("team", ["ml", "web"])
def test_labels_that_were_added_while_healer_was_away_are_asked(team: str) -> None:
    d = Drill(rulebook(rule(when=ALERT | {"labels": {"team": "ml"}})))
    restored(d, forged(d, source="alert", name="HighLatency"))
    d.alert("serving-1", key=f"{d.world.target('serving-1').uid}/HighLatency", team=team)
    assert d.acted_on == (["serving-1"] if team == "ml" else [])


# an object that is not healer's any more


def test_an_incident_that_somebody_has_edited_is_a_human_s() -> None:
    d = Drill(rulebook(rule()), World(4))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.feed(Dropped(d.incident.id, "somebody else has written its status", Loss.EDITED))
    d.world.pause("deployment", "")
    d.world.crash("serving-2")
    d.wait(7200)
    assert (d.acts, d.incident.state, d.incident.reason.code) == ([], State.ESCALATED, "JournalLost")
    d.world.mend("serving-1")
    d.world.mend("serving-2")
    assert d.incident.state is State.CLOSED


def test_what_was_under_way_is_counted_before_an_edited_incident_is_left() -> None:
    d = Drill(rulebook(rule()))
    d.world.crash("serving-1")
    d.feed(Dropped(d.incident.id, "somebody else has written its status", Loss.EDITED))
    assert d.incident.state is State.ACTING
    d.answer()
    assert (d.incident.state, len(d.incident.acted_at)) == (State.ESCALATED, 1)


def test_an_incident_whose_object_is_gone_is_closed_and_what_is_sick_opens_another() -> None:
    d = Drill(rulebook(rule()))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    first = d.incident
    d.feed(Dropped(first.id, "somebody has deleted it", Loss.DELETED))
    assert d.incidents[first.id].state is State.CLOSED
    (second,) = d.engine.incidents()
    assert second.id != first.id
    d.world.pause("deployment", "")
    assert d.acted_on == ["serving-1"]


def test_an_incident_whose_object_is_gone_while_it_verifies_leaves_its_cooldown() -> None:
    d = Drill(rulebook(rule(limits={"cooldown": "10m"})))
    d.world.crash("serving-1")
    d.answer()
    d.feed(Dropped(d.incident.id, "somebody has deleted it", Loss.DELETED))
    d.world.replace("serving-1")
    d.world.crash("serving-2")
    assert d.acted_on == ["serving-1"]
    d.wait(600)
    assert d.acted_on == ["serving-1", "serving-2"]


def test_it_is_all_a_function_of_what_is_read() -> None:
    d = Drill(rulebook(rule()))
    again = [sift([forged(d), forged(d, step=7)], {}, d.world.view, "default", START) for _ in range(2)]
    assert again[0] == again[1]
