"""When a temporary change of an incident is taken back."""

from healer.engine.matching.firing import UNCONFIRMED
from healer.model.incident import Incident, State
from healer.model.temporary import TemporaryChange

_HEARS_WITHIN = 120.0
"""Seconds in which a healer that has just begun hears from its sources what still fires, or people are to hear it."""


def due_at(change: TemporaryChange, incident: Incident, *, stopped: bool = False) -> float | None:
    """When a change is to be taken back, in seconds since the epoch; None while nobody knows.

    `stopped`: whether a pause or the breaker of the cluster keeps healer from working at the incident (`Engine.stopped`).

    The incident ends for it also when it waits for a human and none of its signals is left: what is not well then may be what
    healer has added. While an attempt is under way nothing is taken back: that attempt may make the change anew.
    """
    if change.ended is not None or incident.state is State.ACTING:
        return None
    times = [] if change.until is None else [change.until]
    if change.with_incident and (ended := _ended_at(incident)) is not None:
        times.append(ended + change.lasts)
    if change.while_acting and (stopped or _left_to_others(incident)):
        hears = incident.state is State.WAITING and incident.reason.code == UNCONFIRMED and not stopped
        times.append(incident.changed_at + (_HEARS_WITHIN if hears else 0.0))
    return min(times, default=None)


def _ended_at(incident: Incident) -> float | None:
    """Since when nothing is left to heal."""
    if incident.state.settled:
        return next((entry.at for entry in incident.history if entry.state.settled), incident.changed_at)
    if incident.state is State.ESCALATED and not incident.any_sick:
        return incident.changed_at
    return None


def _left_to_others(incident: Incident) -> bool:
    """Whether healer does not go on by itself: it waits for a human, for the end of a storm, or for an answer.

    A wait that uses up the time of its step (`waiting_since`) is none of these: it ends within `engine.max_wait`.
    """
    if incident.state is State.WAITING:
        return incident.waiting_since is None or incident.unknown_since is not None
    return incident.state is State.ESCALATED
