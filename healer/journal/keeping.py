"""Which closed incidents need not be kept any longer."""

from collections.abc import Iterable

from healer.engine.safety.wide import ENDED_ALERTS
from healer.model.incident import Incident, State


def outworn(incidents: Iterable[Incident], keep: int, keep_for: float, now: float) -> list[Incident]:
    """The closed incidents beyond the newest `keep`, and those that ended more than `keep_for` seconds before `now`.

    Oldest first. `now` in seconds since the epoch. What is open is never among them, nor is what healer keeps for itself.
    """
    closed = sorted((each for each in incidents if each.state is State.CLOSED and each.rule != ENDED_ALERTS), key=_ended)
    surplus = len(closed) - keep
    return [incident for index, incident in enumerate(closed) if index < surplus or now - _ended(incident) > keep_for]


def _ended(incident: Incident) -> float:
    return incident.changed_at if incident.ended_at is None else incident.ended_at
