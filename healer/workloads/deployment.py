"""The kind Deployment of apps/v1: its status, and its revisions, which its ReplicaSets store.

Sources: kubectl's rollout status and rollout undo (polymorphichelpers/rollout_status.go, rollback.go), and the Deployment
controller. When a template is used again, the controller gives its ReplicaSet a new revision number and records the old ones in
deployment.kubernetes.io/revision-history.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec

from healer.cluster.api import Api
from healer.cluster.resources import RESOURCES
from healer.model.action import permissions
from healer.model.incident import Reason
from healer.model.kube import Condition, KubeStruct, LabelSelector, Meta, Pod, ReplicaSet
from healer.model.view import View
from healer.model.workload import STUCK, Roll, Workload, WorkloadObject
from healer.workloads.base import Rollable, WholeMeta, WorkloadKind
from healer.workloads.pod_names import PodNames
from healer.workloads.revisions import History, Revision, number
from healer.workloads.template import HASH, Template

Amount = int | Annotated[str, msgspec.Meta(pattern=r"^[0-9]+%$")]


class RollingUpdate(KubeStruct, frozen=True):
    """apps/v1 RollingUpdateDeployment."""

    max_surge: Amount = "25%"
    max_unavailable: Amount = "25%"


class Strategy(KubeStruct, frozen=True):
    """apps/v1 DeploymentStrategy."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate = RollingUpdate()


class DeploymentSpec(KubeStruct, frozen=True):
    """The desired state of a Deployment, without its template."""

    replicas: int = 1
    paused: bool = False
    strategy: Strategy = Strategy()


class DeploymentStatus(KubeStruct, frozen=True):
    """The observed state of a Deployment, as its controller reports it."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    conditions: tuple[Condition, ...] = ()


class Deployment(WorkloadObject, frozen=True):
    """A Deployment as healer watches it, without its template."""

    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()

    def workload(self) -> Workload:
        """The state of the Deployment."""
        return _workload(self.metadata, self.spec, self.status)


class WholeSpec(DeploymentSpec, frozen=True, kw_only=True):
    """A Deployment's spec with its template."""

    selector: LabelSelector
    template: Template


class WholeDeployment(Deployment, Rollable, frozen=True, kw_only=True):
    """A Deployment with its template."""

    metadata: WholeMeta
    spec: WholeSpec


class RevisionSpec(KubeStruct, frozen=True):
    """The template in a ReplicaSet's spec."""

    template: Template


class RevisionReplicaSet(ReplicaSet, frozen=True, kw_only=True):
    """A ReplicaSet with the template of its revision."""

    metadata: WholeMeta
    spec: RevisionSpec


class RevisionReplicaSets(msgspec.Struct):
    """A list of ReplicaSets."""

    items: list[RevisionReplicaSet] = []


def _workload(metadata: Meta, spec: DeploymentSpec, status: DeploymentStatus) -> Workload:
    observed = metadata.generation <= status.observed_generation
    failure = _failure(status)
    return Workload(
        kind=DEPLOYMENT.name,
        metadata=metadata,
        desired=spec.replicas,
        existing=status.replicas,
        updated=status.updated_replicas,
        ready=status.ready_replicas,
        revision=metadata.annotations.revision,
        paused=spec.paused,
        observed=observed,
        rollout=_rollout(metadata.name, spec, status, observed, failure),
        failure=failure,
        overdue=_overdue(status) if observed else "",
        roll=_roll(spec),
        refusal=said(status.conditions, "ReplicaFailure", "True"),
        unavailable=said(status.conditions, "Available", "False"),
    )


def _rollout(name: str, spec: DeploymentSpec, status: DeploymentStatus, observed: bool, failure: str) -> Reason | None:
    """Why the rollout to the current revision is not complete, with the controller's own message when it reports no progress."""
    if spec.paused:
        return Reason("RolloutPaused", "its rollout is paused (spec.paused)")
    if not observed:
        return Reason("RolloutInProgress", "the Deployment controller has not seen its newest spec yet")
    if status.updated_replicas < spec.replicas:
        found = f"{status.updated_replicas} of {spec.replicas} replicas are of the current revision"
    elif status.replicas > status.updated_replicas:
        found = f"{status.replicas - status.updated_replicas} replicas of an older revision remain"
    else:
        return None
    if failure:
        return Reason(STUCK, f"{found}, and {name} makes no progress: {failure}")
    return Reason("RolloutInProgress", found)


def _failure(status: DeploymentStatus) -> str:
    """Why the Deployment cannot have its replicas, by its conditions: a quota, admission, the progress deadline.

    The controller copies a ReplicaSet's ReplicaFailure into the Deployment's conditions (getReplicaFailures).
    """
    return said(status.conditions, "ReplicaFailure", "True") or said(status.conditions, "Progressing", "False")


def said(conditions: tuple[Condition, ...], kind: str, holds: str) -> str:
    """What a controller says in the condition of that type, where the condition has that status; "" where not."""
    for condition in conditions:
        if (condition.type, condition.status) == (kind, holds):
            return f"{kind}={holds} ({condition.reason}): {condition.message}"
    return ""


def _overdue(status: DeploymentStatus) -> str:
    """The controller's message about a rollout that is past its progress deadline; "" for any other."""
    for condition in status.conditions:
        if (condition.type, condition.reason) == ("Progressing", "ProgressDeadlineExceeded"):
            return f"{condition.message} ({condition.reason})"
    return ""


def _roll(spec: DeploymentSpec) -> Roll:
    """The number of replicas that a rolling update may take down at once.

    Source: deploymentutil.MaxUnavailable and ResolveFenceposts. maxSurge is rounded up and maxUnavailable down. When both are 0,
    one replica may be unavailable, because otherwise the rollout would never progress.
    """
    rolling = spec.strategy.rolling_update
    taken = share(rolling.max_unavailable, spec.replicas, up=False)
    if not taken and not share(rolling.max_surge, spec.replicas, up=True):
        taken = 1
    gradual = spec.strategy.type == "RollingUpdate"
    strategy = f"maxUnavailable {rolling.max_unavailable}" if gradual else spec.strategy.type
    return Roll(gradual, min(taken, spec.replicas), strategy)


def share(amount: Amount, whole: int, *, up: bool) -> int:
    """How many of `whole` an amount is: a number, or a percentage, which is rounded up or down."""
    if isinstance(amount, int):
        return amount
    share = whole * int(amount.removesuffix("%"))
    return math.ceil(share / 100) if up else share // 100


async def read_history(api: Api, deployment: Rollable) -> History:
    """Read the history of a Deployment from its ReplicaSets. Raises ClusterError, and TypeError for another kind."""
    if not isinstance(deployment, WholeDeployment):
        raise TypeError(f"{deployment.metadata.name} is no Deployment")
    labels = ",".join(f"{key}={value}" for key, value in sorted(deployment.spec.selector.match_labels.items()))
    query = {"labelSelector": labels} if labels else None
    found = await api.get(RESOURCES[ReplicaSet].path(deployment.metadata.namespace), RevisionReplicaSets, query)
    return history(deployment, found.items)


def history(deployment: WholeDeployment, replica_sets: Sequence[RevisionReplicaSet]) -> History:
    """The history in the ReplicaSets that this Deployment controls and that have a revision number.

    The Deployment controller copies the annotations of the Deployment to a ReplicaSet that it creates or scales up again. The
    ReplicaSets so have older annotations as last_healthy.
    """
    uid = deployment.metadata.uid
    owned = [r for r in replica_sets if r.metadata.controller is not None and r.metadata.controller.uid == uid]
    marks = [deployment.metadata.annotations, *(r.metadata.annotations for r in owned)]
    return History(
        current=number(deployment.metadata.annotations.revision),
        template=deployment.spec.template,
        revisions=tuple(revision for revision in map(_revision, owned) if revision.number),
        rejected=frozenset(filter(None, (number(mark.rolled_back_from) for mark in marks))),
    )


def _revision(replica_set: RevisionReplicaSet) -> Revision:
    marks = replica_set.metadata.annotations
    template = dict(replica_set.spec.template)
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH}
    template["metadata"] = metadata
    former = frozenset(filter(None, map(number, marks.history.split(","))))
    return Revision(number(marks.revision), former, replica_set.metadata.name, template, marks.change_cause)


def _pod_revision(view: View, pod: Pod) -> str:
    """That of its ReplicaSet."""
    owner = pod.metadata.controller
    replica_set = None if owner is None else view.replica_set(owner.uid)
    return "" if replica_set is None else replica_set.metadata.annotations.revision


DEPLOYMENT = WorkloadKind(
    struct=Deployment,
    group="/apis/apps/v1",
    plural="deployments",
    words=("deployment", "deployments", "deploy", "deployment.apps"),
    whole=WholeDeployment,
    history=read_history,
    reads=permissions("apps", "replicasets", "list"),
    meaning="its revisions are ReplicaSets",
    pod_revision=_pod_revision,
    pods=PodNames(between="[a-z0-9]{1,10}-"),  # the hash of the template
)
"""The kind Deployment."""
