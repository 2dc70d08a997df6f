"""What goes into the engine and what comes out of it: inputs, decisions and effects."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from healer.model.action import Outcome
from healer.model.incident import Entry, Incident, Reason
from healer.model.signal import Answered, Signal, Unanswered
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
    """A human has approved a step, or lets healer continue."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. `rule` and `incident` are empty where none is concerned; `at` in seconds since the epoch."""

    at: float
    verb: Verb
    reason: Reason
    target: Target
    rule: str = ""
    incident: str = ""


# inputs


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class WorkloadChanged:
    """The view of a workload changed: the workload itself, or the one pod whose uid is given."""

    uid: str
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Acted:
    """An action came back. `incident`, `step` and `attempt` are those of the Act that it answers."""

    incident: str
    step: int
    attempt: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Approval:
    """A human approves what an incident waits with, or lets healer continue after the cluster-wide breaker; `by` says who."""

    incident: str
    by: str


@dataclass(frozen=True, slots=True)
class Together:
    """Signals that arrive together: of one delivery, of one answer, of changes that were seen at once.

    All of them are known before any incident goes on. `whole` is False for a part that further parts follow: until the last one
    no incident goes on, so that a large delivery can be told in parts, with other inputs between them.
    """

    signals: tuple[Signal, ...]
    whole: bool = True


class Loss(StrEnum):
    """What became of the object that an incident is kept in."""

    EDITED = "edited"
    """Somebody else has written its status."""
    DELETED = "deleted"
    """It is gone."""
    HOMELESS = "homeless"
    """Its namespace is ending: there can be none."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Nothing is kept of an incident any more: `why` says what became of its object."""

    incident: str
    why: str
    how: Loss


@dataclass(frozen=True, slots=True)
class Undone:
    """A human has taken back what healer did for an incident; `by` says who."""

    incident: str
    by: str


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A temporary change of an incident has ended: healer took it back, or leaves it alone; `reason` says which."""

    incident: str
    reason: Reason


Input = Signal | Together | Answered | Unanswered | Dropped | Tick | WorkloadChanged | Acted | Approval | Undone | TakenBack

# effects


@dataclass(frozen=True, slots=True)
class Act:
    """Do this. The incident is the one to claim in the journal first; with `dry_run` nothing may change in the cluster.

    `min_ready` is the rule's floor. `alone`: no other ready pod is down. `seen_at` is when the signal that led to it
    was seen, in seconds since the epoch (healer_reaction_seconds).
    """

    incident: Incident
    step: int
    attempt: int
    action: str
    params: BaseModel
    target: Target
    dry_run: bool
    min_ready: int
    seen_at: float
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """An incident changed: journal it, log it, count it, tell people. `entry` is the new line of its history, if there is one."""

    incident: Incident
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Remember:
    """Journal this incident of healer's own, and nothing else: it holds what healer must know after a restart."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision was made. `again`: the incident's history says so already; it is counted, and nobody is told."""

    decision: Decision
    again: bool = False


Effect = Act | Record | Remember | Decided
