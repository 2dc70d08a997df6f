"""The fields of Kubernetes objects that healer reads, as msgspec structs. The decoder skips all other fields.

The structs are those of Kubernetes 1.30 to 1.36 (core/v1, apps/v1, policy/v1). Absent fields take the API's documented defaults.
"""

from collections.abc import Mapping
from datetime import datetime
from math import inf

import msgspec

from healer.model.annotations import APPROVED_BY, PAUSED, PAUSED_BY, PAUSED_REASON, PAUSED_UNTIL, UNDONE_BY


class KubeStruct(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """The base class of all structs of objects. They are immutable and form no cycles, so that garbage collection skips them."""


def ends(until: str) -> float:
    """The end of a pause, parsed from RFC 3339 to seconds since the epoch.

    Infinity without a time, and for an invalid one: such a pause does not end by itself.
    """
    try:
        at = datetime.fromisoformat(until) if until else None
    except ValueError:
        return inf
    return inf if at is None or at.tzinfo is None else at.timestamp()


class Annotations(KubeStruct, frozen=True):
    """The annotations that healer reads. Others are not decoded, because last-applied-configuration is large."""

    paused: str = msgspec.field(default="", name=PAUSED)
    paused_by: str = msgspec.field(default="", name=PAUSED_BY)
    paused_reason: str = msgspec.field(default="", name=PAUSED_REASON)
    paused_until: str = msgspec.field(default="", name=PAUSED_UNTIL)
    revision: str = msgspec.field(default="", name="deployment.kubernetes.io/revision")
    template_generation: str = msgspec.field(default="", name="deprecated.daemonset.template.generation")
    argocd: str = msgspec.field(default="", name="argocd.argoproj.io/tracking-id")
    approved_by: str = msgspec.field(default="", name=APPROVED_BY)
    undone_by: str = msgspec.field(default="", name=UNDONE_BY)

    def pauses(self, now: float) -> bool:
        """Whether the annotations pause healer at `now`, in seconds since the epoch."""
        return self.paused == "true" and not ends(self.paused_until) <= now


class OwnerReference(KubeStruct, frozen=True):
    kind: str
    name: str
    uid: str
    controller: bool = False


class Meta(KubeStruct, frozen=True):
    name: str
    uid: str
    namespace: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: Annotations = Annotations()
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages this object (ownerReference with controller: true), if any."""
        for owner in self.owner_references:  # no generator: this runs several times for each event
            if owner.controller:
                return owner
        return None


class KubeObject(KubeStruct, frozen=True):
    """An object that the API server stores."""

    metadata: Meta


class Waiting(KubeStruct, frozen=True):
    reason: str = ""
    message: str = ""


class Running(KubeStruct, frozen=True):
    started_at: datetime | None = None


class Terminated(KubeStruct, frozen=True):
    exit_code: int = 0
    reason: str = ""
    finished_at: datetime | None = None
    message: str = ""


class ContainerState(KubeStruct, frozen=True):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class DeviceHealth(KubeStruct, frozen=True):
    """core/v1 ResourceHealth: Healthy, Unhealthy or Unknown, as the device plugin or the DRA driver says."""

    resource_id: str = msgspec.field(default="", name="resourceID")
    health: str = ""


class AllocatedResource(KubeStruct, frozen=True):
    """core/v1 ResourceStatus: the devices of one resource that a container has (KEP-4680, beta in 1.36)."""

    name: str
    resources: tuple[DeviceHealth, ...] = ()


class ContainerStatus(KubeStruct, frozen=True):
    name: str
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    started: bool = False
    allocated_resources_status: tuple[AllocatedResource, ...] = ()


class Condition(KubeStruct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class InitContainer(KubeStruct, frozen=True):
    """An init container of the spec. With restartPolicy Always it is a sidecar (1.29 and later)."""

    name: str
    restart_policy: str = ""


class Toleration(KubeStruct, frozen=True):
    """core/v1 Toleration."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class PodSpec(KubeStruct, frozen=True):
    node_name: str = ""
    init_containers: tuple[InitContainer, ...] = ()
    tolerations: tuple[Toleration, ...] = ()


class PodStatus(KubeStruct, frozen=True):
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    pod_ip: str = msgspec.field(default="", name="podIP")


TEMPLATE_LABELS = (
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "leaderworkerset.sigs.k8s.io/template-revision-hash",
    "controller-revision-hash",
)
"""The labels by which controllers tell the templates of their pods apart. The pods of a LeaderWorkerSet have the last one too,
from the StatefulSet between them."""


class Pod(KubeObject, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def template(self) -> str:
        """Which of its workload's templates it was made of, as its controller labels it; "" where no label says so."""
        return next(filter(None, map(self.metadata.labels.get, TEMPLATE_LABELS)), "")

    @property
    def terminating(self) -> bool:
        """Whether the API server has accepted its deletion."""
        return self.metadata.deletion_timestamp is not None

    @property
    def finished(self) -> bool:
        """Whether it has ended for good (phase Failed or Succeeded). None of its containers runs again.

        Its conditions and container statuses are no longer updated: Ready may still be True.
        """
        return self.status.phase in ("Failed", "Succeeded")

    @property
    def ready(self) -> bool:
        """Whether it serves: the condition Ready is True, it has not finished, and it is not being deleted."""
        for condition in self.status.conditions:
            if condition.type == "Ready":
                return condition.status == "True" and not self.terminating and not self.finished
        return False

    @property
    def was_ready(self) -> bool:
        """Whether it is not ready, and was in the processes that run now: Ready turned False after its unready containers began.

        Of a pod that was never ready, the condition is older than they are.
        """
        turned = [each.last_transition_time for each in self.status.conditions if each.type == "Ready" and each.status == "False"]
        began = [each.state.running for each in self.status.container_statuses if not each.ready]
        if not turned or turned[0] is None or not began:
            return False
        return all(each is not None and each.started_at is not None and each.started_at < turned[0] for each in began)

    @property
    def containers(self) -> tuple[ContainerStatus, ...]:
        """The statuses of all its containers, init containers first."""
        return self.status.init_container_statuses + self.status.container_statuses

    @property
    def restarts(self) -> int:
        """The restarts of all its containers since its creation, init containers included."""
        restarts = 0
        for container in self.status.container_statuses:
            restarts += container.restart_count
        for container in self.status.init_container_statuses:
            restarts += container.restart_count
        return restarts

    @property
    def max_restarts(self) -> int:
        """The restarts of its most restarted container since its creation, init containers included."""
        return max((container.restart_count for container in self.containers), default=0)


class ReplicaSet(KubeObject, frozen=True):
    """The controller between a workload and its pods. It stores one revision of the workload."""


class LabelRequirement(KubeStruct, frozen=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(KubeStruct, frozen=True):
    """metav1.LabelSelector: all of matchLabels and matchExpressions must match. An empty selector selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelRequirement, ...] = ()


class BudgetSpec(KubeStruct, frozen=True):
    """The spec of a PodDisruptionBudget. In policy/v1 a null selector selects no pod and an empty one every pod."""

    selector: LabelSelector | None = None


class PodDisruptionBudget(KubeObject, frozen=True):
    spec: BudgetSpec = BudgetSpec()


class Namespace(KubeObject, frozen=True):
    """A namespace, in which healer can be paused."""


class Incident(KubeObject, frozen=True):
    """The object that stores an incident (healer.dev/v1alpha1). Only the annotations that people write are decoded."""


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether `labels` satisfy every requirement of `selector`. An empty selector matches all.

    Raises ValueError on an operator that Kubernetes does not have.
    """
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _meets(requirement, labels) for requirement in selector.match_expressions
    )


def _meets(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise ValueError(f"label selector operator {other!r} is none of In, NotIn, Exists, DoesNotExist")
