"""The `status.conditions` of an incident, for `kubectl wait --for=condition=Healed incident/NAME` and its like.

They have the form of metav1.Condition, and say again what the state says; healer never reads them.
"""

import itertools
from collections.abc import Set
from datetime import UTC, datetime

from healer.engine.incidents.needed import STORM, needs_human, says_held
from healer.engine.safety.wide import BREAKERS
from healer.model.incident import Incident, State

_ALL = frozenset(State)
_CLOSED = frozenset({State.CLOSED})
_HEALED = frozenset({State.HEALED, State.CLOSED})
_ENDS_ASKING = ("Approved", "ApprovalVoid", STORM)
"""The reasons of a wait after which no approval is waited for. Others, such as a pause, leave the question as it is."""


def conditions(incident: Incident) -> list[dict[str, str]]:
    """Healed, NeedsHuman and Closed, each with the time since which it holds or not, and the reason for the present state."""
    is_healed, is_closed = healed(incident), incident.state is State.CLOSED
    return [
        _condition("Healed", incident, is_healed, _since(incident, _HEALED if is_healed else _ALL - {State.HEALED})),
        _condition("NeedsHuman", incident, needs_human(incident), _asked(incident)),
        _condition("Closed", incident, is_closed, _since(incident, _CLOSED if is_closed else _ALL - _CLOSED)),
    ]


def healed(incident: Incident) -> bool:
    """Whether healer has verified that its action helped. An incident that closes after that stays healed."""
    last = next((entry.state for entry in reversed(incident.history) if entry.state is not State.CLOSED), None)
    return State.HEALED in (incident.state, last if incident.state is State.CLOSED else None)


def _asked(incident: Incident) -> float:
    """Since when a human is needed, or is not: the last line of the history that has changed it."""
    needed, since = False, incident.opened_at
    for entry in incident.history:
        before = needed
        if entry.state is not State.WAITING:
            needed = entry.state is State.ESCALATED or (incident.rule in BREAKERS and entry.state is not State.CLOSED)
        elif entry.reason.code == "NeedsApproval" or entry.reason.code in _ENDS_ASKING:
            needed = entry.reason.code == "NeedsApproval" or says_held(entry.reason)
        if needed != before:
            since = entry.at
    if needed == needs_human(incident):
        return since
    return incident.asked_at or incident.changed_at


def _since(incident: Incident, states: Set[State]) -> float:
    """Since when it has been in one of these states, by the newest lines of its history."""
    lines = itertools.takewhile(lambda entry: entry.state in states, reversed(incident.history))
    return min((entry.at for entry in lines), default=incident.changed_at)


def _condition(kind: str, incident: Incident, holds: bool, since: float) -> dict[str, str]:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": incident.reason.code,
        "message": incident.reason.text,
        "lastTransitionTime": datetime.fromtimestamp(since, UTC).isoformat().replace("+00:00", "Z"),
    }
