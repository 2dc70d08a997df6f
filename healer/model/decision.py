"""A decision of the engine with its reason: what `healer_decisions_total` counts and `explain` shows."""

from dataclasses import dataclass
from enum import StrEnum

from healer.model.incident import Reason
from healer.model.target import Target


class Verb(StrEnum):
    """What was decided."""

    OPEN = "open"
    JOIN = "join"
    """A further signal of an incident that is open already."""
    IGNORE = "ignore"
    PEND = "pend"
    """Matched, but not yet for long enough or often enough."""
    ALLOW = "allow"
    DEFER = "defer"
    REFUSE = "refuse"
    HEAL = "heal"
    CLIMB = "climb"
    ESCALATE = "escalate"
    CLOSE = "close"
    JUDGE = "judge"
    """The canary judge has come to another verdict."""
    APPROVE = "approve"
    """A human has approved a step, or has healer go on."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. `rule` and `incident` are empty where none is concerned; `at` in seconds since the epoch."""

    at: float
    verb: Verb
    reason: Reason
    target: Target
    rule: str = ""
    incident: str = ""
