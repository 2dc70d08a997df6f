"""What a scenario says of its cluster: the nodes, the workloads and what they can answer, the traffic, Prometheus."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from healer.model.duration import Duration
from healer.rehearsal.simulate.exposed import SERVERS
from healer.rules.form import InPercent, LabelKey, LabelValue, Listed, Model, Name, Number, Text, Whole, fault, one_of
from healer.rules.portion import Portion

SELECTED_BY = ("app", "version")
"""The labels by which a workload, its Service and its budget select pods."""
WORKLOAD_KINDS = ("Deployment", "StatefulSet", "DaemonSet")
SPLITTERS = ("HTTPRoute", "VirtualService", "Ingress")
"""The kinds of routes that are played."""


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


def _whole(share: float) -> float:
    if round(100 * share, 9) % 1:
        raise fault("a route has whole percents", f"write {100 * share:.0f}%, and not {100 * share:g}%")
    return share


Weight = Annotated[Part, AfterValidator(_whole)]
"""A share of the requests, as a route has it."""
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
    measures: Annotated[str, one_of("errors", "saturation", "unready")]
    """`errors`, the share of requests that fail; `saturation`, the requests over the capacity; `unready`, the
    share of the desired pods that are not ready."""
    above: Percent
    held: Annotated[Duration, Field(alias="for")] = 0.0
    """As `for` of an alerting rule."""
    of: Annotated[str, one_of("pod", "workload")] = "workload"
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, written: Any) -> Any:
        """`on` was its key: many readers of YAML take that for true."""
        if isinstance(written, dict) and "on" in written:
            raise fault("the key `on` is now `measures`", f"write measures: {written['on']}", ("on",))
        return written


class AutoscaleSpec(Model):
    """A HorizontalPodAutoscaler: as many pods as keep the load of each at the target."""

    min: Annotated[Whole, Field(ge=1)] = 1
    max: Annotated[Whole, Field(ge=1, le=1000)]
    target: Part
    """The load of a pod as a share of its capacity."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise fault(f"min is {self.min}, and max only {self.max}", "raise max", ("max",))
        if self.target == 0:
            raise fault("with a target of 0% no number of pods is enough", "write 70%", ("target",))
        return self


class PlayedCanary(Model):
    """The split between a workload and its canary, by a route in the cluster."""

    of: Name
    """The stable workload, which gets the traffic. Both Services have the names of their workloads."""
    weight: Weight
    """The canary's share of the requests at the beginning, in full percent. Afterwards it is what the route says."""
    router: Annotated[str, one_of(*SPLITTERS)] = "HTTPRoute"
    """The kind of the route."""
    route: Name | None = None
    """Its name; by default that of the stable workload."""


class PlayedWorkload(Model):
    """A workload with its Service, and what it can do."""

    name: Name
    namespace: Name = "production"
    kind: Annotated[str, one_of(*WORKLOAD_KINDS)] = "Deployment"
    replicas: Annotated[Whole, Field(ge=0, le=2000)] = 3
    """Of a DaemonSet the nodes say how many there are."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Further labels of its pods; `app` is its name unless given. By `app` and `version` it selects them: no two workloads of a
    namespace may select the same pods."""
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
    fails: Part = 0.0
    """So many of its requests fail when all is well."""
    takes: Annotated[Duration, Field(gt=0)] = 0.1
    """The median time that a request takes when all is well."""
    server: Annotated[str, one_of(*SERVERS)] | None = None
    """The model server in its pods: Prometheus has its metrics, for rules on queries and canaries."""
    canary: PlayedCanary | None = None
    """It is the canary of another workload: its requests are a share of that one's."""
    min_available: Portion | None = None
    """Of its PodDisruptionBudget; without it there is no budget."""
    gpus: Annotated[Whole, Field(ge=0, le=16)] = 0
    """GPUs of a pod."""
    autoscale: AutoscaleSpec | None = None
    alerts: tuple[AlertSpec, ...] = ()

    @property
    def all_labels(self) -> dict[str, str]:
        """The labels of it and of its pods."""
        return {"app": self.name} | self.labels

    @property
    def selects(self) -> dict[str, str]:
        """The labels by which it, its Service and its budget select pods."""
        return {name: self.all_labels[name] for name in SELECTED_BY if name in self.all_labels}

    def overlaps(self, other: "PlayedWorkload") -> bool:
        """Whether one of the two selects the pods of the other."""
        mine, others = self.selects.items(), other.selects.items()
        return self.namespace == other.namespace and (mine <= others or others <= mine)


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
        names = [each.name for each in self.workloads]
        for index, name in enumerate(names):
            if name in names[:index]:
                hint = "rename one, in another namespace too: faults and operations name workloads"
                raise fault(f"the workload {name!r} is given twice", hint, ("workloads", index, "name"))
        for index, each in enumerate(self.workloads):
            if (other := next(filter(each.overlaps, self.workloads[:index]), None)) is not None:
                hint = "the budget of one would count them, too: give each of the two a label `version` of its own"
                raise fault(f"{each.name!r} and {other.name!r} select the same pods", hint, ("workloads", index))
            if each.canary is not None:
                self._split(each, each.canary, ("workloads", index))
        return self

    def _split(self, canary: PlayedWorkload, spec: PlayedCanary, at: tuple[str | int, ...]) -> None:
        """Whether a canary's requests can be a share of another workload's."""
        known = {each.name: each for each in self.workloads if each.canary is None and each.namespace == canary.namespace}
        if spec.of not in known:
            hint = f"there are {', '.join(sorted(known)) or 'none'}"
            raise fault(f"no workload {spec.of!r} of the same namespace is stable", hint, (*at, "canary", "of"))
        if any(each.canary is not None and each.canary.of == spec.of and each is not canary for each in self.workloads):
            raise fault(f"{spec.of} has two canaries", "one route splits between two", (*at, "canary", "of"))
        if canary.traffic.rate:
            hint = "delete traffic: its requests are a share of those of " + spec.of
            raise fault("a canary has no traffic of its own", hint, (*at, "traffic"))


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
