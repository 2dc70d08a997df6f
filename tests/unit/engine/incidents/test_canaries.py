"""Incidents on canaries: what is bad loses its traffic, what is unknown is held, and what must be well afterwards."""

from dataclasses import replace

import msgspec
import pytest

from healer.model.action import OutcomeKind
from healer.model.effects import Verb
from healer.model.incident import State
from healer.model.signal import Signal
from healer.rules.loading import load
from healer.workloads.deployment import Deployment
from tests.support.world import NAMESPACE, VOCABULARY, Drill, World, codes, decisions, rule, rulebook, state

SERIES = 'a{pod=~"{{ pods }}"}'
WHEN = {
    "canary": {
        "route": {"kind": "Ingress", "name": "split"},
        "stable": {"deployment": "stable"},
        "canary": {"deployment": "serving"},
        "measures": [{"name": "errors", "total": SERIES, "bad": SERIES}],
        "hold": "10m",
    }
}
DIVERTED = [{"divert": {}, "verify": {"within": "2m", "stable": "10s"}}]
BAD_CANARY = rule("bad-canary", when=WHEN, heal=DIVERTED)


def drill(*rules: dict[str, object]) -> Drill:
    """The canary is the world's Deployment; the stable one stands beside it."""
    world = World()
    world.other("stable")
    return Drill(rulebook(*(rules or (BAD_CANARY,))), world)


def test_a_bad_canary_loses_its_traffic_and_is_healed_when_its_signal_is_gone() -> None:
    d = drill()
    d.judged("BadCanary", d.world.workload)
    (act,) = d.waiting
    assert (act.action, act.target) == ("divert", d.world.workload)
    assert act.params.model_dump()["stable"]["workload"]["name"] == "stable"
    d.answer()
    d.wait(5)
    assert state(d) is State.VERIFYING
    d.judged("BadCanary", d.world.workload, firing=False)
    d.wait(10)
    assert state(d) is State.HEALED
    assert "deployment/stable is at its desired ready count" in d.incident.reason.text


def said(d: Drill, message: str, *, changed: bool) -> None:
    """The same signal goes on, and says that."""
    signal = Signal("canary", "BadCanary", d.world.workload, firing=True, at=d.now, key="bad", rule="test/bad-canary")
    d.feed(replace(signal, message=message, changed=changed))


def test_what_a_signal_says_by_now_is_told_once_and_is_why_a_human_is_asked() -> None:
    """What comes after the shift explains why it did not help; the evidence from before it does not."""
    d = drill()
    said(d, "canary 41 of 310 bad", changed=False)
    d.answer()
    said(d, "canary 51 of 320 bad", changed=False)
    said(d, "it still answered 412 requests", changed=True)
    said(d, "it still answered 398 requests", changed=False)
    said(d, "it still answered 380 requests", changed=True)
    lines = [entry.reason.text for entry in d.history if "still answered" in entry.reason.text]
    assert lines == ["deployment/serving is still sick: BadCanary: it still answered 412 requests"]
    d.wait(120)
    assert state(d) is State.ESCALATED
    still = "still sick: deployment/serving (BadCanary: it still answered 412 requests)"
    assert d.incident.reason.text == f"no step is left after divert, a human is needed: {still}"


def test_the_side_that_serves_must_be_well_not_the_one_that_lost_its_traffic() -> None:
    d = drill()
    d.judged("BadCanary", d.world.workload)
    d.answer()
    d.world.ready(0)  # the bad version gets worse: nobody is served by it
    d.judged("BadCanary", d.world.workload, firing=False)
    d.wait(10)
    assert state(d) is State.HEALED


def test_it_is_not_healed_while_the_side_that_serves_is_short_of_replicas() -> None:
    d = drill()
    d.judged("BadCanary", d.world.workload)
    d.answer()
    named = d.world.view.workload_named("Deployment", NAMESPACE, "stable")
    assert named is not None
    stable = d.world.view.drop(Deployment, named.target.uid)
    assert isinstance(stable, Deployment)
    d.world.view.put(msgspec.structs.replace(stable, status=msgspec.structs.replace(stable.status, ready_replicas=2)))
    d.judged("BadCanary", d.world.workload, firing=False)
    d.wait(119)
    assert state(d) is State.VERIFYING
    d.wait(2)
    assert state(d) is State.ESCALATED
    assert "2 of 3 replicas are ready" in d.incident.reason.text


def test_traffic_is_taken_off_a_canary_in_the_middle_of_its_rollout() -> None:
    d = drill()
    d.world.rollout(updated_replicas=1)
    d.judged("BadCanary", d.world.workload)
    assert [act.action for act in d.waiting] == ["divert"]


def test_unknown_is_held_and_said_once() -> None:
    d = drill()
    d.judged("UnknownVerdict", d.world.workload)
    d.wait(599)
    assert d.waiting == []
    assert [entry.state for entry in d.history] == [State.OPEN, State.WAITING]
    assert {entry.reason.code for entry in d.history} == {"UnknownVerdict"}
    d.judged("UnknownVerdict", d.world.workload, firing=False)
    assert state(d) is State.CLOSED


def test_the_hold_is_capped_by_a_human() -> None:
    d = drill()
    d.judged("UnknownVerdict", d.world.workload)
    d.wait(601)
    assert d.waiting == []
    assert (d.incident.state, d.incident.reason.code) == (State.ESCALATED, "HeldTooLong")


def test_a_canary_that_turns_out_bad_after_it_was_unknown_is_acted_on() -> None:
    d = drill()
    d.judged("UnknownVerdict", d.world.workload)
    d.wait(601)
    d.judged("UnknownVerdict", d.world.workload, firing=False)
    d.judged("BadCanary", d.world.workload)
    assert [act.action for act in d.waiting] == ["divert"]


def test_what_is_bad_and_unknown_since_is_bad() -> None:
    d = drill()
    d.world.pause("deployment")
    d.judged("BadCanary", d.world.workload)
    d.judged("UnknownVerdict", d.world.workload)
    d.world.pause("deployment", "")
    d.wait(15)
    assert [act.action for act in d.waiting] == ["divert"]


def test_a_signal_for_one_rule_concerns_no_other() -> None:
    d = drill(BAD_CANARY, rule("other-canary", when=WHEN, heal=DIVERTED))
    d.judged("BadCanary", d.world.workload, rule="test/other-canary")
    assert [incident.rule for incident in d.incidents.values()] == ["test/other-canary"]


def test_a_signal_for_a_rule_opens_nothing_outside_of_its_namespaces() -> None:
    d = drill()
    (elsewhere, *_) = d.world.other("far", namespace="staging")
    deployment = d.world.view.workload_named("Deployment", elsewhere.namespace, "far")
    assert deployment is not None
    d.judged("BadCanary", deployment.target)
    assert codes(d.effects) == ["NoRule"]


def test_a_signal_for_a_rule_that_is_gone_opens_nothing() -> None:
    d = drill()
    d.judged("BadCanary", d.world.workload, rule="test/gone")
    assert codes(d.effects) == ["NoRule"]
    assert d.engine.incidents() == []


def test_a_restart_goes_on_with_it_until_the_judge_takes_it_back() -> None:
    before = drill()
    before.judged("BadCanary", before.world.workload)
    after = Drill(before.rules, before.world, now=before.now + 5)
    after.restore([before.incident], set())
    after.wait(0)
    after.judged("BadCanary", after.world.workload)  # a journal's word counts for nothing before the judge says it again
    after.wait(15)
    (act,) = after.waiting
    assert (act.action, act.attempt) == ("divert", 2)
    after.answer()
    after.judged("BadCanary", after.world.workload, firing=False)
    after.wait(10)
    assert state(after) is State.HEALED


def test_traffic_is_taken_off_while_another_ladder_climbs_on_the_workload() -> None:
    d = drill(rule(), BAD_CANARY)
    d.world.crash("serving-1")
    d.answer()
    d.judged("BadCanary", d.world.workload)
    assert [act.action for act in d.waiting] == ["divert"]


def test_traffic_is_taken_off_in_a_storm() -> None:
    d = drill(BAD_CANARY, rule(limits={"maxUnhealthy": "50%"}))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    d.world.pause("deployment", "")
    assert "Storm" in codes(d.effects)
    d.judged("BadCanary", d.world.workload)
    assert [act.action for act in d.waiting] == ["divert"]


def test_a_storm_is_not_for_the_rule_of_a_canary_to_take_over() -> None:
    d = drill(BAD_CANARY, rule())
    d.judged("BadCanary", d.world.workload)
    d.world.crash("serving-1")
    d.world.crash("serving-2")
    by_rule = {incident.rule: incident for incident in d.incidents.values()}
    assert (by_rule["test/bad-canary"].storm, by_rule["test/crash-loop"].storm) == (False, True)


def test_after_a_restart_too_a_signal_concerns_no_other_rule() -> None:
    other = rule("other-canary", when=WHEN, heal=DIVERTED)
    before = drill(BAD_CANARY, other)
    before.judged("BadCanary", before.world.workload)
    after = Drill(before.rules, before.world, now=before.now + 5)
    after.restore([before.incident], set())
    after.wait(60)
    after.world.rollout()  # a change of the workload: its signals are asked about again
    assert {incident.rule for incident in after.engine.incidents()} == {"test/bad-canary"}


# actions on workloads, whatever triggered


LADDER = rule(
    heal=[
        {"evict": {}, "verify": {"within": "1m", "stable": "10s"}},
        {"divert": {"stable": {"deployment": "stable"}}, "verify": {"within": "2m", "stable": "10s"}},
    ]
)


def test_a_ladder_on_pods_may_end_with_a_step_on_their_workload() -> None:
    d = drill(LADDER)
    d.world.crash("serving-1")
    d.answer()
    d.wait(61)
    (act,) = d.waiting
    assert (act.action, act.target) == ("divert", d.world.workload)
    assert "pod/serving-1" in decisions(d.effects, Verb.ALLOW)[-1].reason.text
    d.answer()
    assert d.incident.treated == {d.world.workload.uid}
    d.wait(119)
    assert d.waiting == []
    d.wait(2)
    assert state(d) is State.ESCALATED


def test_a_step_on_the_workload_is_not_wanted_once_no_pod_is_sick() -> None:
    d = drill(rule(heal=LADDER["heal"][1:]))
    d.world.crash("serving-1")
    assert d.waiting[0].target.kind == "Deployment"
    d.answer(OutcomeKind.RECOVERED)
    d.world.mend("serving-1")
    d.wait(60)
    assert state(d) is State.CLOSED


def test_what_an_action_needs_and_the_trigger_has_not_is_an_error_with_its_line() -> None:
    text = """\
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: test}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: crash
      when: {pod: [CrashLoopBackOff]}
      heal:
        - divert: {}
      onStorm: {divert: {}}
"""
    bound, problems = load(text, "f.yaml", VOCABULARY)
    assert bound == []
    assert [(p.line, p.column, p.message) for p in problems] == [
        (10, 11, "it needs stable, for its rule is not on a canary"),
        (11, 17, "it needs stable, for its rule is not on a canary"),
    ]


# the revision that was last seen well


def opened_healthy(d: Drill) -> str:
    d.judged("BadCanary", d.world.workload)
    return d.incident.healthy


@pytest.mark.parametrize(("well_for", "known"), [(600, "1"), (599, "")])
def test_a_revision_is_healthy_when_it_was_well_for_a_while(well_for: float, known: str) -> None:
    d = drill()
    d.world.revise("1")
    d.wait(well_for)
    d.world.revise("2")
    d.wait(60)
    assert opened_healthy(d) == known


def test_one_that_was_not_well_for_long_at_a_time_is_not() -> None:
    d = drill()
    d.world.revise("1")
    for _ in range(4):
        d.wait(500)
        d.world.unready("serving-1")
        d.world.mend("serving-1")
    assert opened_healthy(d) == ""


def test_scaled_to_nothing_proves_nothing() -> None:
    d = drill()
    d.world.respecify(replicas=0)
    d.world.revise("1")
    d.wait(700)
    assert opened_healthy(d) == ""


def test_a_deployment_that_is_gone_is_forgotten() -> None:
    d = drill()
    d.world.revise("1")
    d.wait(700)
    deployment = d.world.deployment
    d.world.delete_deployment()
    d.world.view.put(deployment)
    assert opened_healthy(d) == ""


def test_a_restart_need_not_see_a_change_to_learn_what_is_well() -> None:
    before = drill()
    before.world.revise("1")
    after = Drill(before.rules, before.world, now=before.now)
    after.restore([], set())
    after.wait(700)
    after.world.revise("2")
    assert opened_healthy(after) == "1"
