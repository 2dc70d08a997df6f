"""What was true when a rule matched must be true when healer acts: the scope, the owner and the condition are asked again."""

from typing import Any

import msgspec
import pytest

from healer.engine.incidents.validity import Reread
from healer.engine.matching.fit import Fit, fit
from healer.model.action import OutcomeKind
from healer.model.incident import State
from healer.model.kube import Meta, OwnerReference, ReplicaSet
from healer.rules.rulebook import BoundRule
from tests.support.world import NAMESPACE, Drill, World, rule, rulebook, state

SELECTOR = {"namespaces": [NAMESPACE], "selector": {"matchLabels": {"app": "serving"}}}
ALERT = {"alert": ["HighLatency"]}


def waiting(**more: Any) -> Drill:
    """An incident that waits, because its workload is paused."""
    d = Drill(rulebook(rule(scope=SELECTOR, **more)), World(4))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    assert state(d) is State.WAITING
    return d


def test_a_pod_that_was_relabelled_out_of_the_selector_is_left_alone() -> None:
    d = waiting()
    d.world.relabel("serving-1", app="quarantined")
    assert (state(d), d.incident.history[-2].reason.code) == (State.CLOSED, "OutOfScope")
    assert "pod/serving-1 is outside the rule's scope: healer leaves it alone" in d.incident.history[-2].reason.text
    d.world.pause("deployment", "")
    d.wait(3600)
    assert d.acts == []


@pytest.mark.parametrize("owner", [None, OwnerReference("StatefulSet", "other", "sts-1", controller=True)])
def test_a_pod_that_its_workload_has_lost_is_left_alone(owner: OwnerReference | None) -> None:
    d = waiting()
    d.world.own("serving-1", owner)
    first = next(iter(d.incidents.values()))
    left = [entry.reason.code for entry in first.history if entry.reason.code in ("NoWorkload", "OtherWorkload")]
    assert (len(left), first.state) == (1, State.CLOSED)
    d.world.pause("deployment", "")
    d.wait(3600)
    assert d.acts == []


def test_a_pod_that_comes_back_into_the_scope_is_treated_again() -> None:
    d = waiting()
    d.world.relabel("serving-1", app="quarantined")
    d.world.pause("deployment", "")
    d.world.relabel("serving-1", app="serving")
    assert d.acted_on == ["serving-1"]


ELSEWHERE = {"namespaces": [NAMESPACE], "selector": {"matchLabels": {"app": "other"}}}


def test_a_rule_is_not_asked_again_about_a_target_outside_its_scope_that_did_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noted(bound: BoundRule, *others: Any) -> Fit:
        asked.append(bound.name)
        return fit(bound, *others)

    monkeypatch.setattr("healer.engine.matching.matcher.fit", noted)
    lasting = {"pod": ["CrashLoopBackOff"], "for": "1h"}
    rules = rulebook(rule(name="outside", scope=ELSEWHERE), rule(name="waits", scope=SELECTOR, when=lasting))
    outside, waits = (each.name for each in rules.rules)
    d = Drill(rules, World(4))
    d.world.crash("serving-1")
    before, looks = asked.count(outside), asked.count(waits)
    d.wait(600)
    assert asked.count(waits) > looks, "what time alone may change is looked at"
    assert before == asked.count(outside) > 0
    d.world.relabel("serving-1", app="other")
    assert asked.count(outside) > before
    assert [each.rule for each in d.incidents.values()] == [outside]


def test_a_rule_whose_scope_is_widened_is_asked_about_what_was_outside() -> None:
    d = Drill(rulebook(rule(scope=ELSEWHERE)), World(4))
    d.world.crash("serving-1")
    d.wait(60)
    assert d.acts == []
    d.use(rulebook(rule(scope={**ELSEWHERE, "selector": {"matchLabels": {"app": "another"}}})))
    d.wait(60)
    assert d.acts == []
    d.use(rulebook(rule(scope=SELECTOR)))
    assert d.acted_on == ["serving-1"]


def test_the_others_of_an_incident_go_on_when_one_leaves_it() -> None:
    d = waiting(limits={"maxUnhealthy": "90%"})
    d.world.crash("serving-2")
    d.world.own("serving-1")
    d.world.add()
    d.world.pause("deployment", "")
    assert d.acted_on == ["serving-2"]
    d.answer()
    d.world.replace("serving-2")
    d.wait(60)
    assert state(d) is State.HEALED, "a pod that was quarantined by hand is not still sick"


def test_a_quarantined_pod_makes_no_storm() -> None:
    d = Drill(rulebook(rule(scope=SELECTOR, limits={"maxUnhealthy": 1})), World(4))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.world.relabel("serving-1", app="quarantined")
    d.world.pause("deployment", "")
    d.world.crash("serving-2")
    assert d.acted_on == ["serving-2"]


def test_a_condition_that_is_not_met_any_more_forbids_to_act_until_it_is() -> None:
    d = Drill(rulebook(rule(when=ALERT | {"if": "!pod.ready"}, heal=[{"evict": {}}])), World(4))
    d.world.pause("deployment")
    d.world.unready("serving-1")
    d.alert("serving-1")
    d.world.mend("serving-1")
    d.world.pause("deployment", "")
    d.wait(60)
    assert (d.acts, state(d), d.incident.reason.code) == ([], State.WAITING, "ConditionUnmet")
    d.world.unready("serving-1")
    d.wait(60)
    assert d.acted_on == ["serving-1"]


def test_a_condition_that_is_not_met_climbs_no_ladder() -> None:
    d = Drill(rulebook(rule(when=ALERT | {"if": "!pod.ready"}, heal=[{"evict": {}}, {"rollback": {}}])), World(4))
    d.world.pause("deployment")
    d.world.unready("serving-1")
    d.alert("serving-1")
    d.world.mend("serving-1")
    d.world.pause("deployment", "")
    d.wait(2 * d.tuning.engine.max_wait)
    assert (d.acts, state(d), d.incident.step) == ([], State.WAITING, 0)


def test_what_acts_on_the_workload_asks_its_pods() -> None:
    d = Drill(rulebook(rule(when=ALERT | {"if": "!pod.ready"}, heal=[{"rolloutRestart": {}}])), World(4))
    d.world.pause("deployment")
    for pod in ("serving-1", "serving-2"):
        d.world.unready(pod)
        d.alert(pod)
    d.world.mend("serving-1")
    d.world.mend("serving-2")
    d.world.pause("deployment", "")
    d.wait(60)
    assert (d.acts, d.incident.reason.code) == ([], "ConditionUnmet")
    d.world.unready("serving-2")
    d.wait(60)
    assert d.acted_on == ["serving"]


# the freshly read target


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"labels": {"app": "quarantined"}}, "OutOfScope"),
        ({"owner_references": (), "labels": {"app": "serving", "pod-template-hash": "1"}}, "NoWorkload"),
        ({"owner_references": (OwnerReference("StatefulSet", "other", "sts-1", controller=True),)}, "OtherWorkload"),
    ],
)
def test_the_view_lags_behind_and_the_fresh_look_does_not(change: dict[str, object], code: str) -> None:
    d = Drill(rulebook(rule(scope=SELECTOR)))
    d.world.crash("serving-1")
    (act,) = d.acts
    pod = d.world.pod("serving-1")
    assert d.engine.unwanted(act, d.world.view, d.now, Reread(pod)) is None
    fresh = msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, **change))
    reason = d.engine.unwanted(act, d.world.view, d.now, Reread(fresh))
    assert reason is not None
    assert reason.code == code
    d.answer(OutcomeKind.RECOVERED, code)
    assert (state(d), d.incident.step) == (State.WAITING, 0)


def test_the_fresh_look_asks_the_condition() -> None:
    d = Drill(rulebook(rule(when=ALERT | {"if": "!pod.ready"})))
    d.world.unready("serving-1")
    d.alert("serving-1")
    (act,) = d.acts
    unready = d.world.pod("serving-1")
    d.world.listeners.clear()
    d.world.mend("serving-1")
    reason = d.engine.unwanted(act, d.world.view, d.now, Reread(d.world.pod("serving-1")))
    assert reason is not None
    assert reason.code == "ConditionUnmet"
    assert d.engine.unwanted(act, d.world.view, d.now, Reread(unready)) is None


def test_the_fresh_look_asks_the_condition_what_the_object_says_now() -> None:
    """The download was killed out of memory since the rule matched: a new pod would begin it again."""
    d = Drill(rulebook(rule(when={"pod": ["CrashLoopBackOff"], "if": "!signal.message.contains('OOMKilled')"})))
    d.world.crash("serving-1")
    (act,) = d.acts
    pod = d.world.pod("serving-1")
    assert d.engine.unwanted(act, d.world.view, d.now, Reread(pod, lambda _: "crashed once, last exit 1 (Error)")) is None
    reason = d.engine.unwanted(act, d.world.view, d.now, Reread(pod, lambda _: "crashed twice, last exit 137 (OOMKilled)"))
    assert reason is not None
    assert reason.code == "ConditionUnmet"


def test_the_fresh_look_does_not_forget_what_the_object_no_longer_shows() -> None:
    """A kubelet that has cleared away the dead container does not say any more that it was killed out of memory."""
    d = Drill(rulebook(rule(when={"pod": ["CrashLoopBackOff"], "if": "signal.message.contains('last exit')"})))
    d.world.crash("serving-1")
    (act,) = d.acts
    less, _, left_out = d.incident.sick[0].what.removeprefix("CrashLoopBackOff: ").partition(", last exit")
    assert left_out
    assert d.engine.unwanted(act, d.world.view, d.now, Reread(d.world.pod("serving-1"), lambda _: less)) is None


# owners across namespaces


def test_a_controller_in_another_namespace_owns_nothing() -> None:
    """Anybody may write an ownerReference with a uid that he has read elsewhere."""
    d = Drill(rulebook(rule(scope={"namespaces": ["*"]})), World(3))
    owner = OwnerReference("ReplicaSet", "serving-rs", "rs-1", controller=True)
    for uid, reference in (("a", owner), ("b", OwnerReference("Deployment", "serving", "deploy-1", controller=True))):
        foreign = msgspec.structs.replace(
            d.world.pod("serving-1"), metadata=Meta(f"foreign-{uid}", uid, "elsewhere", owner_references=(reference,))
        )
        d.world.view.put(foreign)
        assert d.world.view.workload_of(foreign) is None
        assert d.world.view.workload_uid(foreign) == ""
    assert {pod.metadata.namespace for pod in d.world.view.pods_of(d.world.workload)} == {NAMESPACE}


def test_a_replica_set_in_another_namespace_lends_no_deployment() -> None:
    d = Drill(rulebook(rule()), World(3))
    owner = OwnerReference("Deployment", "serving", "deploy-1", controller=True)
    d.world.view.put(ReplicaSet(Meta("serving-rs", "rs-x", "elsewhere", owner_references=(owner,))))
    reference = OwnerReference("ReplicaSet", "serving-rs", "rs-x", controller=True)
    foreign = msgspec.structs.replace(
        d.world.pod("serving-1"), metadata=Meta("foreign", "x", "elsewhere", owner_references=(reference,))
    )
    d.world.view.put(foreign)
    assert d.world.view.workload_of(foreign) is None
    assert len(d.world.view.pods_of(d.world.workload)) == 3
