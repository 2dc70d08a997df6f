"""Rules that change while healer is away: what a journal holds of another rule is ended as by hot reload, approvals with it."""

from dataclasses import replace
from typing import Any

import pytest

from healer.model.action import OutcomeKind
from healer.model.effects import Approval
from healer.model.incident import Incident, State
from healer.rules.rulebook import capped
from healer.rules.schema import Mode
from tests.support.world import Drill, World, rule, rulebook, state
from tests.unit.engine.incidents.test_restart import restarted

PIN: dict[str, Any] = {"pinModelVersion": {"configMap": "models", "model": "resnet", "version": 3}, "verify": {"within": "5m"}}
PIN_4: dict[str, Any] = {**PIN, "pinModelVersion": {**PIN["pinModelVersion"], "version": 4}}


def waiting(approved: bool = True, **more: Any) -> Drill:
    """A step is approved, and cannot be taken yet."""
    d = Drill(rulebook(rule(**({"mode": "approve"} | more))), World(4))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.world.pause("deployment", "")
    d.wait(15)
    if approved:
        d.world.pause("deployment")
        d.feed(Approval(d.incident.id, "ann"))
        assert (d.acts, state(d)) == ([], State.WAITING)
    return d


def changed(d: Drill, **more: Any) -> Drill:
    """Restarted with another rule of the same name."""
    d.rules = rulebook(rule(**({"mode": "approve"} | more)))
    return restarted(d)


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"heal": [PIN]}, {"heal": [PIN_4]}),
    ({}, {"heal": [{"evict": {}, "verify": {"within": "10m"}}]}),
    ({}, {"onStorm": {"rollback": {}}}),
    ({}, {"limits": {"minReady": 2}}),
    ({}, {"limits": {"budget": {"actions": 1, "per": "1h"}}}),
    ({}, {"when": {"pod": ["CrashLoopBackOff"], "if": "pod.restarts >= 0"}}),
]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_what_was_approved_is_not_done_by_a_rule_that_says_something_else(before: dict[str, Any], after: dict[str, Any]) -> None:
    d = waiting(**before)
    first = d.incident.id
    d = changed(d, **after)
    old = d.incidents[first]
    assert (old.state, old.reason.code) == (State.CLOSED, "RuleChanged")
    assert "the approval by ann was for the rule as it was" in old.reason.text
    (new,) = d.engine.incidents()
    d.world.pause("deployment", "")
    d.wait(60)
    assert d.acts == []
    assert d.incidents[new.id].reason.code == "NeedsApproval"
    d.feed(Approval(new.id, "bob"))
    assert len(d.acts) == 1
    assert [approved.by for approved in d.incidents[new.id].approvals] == ["bob"]


@pytest.mark.parametrize("more", [{}, {"severity": "critical"}, {"notify": ["#ops"]}], ids=str)
def test_what_was_approved_is_done_by_the_same_rule(more: dict[str, Any]) -> None:
    """Who is told of it, and how much it matters, decides nothing of what is done."""
    d = changed(waiting(heal=[PIN]), heal=[PIN], **more)
    d.world.pause("deployment", "")
    d.wait(15)
    assert [act.action for act in d.acts] == ["pinModelVersion"]
    assert len(d.incidents) == 1


def test_a_rule_that_only_asks_now_does_not_go_on_by_itself() -> None:
    d = changed(waiting(approved=False, mode="observe"), mode="approve")
    d.wait(60)
    assert (d.acts, [incident.reason.code for incident in d.engine.incidents()]) == ([], ["NeedsApproval"])


def test_a_mode_that_is_capped_is_another_rule() -> None:
    d = waiting(mode="enforce", approved=False)
    d.rules = capped(d.rules, Mode.OBSERVE)
    d = restarted(d)
    d.wait(60)
    assert all(act.dry_run for act in d.acts[1:])


def test_what_is_being_verified_is_verified_to_its_end_and_no_step_follows() -> None:
    d = Drill(rulebook(rule(heal=[{"evict": {}, "verify": {"within": "5m"}}, {"restart": {}}])), World(4))
    d.world.crash("serving-1")
    d.answer()
    first = d.incident.id
    d.world.crash(d.world.replace("serving-1"))
    d.rules = rulebook(rule(heal=[{"evict": {}, "verify": {"within": "5m"}}, {"restart": {}}], limits={"cooldown": "5m"}))
    d = restarted(d)
    kept = d.engine.incident(first)
    assert kept is not None
    assert kept.state is State.VERIFYING
    d.wait(301)
    assert (d.incidents[first].state, d.incidents[first].reason.code) == (State.CLOSED, "RuleChanged")
    assert [act.action for act in d.acts] == []
    d.wait(300)
    assert [act.action for act in d.acts] == ["evict"], "the rule as it is now begins anew, after its cooldown"


def test_an_action_that_was_claimed_and_not_sent_is_not_tried_again() -> None:
    d = Drill(rulebook(rule()), World(4))
    d.world.crash("serving-1")
    assert state(d) is State.ACTING
    first = d.incident.id
    d.now += 1
    d.rules = rulebook(rule(limits={"minReady": 4}))
    d = restarted(d)
    d.wait(60)
    assert d.incidents[first].state is State.CLOSED
    assert d.acts == []


# what an older healer has written


def older(incident: Incident) -> Incident:
    """Its objects hold no digest."""
    return replace(incident, ruled="")


def test_an_approval_that_an_older_healer_kept_is_asked_for_again() -> None:
    d = restarted(waiting(), older)
    assert "ApprovalVoid" in [entry.reason.code for entry in d.history]
    d.world.pause("deployment", "")
    d.wait(60)
    assert (d.acts, d.incident.reason.code) == ([], "NeedsApproval")
    d.feed(Approval(d.incident.id, "bob"))
    assert d.acted_on == ["serving-1"]
    d = restarted(d)
    assert [approved.by for approved in d.incident.approvals] == ["bob"], "once"


def test_an_incident_that_an_older_healer_opened_goes_on() -> None:
    before = waiting(mode="enforce", approved=False)
    d = restarted(before, older)
    assert d.incident.id == before.incident.id
    d.answer(OutcomeKind.FAILED)
    assert d.incident.ruled == d.rules.rules[0].digest


def test_defaults_that_are_written_out_are_the_same_rule() -> None:
    """A newer healer's rules can say more: what they leave at its default makes no other digest."""
    [plain] = rulebook(rule()).rules
    [full] = rulebook(rule(limits={"minReady": plain.rule.limits.min_ready})).rules
    assert plain.digest == full.digest
    [other] = rulebook(rule(limits={"minReady": plain.rule.limits.min_ready + 1})).rules
    assert plain.digest != other.digest
