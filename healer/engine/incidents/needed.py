"""Whether an incident goes on only by a human. People are told so everywhere by this one answer."""

from healer.engine.incidents.approval import waits
from healer.engine.incidents.observing import HUMAN
from healer.engine.safety.wide import is_breaker
from healer.model.incident import Incident, Reason, State

STORM = "Storm"
"""The code of the reasons that a storm gives."""


def needs_human(incident: Incident) -> bool:
    """It is escalated, waits for an approval, is an open breaker, or is held by a storm in which no step acts."""
    return incident.state is State.ESCALATED or waits(incident) or is_breaker(incident) or is_held(incident)


def is_held(incident: Incident) -> bool:
    """Whether a storm holds it, and its rule has no step left that acts meanwhile."""
    return incident.state is State.WAITING and says_held(incident.reason)


def says_held(reason: Reason) -> bool:
    """Whether a reason says that a storm holds an incident, and asks for a human."""
    return reason.code == STORM and HUMAN in reason.text
