"""What of a journal is not believed is told to people: once, by one incident, however many there are."""

import pytest

from healer.engine.safety.wide import SET_ASIDE
from healer.model.effects import Approval, Record
from healer.model.incident import Incident, State
from tests.support.world import Drill, rule, rulebook

FORGED = tuple(f"production/forged-{number} (OtherNamespace)" for number in range(1000))


def told(d: Drill) -> list[Incident]:
    """What is told of them, each time that something is."""
    return [effect.incident for effect in d.effects if isinstance(effect, Record) and effect.incident.rule == SET_ASIDE]


def begun(aside: tuple[str, ...], kept: list[Incident] | None = None) -> Drill:
    """A term begins with these set aside, and this much kept."""
    d = Drill(rulebook(rule()))
    d.now += 60 * len(kept or ())
    believed = d.engine.sift(kept or [], d.world.view, d.now)
    assert believed.doubted == ()
    d.restore(list(believed.believed), set(), aside)
    d.wait(7200)
    return d


def test_one_that_is_set_aside_is_told_once() -> None:
    (incident,) = told(begun(FORGED[:1]))
    assert (incident.state, incident.reason.code, incident.severity) == (State.ESCALATED, "SetAside", "warning")
    assert "production/forged-0 (OtherNamespace)" in incident.reason.text
    assert len(incident.history) == 1


def test_of_many_there_is_one_message_and_not_all_are_named() -> None:
    (incident,) = told(begun(FORGED))
    assert "not believed: 1000." in incident.reason.text
    assert "and 990 more" in incident.reason.text
    assert len(incident.reason.text) < 1000


def test_the_next_term_says_it_again_only_where_they_are_others() -> None:
    kept = told(begun(FORGED[:2]))
    same = begun(tuple(reversed(FORGED[:2])), kept)
    assert told(same) == []
    assert [incident.rule for incident in same.engine.incidents()] == [SET_ASIDE]
    (more,) = told(begun(FORGED[:3], kept))
    assert (more.id, len(more.history)) == (kept[0].id, 2)
    assert "forged-2" in more.history[-1].reason.text


def test_when_none_is_set_aside_any_more_it_is_closed() -> None:
    d = begun((), told(begun(FORGED[:2])))
    (closed,) = told(d)
    assert (closed.state, closed.reason.code) == (State.CLOSED, "Recovered")
    assert d.engine.incidents() == []
    assert told(begun((), [closed])) == []


@pytest.mark.parametrize("kept", [[], None])
def test_where_all_is_believed_nothing_is_told(kept: list[Incident] | None) -> None:
    assert told(begun((), kept)) == []


def test_nobody_can_approve_it_and_it_keeps_healer_from_nothing() -> None:
    d = begun(FORGED[:1])
    (incident,) = told(d)
    d.feed(Approval(incident.id, "mallory"))
    d.world.crash("serving-1")
    assert d.acted_on == ["serving-1"]
    assert told(d) == [incident]
