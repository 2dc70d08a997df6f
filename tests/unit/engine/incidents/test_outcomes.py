"""What follows from each way in which an attempt to act may end."""

from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Acted, Verb
from healer.model.incident import State
from tests.support.world import Drill, World, Yaml, codes, rule, rulebook, state

EVICT = {"evict": {}, "verify": {"within": "5m", "stable": "1m"}}
NUDGE = {"nudge": {}, "verify": {"within": "5m", "stable": "1m"}}


def sick(*ladder: Yaml, when: Yaml | None = None, replicas: int = 4) -> Drill:
    """One pod is sick, its eviction under way."""
    heal = list(ladder) or [EVICT]
    d = Drill(rulebook(rule(heal=heal, when=when or {"pod": ["CrashLoopBackOff"]})), World(replicas))
    if when is None:
        d.world.crash("serving-1")
    else:
        d.alert("serving-1")
    return d


def test_a_budget_s_no_is_asked_again_until_the_longest_wait_and_then_climbs() -> None:
    d = sick(EVICT, NUDGE)
    while d.now < d.incident.opened_at + d.tuning.engine.max_wait and d.incident.step == 0:
        if d.waiting:
            d.answer(OutcomeKind.DEFERRED, "BudgetRefused")
        d.wait(1)
    assert [act.action for act in d.acts] == ["evict"] * 120 + ["nudge"]
    assert codes(d.effects, Verb.DEFER) == ["BudgetRefused"] * 120
    assert d.now == d.incident.opened_at + 1800
    assert codes(d.effects, Verb.CLIMB) == ["WaitedTooLong"]


def test_a_server_that_names_a_time_is_not_asked_before_and_no_longer_than_the_longest_wait() -> None:
    d = sick(EVICT, NUDGE)
    d.answer(OutcomeKind.DEFERRED, "Throttled", retry_after=100)
    d.wait(99)
    assert len(d.acts) == 1
    d.wait(1)
    d.answer(OutcomeKind.DEFERRED, "Throttled", retry_after=86_400)
    d.wait(1699)
    assert len(d.acts) == 2
    d.wait(1)
    assert [act.action for act in d.acts] == ["evict", "evict", "nudge"]


def test_not_before_holds_whatever_happens_meanwhile() -> None:
    d = sick()
    d.answer(OutcomeKind.DEFERRED, retry_after=60)
    d.world.unready("serving-3")
    d.world.mend("serving-3")
    d.wait(59)
    assert len(d.acts) == 1


def test_a_failure_is_tried_again_with_back_off_and_given_up_at_last() -> None:
    d = sick()
    d.answer(OutcomeKind.FAILED, "NoAnswer")
    d.wait(15)
    assert len(d.acts) == 2
    d.answer(OutcomeKind.FAILED, "NoAnswer")
    d.wait(29)
    assert len(d.acts) == 2
    d.wait(1)
    assert len(d.acts) == 3
    d.answer(OutcomeKind.FAILED, "NoAnswer")
    assert state(d) is State.ESCALATED
    assert "tried 3 times" in d.incident.reason.text


def test_each_attempt_has_its_number() -> None:
    d = sick()
    d.answer(OutcomeKind.FAILED)
    d.wait(15)
    assert [act.attempt for act in d.acts] == [1, 2]


def test_gone_after_a_failure_counts_as_done() -> None:
    d = sick(when={"alert": ["HighLatency"]})
    d.answer(OutcomeKind.FAILED, "NoAnswer")
    d.wait(15)
    d.answer(OutcomeKind.GONE, "AlreadyTerminating")
    assert d.incident.acted_at == (d.now,)
    d.world.replace("serving-1")
    d.alert("serving-1" if d.world.view.pod_named("production", "serving-1") else d.acts[0].target, firing=False)
    d.wait(60)
    assert state(d) is State.HEALED


def test_a_lost_answer_whose_pod_is_seen_to_go_counts_as_done_though_its_signal_is_gone_with_it() -> None:
    d = sick()
    d.answer(OutcomeKind.FAILED, "NoAnswer")
    d.world.terminate("serving-1")
    assert state(d) is State.VERIFYING
    assert d.incident.reason.code == "AnswerLost"
    assert len(d.incident.acted_at) == 1
    d.world.crash("serving-2")
    assert d.acted_on == ["serving-1"]  # one disruption in flight
    d.world.add()
    d.world.remove("serving-1")
    assert d.acted_on == ["serving-1", "serving-2"]


def test_the_last_lost_answer_is_looked_at_too() -> None:
    d = sick(when={"alert": ["HighLatency"]})
    for _ in range(2):
        d.answer(OutcomeKind.FAILED)
        d.wait(30)
    d.world.listeners.clear()
    d.world.terminate("serving-1")
    d.answer(OutcomeKind.FAILED)
    assert state(d) is State.VERIFYING


def test_a_failure_on_what_is_no_pod_is_tried_again() -> None:
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]}, heal=[NUDGE])))
    d.alert(d.world.workload)
    d.answer(OutcomeKind.FAILED)
    assert state(d) is State.WAITING
    d.wait(15)
    assert len(d.acts) == 2


def test_failures_count_in_a_row_and_by_target() -> None:
    d = sick()
    d.world.crash("serving-2")
    for _ in range(2):
        d.answer(OutcomeKind.FAILED)
        d.wait(30)
    d.answer()
    d.world.replace("serving-1")
    d.answer(OutcomeKind.FAILED)
    assert state(d) is State.WAITING


def test_gone_by_other_hands_is_verified_and_spends_nothing() -> None:
    d = sick()
    d.answer(OutcomeKind.GONE, "Replaced")
    assert state(d) is State.VERIFYING
    d.world.replace("serving-1")
    d.wait(60)
    assert state(d) is State.CLOSED
    assert d.incident.reason.code == "Recovered"
    assert d.incident.acted_at == ()


def test_recovered_at_the_last_look_closes_when_the_view_says_so_too() -> None:
    d = sick()
    d.answer(OutcomeKind.RECOVERED)
    assert state(d) is State.WAITING
    d.world.mend("serving-1")
    assert state(d) is State.CLOSED
    assert d.incident.acted_at == ()


def test_what_was_begun_and_is_no_longer_needed_is_verified_as_done() -> None:
    """A version that was loaded beside the others ended the trouble, before it was pinned."""
    d = Drill(rulebook(rule(when={"alert": ["HighLatency"]}, heal=[{"rolloutRestart": {}, "verify": {"stable": "1m"}}])))
    d.alert(d.world.workload)
    d.feed(Acted(d.incident.id, 0, 1, Outcome(OutcomeKind.DEFERRED, "Loading", "loaded beside the others", begun=True)))
    d.wait(15)
    d.alert(d.world.workload, firing=False)
    d.feed(Acted(d.incident.id, 0, 2, Outcome(OutcomeKind.RECOVERED, "Resolved", "no longer sick")))
    assert (state(d), d.incident.acted_at) == (State.VERIFYING, (d.now,))
    d.wait(60)
    assert state(d) is State.HEALED


def test_recovered_and_sick_again_is_treated_in_the_same_step() -> None:
    """Nothing was done to the pod, so nothing is known against the step: no stronger one."""
    d = sick(EVICT, NUDGE)
    d.answer(OutcomeKind.RECOVERED)
    d.wait(15)
    assert [(act.action, act.target.name) for act in d.acts] == [("evict", "serving-1")] * 2


def test_recovered_is_not_asked_about_without_pause() -> None:
    d = sick()
    d.answer(OutcomeKind.RECOVERED)
    d.wait(14)
    assert len(d.acts) == 1


def test_a_refusal_climbs_at_once() -> None:
    d = sick(EVICT, NUDGE)
    d.answer(OutcomeKind.REFUSED, "Forbidden")
    assert [act.action for act in d.acts] == ["evict", "nudge"]
    assert codes(d.effects, Verb.REFUSE) == ["Forbidden"]


def test_a_refusal_of_the_last_step_asks_a_human() -> None:
    d = sick()
    d.answer(OutcomeKind.REFUSED, "TwoBudgets")
    assert state(d) is State.ESCALATED


def test_an_outcome_that_nobody_waits_for_is_said_and_changes_nothing() -> None:
    d = sick()
    before = d.incident
    for step, attempt, incident in ((0, 2, before.id), (1, 1, before.id), (0, 1, "other")):
        effects = d.feed(Acted(incident, step, attempt, Outcome(OutcomeKind.DONE, "Evicted", "late")))
        assert codes(effects, Verb.IGNORE) == ["StaleOutcome"]
    assert d.incident == before


def test_the_same_outcome_twice_counts_once() -> None:
    d = sick()
    act = d.waiting[0]
    d.answer()
    d.feed(Acted(act.incident.id, act.step, act.attempt, Outcome(OutcomeKind.DONE, "Evicted", "again")))
    assert len(d.incident.acted_at) == 1
