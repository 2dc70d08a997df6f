"""The format of a record: one struct for each kind of line. The writer and the reader share it.

A file begins with a `HeadLine`, the state at that moment (`HeldLine`, `FiringLine`, `IncidentLine`) and a `WholeLine`: each file
can be read alone. Then follows what happened, in its order. Times are in seconds since the epoch.
"""

from typing import Any, Literal

import msgspec

from healer.model.action import Outcome
from healer.model.effects import Decision, Loss
from healer.model.incident import Incident, Reason
from healer.model.signal import Signal
from healer.model.target import Target

VERSION = 1
"""A reader refuses a file of a later version: it would misread it."""

Why = Literal["started", "continued", "lost"]
"""Why a file begins. `continued`: the one before was full. `lost`: lines are missing after the one before."""


class Line(msgspec.Struct, frozen=True, gc=False, tag_field="line"):
    """A line of a record."""

    at: float


class RuleMark(msgspec.Struct, frozen=True):
    """A rule in force, by which a reader knows whether other rules have it too."""

    name: str
    digest: str
    asks: str = ""
    """The digest of what it asks its source; "" for a rule whose trigger is not asked."""


class HeadLine(Line, frozen=True, tag="head"):
    """The first line of a file: what wrote it, and with which settings."""

    version: int
    healer: str
    run: str
    """Another one after each start of the daemon, and each time that it leads."""
    number: int
    """The number of the file in its run, from 0."""
    why: Why
    home: str
    mode: str
    rules: tuple[RuleMark, ...]
    kinds: tuple[str, ...]
    """The kinds of objects that are watched."""
    namespaces: tuple[str, ...]
    """The namespaces that are watched; empty for all."""
    settings: dict[str, dict[str, Any]]
    """The sections of the settings on which decisions depend."""
    lost: int = 0
    """The lines that were lost since the file before."""


class HeldLine(Line, frozen=True, tag="held"):
    """An object of the view."""

    kind: str
    object: Any


class FiringLine(Line, frozen=True, tag="firing"):
    """A signal that fires and is not read off an object."""

    signal: Signal


class IncidentLine(Line, frozen=True, tag="incident"):
    """An incident that the journal has."""

    incident: Incident


class WholeLine(Line, frozen=True, tag="whole"):
    """The end of the state."""

    held: int
    paused: str = ""
    """Why healer is paused everywhere; "" when it is not."""


class ChangedLine(Line, frozen=True, tag="changed"):
    """An object was put or dropped. Of one that was dropped there is the uid alone."""

    kind: str
    object: Any = None
    dropped: str = ""


class FedLine(Line, frozen=True, tag="fed"):
    """The engine was told of the changes since the last line of this kind, together."""


class SignalsLine(Line, frozen=True, tag="signals"):
    """Signals from outside, or of what healer asked. `whole`: see `Together`."""

    signals: tuple[Signal, ...]
    whole: bool = True


class AnsweredLine(Line, frozen=True, tag="answered"):
    """A complete answer for a rule."""

    rule: str
    keys: tuple[str, ...] = ()


class UnansweredLine(Line, frozen=True, tag="unanswered"):
    """There is no answer for a rule; `keys` as in `Unanswered`."""

    rule: str
    why: str
    keys: tuple[str, ...] | None = None


class TickLine(Line, frozen=True, tag="tick"):
    """The engine was told that time has passed."""


class PausedLine(Line, frozen=True, tag="paused"):
    """healer was paused everywhere, or goes on (`why` is empty)."""

    why: str = ""


class PersonLine(Line, frozen=True, tag="person"):
    """A person approved a step of an incident, or has undone what was done for it."""

    did: Literal["approved", "undone"]
    incident: str
    rule: str
    workload: Target
    by: str


class TakenBackLine(Line, frozen=True, tag="taken-back"):
    """A temporary change of an incident has ended."""

    incident: str
    rule: str
    workload: Target
    reason: Reason


class DroppedLine(Line, frozen=True, tag="dropped"):
    """An incident is no longer stored."""

    incident: str
    rule: str
    workload: Target
    why: str
    how: Loss


class ActLine(Line, frozen=True, tag="act"):
    """The engine had something done, and why."""

    incident: str
    rule: str
    workload: Target
    step: int
    action: str
    target: Target
    dry_run: bool
    reason: Reason


class OutcomeLine(Line, frozen=True, tag="outcome"):
    """An attempt to act has ended."""

    incident: str
    rule: str
    workload: Target
    step: int
    action: str
    outcome: Outcome


class DecisionLine(Line, frozen=True, tag="decision"):
    """The engine decided something."""

    decision: Decision


class RulesLine(Line, frozen=True, tag="rules"):
    """Other rules are in force."""

    rules: tuple[RuleMark, ...]
    kinds: tuple[str, ...]


class EndLine(Line, frozen=True, tag="end"):
    """The daemon has stopped, or leads no more."""


AnyLine = (
    HeadLine
    | HeldLine
    | FiringLine
    | IncidentLine
    | WholeLine
    | ChangedLine
    | FedLine
    | SignalsLine
    | AnsweredLine
    | UnansweredLine
    | TickLine
    | PausedLine
    | PersonLine
    | TakenBackLine
    | DroppedLine
    | ActLine
    | OutcomeLine
    | DecisionLine
    | RulesLine
    | EndLine
)
DECODER: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
