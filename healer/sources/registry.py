"""The source of each trigger: a new trigger is an entry in `healer.rules.triggers` and one here.

Whoever adds an entry to a running process, as a test does, adds it before the daemon starts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from prometheus_client import CollectorRegistry

from healer.cluster.api import Api
from healer.model.action import Permissions
from healer.model.kube import KubeObject, Pod
from healer.model.signal import Report, Signal
from healer.model.view import View
from healer.routes.registry import ROUTERS
from healer.rules.pod_detectors import PodSettings
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import ALERT, CANARY, MODEL, POD, QUERY
from healer.settings import Settings
from healer.sources.alertmanager import standing, webhook
from healer.sources.canary.canary import CanaryProbe, Judged, Occurrence, Shifts
from healer.sources.model import ModelProbe
from healer.sources.pods import PodSource
from healer.sources.probes import Probe
from healer.sources.prometheus.client import Prometheus
from healer.sources.prometheus.query import QueryProbe
from healer.sources.targets import TargetLabels


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
    report: Callable[[Sequence[Report]], Awaitable[object]]
    """Takes what a source reports; done when it is decided."""
    firing: Callable[[], Sequence[Signal]]
    """The signals that fire, that some rule looks for, and that fade unless they are repeated."""
    shifts: Shifts
    occurrence: Occurrence
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


K = TypeVar("K", bound=KubeObject, contravariant=True)


class WatchedSource(Protocol[K]):
    """Turns the changes of watched objects of one kind into signals. Times are in seconds since the epoch."""

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

    def still(self, obj: K, name: str, now: float) -> bool:
        """Whether an object that was just read still has the signal of that name."""


def _nothing(value: object) -> Permissions:
    return frozenset()


@dataclass(frozen=True, slots=True)
class Watched:
    """A source that reads its signals off the objects of a kind that healer watches."""

    kind: type[KubeObject]
    make: Callable[[Settings], WatchedSource[Any]]
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


def _query(context: SourceContext, rule: BoundRule) -> Probe:
    labels = TargetLabels.of(context.settings.alerts)
    return QueryProbe(rule, context.needed_prometheus(), context.view, labels, context.unanswered).ask


def _model(context: SourceContext, rule: BoundRule) -> Probe:
    return ModelProbe(rule, context.view, context.server_slots).ask


def _canary(context: SourceContext, rule: BoundRule) -> Probe:
    return CanaryProbe(
        rule,
        context.needed_prometheus(),
        context.api,
        context.view,
        context.judged,
        history=context.settings.prometheus.history,
        shifts=context.shifts,
        occurrence=context.occurrence,
    ).ask


def _alertmanager_webhook(context: WebhookContext) -> webhook.AlertmanagerWebhook:
    alerts = context.settings.alerts
    return webhook.AlertmanagerWebhook(
        view=context.view,
        labels=TargetLabels.of(alerts),
        replicas=alerts.replica_labels,
        intake=context.intake,
        clock=context.clock,
        registry=context.metrics,
    )


def _standing_alerts(context: SourceContext) -> standing.StandingAlerts | None:
    """None where the settings name no Alertmanager: then an alert counts for as long as its last report is fresh."""
    alerts = context.settings.alerts
    if not alerts.url:
        return None
    return standing.StandingAlerts(
        standing.connect(alerts),
        view=context.view,
        labels=TargetLabels.of(alerts),
        replicas=alerts.replica_labels,
        known=context.firing,
        tell=context.report,
        heard=context.confirmed,
        clock=context.clock,
        every=alerts.freshness / standing.REQUESTS_PER_REPORT,
        absent=alerts.absent,
    )


def _pods(settings: Settings) -> PodSource:
    return PodSource(PodSettings(**settings.pods.model_dump()))


SOURCES: dict[str, Watched | Pushed | Asked] = {
    POD.name: Watched(Pod, _pods),
    ALERT.name: Pushed(webhook.PATH, _alertmanager_webhook, _standing_alerts),
    QUERY.name: Asked(_query),
    MODEL.name: Asked(_model),
    CANARY.name: Asked(_canary, lambda canary: ROUTERS[canary.route.kind].reads),
}
