"""A step that nothing allowed to be tried for too long is no reason for a stronger one: people are told, or asked."""

import pytest

from healer.model.action import OutcomeKind
from healer.model.effects import Approval
from healer.model.incident import State
from tests.support.world import Drill, World, Yaml, rule, rulebook, state, tuned

SLOW = {"alert": ["HighLatency"]}
EVICT = {"evict": {}, "verify": {"within": "5m", "stable": "1m"}}
PAGE: Yaml = {"page": {}}


def held_up(*ladder: Yaml, mode: str = "enforce") -> Drill:
    """A pod is sick while a rollout is in progress, which lasts for longer than the longest wait."""
    d = Drill(rulebook(rule(when=SLOW, heal=list(ladder), mode=mode)), World(4), tuned(max_wait=120))
    d.world.respecify(paused=True)
    d.alert("serving-1")
    d.wait(300)
    return d


def taken(d: Drill) -> list[str]:
    return [act.action for act in d.acts]


def test_what_only_tells_follows_and_the_stronger_step_between_is_left_out() -> None:
    d = held_up(EVICT, {"rollback": {}}, PAGE)
    assert taken(d) == ["page"]
    (entry,) = [entry for entry in d.history if entry.reason.code == "WaitedTooLong"]
    assert entry.reason.text.startswith("step 1: evict was never tried: waited 2 m, most recently because a rollout is")
    assert entry.reason.text.endswith("healer takes no stronger step in its place; next is page")


def test_a_human_is_asked_where_nothing_tells() -> None:
    d = held_up(EVICT, {"rollback": {}})
    assert (taken(d), state(d)) == ([], State.ESCALATED)
    assert d.incident.reason.text.endswith("healer takes no stronger step in its place: a human is needed")


def test_a_step_that_waits_for_an_approval_follows_as_before() -> None:
    d = held_up(EVICT, {"rollback": {}}, mode="approve")
    d.feed(Approval(d.incident.id, "ann"))
    d.wait(300)
    assert (taken(d), d.incident.step, d.incident.reason.code) == ([], 1, "NeedsApproval")
    d.feed(Approval(d.incident.id, "ann"))
    assert taken(d) == ["rollback"]


@pytest.mark.parametrize("ladder", [(EVICT, {"rollback": {}}), (EVICT, {"rollback": {}}, PAGE)])
def test_a_rule_that_observes_names_no_stronger_step_as_the_next(ladder: tuple[Yaml, ...]) -> None:
    d = held_up(*ladder, mode="observe")
    assert "rollback" not in taken(d)
    assert "next would be rollback" not in "\n".join(entry.reason.text for entry in d.history)


def test_a_step_that_was_tried_climbs() -> None:
    """The budget of a PodDisruptionBudget says no for as long: evicting was tried."""
    d = Drill(rulebook(rule(when=SLOW, heal=[EVICT, {"rolloutRestart": {}}])), World(4), tuned(max_wait=120))
    d.alert("serving-1")
    while d.waiting and d.waiting[0].action == "evict":
        d.answer(OutcomeKind.DEFERRED, "BudgetRefused")
        d.wait(30)
    assert set(taken(d)) == {"evict", "rolloutRestart"}
