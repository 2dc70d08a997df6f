"""A StatefulSet of apps/v1: how it stands, and its revisions, which ControllerRevisions keep.

Sources: kubectl's rollout status (polymorphichelpers/rollout_status.go) and pkg/controller/statefulset of Kubernetes 1.36. It has
no condition for a rollout and no deadline: its two revisions differ while a rollout is in progress. Its pods keep their names, so
that only the uid tells a pod from the one before it.
"""

from healer.cluster.api import Api
from healer.model.incident import Reason
from healer.model.kube import KubeStruct, LabelSelector, Meta
from healer.model.workload import Roll, Workload, WorkloadObject
from healer.workloads.base import Rollable, WorkloadKind
from healer.workloads.controller_revisions import READS, history_of, owned_revisions
from healer.workloads.deployment import Amount, share
from healer.workloads.pod_names import PodNames
from healer.workloads.revisions import History
from healer.workloads.template import Template


class StatefulRollingUpdate(KubeStruct, frozen=True):
    """apps/v1 RollingUpdateStatefulSetStrategy."""

    partition: int = 0
    max_unavailable: Amount = 1


class StatefulStrategy(KubeStruct, frozen=True):
    """apps/v1 StatefulSetUpdateStrategy."""

    type: str = "RollingUpdate"
    rolling_update: StatefulRollingUpdate = StatefulRollingUpdate()


class StatefulSetSpec(KubeStruct, frozen=True):
    """What it is to be."""

    replicas: int = 1
    update_strategy: StatefulStrategy = StatefulStrategy()
    pod_management_policy: str = "OrderedReady"


class StatefulSetStatus(KubeStruct, frozen=True):
    """What its controller has seen."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""


class StatefulSet(WorkloadObject, frozen=True):
    """A StatefulSet as it is watched."""

    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()

    def workload(self) -> Workload:
        """How it stands."""
        return _workload(self.metadata, self.spec, self.status)


class WholeStatefulSetSpec(StatefulSetSpec, frozen=True, kw_only=True):
    """A StatefulSet's spec with its template."""

    selector: LabelSelector
    template: Template


class WholeStatefulSet(StatefulSet, Rollable, frozen=True, kw_only=True):
    """A StatefulSet with its template."""

    spec: WholeStatefulSetSpec


def _workload(metadata: Meta, spec: StatefulSetSpec, status: StatefulSetStatus) -> Workload:
    observed = metadata.generation <= status.observed_generation
    return Workload(
        kind=STATEFUL_SET.name,
        metadata=metadata,
        desired=spec.replicas,
        existing=status.replicas,
        updated=status.updated_replicas,
        ready=status.ready_replicas,
        revision=status.update_revision,
        paused=False,
        observed=observed,
        rollout=_rollout(spec, status, observed),
        failure="",
        overdue="",
        roll=_roll(spec),
    )


def _rollout(spec: StatefulSetSpec, status: StatefulSetStatus, observed: bool) -> Reason | None:
    """Why it is not settled on its newest revision, if it is not."""
    if not observed:
        return Reason("RolloutInProgress", "the StatefulSet controller has not seen its newest spec yet")
    if status.current_revision == status.update_revision:
        return None
    old = max(0, spec.replicas - status.updated_replicas)
    if spec.update_strategy.type != "RollingUpdate" and old:
        text = f"{old} of {spec.replicas} replicas are of an older revision, and a pod that is taken gets the newest (OnDelete)"
        return Reason("RolloutInProgress", text)
    stay = min(spec.update_strategy.rolling_update.partition, spec.replicas)
    if old > stay:
        return Reason("RolloutInProgress", f"{old - stay} replicas of an older revision remain")
    return None


def _roll(spec: StatefulSetSpec) -> Roll:
    """How many pods a rolling update takes at once: `maxUnavailable`, which is 1 unless the feature is on and says more."""
    strategy = spec.update_strategy
    if strategy.type != "RollingUpdate":
        return Roll(True, 0, strategy.type, idle="updateStrategy is OnDelete: no pod is replaced until somebody deletes it")
    rolling = strategy.rolling_update
    if spec.replicas and rolling.partition >= spec.replicas:
        idle = f"its partition ({rolling.partition}) keeps all {spec.replicas} replicas at the revision that they have"
        return Roll(True, 0, f"partition {rolling.partition}", idle=idle)
    takes = max(1, share(rolling.max_unavailable, spec.replicas, up=True))
    waits = "podManagementPolicy is OrderedReady" if spec.pod_management_policy == "OrderedReady" else ""
    return Roll(True, min(takes, spec.replicas), f"maxUnavailable {rolling.max_unavailable}", waits)


async def _history(api: Api, whole: Rollable) -> History:
    """The history that its ControllerRevisions keep. Raises ClusterError, and TypeError for another kind."""
    if not isinstance(whole, WholeStatefulSet):
        raise TypeError(f"{whole.metadata.name} is no StatefulSet")
    kept = await owned_revisions(api, whole, whole.spec.selector)
    return history_of(whole, kept, whole.status.update_revision, lambda each: each.metadata.name)


STATEFUL_SET = WorkloadKind(
    struct=StatefulSet,
    group="/apis/apps/v1",
    plural="statefulsets",
    words=("statefulset", "statefulsets", "sts", "statefulset.apps"),
    whole=WholeStatefulSet,
    history=_history,
    reads=READS,
    pods=PodNames(between="[0-9]+", generated=False),
    by_ordinal=True,
    meaning="keeps the names of its pods; its revisions are ControllerRevisions",
)
"""The kind StatefulSet."""
