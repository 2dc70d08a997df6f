"""The conditions in the status of an incident: what `kubectl wait` waits for."""

from typing import Any

import pytest

from healer.journal.codec import encode
from healer.model.incident import Approved, Entry, Incident, Reason, State
from tests.support.incidents import bare

ASKED = Reason("NeedsApproval", "a human must approve")
APPROVED = Reason("Approved", "approved by ann")
PAUSED = Reason("Paused", "it is paused")


def incident(*states: State, **fields: Any) -> Incident:
    """An incident that went through these states, one a second."""
    history = tuple(Entry(float(at), state, Reason("Why", "because")) for at, state in enumerate(states, start=1))
    return bare(states[-1], **{"changed_at": float(len(states)), "history": history} | fields)


def shown(each: Incident) -> dict[str, tuple[str, str]]:
    """Of each condition the status and the time, in seconds of the first minute of 1970."""
    _, status = encode(each)
    return {one["type"]: (one["status"], one["lastTransitionTime"][17:19]) for one in status["conditions"]}


def test_one_in_progress_is_neither_healed_nor_closed() -> None:
    now = incident(State.OPEN, State.ACTING, State.VERIFYING)
    assert shown(now) == {"Healed": ("False", "01"), "NeedsHuman": ("False", "01"), "Closed": ("False", "01")}


def test_a_healed_one_stays_healed_when_it_closes() -> None:
    """Who waits for the condition must not miss it because the cooldown was over."""
    healed = incident(State.ACTING, State.VERIFYING, State.HEALED)
    closed = incident(State.ACTING, State.VERIFYING, State.HEALED, State.CLOSED)
    assert shown(healed)["Healed"] == ("True", "03")
    assert shown(closed)["Healed"] == ("True", "03")
    assert shown(closed)["Closed"] == ("True", "04")


@pytest.mark.parametrize("before", [State.OPEN, State.WAITING, State.VERIFYING, State.ESCALATED])
def test_one_that_closed_without_a_healing_is_not_healed(before: State) -> None:
    assert shown(incident(before, State.CLOSED))["Healed"] == ("False", "01")


def test_one_that_fell_sick_again_is_no_longer_healed() -> None:
    assert shown(incident(State.HEALED, State.ACTING))["Healed"] == ("False", "02")


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        ([State.ACTING, State.ESCALATED, State.ESCALATED], ("True", "02")),
        ([State.ACTING, State.ESCALATED, State.OPEN, State.ACTING, State.CLOSED], ("False", "03")),
        ([State.OPEN, ASKED, PAUSED, PAUSED], ("True", "02")),
        ([State.OPEN, ASKED, State.ESCALATED], ("True", "02")),
        ([State.OPEN, ASKED, PAUSED, APPROVED, PAUSED, State.ACTING], ("False", "04")),
        ([State.OPEN, PAUSED, State.ACTING], ("False", "01")),
    ],
)
def test_a_human_is_needed_or_not_since_that_has_changed(lines: list[State | Reason], needed: tuple[str, str]) -> None:
    """A line that changes nothing of it is no transition (the promises of the engine look at all of them)."""
    history = tuple(
        Entry(float(at), State.WAITING, line, 0) if isinstance(line, Reason) else Entry(float(at), line, Reason("Why", "because"))
        for at, line in enumerate(lines, start=1)
    )
    approvals = (Approved(0, "ann", 4.0),) if APPROVED in lines else ()
    asked = 2.0 if ASKED in lines else None
    each = incident(
        history[-1].state, mode="approve", history=history, asked_at=asked, approvals=approvals, changed_at=float(len(lines))
    )
    assert shown(each)["NeedsHuman"] == needed


def test_the_breaker_needs_a_human_until_it_closes() -> None:
    breaker = incident(State.ESCALATED, rule="healer/breaker", steps=())
    assert shown(breaker)["NeedsHuman"] == ("True", "01")
    closed = incident(State.ESCALATED, State.ESCALATED, State.CLOSED, rule="healer/breaker", steps=())
    assert shown(closed)["NeedsHuman"] == ("False", "03")


def test_a_condition_says_why() -> None:
    (healed, *_) = encode(incident(State.HEALED))[1]["conditions"]
    assert (healed["reason"], healed["message"]) == ("Why", "because")
