"""What a source of signals is: watched, pushed or asked; and what it is given.

The file of a source has its declaration, `SOURCE`. The table of triggers (`healer.rules.triggers`) names it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Protocol, TypeVar

from prometheus_client import CollectorRegistry

from healer.cluster.api import Api
from healer.cluster.resources import NODES, Resource
from healer.model.action import Permissions
from healer.model.kube import KubeObject
from healer.model.signal import Report, Signal
from healer.model.target import Target
from healer.model.verdict import Verdict
from healer.model.view import View
from healer.model_servers.asking import TokenSlots
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.triggers import TRIGGERS, Trigger
from healer.settings import Settings
from healer.sources.prometheus.client import Prometheus
from healer.workloads.registry import core_resources

Probe = Callable[[float], Awaitable[Sequence[Report]]]
"""Asks for one rule, at a time in seconds since the epoch, and returns its reports. It handles the errors that it expects."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict of one look at a canary. `rule` is the rule's full name, `target` the canary's workload, `route` what splits
    the traffic, `share` the canary's share of it (0 to 1). `news`: the verdict is another one than at the look before."""

    rule: str
    target: Target
    route: str
    share: float
    verdict: Verdict
    news: bool


Judged = Callable[[Judgement], None]
"""Is given the judgement of each look."""

Shifts = Callable[[str], Mapping[str, str] | None]
"""Of the open incident that a firing signal is part of, by the signal's key: what is kept of its shifts that were accepted, as
`healer.routes.note` has it; None where there is no such incident."""

Occurrence = Callable[[str], str]
"""Of a firing signal, by its key: the occurrence that an open incident has of it; "" where there is none."""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source may use, for one term of leadership."""

    settings: Settings
    api: Api
    view: View
    clock: Callable[[], float]
    """The time, in seconds since the epoch."""
    prometheus: Prometheus | None
    """None where the settings name none: then no rule needs it (`healer.sources.prometheus.client.unserved`)."""
    server_slots: asyncio.Semaphore
    """Limits the model servers that are asked at the same time."""
    token_slots: TokenSlots
    """Limits those that are asked for a token."""
    report: Callable[[Sequence[Report]], Awaitable[object]]
    """Takes what a source reports; done when it is decided."""
    firing: Callable[[], Sequence[Signal]]
    """The signals that fire, that some rule looks for, and that fade unless they are repeated."""
    shifts: Shifts
    occurrence: Occurrence
    own_silence: Callable[[str, str], bool]
    """Whether a silence, by its author and its comment, is healer's own, of an incident that it treats now."""
    judged: Judged
    unanswered: Callable[[str, str], None]
    """Counts a probe of a rule (its full name) that has no answer, and why; "" for one that has."""
    confirmed: Callable[[bool], None]
    """Counts a request to the sender of signals, whether signals still fire; and whether it was answered in full."""

    def needed_prometheus(self) -> Prometheus:
        """The connection to Prometheus. Raises ValueError where the settings name none."""
        if self.prometheus is None:
            raise ValueError("the settings name no Prometheus")
        return self.prometheus


class Runnable(Protocol):
    """Something that runs until it is cancelled."""

    async def run(self) -> None:
        """Run, until cancelled."""


@dataclass(frozen=True, slots=True)
class WebhookContext:
    """What the receiver of a webhook may use, for the life of the process."""

    settings: Settings
    view: View
    clock: Callable[[], float]
    """The time, in seconds since the epoch."""
    intake: Callable[[list[Signal]], Awaitable[None]]
    """Takes signals; returns when they are decided. Raises QueueFull."""
    metrics: CollectorRegistry


@dataclass(frozen=True, slots=True)
class WatchContext:
    """What a watched source may use, for one term of leadership."""

    settings: Settings
    view: View
    rulebook: Callable[[], Rulebook]
    """The rules in force."""


K = TypeVar("K", bound=KubeObject, contravariant=True)


class WatchedSource(Protocol[K]):
    """Turns the changes of watched objects into signals. Times are in seconds since the epoch."""

    def put(self, obj: K, before: K | None, now: float) -> list[Signal]:
        """The signals of an object as it is now; `before` is how it was known."""

    def drop(self, obj: K, now: float) -> list[Signal]:
        """The ends of the signals of an object that is gone."""

    def resume(self, obj: K, had: set[str], now: float) -> list[Signal]:
        """The signals of an object that had the signals of these names before a restart, as the journal says."""

    def due(self, now: float) -> list[Signal]:
        """The signals that began or ended because time passed."""

    def next_due(self) -> float | None:
        """When `due` has to be called next; None: not before the next change."""

    def still(self, obj: Any, name: str, now: float) -> bool:
        """Whether an object that was just read (a pod, or a `Workload`) still has the signal of that name."""

    def says(self, obj: Any, name: str, now: float) -> str:
        """What that signal says of such an object; "" when it has none, or when that cannot be read off it."""


def _nothing(value: object) -> Permissions:
    return frozenset()


@dataclass(frozen=True, slots=True)
class Watched:
    """A source that reads its signals off objects, which healer watches for it."""

    kinds: tuple[type[KubeObject], ...]
    """The kinds of objects whose changes it is given; a base class stands for all its kinds."""
    resources: Callable[[Any], Sequence[Resource]]
    """What healer watches for a rule, by what the rule writes below the trigger's key."""
    make: Callable[[WatchContext], WatchedSource[Any]]
    permissions: Callable[[Any], Permissions] = _nothing
    """What a rule asks the API server for by what it writes below the trigger's key, besides the objects that healer watches."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A source that healer asks, for one rule each: makes the probe that the schedule runs `every` so often."""

    probe: Callable[[SourceContext, BoundRule], Probe]
    permissions: Callable[[Any], Permissions] = _nothing
    """As of `Watched`."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A source that sends its signals."""

    path: str
    """Where it posts them."""
    receiver: Callable[[WebhookContext], Callable[[bytes], Awaitable[Mapping[str, int]]]]
    """Makes what takes the body of a post. It raises WebhookError when nothing is taken, and QueueFull."""
    confirmer: Callable[[SourceContext], Runnable | None] = lambda context: None
    """Makes what asks the sender whether its signals still fire; None where the settings do not name it."""
    permissions: Callable[[Any], Permissions] = _nothing
    """As of `Watched`."""


Source = Watched | Pushed | Asked


def source_of(trigger: Trigger[Any]) -> Source:
    """The source that the table of triggers names. Raises ImportError or AttributeError when it names none."""
    source: Source = resolve_name(trigger.source)
    return source


def sources() -> dict[str, Source]:
    """The source of each trigger of the table, by the name of the trigger."""
    return {name: source_of(trigger) for name, trigger in TRIGGERS.items()}


def watched_resources(rules: Iterable[BoundRule], *, nodes: bool = False) -> list[Resource]:
    """All that healer watches with these rules, owners before what they own: what every rule needs, then what some need.

    `nodes`: nodes as well, whatever the rules (HEALER_CLUSTER__NODES).
    """
    needed = {each.kind: each for each in core_resources()} | ({NODES.kind: NODES} if nodes else {})
    known: dict[str, Source] = {}  # a table of thousands of rules has few triggers
    for bound in rules:
        trigger = bound.rule.when.trigger
        source = known.get(trigger.name) or known.setdefault(trigger.name, source_of(trigger))
        if isinstance(source, Watched):
            needed |= {each.kind: each for each in source.resources(bound.rule.when.value) if each.kind not in needed}
    return list(needed.values())
