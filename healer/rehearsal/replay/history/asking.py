"""Asks Prometheus for what has changed in a stretch of time: few points, however many series there are.

Of each metric two ranges are asked: where a value differs from the one a step before, and where a series is gone that was there a
step before. A stretch has so few steps that no answer passes the 11,000 points of a series that Prometheus allows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from healer.sources.prometheus.client import Prometheus, Series

ALERTS = 'ALERTS{alertstate="firing"}'
METRICS = (
    "kube_pod_info",
    "kube_pod_labels",
    "kube_pod_status_phase",
    "kube_pod_status_ready",
    "kube_pod_status_unschedulable",
    "kube_pod_status_reason",
    "kube_pod_container_status_restarts_total",
    "kube_pod_container_status_ready",
    "kube_pod_container_status_waiting_reason",
    "kube_pod_container_status_last_terminated_reason",
    "kube_pod_init_container_status_waiting_reason",
    "kube_replicaset_owner",
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas",
    "kube_deployment_status_replicas_ready",
    "kube_deployment_status_replicas_updated",
    "kube_deployment_status_condition",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas",
    "kube_statefulset_status_replicas_ready",
    "kube_statefulset_status_replicas_updated",
    "kube_daemonset_status_desired_number_scheduled",
    "kube_daemonset_status_current_number_scheduled",
    "kube_daemonset_status_updated_number_scheduled",
    "kube_daemonset_status_number_ready",
    "kube_node_info",
    "kube_node_spec_unschedulable",
    "kube_node_status_condition",
)
"""What is asked for, in an order in which what others refer to comes first."""
STEPS = 720
"""Steps of a stretch."""
SERIES = 50_000
"""The most series of an answer."""


@dataclass(frozen=True, slots=True)
class Point:
    """A series has a value from a time on; None: it is gone."""

    at: float
    metric: str
    labels: Mapping[str, str]
    value: float | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is known of a stretch of time: what has changed, and the times at which nothing was scraped."""

    points: Sequence[Point]
    silent: Sequence[float]


async def state_at(prometheus: Prometheus, at: float) -> list[Point]:
    """All that there is at a time. Raises QueryFailed."""
    found: list[Point] = []
    for metric in (*METRICS, ALERTS):
        for sample in await prometheus.query(metric, at):
            if isfinite(sample.value):
                found.append(Point(at, _name(metric), _own(sample.labels), sample.value))
    return found


async def changes(prometheus: Prometheus, asked: Iterable[str], start: float, end: float, step: float, steady: str) -> Stretch:
    """What changes of these metrics after `start` up to `end`. Raises QueryFailed.

    `steady` is a metric that is always there: without it nothing was seen. "" when there is none.
    """
    points: list[Point] = []
    before = f"offset {step:g}s"
    for metric in asked:
        new = await prometheus.range(f"{metric} unless ({metric} == {metric} {before})", start + step, end, step)
        gone = await prometheus.range(f"{metric} {before} unless {metric}", start + step, end, step)
        points += _points(metric, gone, gone=True)
        points += _points(metric, new, gone=False)
    silent = await prometheus.range(f"absent({steady})", start + step, end, step) if steady else []
    ranks = {_name(metric): number for number, metric in enumerate((*METRICS, ALERTS))}
    points.sort(key=lambda point: (point.at, point.value is not None, ranks[point.metric]))
    return Stretch(points, sorted({at for series in silent for at in series.points}))


def _points(metric: str, found: Iterable[Series], *, gone: bool) -> Iterable[Point]:
    for series in found:
        labels = _own(series.labels)
        for at, value in series.points.items():
            if gone or isfinite(value):
                yield Point(at, _name(metric), labels, None if gone else value)


def _name(metric: str) -> str:
    return metric.partition("{")[0]


def _own(labels: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in labels.items() if name != "__name__"}


def by_time(points: Iterable[Point]) -> dict[float, list[Point]]:
    """The points of each moment, in order of time."""
    found: dict[float, list[Point]] = defaultdict(list)
    for point in points:
        found[point.at].append(point)
    return found
