"""The incident: one rule's open case on one workload, with all its sick targets. It is a state machine with a history.

Incidents are immutable. Each transition makes a new one, so that a sink or the journal has a snapshot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from healer.model.link import safe_links
from healer.model.target import Target
from healer.model.text import free_text


class State(StrEnum):
    """The state of an incident."""

    OPEN = "open"
    """The rule matched; nothing is decided yet."""
    WAITING = "waiting"
    """A guard deferred the next action."""
    ACTING = "acting"
    """An action was claimed in the journal and sent; its outcome is pending."""
    VERIFYING = "verifying"
    """The action was accepted; healer checks whether it helped."""
    HEALED = "healed"
    """Verified healthy after an action of healer; the cooldown runs."""
    ESCALATED = "escalated"
    """No step of the ladder is left; a human is needed. The state lasts until the signals have resolved."""
    CLOSED = "closed"
    """The cooldown has passed, or the signals have resolved."""

    @property
    def settled(self) -> bool:
        """Whether healer will do nothing more for it."""
        return self in (State.HEALED, State.CLOSED)


@dataclass(frozen=True, slots=True)
class Reason:
    """The reason of a decision. `code` is a CamelCase word of a bounded set (metrics, columns); `text` explains it with figures.

    The text may contain messages of others: it is sanitised here (`free_text`).
    """

    code: str
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", free_text(self.text))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an incident's history. `at` is in seconds since the epoch. `step` counts from 0; None for no step."""

    at: float
    state: State
    reason: Reason
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Symptom:
    """The stored part of a firing signal, from which it is recognised after a restart."""

    source: str
    name: str
    occurrence: str
    at: float


@dataclass(frozen=True, slots=True)
class SickTarget:
    """A target of an incident and the signals that fire for it, by key. Without a firing signal it is no longer sick."""

    target: Target
    signals: Mapping[str, Symptom]
    since: float
    what: str
    """The condition's name and message, for people. It is sanitised here (`free_text`)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", free_text(self.what))


@dataclass(frozen=True, slots=True)
class Disruption:
    """A pod that healer took down, until a replacement is ready or the workload has all units that it wants.

    `known` are the uids of the workload's pods at that time. A ready pod that is not among them is the replacement. A pod that
    was not `ready` needs no replacement, because the workload lost nothing; of a group, `ready` is whether the group was.
    """

    target: Target
    workload: Target
    known: frozenset[str]
    at: float
    ready: bool = True
    along: frozenset[str] = frozenset()
    """The uids of the other pods that are replaced with it: those of its group."""


@dataclass(frozen=True, slots=True)
class Approved:
    """A human's approval of a step. `at` is in seconds since the epoch. `storm`: the approval is for the rule's onStorm."""

    step: int
    by: str
    at: float
    storm: bool = False


@dataclass(frozen=True, slots=True)
class Background:
    """What people want to know beside the course of an incident. It is fixed when the incident opens, and sanitised here.

    `description` is the rule's. `asks` is what the rule asks of Prometheus, with its thresholds; "" for another trigger. `links`
    are addresses by what they lead to: "runbook", "dashboard", "alert".
    """

    description: str = ""
    asks: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "description", free_text(self.description))
        object.__setattr__(self, "asks", free_text(self.asks))
        object.__setattr__(self, "links", safe_links(self.links))


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident. Times are in seconds since the epoch. `id` is a valid Kubernetes object name; `rule` is "ruleset/rule"."""

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
    background: Background = Background()
    revision: str = ""
    """The workload's revision when it opened, as its controller reports it. Attempts on another revision are counted from 0."""
    ruled: str = ""
    """The digest of its rule when the incident opened; "" when the incident was written by a version without digests."""
    healthy: str = ""
    """The last revision of the workload that had been healthy for a while when the incident opened; "" when none is known."""
    step: int = 0
    attempt: int = 0
    """The number of actions sent on this step."""
    failures: int = 0
    """The number of these that failed in a row."""
    acting_on: Target | None = None
    """The target of the action in progress."""
    treated: frozenset[str] = frozenset()
    """The uids of the targets that this step has acted on."""
    known: frozenset[str] = frozenset()
    """The uids of the workload's pods when this step first acted. A newer pod that is sick shows that the step did not help."""
    disruption: Disruption | None = None
    """The last pod that was taken down, or may have been."""
    down: tuple[Disruption, ...] = ()
    """The ready pods that it has taken down and that had no replacement when it last took one down."""
    waiting_since: float | None = None
    """The time since which guards have deferred this step."""
    not_before: float | None = None
    """The cluster asked not to retry before this time."""
    deadline: float | None = None
    """The time at which the verification of this step fails."""
    stable_since: float | None = None
    """The time since which the workload has been healthy, while verifying."""
    unknown_since: float | None = None
    """The time since which it is unknown whether its signals still fire. Meanwhile nothing is done and no time limit runs."""
    wake_at: float | None = None
    """The time at which the engine evaluates it again, without any other input."""
    denied: Mapping[str, str] = field(default_factory=dict)
    """The pods, by uid, whose eviction was denied, and the response. None of them is deleted instead."""
    acted_at: tuple[float, ...] = ()
    """The times at which actions were accepted. Budgets and cooldowns count these."""
    ended_at: float | None = None
    storm: bool = False
    """Whether it has taken over its workload, because too many pods are sick to be treated one by one."""
    storming: bool = False
    """Whether the current step is the rule's onStorm, not the step of the ladder that `step` counts."""
    stormed: bool = False
    """Whether onStorm has run or was abandoned. It runs once."""
    left_step: int | None = None
    """The step of the ladder that it skipped, before acting, for a step that takes no pods during the storm."""
    paged: tuple[str, ...] | None = None
    """The channels, besides `notify`, to which an action `page` wrote; None when nobody was paged."""
    asked_at: float | None = None
    """The time since which this step has waited for a human's approval."""
    approvals: tuple[Approved, ...] = ()
    ended: Mapping[str, float] = field(default_factory=dict)
    """The end times of its alerts, by key, the newest last. Late reports of them from a slower Alertmanager are ignored."""
    history: tuple[Entry, ...] = field(default_factory=tuple)

    def is_newer(self, target: Target) -> bool:
        """Whether it is a pod that came after this step first acted."""
        return bool(self.known) and target.is_pod and target.uid not in self.known

    @property
    def of_tenant(self) -> bool:
        """Whether its rule is of a RuleSet in a namespace: "namespace/ruleset/rule"."""
        return self.rule.count("/") > 1

    @property
    def tenant(self) -> str:
        """The namespace of the RuleSet in the cluster that its rule is of; "" for a rule of healer's own files."""
        return self.workload.namespace if self.of_tenant else ""

    @property
    def any_sick(self) -> bool:
        """Whether a signal still fires for any target."""
        return any(target.signals for target in self.targets.values())

    @property
    def sick(self) -> list[SickTarget]:
        """The targets for which a signal still fires, those that have been sick longest first."""
        return sorted((t for t in self.targets.values() if t.signals), key=lambda t: t.since)
