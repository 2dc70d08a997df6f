"""The fields of a HorizontalPodAutoscaler that healer reads (autoscaling/v2, Kubernetes 1.30 to 1.36)."""

from healer.model.kube import Condition, KubeObject, KubeStruct


class ScaleTarget(KubeStruct, frozen=True):
    """autoscaling/v2 CrossVersionObjectReference: an object of the autoscaler's own namespace."""

    kind: str = ""
    name: str = ""


class Level(KubeStruct, frozen=True):
    """autoscaling/v2 MetricTarget or MetricValueStatus: one of these is given; amounts are quantities."""

    average_utilization: int | None = None
    average_value: str | int | None = None
    value: str | int | None = None


class NamedMetric(KubeStruct, frozen=True):
    """autoscaling/v2 MetricIdentifier."""

    name: str = ""


class MetricSource(KubeStruct, frozen=True):
    """One metric, of whichever type: `target` is what it is to be, `current` what it is."""

    name: str = ""
    """Of a resource."""
    container: str = ""
    metric: NamedMetric = NamedMetric()
    """Of any other type."""
    target: Level = Level()
    current: Level = Level()


class Metric(KubeStruct, frozen=True):
    """autoscaling/v2 MetricSpec or MetricStatus: `type` says which of the sources is given."""

    type: str = ""
    resource: MetricSource | None = None
    container_resource: MetricSource | None = None
    pods: MetricSource | None = None
    object: MetricSource | None = None
    external: MetricSource | None = None

    @property
    def source(self) -> MetricSource | None:
        """The source that is given."""
        given = (self.resource, self.container_resource, self.pods, self.object, self.external)
        return next((each for each in given if each is not None), None)


class ScalingSpec(KubeStruct, frozen=True):
    """What it scales, how far, and by what."""

    scale_target_ref: ScaleTarget = ScaleTarget()
    max_replicas: int = 0
    metrics: tuple[Metric, ...] = ()


class ScalingStatus(KubeStruct, frozen=True):
    """What its controller has seen and done."""

    current_replicas: int = 0
    current_metrics: tuple[Metric, ...] | None = None
    conditions: tuple[Condition, ...] | None = None


class HorizontalPodAutoscaler(KubeObject, frozen=True):
    """An autoscaler as it is watched."""

    spec: ScalingSpec = ScalingSpec()
    status: ScalingStatus = ScalingStatus()
