"""A guard of the tests' own: healer acts by day, when somebody is there to see it."""

from datetime import UTC, datetime, timedelta

from healer.engine.safety.guards.question import Question, Veto
from healer.model.incident import Reason

BEGINS, ENDS = 6, 22
"""The hours of the day, UTC."""


def by_day(q: Question) -> Veto | None:
    """Nothing between 22:00 and 06:00 UTC; a step does not fail by that wait."""
    now = datetime.fromtimestamp(q.now, UTC)
    if BEGINS <= now.hour < ENDS:
        return None
    morning = now.replace(hour=BEGINS, minute=0, second=0, microsecond=0)
    if now.hour >= ENDS:
        morning += timedelta(days=1)
    text = f"healer does not {q.action.verb} {q.target} at night: it waits until {BEGINS:02}:00 UTC"
    return Veto(Reason("Night", text), until=morning.timestamp(), unlimited=True)
