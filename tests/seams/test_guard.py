"""The seam of guards: one of the tests' own, added from one file, holds an action back until it objects no more."""

from dataclasses import replace

from healer.engine.safety.guards.registry import GUARDS
from healer.model.effects import Verb
from healer.model.incident import State
from tests.seams.by_day import by_day
from tests.support.world import Drill, World, codes, decisions, rule, rulebook, state

HOUR = 3600.0
WITH_NIGHTS = replace(GUARDS, acting=(*GUARDS.acting, by_day))
"""The one line that the registry needs."""


def night() -> Drill:
    """An engine with that guard at 23:00 UTC, where two replicas serve and the third does not."""
    d = Drill(rulebook(rule()), World(3), guards=WITH_NIGHTS)
    d.wait(15 * HOUR)  # drills begin at 08:00 UTC
    d.world.crash("serving-1")
    return d


def test_it_holds_an_action_back_and_its_reason_is_recorded() -> None:
    """The decision says why, the incident waits for that reason, and its history keeps it."""
    d = night()
    assert d.acts == []
    (deferred,) = decisions(d.effects, Verb.DEFER)
    assert deferred.reason.code == "Night"
    assert deferred.reason.text == "healer does not evict pod/serving-1 at night: it waits until 06:00 UTC"
    assert (state(d), d.incident.reason) == (State.WAITING, deferred.reason)
    assert d.history[-1].reason == deferred.reason


def test_what_it_held_back_is_done_in_the_morning() -> None:
    """It is asked again at 06:00, and the wait of seven hours is no failure of the step."""
    d = night()
    d.wait(7 * HOUR - 1)
    assert d.acts == []
    d.wait(1)
    assert d.acted_on == ["serving-1"]
    assert codes(d.effects, Verb.CLIMB) == []


def test_by_day_it_objects_to_nothing() -> None:
    d = Drill(rulebook(rule()), World(3), guards=WITH_NIGHTS)
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]


def test_people_are_told_at_night_too() -> None:
    """It is no guard of an action that changes nothing."""
    d = Drill(rulebook(rule(heal=[{"page": {"channels": ["#sre"]}}])), World(3), guards=WITH_NIGHTS)
    d.wait(15 * HOUR)
    d.world.crash("serving-1")
    assert [act.action for act in d.acts] == ["page"]
