"""The inputs of the engine, and its decisions and effects."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from healer.model.action import Outcome
from healer.model.incident import Entry, Incident, Reason
from healer.model.signal import Answered, Signal, Unanswered
from healer.model.target import Target


class Verb(StrEnum):
    """The kind of a decision."""

    OPEN = "open"
    JOIN = "join"
    """Another signal joins an open incident."""
    IGNORE = "ignore"
    PEND = "pend"
    """A rule matches, but not yet for long enough or often enough."""
    ALLOW = "allow"
    DEFER = "defer"
    REFUSE = "refuse"
    HEAL = "heal"
    CLIMB = "climb"
    ESCALATE = "escalate"
    CLOSE = "close"
    JUDGE = "judge"
    """The canary judge has changed its verdict."""
    APPROVE = "approve"
    """A human has approved a step, or has allowed healer to continue."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. `rule` and `incident` are empty when it concerns none. `at` is in seconds since the epoch."""

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
    """The view of a workload changed: the workload itself, or the pod whose uid is given."""

    uid: str
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Acted:
    """An action has ended. `incident`, `step` and `attempt` are those of its Act."""

    incident: str
    step: int
    attempt: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Approval:
    """The user `by` approves the next step of an incident, or allows healer to continue after the cluster-wide breaker."""

    incident: str
    by: str


@dataclass(frozen=True, slots=True)
class Together:
    """Signals that arrive together: in one delivery, in one response, or from changes that were observed at once.

    The engine takes in all of them before any incident continues. `whole` is False when further parts follow. No incident
    continues before the last part, so that a large delivery can be split, with other inputs between the parts.
    """

    signals: tuple[Signal, ...]
    whole: bool = True


class Loss(StrEnum):
    """What happened to the Kubernetes object that stores an incident."""

    EDITED = "edited"
    """Another client has written its status."""
    DELETED = "deleted"
    """It was deleted."""
    NO_NAMESPACE = "no-namespace"
    """Its namespace is being deleted, so that the object cannot be created again."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """An incident is no longer stored. `why` says what happened to its object."""

    incident: str
    why: str
    how: Loss


@dataclass(frozen=True, slots=True)
class Undone:
    """A human has undone what healer did for an incident. `by` is the user."""

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
    """Execute an action. The incident must be claimed in the journal first. With `dry_run` nothing changes in the cluster.

    `min_ready` is the rule's floor. `alone`: no other ready pod is down. `seen_at` is the time at which the signal was observed,
    in seconds since the epoch (healer_reaction_seconds).
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
    """An incident changed: journal it, log it, count it, notify people. `entry` is the new line of its history, if any."""

    incident: Incident
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Remember:
    """Write an incident of healer's own to the journal, and nothing else. It stores what healer needs after a restart."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision was made. `again`: the incident's history has it already, so that it is counted, but nobody is notified."""

    decision: Decision
    again: bool = False


Effect = Act | Record | Remember | Decided
