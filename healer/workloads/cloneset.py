"""The kind CloneSet of OpenKruise: its status, and its revisions, which ControllerRevisions store.

Sources: apis/apps/v1alpha1/cloneset_types.go, pkg/controller/cloneset, pkg/util/inplaceupdate of openkruise/kruise (2026). It
owns its pods directly. `InPlaceIfPossible` and `InPlaceOnly` change the image of a running pod, which restarts that container and
keeps the pod, its name and its uid; a change of annotations alone restarts nothing there.
"""

from healer.cluster.api import Api
from healer.model.incident import Reason
from healer.model.kube import Condition, KubeStruct, LabelSelector, Meta, Pod
from healer.model.view import View
from healer.model.workload import STUCK, Roll, Workload, WorkloadObject
from healer.workloads.base import BY_TEMPLATE, RestartMark, Rollable, WorkloadKind, by_revision_label
from healer.workloads.controller_revisions import READS, history_of, owned_revisions
from healer.workloads.deployment import Amount, said, share
from healer.workloads.revisions import History
from healer.workloads.template import Template

_IN_PLACE = ("InPlaceIfPossible", "InPlaceOnly")


class CloneStrategy(KubeStruct, frozen=True):
    """apps.kruise.io/v1alpha1 CloneSetUpdateStrategy."""

    type: str = "ReCreate"
    partition: Amount = 0
    max_unavailable: Amount = "20%"
    max_surge: Amount = 0
    paused: bool = False


class CloneSetSpec(KubeStruct, frozen=True):
    """The desired state of a CloneSet, without its template."""

    replicas: int = 1
    update_strategy: CloneStrategy = CloneStrategy()


class CloneSetStatus(KubeStruct, frozen=True):
    """The observed state of a CloneSet, as its controller reports it."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    update_revision: str = ""
    conditions: tuple[Condition, ...] = ()


class CloneSet(WorkloadObject, frozen=True):
    """A CloneSet as healer watches it, without its template."""

    spec: CloneSetSpec = CloneSetSpec()
    status: CloneSetStatus = CloneSetStatus()

    def workload(self) -> Workload:
        """The state of the CloneSet."""
        return _workload(self.metadata, self.spec, self.status)


class WholeCloneSetSpec(CloneSetSpec, frozen=True, kw_only=True):
    """A CloneSet's spec with its template."""

    selector: LabelSelector
    template: Template


class WholeCloneSet(CloneSet, Rollable, frozen=True, kw_only=True):
    """A CloneSet with its template."""

    spec: WholeCloneSetSpec


def _workload(metadata: Meta, spec: CloneSetSpec, status: CloneSetStatus) -> Workload:
    observed = 0 < metadata.generation <= status.observed_generation
    refusal, late = said(status.conditions, "FailedScale", "True"), said(status.conditions, "Progressing", "False")
    failure = refusal or said(status.conditions, "FailedUpdate", "True") or late
    return Workload(
        kind=CLONE_SET.name,
        metadata=metadata,
        desired=spec.replicas,
        existing=status.replicas,
        updated=status.updated_replicas,
        ready=status.ready_replicas,
        revision=status.update_revision,
        paused=spec.update_strategy.paused,
        observed=observed,
        rollout=_rollout(metadata.name, spec, status, observed, failure),
        failure=failure,
        overdue=late if observed else "",
        roll=_roll(spec),
        refusal=refusal,
    )


def _rollout(name: str, spec: CloneSetSpec, status: CloneSetStatus, observed: bool, failure: str) -> Reason | None:
    """Why the rollout to the current revision is not complete; None when it is, or when the partition keeps the rest."""
    if spec.update_strategy.paused:
        return Reason("RolloutPaused", "its updates are paused (spec.updateStrategy.paused)")
    if not observed:
        return Reason("RolloutInProgress", "the CloneSet controller has not seen its newest spec yet")
    old = status.replicas - status.updated_replicas
    if spec.update_strategy.type == "OnDelete" and old:
        text = f"{old} of {spec.replicas} replicas are of an older revision, and a pod that is taken gets the newest (OnDelete)"
        return Reason("RolloutInProgress", text)
    remain = old - min(share(spec.update_strategy.partition, spec.replicas, up=True), spec.replicas)
    if remain <= 0:
        return None
    found = f"{remain} replicas of an older revision remain"
    if failure:
        return Reason(STUCK, f"{found}, and {name} makes no progress: {failure}")
    return Reason("RolloutInProgress", found)


def _roll(spec: CloneSetSpec) -> Roll:
    """How many pods an update takes at once. A percentage is rounded up; with a surge down (calculateDiffsWithExpectation)."""
    strategy = spec.update_strategy
    if strategy.type == "OnDelete":
        return Roll(True, 0, strategy.type, idle="updateStrategy is OnDelete: no pod is replaced until somebody deletes it")
    if spec.replicas and share(strategy.partition, spec.replicas, up=True) >= spec.replicas:
        idle = f"its partition ({strategy.partition}) keeps all {spec.replicas} replicas at the revision that they have"
        return Roll(True, 0, f"partition {strategy.partition}", idle=idle)
    surge = share(strategy.max_surge, spec.replicas, up=True)
    takes = share(strategy.max_unavailable, spec.replicas, up=not surge)
    return Roll(True, min(takes, spec.replicas), f"maxUnavailable {strategy.max_unavailable}")


async def _history(api: Api, whole: Rollable) -> History:
    """The history that its ControllerRevisions store. Raises ClusterError, and TypeError for another kind."""
    if not isinstance(whole, WholeCloneSet):
        raise TypeError(f"{whole.metadata.name} is no CloneSet")
    kept = await owned_revisions(api, whole, whole.spec.selector)
    return history_of(whole, kept, whole.status.update_revision, lambda each: each.metadata.name)


def _idle(whole: Rollable) -> str:
    kind = whole.spec.update_strategy.type if isinstance(whole, WholeCloneSet) else ""
    if kind not in _IN_PLACE:
        return ""
    return f"its updateStrategy is {kind}, which writes an annotation into running pods and restarts none: evict them instead"


def _pod_revision(view: View, pod: Pod) -> str:
    """The label has the whole name of the ControllerRevision, or its hash alone (the feature CloneSetShortHash)."""
    named, owner = by_revision_label(view, pod), pod.metadata.controller
    return named if "-" in named or not named or owner is None else f"{owner.name}-{named}"


CLONE_SET = WorkloadKind(
    struct=CloneSet,
    group="/apis/apps.kruise.io/v1alpha1",
    plural="clonesets",
    words=("cloneset", "clonesets", "clone", "cloneset.apps.kruise.io"),
    whole=WholeCloneSet,
    history=_history,
    reads=READS,
    meaning="of OpenKruise; owns its pods directly; an update in place restarts containers and keeps the pod",
    restart=RestartMark(BY_TEMPLATE.patch, BY_TEMPLATE.found, _idle),
    optional=True,
    pod_revision=_pod_revision,
)
"""The kind CloneSet."""
