"""One observation: a named condition of one target at one time, firing or resolved; and why a receiver does not take it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from healer.model.target import Target
from healer.model.text import free_text

REPLICA_LABELS = ("prometheus_replica", "replica", "__replica__", "prometheus")
"""The external labels in which the servers of a pair of Prometheus usually differ."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What a source observed. `source` is the name of its trigger (`healer.rules.triggers`).

    `key` identifies the condition over its whole life, so that the end is matched with the beginning: a pod's uid and the name of
    the condition, an alert's fingerprint. `occurrence` identifies one time that the condition happened: Alertmanager repeats an
    occurrence, and so does a watch that lists again. `at` is in seconds since the epoch. `rule` is the full name of the only rule
    that the signal concerns, because the source asked for it; "" when it may concern any rule. `message` is made safe here
    (`free_text`). `changed`: the message has another meaning than before, and an incident that has the signal tells it.

    Of an alert: `began` and `ended` are its startsAt and endsAt by the clock of its sender, in seconds since the epoch, None when
    they are not known. `suppressed` says why healer does nothing about it although it fires, for example that it is silenced.
    `trouble` identifies what several replicas of one Prometheus report; "" when `key` identifies it.
    """

    source: str
    name: str
    target: Target
    firing: bool
    at: float
    key: str
    occurrence: str = ""
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""
    began: float | None = None
    ended: float | None = None
    suppressed: str = ""
    trouble: str = ""
    changed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", free_text(self.message))
        object.__setattr__(self, "suppressed", free_text(self.suppressed))


@dataclass(frozen=True, slots=True)
class Answered:
    """A source has answered in full what a rule asks for: of the rule's signals only those with these keys can still fire."""

    rule: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It is not known whether signals of a rule still fire: there is no answer, or none that may be believed.

    Such a signal is neither bad nor over until its source reports it again. `keys`: which signals; None: all of the rule, for the
    source does not answer at all. `why` is for people.
    """

    rule: str
    why: str
    keys: frozenset[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", free_text(self.why))


Report = Signal | Answered | Unanswered
"""What a source has to say."""


class WebhookError(Exception):
    """The sender's fault: nothing of the body was taken, and sending it again will not help.

    `status` is the HTTP status (4xx), `message` says what and where, `hint` what to do.
    """

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint


NOTHING = "nothing was taken: send it again later"
PERHAPS = "it is taken, in part at least, and not kept yet: send it again later; what was taken counts once"


class QueueFull(Exception):
    """Ours: send it again after `retry_after` seconds. `hint` says so, and whether anything was taken: NOTHING or PERHAPS."""

    def __init__(self, message: str = "the queue of signals is full", retry_after: float = 5.0, *, hint: str = NOTHING) -> None:
        super().__init__(message)
        self.hint = hint
        self.message = message
        self.retry_after = retry_after
