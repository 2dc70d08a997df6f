"""When a temporary change is due to be taken back."""

from dataclasses import replace

import pytest

from healer.engine.incidents.temporary import due_at
from healer.model.incident import State
from healer.model.temporary import End, TemporaryChange
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
