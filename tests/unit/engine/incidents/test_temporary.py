"""When a temporary change is due to be taken back."""

from dataclasses import replace

import pytest

from healer.engine.incidents.temporary import due_at
from healer.engine.matching.firing import UNCONFIRMED
from healer.model.effects import TakenBack
from healer.model.incident import Reason, State
from healer.model.temporary import End, TemporaryChange
from tests.support.world import Drill, rule, rulebook, state, tuned
from tests.unit.journal.incidents import NOW, incident, then

CHANGE = TemporaryChange("3", "5", "0", lasts=60.0)
OPEN = incident()
HEALED = then(then(OPEN, State.VERIFYING), State.HEALED)
ENDED = HEALED.changed_at
CALM = replace(OPEN, targets={})


@pytest.mark.parametrize("state", [State.OPEN, State.WAITING, State.ACTING, State.VERIFYING, State.ESCALATED])
def test_it_stays_while_something_is_sick(state: State) -> None:
    """Until nothing is left to heal."""
    assert due_at(CHANGE, then(OPEN, state)) is None


def test_it_is_due_some_time_after_the_end_however_often_the_incident_is_noted_since() -> None:
    """The time counts from the first line that says that the incident is settled."""
    assert due_at(CHANGE, HEALED) == ENDED + 60
    assert due_at(CHANGE, then(HEALED, State.CLOSED, later=600)) == ENDED + 60


def test_it_is_due_when_a_human_is_asked_and_no_signal_is_left() -> None:
    """What is not well then may be what healer has added."""
    assert due_at(CHANGE, then(CALM, State.ESCALATED)) == NOW + 61


def test_an_expiry_comes_first_where_it_is_earlier_but_never_during_an_attempt() -> None:
    """Whatever becomes of the incident."""
    change = replace_until(NOW + 5)
    assert due_at(change, OPEN) == NOW + 5
    assert due_at(change, HEALED) == NOW + 5
    assert due_at(change, then(OPEN, State.ACTING)) is None
    assert due_at(replace_until(ENDED + 999), HEALED) == ENDED + 60


def test_one_that_does_not_go_with_its_incident_waits_for_its_expiry() -> None:
    """As one that is kept for somebody to look at."""
    assert due_at(TemporaryChange("", "x", "0", with_incident=False, until=NOW + 3600), HEALED) == NOW + 3600
    assert due_at(TemporaryChange("", "x", "0", with_incident=False), HEALED) is None


def test_what_has_ended_is_not_due() -> None:
    """Each change ends once."""
    assert due_at(TemporaryChange("3", "5", "0", ended=End.LEFT_ALONE), HEALED) is None


def replace_until(at: float) -> TemporaryChange:
    """The change with an expiry."""
    return TemporaryChange("3", "5", "0", lasts=60.0, until=at)


WHILE_ACTING = TemporaryChange("", "x", "0", while_acting=True)


def test_one_that_is_for_the_time_in_which_healer_acts_is_due_when_a_human_is_asked() -> None:
    """However sick it is still."""
    escalated = then(OPEN, State.ESCALATED)
    assert due_at(WHILE_ACTING, escalated) == escalated.changed_at
    assert due_at(WHILE_ACTING, then(OPEN, State.VERIFYING)) is None


def test_it_is_due_when_the_incident_waits_without_a_limit_and_not_when_its_step_does() -> None:
    """An approval, a storm or a breaker lasts for as long as it lasts; a step that waits is tried soon, or given up."""
    waiting = then(OPEN, State.WAITING)
    assert due_at(WHILE_ACTING, waiting) == waiting.changed_at
    assert due_at(WHILE_ACTING, replace(waiting, waiting_since=NOW)) is None
    assert due_at(WHILE_ACTING, replace(waiting, waiting_since=NOW, unknown_since=NOW)) == waiting.changed_at
    assert due_at(CHANGE, waiting) is None


def test_a_healer_that_has_just_begun_has_some_time_to_hear_what_still_fires() -> None:
    """To end a silence because nothing is known yet would have the next attempt make another."""
    waiting = then(OPEN, State.WAITING)
    unheard = replace(waiting, reason=Reason(UNCONFIRMED, "known from the journal alone"))
    due = due_at(WHILE_ACTING, unheard)
    assert due is not None
    assert waiting.changed_at < due < waiting.changed_at + tuned().engine.max_wait, "it does not last: people are to hear of it"
    assert due_at(WHILE_ACTING, unheard, stopped=True) == waiting.changed_at
    assert due_at(WHILE_ACTING, replace(unheard, state=State.ESCALATED)) == waiting.changed_at


def test_it_is_due_while_healer_is_stopped_unless_an_attempt_is_under_way() -> None:
    """A pause, or the breaker of the cluster; any other change stays then."""
    verifying = then(OPEN, State.VERIFYING)
    assert due_at(WHILE_ACTING, verifying, stopped=True) == verifying.changed_at
    assert due_at(WHILE_ACTING, then(OPEN, State.ACTING), stopped=True) is None
    assert due_at(CHANGE, verifying, stopped=True) is None


# the engine

SCALE = {"scale": {"by": 2, "max": 5}, "verify": {"within": "5m", "stable": "1m"}}
NUDGE = {"nudge": {}, "verify": {"within": "5m", "stable": "1m"}}
EVICT = {"evict": {}, "verify": {"within": "5m", "stable": "1m"}}
SLOW = {"when": {"alert": ["HighLatency"]}}


def scaled() -> Drill:
    """Two replicas were added for an alert that is over since, and they are not ready."""
    d = Drill(rulebook(rule("slow", **SLOW, heal=[SCALE, NUDGE])))
    d.alert(d.world.workload)
    d.answer()
    d.world.respecify(replicas=5)
    d.alert(d.world.workload, firing=False)
    return d


def test_what_was_added_and_does_not_get_ready_asks_a_human_and_climbs_no_further() -> None:
    """The signals are gone: a stronger step would treat what healer itself has made."""
    d = scaled()
    d.wait(301)
    assert state(d) is State.ESCALATED
    assert [act.action for act in d.acts] == ["scale"]
    assert "no signal is left, but what healer has added is not all ready" in d.incident.reason.text
    d.world.respecify(replicas=3)  # taken back
    assert state(d) is State.CLOSED


def test_while_the_alert_fires_the_ladder_goes_on() -> None:
    """More replicas did not help."""
    d = Drill(rulebook(rule("slow", **SLOW, heal=[SCALE, NUDGE])))
    d.alert(d.world.workload)
    d.answer()
    d.wait(301)
    assert [act.action for act in d.acts] == ["scale", "nudge"]


def test_what_became_of_a_change_is_a_line_in_its_incident() -> None:
    """And for an incident that nobody knows it is nothing."""
    d = scaled()
    d.feed(TakenBack(d.incident.id, Reason("TakenBack", "taken back: 5 -> 3")))
    assert (d.history[-1].reason.code, d.history[-1].reason.text) == ("TakenBack", "taken back: 5 -> 3")
    assert d.feed(TakenBack("nobody", Reason("TakenBack", "x"))) == []


def test_nothing_is_taken_back_during_a_pause_or_while_the_breaker_is_open() -> None:
    """Of the workload, of everything, of the cluster."""
    d = Drill(rulebook(rule("slow", **SLOW, heal=[SCALE]), rule("bad")), tuning=tuned(breaker_incidents=1))
    d.alert(d.world.workload)

    def stopped() -> str:
        why = d.engine.stopped(d.incidents[next(iter(d.incidents))], d.world.view, d.now)
        return "" if why is None else why.code

    assert stopped() == ""
    d.world.pause("deployment")
    assert stopped() == "Paused"
    d.world.pause("deployment", "false")
    assert stopped() == ""
    d.world.crash("serving-2")
    assert stopped() == "ClusterBreaker"


def test_a_step_on_a_pod_that_takes_none_leaves_the_next_step_free() -> None:
    """A pod whose node was cordoned is not one that was taken down."""
    d = Drill(rulebook(rule(heal=[NUDGE, EVICT])))
    d.world.crash("serving-2")
    d.answer()
    d.wait(301)
    assert [(act.action, act.alone) for act in d.acts] == [("nudge", True), ("evict", True)]
    assert d.acts[0].incident.disruption is None


@pytest.mark.parametrize(
    ("event", "code"), [("approval", "NeedsApproval"), ("storm", "Storm"), ("breaker", "ClusterBreaker"), ("pause", "Paused")]
)
def test_what_healer_waits_for_without_a_limit_leaves_the_incident_to_people(event: str, code: str) -> None:
    """What is for the time in which healer acts is due then."""
    more = {"mode": "approve"} if event == "approval" else {}
    d = Drill(rulebook(rule("slow", **SLOW, heal=[EVICT], **more), rule("bad")), tuning=tuned(breaker_incidents=1))
    if event == "pause":
        d.world.pause("deployment")
    if event == "breaker":
        d.world.crash("serving-1")
    sick = ("serving-1", "serving-2", "serving-3") if event == "storm" else ("serving-1",)
    d.together(*(d.alarm(name) for name in sick))
    (found,) = [each for each in d.incidents.values() if each.rule == "test/slow"]
    assert (found.state, found.reason.code) == (State.WAITING, code)
    assert due_at(WHILE_ACTING, found) == found.changed_at


def test_a_step_that_other_pods_hold_up_is_healers_own() -> None:
    """It waits for at most `engine.max_wait`."""
    d = Drill(rulebook(rule("slow", **SLOW, heal=[EVICT])))
    d.world.unready("serving-2")
    d.world.unready("serving-3")
    d.alert("serving-1")
    assert (state(d), d.incident.reason.code) == (State.WAITING, "BelowFloor")
    assert due_at(WHILE_ACTING, d.incident) is None
