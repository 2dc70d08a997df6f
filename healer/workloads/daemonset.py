"""A DaemonSet of apps/v1: one pod a node. How it stands, and its revisions, which ControllerRevisions keep.

Sources: kubectl's rollout status (polymorphichelpers/rollout_status.go) and pkg/controller/daemon of Kubernetes 1.36. A pod that
is taken comes back on the same node. Its status does not name its revision: the annotation of the API server that counts its
templates does.
"""

from healer.cluster.api import Api
from healer.model.incident import Reason
from healer.model.kube import KubeStruct, LabelSelector, Meta, Pod
from healer.model.view import View
from healer.model.workload import Roll, Workload, WorkloadObject
from healer.workloads.base import Rollable, WorkloadKind
from healer.workloads.controller_revisions import READS, ControllerRevision, history_of, owned_revisions
from healer.workloads.deployment import Amount, share
from healer.workloads.revisions import History
from healer.workloads.template import Template


class DaemonRollingUpdate(KubeStruct, frozen=True):
    """apps/v1 RollingUpdateDaemonSet."""

    max_unavailable: Amount = 1


class DaemonStrategy(KubeStruct, frozen=True):
    """apps/v1 DaemonSetUpdateStrategy."""

    type: str = "RollingUpdate"
    rolling_update: DaemonRollingUpdate = DaemonRollingUpdate()


class DaemonSetSpec(KubeStruct, frozen=True):
    """What it is to be."""

    update_strategy: DaemonStrategy = DaemonStrategy()


class DaemonSetStatus(KubeStruct, frozen=True):
    """What its controller has seen."""

    observed_generation: int = 0
    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_ready: int = 0


class DaemonSet(WorkloadObject, frozen=True):
    """A DaemonSet as it is watched."""

    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()

    def workload(self) -> Workload:
        """How it stands."""
        return _workload(self.metadata, self.spec, self.status)


class WholeDaemonSetSpec(DaemonSetSpec, frozen=True, kw_only=True):
    """A DaemonSet's spec with its template."""

    selector: LabelSelector
    template: Template


class WholeDaemonSet(DaemonSet, Rollable, frozen=True, kw_only=True):
    """A DaemonSet with its template."""

    spec: WholeDaemonSetSpec


def _workload(metadata: Meta, spec: DaemonSetSpec, status: DaemonSetStatus) -> Workload:
    observed = metadata.generation <= status.observed_generation
    return Workload(
        kind=DAEMON_SET.name,
        metadata=metadata,
        desired=status.desired_number_scheduled,
        existing=status.current_number_scheduled,
        updated=status.updated_number_scheduled,
        ready=status.number_ready,
        revision=_generation(metadata.annotations.template_generation),
        paused=False,
        observed=observed,
        rollout=_rollout(spec, status, observed),
        failure="",
        overdue="",
        roll=_roll(spec, status.desired_number_scheduled),
    )


def _rollout(spec: DaemonSetSpec, status: DaemonSetStatus, observed: bool) -> Reason | None:
    """Why it is not settled on its newest template, if it is not."""
    if not observed:
        return Reason("RolloutInProgress", "the DaemonSet controller has not seen its newest spec yet")
    old = status.current_number_scheduled - status.updated_number_scheduled
    if old <= 0:
        return None
    if spec.update_strategy.type != "RollingUpdate":
        text = f"{old} pods are of an older revision, and a pod that is taken gets the newest (OnDelete)"
        return Reason("RolloutInProgress", text)
    return Reason("RolloutInProgress", f"{old} of {status.desired_number_scheduled} pods are of an older revision")


def _roll(spec: DaemonSetSpec, nodes: int) -> Roll:
    """How many pods a rolling update takes at once: a percentage is rounded up (util.UnavailableCount)."""
    strategy = spec.update_strategy
    if strategy.type != "RollingUpdate":
        return Roll(True, 0, strategy.type, idle="updateStrategy is OnDelete: no pod is replaced until somebody deletes it")
    taken = strategy.rolling_update.max_unavailable
    return Roll(True, min(share(taken, nodes, up=True), nodes), f"maxUnavailable {taken}")


def _generation(count: str) -> str:
    return f"generation-{count}" if count else ""


def _id_of(kept: ControllerRevision) -> str:
    """The controller copies the annotations of the DaemonSet when it makes a ControllerRevision."""
    return _generation(kept.metadata.annotations.template_generation)


async def _history(api: Api, whole: Rollable) -> History:
    """The history that its ControllerRevisions keep. Raises ClusterError, and TypeError for another kind."""
    if not isinstance(whole, WholeDaemonSet):
        raise TypeError(f"{whole.metadata.name} is no DaemonSet")
    kept = await owned_revisions(api, whole, whole.spec.selector)
    return history_of(whole, kept, _generation(whole.metadata.annotations.template_generation), _id_of)


def _pod_revision(view: View, pod: Pod) -> str:
    return _generation(pod.metadata.labels.get("pod-template-generation", ""))


DAEMON_SET = WorkloadKind(
    struct=DaemonSet,
    group="/apis/apps/v1",
    plural="daemonsets",
    words=("daemonset", "daemonsets", "ds", "daemonset.apps"),
    whole=WholeDaemonSet,
    history=_history,
    reads=READS,
    pod_revision=_pod_revision,
    meaning="one pod a node: a pod that is taken comes back on the same node",
    scales=False,
    only_named=True,
)
"""The kind DaemonSet."""
