"""What a scenario says of its cluster: the nodes, the workloads and what they can answer, the traffic, Prometheus."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from healer.model.duration import Duration
from healer.rules.form import InPercent, LabelKey, LabelValue, Listed, Model, Name, Number, Text, Whole, fault, one_of
from healer.rules.portion import Portion

WORKLOAD_KINDS = ("Deployment", "StatefulSet", "DaemonSet")


def _percent(value: Any) -> Any:
    """A share of requests or of a capacity: "40%" is 0.4."""
    text = value.removesuffix("%") if isinstance(value, str) and value.endswith("%") else ""
    try:
        share = float(text) / 100
    except ValueError:
        share = -1.0
    if isinstance(value, str) and share >= 0:
        return share
    if isinstance(value, float) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("rule", "{value} is no percentage", {"value": repr(value), "hint": "write a percentage: 40%"})


Percent = Annotated[float, BeforeValidator(_percent), Field(ge=0), InPercent()]
Part = Annotated[float, BeforeValidator(_percent), Field(ge=0, le=1), InPercent()]
Rate = Annotated[Number, Field(ge=0, le=1e9)]
Moment = Annotated[Duration, Field(ge=0)]


class Burst(Model):
    """More requests, or fewer, for a while."""

    at: Moment
    lasts: Annotated[Duration, Field(gt=0)]
    times: Rate
    """Factor on the requests."""


class TrafficSpec(Model):
    """The requests that clients send to a workload."""

    rate: Rate = 0.0
    """Requests a second, on the average of a day."""
    daily: Part = 0.0
    """How much more come at the peak (14:00 of the scenario's day), and fewer 12 hours later."""
    bursts: tuple[Burst, ...] = ()


class AlertSpec(Model):
    """An alert that the modelled Prometheus has for a workload."""

    name: Text
    on: Annotated[str, one_of("errors", "saturation", "unready")]
    """What it measures: `errors`, the share of requests that fail; `saturation`, the requests over the capacity; `unready`, the
    share of the desired pods that are not ready."""
    above: Percent
    held: Annotated[Duration, Field(alias="for")] = 0.0
    """As `for` of an alerting rule."""
    of: Annotated[str, one_of("pod", "workload")] = "workload"
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)


class AutoscaleSpec(Model):
    """A HorizontalPodAutoscaler: as many pods as keep the load of each at the target."""

    min: Annotated[Whole, Field(ge=1)] = 1
    max: Annotated[Whole, Field(ge=1, le=1000)]
    target: Part
    """The load of a pod as a share of its capacity."""


class PlayedWorkload(Model):
    """A workload with its Service, and what it can do."""

    name: Name
    namespace: Name = "production"
    kind: Annotated[str, one_of(*WORKLOAD_KINDS)] = "Deployment"
    replicas: Annotated[Whole, Field(ge=0, le=2000)] = 3
    """Of a DaemonSet the nodes say how many there are."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Further labels of its pods; `app` is its name unless given."""
    image: Text = "serving:v1"
    port: Annotated[Whole, Field(ge=1, le=65535)] = 8501
    starts: Annotated[Duration, Field(ge=0)] = 10.0
    """From the binding of a pod to a node until its containers run: the pull of the image, the volumes."""
    loads: Annotated[Duration, Field(ge=0)] = 20.0
    """From the start of the containers until the pod is ready: the load of the model. A restarted container loads again."""
    stops: Annotated[Duration, Field(ge=0)] = 10.0
    """From the deletion of a pod until it is gone."""
    capacity: Annotated[Number, Field(gt=0)] = 10.0
    """Requests a second that a pod answers when it is well."""
    traffic: TrafficSpec = TrafficSpec()
    min_available: Portion | None = None
    """Of its PodDisruptionBudget; without it there is no budget."""
    gpus: Annotated[Whole, Field(ge=0, le=16)] = 0
    """GPUs of a pod."""
    autoscale: AutoscaleSpec | None = None
    alerts: tuple[AlertSpec, ...] = ()


class QuotaSpec(Model):
    """A ResourceQuota on the number of pods of a namespace."""

    namespace: Name = "production"
    pods: Annotated[Whole, Field(ge=0)]


class ClusterSpec(Model):
    """The nodes, and what runs on them."""

    nodes: Annotated[Whole, Field(ge=1, le=500)] = 3
    """They are named node-0, node-1, ..."""
    zones: Annotated[tuple[Name, ...], Listed, Field(min_length=1)] = ("zone-a",)
    """The nodes are in these zones in turn."""
    gpus: Annotated[Whole, Field(ge=0, le=64)] = 0
    """GPUs of each node."""
    workloads: Annotated[tuple[PlayedWorkload, ...], Field(min_length=1)]
    quotas: tuple[QuotaSpec, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [(each.namespace, each.name) for each in self.workloads]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise fault(f"the workload {name[1]!r} is given twice", "rename one", ("workloads", index, "name"))
        return self


class Gap(Model):
    """A time in which Prometheus, or the way to it, does not work."""

    at: Moment
    lasts: Annotated[Duration, Field(gt=0)]


class PrometheusSpec(Model):
    """The modelled Prometheus and its Alertmanager, which posts to healer's webhook."""

    scrape: Annotated[Duration, Field(gt=0)] = 15.0
    """Between two scrapes, and two evaluations of the alerts."""
    group_wait: Annotated[Duration, Field(ge=0)] = 10.0
    """From an alert's firing until Alertmanager tells it."""
    repeat: Annotated[Duration, Field(gt=0)] = 240.0
    """Alertmanager tells an alert that still fires again so often."""
    gaps: tuple[Gap, ...] = ()
    """Nothing is scraped, so no alert begins or ends; Alertmanager resolves what it hears nothing of after 5 minutes."""
    flapping: tuple[Gap, ...] = ()
    """The peers of Alertmanager do not see each other: each alert is told by two of them, resolved and firing in turn."""
