"""Signals, the other reports of a source, and the errors with which a receiver refuses a delivery."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from healer.model.target import Target
from healer.model.text import free_text

REPLICA_LABELS = ("prometheus_replica", "replica", "__replica__", "prometheus")
"""The external labels in which the servers of a pair of Prometheus usually differ."""


MOST_LAST_WORDS = 240
"""The most characters of a container's last words."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What a source observed. `source` is the name of its trigger (`healer.rules.triggers`).

    `key` identifies the condition from beginning to end: a pod's uid with the name of the condition, or an alert's fingerprint.
    `occurrence` identifies one occurrence of the condition. Alertmanager repeats an occurrence, and so does a watch after a
    relist. `at` is in seconds since the epoch. `rule` is the full name of the only rule that the signal concerns; "" when it may
    concern any rule. `message` is sanitised here (`free_text`). `changed`: the message has another meaning than before, and is
    added to the history of an incident that has the signal. `links`: where people read on, by what it is. `times`: how often
    it has happened since the last report. `last_words`: what a container said when it ended (its termination message), for
    people alone: no condition of a rule looks at what a program says of itself. It is sanitised here, and short.

    For an alert, `began` and `ended` are startsAt and endsAt by the clock of its sender, in seconds since the epoch; None when
    unknown. `suppressed` says why healer ignores it although it fires, for example because it is silenced. `trouble` identifies
    what several replicas of one Prometheus report; "" when `key` identifies it.
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
    links: Mapping[str, str] = field(default_factory=dict)
    times: int = 1
    last_words: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", free_text(self.message))
        object.__setattr__(self, "last_words", free_text(self.last_words, MOST_LAST_WORDS))
        object.__setattr__(self, "suppressed", free_text(self.suppressed))


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer of a source for a rule. Only the rule's signals with these keys can still fire."""

    rule: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It is unknown whether signals of a rule still fire, because there is no answer or none that can be trusted.

    Such a signal counts neither as firing nor as resolved until its source reports it again. `keys` are the signals; None means
    all signals of the rule, because the source does not answer. `why` is for people.
    """

    rule: str
    why: str
    keys: frozenset[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", free_text(self.why))


Report = Signal | Answered | Unanswered
"""What a source reports."""


class WebhookError(Exception):
    """A delivery that is invalid. Nothing of the body was accepted, and sending it again does not help.

    `status` is the HTTP status (4xx). `message` says what is wrong and where; `hint` says what to do.
    """

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint


NOTHING = "nothing was taken: send it again later"
PERHAPS = "it is taken, in part at least, and not kept yet: send it again later; what was taken counts once"


class QueueFull(Exception):
    """The queue is full: the sender is to retry after `retry_after` seconds. `hint` is NOTHING or PERHAPS."""

    def __init__(self, message: str = "the queue of signals is full", retry_after: float = 5.0, *, hint: str = NOTHING) -> None:
        super().__init__(message)
        self.hint = hint
        self.message = message
        self.retry_after = retry_after
