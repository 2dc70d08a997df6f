"""In mode approve a human says yes before each step: asked for once, kept over a restart, and not for ever."""

from typing import Any

import pytest

from healer.model.action import OutcomeKind
from healer.model.effects import Approval, Undone, Verb
from healer.model.incident import Approved, State
from tests.support.world import Drill, World, codes, decisions, rule, rulebook, state
from tests.unit.engine.incidents.test_restart import restarted

EVICT = {"evict": {}, "verify": {"within": "5m", "stable": "1m"}}
NUDGE = {"nudge": {}, "verify": {"within": "5m", "stable": "1m"}}


def asking(replicas: int = 4, **more: Any) -> Drill:
    """A pod is sick, and a human is asked."""
    d = Drill(rulebook(rule(**({"mode": "approve"} | more))), World(replicas))
    d.world.crash("serving-1")
    return d


def approve(d: Drill, by: str = "ann") -> None:
    d.feed(Approval(d.incident.id, by))


def test_before_the_first_action_a_human_is_asked_and_told_how() -> None:
    d = asking()
    assert d.acts == []
    assert (state(d), d.incident.reason.code) == (State.WAITING, "NeedsApproval")
    name = d.incident.id
    assert f"healer approve incident/{name} -n production" in d.incident.reason.text
    assert f"kubectl annotate incident {name} -n production healer.dev/approved-by=YOU" in d.incident.reason.text
    assert "evict pod/serving-1" in d.incident.reason.text
    assert codes(d.effects, Verb.DEFER) == ["NeedsApproval"]


def test_approved_it_acts_and_who_and_when_is_kept() -> None:
    d = asking()
    d.wait(60)
    at = d.now
    effects = d.feed(Approval(d.incident.id, "ann"))
    assert d.acted_on == ["serving-1"]
    assert not d.acts[0].dry_run
    assert d.incident.approvals == (Approved(0, "ann", at),)
    assert "approved by ann" in [entry.reason.text for entry in d.history]
    (decision,) = decisions(effects, Verb.APPROVE)
    assert (decision.reason.text, decision.incident) == ("approved by ann", d.incident.id)


def test_the_guards_are_asked_afterwards_as_always() -> None:
    d = asking()
    d.world.respecify(paused=True)
    approve(d)
    assert (d.acts, d.incident.reason.code) == ([], "RolloutInProgress")
    d.world.respecify(paused=False)
    assert d.acted_on == ["serving-1"]


def test_further_pods_of_the_step_need_no_second_approval() -> None:
    d = asking()
    d.world.crash("serving-2")
    approve(d)
    d.answer()
    d.world.replace("serving-1")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_a_second_try_needs_none_either() -> None:
    d = asking()
    approve(d)
    d.answer(OutcomeKind.FAILED)
    d.wait(15)
    assert len(d.acts) == 2


def test_each_step_needs_its_own() -> None:
    d = asking(heal=[EVICT, NUDGE])
    approve(d)
    d.answer()
    d.wait(300)
    assert (d.incident.step, d.incident.reason.code) == (1, "NeedsApproval")
    d.wait(60)
    assert [act.action for act in d.acts] == ["evict"]
    approve(d, "bob")
    assert [act.action for act in d.acts] == ["evict", "nudge"]
    assert [(a.step, a.by) for a in d.incident.approvals] == [(0, "ann"), (1, "bob")]


def test_not_approved_in_time_is_left_to_a_human() -> None:
    d = asking(heal=[EVICT, NUDGE], limits={"approveWithin": "20m"})
    d.wait(1199)
    assert state(d) is State.WAITING
    d.wait(1)
    assert (state(d), d.incident.reason.code) == (State.ESCALATED, "ApprovalExpired")
    assert d.acts == []
    approve(d)
    assert d.acts == []


def test_the_time_is_an_hour_unless_the_rule_says_otherwise() -> None:
    d = asking()
    d.wait(3599)
    assert state(d) is State.WAITING
    d.wait(1)
    assert state(d) is State.ESCALATED


def test_the_time_runs_from_when_it_was_asked_whatever_else_it_waited_for() -> None:
    d = asking(limits={"approveWithin": "20m"})
    d.wait(600)
    d.world.pause("deployment")
    assert d.incident.reason.code == "Paused"
    d.wait(300)
    approve(d)
    d.world.pause("deployment", "")
    d.wait(15)
    assert d.acted_on == ["serving-1"]


def test_nobody_is_asked_while_it_is_paused() -> None:
    d = Drill(rulebook(rule(mode="approve")))
    d.world.pause("deployment")
    d.world.crash("serving-1")
    d.wait(86_400)
    assert (state(d), d.incident.reason.code) == (State.WAITING, "Paused")
    d.world.pause("deployment", "")
    d.wait(15)
    assert d.incident.reason.code == "NeedsApproval"


def test_nobody_is_asked_about_a_pod_in_a_storm() -> None:
    d = asking()
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    assert d.incident.reason.code == "Storm"
    approve(d)
    assert d.incident.approvals == ()
    d.world.mend("serving-2")
    assert d.incident.reason.code == "NeedsApproval"


def test_on_storm_needs_its_own_approval() -> None:
    d = asking(onStorm=NUDGE)
    approve(d)
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    d.answer()
    assert (d.incident.storming, d.incident.reason.code) == (True, "NeedsApproval")
    approve(d, "bob")
    assert [act.action for act in d.acts] == ["evict", "nudge"]
    assert [(a.step, a.by, a.storm) for a in d.incident.approvals] == [(0, "ann", False), (0, "bob", True)]


def test_a_page_needs_none() -> None:
    d = asking(onStorm={"page": {}})
    d.world.crash("serving-2")
    d.world.crash("serving-3")
    assert [act.action for act in d.acts] == ["page"]


def refused(d: Drill, incident: str = "") -> str:
    """The words with which an approval of the only incident is refused."""
    before = {i.id: i for i in d.engine.incidents()}
    effects = d.feed(Approval(incident or d.incident.id, "ann"))
    (decision,) = decisions(effects)
    assert (decision.verb, decision.reason.code) == (Verb.REFUSE, "NotAwaited")
    assert {i.id: i for i in d.engine.incidents()} == before
    return decision.reason.text


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_one_that_does_not_wait_for_it_is_refused(mode: str) -> None:
    d = asking(mode=mode)
    assert "it is acting" in refused(d)


def test_a_second_one_is_refused() -> None:
    d = asking()
    approve(d)
    refused(d)
    d.answer()
    refused(d)


def test_one_for_an_incident_that_is_not_there_is_refused() -> None:
    assert "it is not open" in refused(asking(), "never-was")


def test_an_approval_of_one_step_is_none_of_the_next() -> None:
    d = asking(heal=[EVICT, NUDGE])
    approve(d)
    d.answer(OutcomeKind.REFUSED)
    assert (d.incident.step, d.incident.reason.code) == (1, "NeedsApproval")


def test_it_holds_after_a_restart() -> None:
    d = asking()
    d.world.respecify(paused=True)
    approve(d)
    d = restarted(d)
    assert d.acts == []
    d.world.respecify(paused=False)
    assert d.acted_on == ["serving-1"]


def test_what_was_asked_before_a_restart_can_be_approved_after_it() -> None:
    d = asking()
    d.wait(600)
    d = restarted(d)
    (incident,) = d.engine.incidents()
    d.wait(2999)
    d.feed(Approval(incident.id, "ann"))
    assert d.acted_on == ["serving-1"]


def test_what_was_asked_before_a_restart_still_expires() -> None:
    d = asking()
    d.wait(600)
    d = restarted(d)
    d.wait(2999)
    assert [incident.state for incident in d.engine.incidents()] == [State.WAITING]
    d.wait(1)
    assert (state(d), d.incident.reason.code) == (State.ESCALATED, "ApprovalExpired")


def test_a_signal_that_ends_meanwhile_closes_it() -> None:
    d = asking()
    d.world.mend("serving-1")
    assert state(d) is State.CLOSED


def test_what_a_human_takes_back_is_a_line_of_the_incident_once() -> None:
    d = asking()
    d.feed(Undone(d.incident.id, "alice"))
    d.feed(Undone(d.incident.id, "alice"))
    d.feed(Undone("another", "alice"))
    said = [entry.reason.text for entry in d.incident.history if entry.reason.code == "Undone"]
    assert said == ["alice has taken back what healer did for it (healer undo)"]
