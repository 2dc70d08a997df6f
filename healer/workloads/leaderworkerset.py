"""The kind LeaderWorkerSet of leaderworkerset.x-k8s.io/v1: groups of a leader and its workers, which serve one model together.

Source: sigs.k8s.io/lws, pkg/controllers (leaderworkerset_controller.go, pod_controller.go), after v0.9. A StatefulSet of the
LeaderWorkerSet owns the leaders, and each leader owns the StatefulSet of its workers. The controller counts groups. A group that
is replaced counts as not updated for a while, so that only the condition UpdateInProgress tells a rollout from that.
"""

from typing import Any

from healer.cluster.api import Api
from healer.model.action import Permissions
from healer.model.annotations import RESTARTED_BY
from healer.model.incident import Reason
from healer.model.kube import Condition, KubeStruct, Meta
from healer.model.unit import PodGroup
from healer.model.workload import Roll, Workload, WorkloadObject
from healer.workloads.base import BY_TEMPLATE, RestartMark, Rollable, WorkloadKind
from healer.workloads.deployment import Amount, share
from healer.workloads.pod_names import PodNames
from healer.workloads.revisions import History
from healer.workloads.template import RESTARTED_AT, Template

_REPLACED_PER_POD = "None"
"""The restartPolicy with which each pod is replaced for itself. With the others (RecreateGroupOnPodRestart, the default, and
RecreateGroupAfterStart) the group is. "Default" is the old name of None."""


class GroupTemplate(KubeStruct, frozen=True):
    """The LeaderWorkerTemplate, without its pod templates."""

    size: int = 1
    restart_policy: str = "RecreateGroupOnPodRestart"


class GroupUpdate(KubeStruct, frozen=True):
    """The RollingUpdateConfiguration."""

    partition: int = 0
    max_unavailable: Amount = 1
    max_surge: Amount = 0


class GroupStrategy(KubeStruct, frozen=True):
    """The RolloutStrategy. Its only type is RollingUpdate."""

    rolling_update_configuration: GroupUpdate = GroupUpdate()


class LeaderWorkerSetSpec(KubeStruct, frozen=True):
    """The desired state of a LeaderWorkerSet, without its pod templates."""

    replicas: int = 1
    leader_worker_template: GroupTemplate = GroupTemplate()
    rollout_strategy: GroupStrategy = GroupStrategy()


class LeaderWorkerSetStatus(KubeStruct, frozen=True):
    """The observed state of a LeaderWorkerSet, in groups."""

    observed_generation: int = 0
    """0 where the controller is older than the field."""
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    conditions: tuple[Condition, ...] = ()


class LeaderWorkerSet(WorkloadObject, frozen=True):
    """A LeaderWorkerSet as healer watches it."""

    spec: LeaderWorkerSetSpec = LeaderWorkerSetSpec()
    status: LeaderWorkerSetStatus = LeaderWorkerSetStatus()

    def workload(self) -> Workload:
        """The state of the LeaderWorkerSet."""
        return _workload(self.metadata, self.spec, self.status)


class WholeGroupTemplate(GroupTemplate, frozen=True, kw_only=True):
    """The LeaderWorkerTemplate with the template of the workers."""

    worker_template: Template


class WholeLeaderWorkerSetSpec(LeaderWorkerSetSpec, frozen=True, kw_only=True):
    """A LeaderWorkerSet's spec with the template of the workers."""

    leader_worker_template: WholeGroupTemplate

    @property
    def template(self) -> Template:
        """The template of its workers, and of its leaders unless they have one of their own."""
        return self.leader_worker_template.worker_template


class WholeLeaderWorkerSet(LeaderWorkerSet, Rollable, frozen=True, kw_only=True):
    """A LeaderWorkerSet with the template of its workers."""

    spec: WholeLeaderWorkerSetSpec


def _workload(metadata: Meta, spec: LeaderWorkerSetSpec, status: LeaderWorkerSetStatus) -> Workload:
    observed = metadata.generation <= status.observed_generation or (not status.observed_generation and bool(status.conditions))
    template = spec.leader_worker_template
    return Workload(
        kind=LEADER_WORKER_SET.name,
        metadata=metadata,
        desired=spec.replicas,
        existing=status.replicas,
        updated=status.updated_replicas,
        ready=status.ready_replicas,
        revision="",
        paused=False,
        observed=observed,
        rollout=_rollout(spec, status, observed),
        failure="",
        overdue="",
        roll=_roll(spec),
        group=PodGroup(template.size, template.restart_policy not in (_REPLACED_PER_POD, "Default")),
    )


def _rollout(spec: LeaderWorkerSetSpec, status: LeaderWorkerSetStatus, observed: bool) -> Reason | None:
    """Why its rollout is not complete; None when it is."""
    if not observed:
        return Reason("RolloutInProgress", "the LeaderWorkerSet controller has not seen its newest spec yet")
    if any(each.type == "UpdateInProgress" and each.status == "True" for each in status.conditions):
        old = max(0, spec.replicas - status.updated_replicas)
        return Reason("RolloutInProgress", f"{old} of {spec.replicas} groups are of an older revision")
    if status.replicas > spec.replicas:
        surplus = status.replicas - spec.replicas
        return Reason("RolloutInProgress", f"{surplus} groups more than the {spec.replicas} wanted are not gone yet")
    return None


def _roll(spec: LeaderWorkerSetSpec) -> Roll:
    """The groups that a rolling update takes down at once. A percentage of maxUnavailable is rounded down."""
    update, replicas = spec.rollout_strategy.rolling_update_configuration, spec.replicas
    if replicas and update.partition >= replicas:
        idle = f"its partition ({update.partition}) keeps all {replicas} groups at the revision that they have"
        return Roll(True, 0, f"partition {update.partition}", idle=idle)
    takes = share(update.max_unavailable, replicas, up=False)
    if not takes and not share(update.max_surge, replicas, up=True):
        takes = 1
    return Roll(True, min(takes, replicas), f"maxUnavailable {update.max_unavailable}")


def _no_rollback(whole: Rollable) -> Reason | None:
    text = (
        f"healer does not roll leaderworkerset/{whole.metadata.name} back: its controller deletes the earlier revisions when a "
        "rollout is complete, and a LeaderWorkerSet has no undo: apply the earlier manifest"
    )
    return Reason("NoEarlierRevision", text)


def _mark_workers(at: str, by: str) -> dict[str, Any]:
    """A change of the workers' template alone is a new revision, and each group is replaced as a whole for it."""
    marked = {"metadata": {"annotations": {RESTARTED_AT: at, RESTARTED_BY: by}}}
    return {"spec": {"leaderWorkerTemplate": {"workerTemplate": marked}}}


async def _history(api: Api, whole: Rollable) -> History:
    """No revision: its controller keeps the earlier ones during a rollout only."""
    return History(current=0, template=whole.template, revisions=(), rejected=frozenset(), ids={})


LEADER_WORKER_SET = WorkloadKind(
    struct=LeaderWorkerSet,
    group="/apis/leaderworkerset.x-k8s.io/v1",
    plural="leaderworkersets",
    words=("leaderworkerset", "leaderworkersets", "lws", "leaderworkerset.leaderworkerset.x-k8s.io"),
    whole=WholeLeaderWorkerSet,
    history=_history,
    reads=Permissions(),
    by_ordinal=True,
    meaning="its unit is a group of pods, a leader and its workers: counts and limits count groups",
    restart=RestartMark(_mark_workers, BY_TEMPLATE.found),
    instead=_no_rollback,
    rolls_back=False,
    optional=True,
    name_label="leaderworkerset.sigs.k8s.io/name",
    pods=PodNames(r"\d+(-\d+)?", generated=False),
    pod_revision=lambda view, pod: "",
)
"""The kind LeaderWorkerSet."""
