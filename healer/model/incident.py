"""One rule's open case on one workload, with all its sick targets: a state machine with a history.

Incidents are immutable: each transition makes a new one, so whoever holds one (a sink, the journal) holds a snapshot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from healer.model.target import Target
from healer.model.text import free_text


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    """Matched; nothing decided yet."""
    WAITING = "waiting"
    """A guard deferred the next action."""
    ACTING = "acting"
    """An action was claimed and sent; its outcome is awaited."""
    VERIFYING = "verifying"
    """The action was accepted; whether it helped is being watched."""
    HEALED = "healed"
    """Verified healthy after an action of healer's; the cooldown runs."""
    ESCALATED = "escalated"
    """The ladder is spent; a human is needed. Stays until the signals are gone."""
    CLOSED = "closed"
    """Over: the cooldown passed, or the signals went away."""

    @property
    def settled(self) -> bool:
        """Whether healer will do nothing more for it."""
        return self in (State.HEALED, State.CLOSED)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: `code` is one CamelCase word of a bounded set (metrics, columns), `text` says it in words with the figures.

    Whoever makes one may put in what others have said: it is made safe here (`free_text`).
    """

    code: str
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", free_text(self.text))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an incident's history. `at` in seconds since the epoch; `step` of the ladder from 0, None where about none."""

    at: float
    state: State
    reason: Reason
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Symptom:
    """What is kept of a firing signal, enough to know it again after a restart."""

    source: str
    name: str
    occurrence: str
    at: float


@dataclass(frozen=True, slots=True)
class SickTarget:
    """A target of an incident and the signals that fire for it, by key; none firing means no longer sick."""

    target: Target
    signals: Mapping[str, Symptom]
    since: float
    what: str
    """The condition's name and message, for people; made safe here (`free_text`)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", free_text(self.what))


@dataclass(frozen=True, slots=True)
class Disruption:
    """A pod that healer took down, until that is made good: a replacement is ready, or the workload has all it wants.

    `known` are the uids that the workload's pods had then: a ready pod that is not among them is the replacement. To take a pod
    that was not `ready` takes nothing from the workload: there is nothing to be made good.
    """

    target: Target
    workload: Target
    known: frozenset[str]
    at: float
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Approved:
    """A human's word that a step may be taken. `at` in seconds since the epoch; `storm`: the rule's onStorm is meant."""

    step: int
    by: str
    at: float
    storm: bool = False


@dataclass(frozen=True, slots=True)
class Incident:
    """A case. Times are seconds since the epoch; `id` is a valid Kubernetes object name, `rule` is "ruleset/rule"."""

    id: str
    rule: str
    workload: Target
    severity: str
    mode: str
    notify: tuple[str, ...]
    opened_at: float
    changed_at: float
    state: State
    reason: Reason
    targets: Mapping[str, SickTarget]
    steps: tuple[str, ...]
    """The actions of the ladder, by name."""
    revision: str = ""
    """The workload's revision when it opened, as its controller says: attempts on another one are counted anew."""
    ruled: str = ""
    """The digest of its rule as it was when the incident opened; "" in what a healer wrote that kept none."""
    healthy: str = ""
    """The revision of the workload that healer last saw well for a while, when it opened; "" when it has seen none."""
    step: int = 0
    attempt: int = 0
    """Actions sent on this step."""
    failures: int = 0
    """How many of them failed in a row."""
    acting_on: Target | None = None
    """The target of the action that is under way."""
    treated: frozenset[str] = frozenset()
    """Uids of the targets that this step has acted on."""
    known: frozenset[str] = frozenset()
    """Uids of the workload's pods when this step first acted: a sick pod born later shows that the step did not help."""
    disruption: Disruption | None = None
    """The pod that was taken down last, or may have been."""
    down: tuple[Disruption, ...] = ()
    """The ready pods that it has taken down and that were not made good when it last took one."""
    waiting_since: float | None = None
    """Since when this step has been put off."""
    not_before: float | None = None
    """The cluster asked for that much patience before the next try."""
    deadline: float | None = None
    """When the verification of this step gives up."""
    stable_since: float | None = None
    """Since when all has been well, while verifying."""
    unknown_since: float | None = None
    """Since when it has not been known whether its signals still fire: nothing is done meanwhile, and no time limit runs."""
    wake_at: float | None = None
    """When the engine wants to look again, whatever happens."""
    denied: Mapping[str, str] = field(default_factory=dict)
    """The pods (by uid) whose eviction was asked for and not granted, and the answer: none of them is deleted instead."""
    acted_at: tuple[float, ...] = ()
    """When actions were accepted: budgets and cooldowns count these."""
    ended_at: float | None = None
    storm: bool = False
    """It has taken over its workload: too many pods are sick at once for them to be treated one by one."""
    storming: bool = False
    """The step under way is the rule's onStorm, not the one of the ladder that `step` counts."""
    stormed: bool = False
    """onStorm was taken or given up: it runs once."""
    left_step: int | None = None
    """The step of the ladder that it has left for one that takes no pods while the storm lasts, and has not acted with yet."""
    paged: tuple[str, ...] | None = None
    """The channels that an action `page` asked for help in besides `notify`; None: nobody was paged."""
    asked_at: float | None = None
    """Since when this step waits for a human's approval."""
    approvals: tuple[Approved, ...] = ()
    ended: Mapping[str, float] = field(default_factory=dict)
    """Its alerts that have ended, by key, and when, the newest last: what a slower Alertmanager still says of them is no news."""
    history: tuple[Entry, ...] = field(default_factory=tuple)

    @property
    def any_sick(self) -> bool:
        """Whether a signal still fires for any target."""
        return any(target.signals for target in self.targets.values())

    @property
    def sick(self) -> list[SickTarget]:
        """The targets for which a signal still fires, those sick longest first."""
        return sorted((t for t in self.targets.values() if t.signals), key=lambda t: t.since)
