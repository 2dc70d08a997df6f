"""The kind Rollout of Argo Rollouts: its status, and its revisions, which its ReplicaSets store.

Sources: utils/rollout/rolloututil.go, rollout/{canary,restart}.go and the verbs undo and abort of argoproj/argo-rollouts
(2026). `status.observedGeneration` is a text. The API server does not fill in defaults in `spec.template`, and does in the
template of a ReplicaSet: the two are compared by `status.currentPodHash`.
"""

from typing import Any

import msgspec

from healer.cluster.api import Api
from healer.cluster.resources import RESOURCES
from healer.model.action import permissions
from healer.model.annotations import RESTARTED_BY
from healer.model.incident import Reason
from healer.model.kube import Condition, KubeStruct, LabelSelector, Meta, ReplicaSet
from healer.model.workload import STUCK, Roll, Workload, WorkloadObject
from healer.workloads.base import RestartMark, Rollable, RolloutMarks, WholeMeta, WorkloadKind
from healer.workloads.deployment import DEPLOYMENT, Amount, RevisionSpec, said, share
from healer.workloads.revisions import History, Revision, number
from healer.workloads.template import Template

_HASH = "rollouts-pod-template-hash"
_ABORTED = "RolloutAborted"


class TrafficRouting(KubeStruct, frozen=True):
    """The router of a canary; whichever it is, its weights are the controller's."""


class CanaryStrategy(KubeStruct, frozen=True):
    """Of the strategy of a canary, what bounds its pods, and whether a router splits the traffic."""

    max_surge: Amount = "25%"
    max_unavailable: Amount = "25%"
    traffic_routing: TrafficRouting | None = None


class ArgoStrategy(KubeStruct, frozen=True):
    """The strategy: a canary, or without one blue-green, where all new pods start before the traffic is switched."""

    canary: CanaryStrategy | None = None


class WorkloadRef(KubeStruct, frozen=True):
    """The object that has the template."""

    kind: str = ""
    name: str = ""


class RolloutSpec(KubeStruct, frozen=True):
    """The desired state of a Rollout, without its template."""

    replicas: int = 1
    paused: bool = False
    restart_at: str = ""
    strategy: ArgoStrategy = ArgoStrategy()
    workload_ref: WorkloadRef | None = None


class RolloutStatus(KubeStruct, frozen=True):
    """The observed state of a Rollout, as its controller reports it."""

    observed_generation: str = ""
    abort: bool = False
    phase: str = ""
    message: str = ""
    current_pod_hash: str = ""
    stable_hash: str = msgspec.field(default="", name="stableRS")
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    restarted_at: str = ""
    conditions: tuple[Condition, ...] = ()


class Rollout(WorkloadObject, frozen=True):
    """A Rollout as healer watches it, without its template."""

    spec: RolloutSpec = RolloutSpec()
    status: RolloutStatus = RolloutStatus()

    def workload(self) -> Workload:
        """The state of the Rollout."""
        return _workload(self.metadata, self.spec, self.status)


class WholeRolloutSpec(RolloutSpec, frozen=True, kw_only=True):
    """A Rollout's spec with its template; with a `workloadRef` it has none."""

    selector: LabelSelector = LabelSelector()
    template: Template = msgspec.field(default_factory=dict)


class ArgoMarks(RolloutMarks, frozen=True):
    """The annotations of a Rollout and of its ReplicaSets. Argo Rollouts has names of its own for revisions."""

    revision: str = msgspec.field(default="", name="rollout.argoproj.io/revision")
    history: str = msgspec.field(default="", name="rollout.argoproj.io/revision-history")
    ephemeral: str = msgspec.field(default="", name="rollout.argoproj.io/ephemeral-metadata")


class ArgoMeta(WholeMeta, frozen=True):
    """Metadata with these annotations."""

    annotations: ArgoMarks = ArgoMarks()


class WholeRollout(Rollout, Rollable, frozen=True, kw_only=True):
    """A Rollout with its template."""

    metadata: ArgoMeta
    spec: WholeRolloutSpec


class ArgoReplicaSet(ReplicaSet, frozen=True, kw_only=True):
    """A ReplicaSet with the template of its revision."""

    metadata: ArgoMeta
    spec: RevisionSpec

    @property
    def pod_hash(self) -> str:
        """What the status calls its revision."""
        return self.metadata.labels.get(_HASH, "")


class ArgoReplicaSets(msgspec.Struct):
    """A list of them."""

    items: list[ArgoReplicaSet] = []


def _workload(metadata: Meta, spec: RolloutSpec, status: RolloutStatus) -> Workload:
    seen = observed(metadata.generation, status.observed_generation)
    failure = _failure(status)
    aborted = status.abort and status.stable_hash != ""
    return Workload(
        kind=ROLLOUT.name,
        metadata=metadata,
        desired=spec.replicas,
        existing=status.replicas,
        updated=status.updated_replicas,
        ready=status.ready_replicas,
        revision=status.stable_hash if aborted else status.current_pod_hash,
        paused=spec.paused,
        observed=seen,
        rollout=_rollout(metadata.name, spec, status, seen, failure),
        failure=failure,
        overdue=_overdue(status) if seen else "",
        roll=_roll(spec),
        refusal=said(status.conditions, "ReplicaFailure", "True"),
        stable=status.stable_hash,
        unavailable=said(status.conditions, "Available", "False"),
    )


def observed(generation: int, seen: str) -> bool:
    """Whether the controller has seen the newest spec. Before version 0.10 the text was a hash (isGenerationObserved)."""
    return seen != "" and (not (seen.isascii() and seen.isdecimal()) or int(seen) >= generation)


def _rollout(name: str, spec: RolloutSpec, status: RolloutStatus, observed: bool, failure: str) -> Reason | None:
    """Why the rollout to the current revision is not complete, in the order of CalculateRolloutPhase."""
    if spec.paused:
        return Reason("RolloutPaused", "its rollout is paused (spec.paused)")
    if not observed:
        return Reason("RolloutInProgress", "the Rollout controller has not seen its newest spec yet")
    found = _aborted(spec, status) if status.abort and status.stable_hash else _under_way(spec, status)
    if found and failure:
        return Reason(STUCK, f"{found}, and {name} makes no progress: {failure}")
    return Reason("RolloutInProgress", found) if found else None


def _aborted(spec: RolloutSpec, status: RolloutStatus) -> str:
    """What is missing after an abort, until the stable revision has all replicas; "" for nothing."""
    stable = status.replicas - status.updated_replicas
    if status.stable_hash == status.current_pod_hash or stable >= spec.replicas:
        return ""
    return f"it was aborted, and {stable} of {spec.replicas} replicas are of the stable revision"


def _under_way(spec: RolloutSpec, status: RolloutStatus) -> str:
    """What the rollout to the current revision waits for; "" when it is complete."""
    if status.stable_hash != status.current_pod_hash:
        said = f" ({status.phase}: {status.message})" if status.message else ""
        return f"its newest revision is not promoted yet{said}"
    if status.updated_replicas < spec.replicas:
        return f"{status.updated_replicas} of {spec.replicas} replicas are of the current revision"
    if spec.restart_at and spec.restart_at != status.restarted_at:
        return f"its pods are being restarted (spec.restartAt {spec.restart_at})"
    routed = spec.strategy.canary is None or spec.strategy.canary.traffic_routing is not None
    if status.replicas > status.updated_replicas and not routed:  # a router sends the old pods nothing while they are kept
        return f"{status.replicas - status.updated_replicas} replicas of an older revision remain"
    return ""


def _failure(status: RolloutStatus) -> str:
    """Why it cannot have its replicas, by its conditions. An abort is somebody's decision, and no failure."""
    kept = tuple(each for each in status.conditions if each.reason != _ABORTED)
    found = (said(kept, *each) for each in (("InvalidSpec", "True"), ("ReplicaFailure", "True"), ("Progressing", "False")))
    return next(filter(None, found), "")


def _overdue(status: RolloutStatus) -> str:
    """The controller's message about a rollout that is past its progress deadline; "" for any other."""
    for condition in status.conditions:
        if (condition.type, condition.reason) == ("Progressing", "ProgressDeadlineExceeded"):
            return f"{condition.message} ({condition.reason})"
    return ""


def _roll(spec: RolloutSpec) -> Roll:
    """The number of replicas that an update may take down at once, as with a Deployment (MaxUnavailable, resolveFenceposts)."""
    idle = ""
    if spec.workload_ref is not None:
        named = f"{spec.workload_ref.kind.lower()}/{spec.workload_ref.name}"
        idle = f"its pods are made from the template of {named} (spec.workloadRef)"
    canary = spec.strategy.canary
    if canary is None:
        return Roll(True, 0, "blueGreen", idle=idle)
    taken = share(canary.max_unavailable, spec.replicas, up=False)
    if not taken and not share(canary.max_surge, spec.replicas, up=True):
        taken = 1
    return Roll(True, min(taken, spec.replicas), f"maxUnavailable {canary.max_unavailable}", idle=idle)


async def _history(api: Api, whole: Rollable) -> History:
    """The history in the ReplicaSets that this Rollout controls. Raises ClusterError, and TypeError for another kind."""
    if not isinstance(whole, WholeRollout):
        raise TypeError(f"{whole.metadata.name} is no Rollout")
    labels = ",".join(f"{key}={value}" for key, value in sorted(whole.spec.selector.match_labels.items()))
    path = RESOURCES[ReplicaSet].path(whole.metadata.namespace)
    found = await api.get(path, ArgoReplicaSets, {"labelSelector": labels} if labels else None)
    uid = whole.metadata.uid
    owned = [each for each in found.items if each.metadata.controller is not None and each.metadata.controller.uid == uid]
    marks = [whole.metadata.annotations, *(each.metadata.annotations for each in owned)]
    return History(
        current=number(whole.metadata.annotations.revision),
        template=_template(whole, owned),
        revisions=tuple(revision for revision in map(_revision, owned) if revision.number),
        rejected=frozenset(filter(None, (number(mark.rolled_back_from) for mark in marks))),
        ids={each.pod_hash: number(each.metadata.annotations.revision) for each in owned},
    )


def _template(whole: WholeRollout, owned: list[ArgoReplicaSet]) -> Template:
    """The current template, with the defaults that the API server fills in where it is known to be that of a ReplicaSet."""
    if not whole.workload().observed:
        return whole.template
    current = (each for each in owned if each.pod_hash == whole.status.current_pod_hash)
    return next((_revision(each).template for each in current), whole.template)


def _revision(replica_set: ArgoReplicaSet) -> Revision:
    marks = replica_set.metadata.annotations
    template, former = dict(replica_set.spec.template), frozenset(filter(None, map(number, marks.history.split(","))))
    metadata, added = dict(template.get("metadata") or {}), _ephemeral(marks.ephemeral)
    for part in ("labels", "annotations"):
        gone = {_HASH, *added.get(part, {})}
        if kept := {key: value for key, value in (metadata.get(part) or {}).items() if key not in gone}:
            metadata[part] = kept
        else:
            metadata.pop(part, None)
    template["metadata"] = metadata
    return Revision(number(marks.revision), former, replica_set.metadata.name, template, marks.change_cause)


def _ephemeral(text: str) -> dict[str, dict[str, Any]]:
    """The labels and annotations that the controller has added to the template for the time of a canary."""
    try:
        return msgspec.json.decode(text, type=dict[str, dict[str, Any]]) if text else {}
    except msgspec.DecodeError:
        return {}


def _instead(whole: Rollable) -> Reason | None:
    """While a canary is in progress its own abort is the way back: it takes the traffic off at once, and keeps the spec."""
    status = whole.status if isinstance(whole, WholeRollout) else RolloutStatus()
    if status.abort or not status.stable_hash or status.stable_hash == status.current_pod_hash:
        return None
    name, namespace = whole.metadata.name, whole.metadata.namespace
    text = f"a new revision of rollout/{name} is not promoted yet, and its own abort is the way back"
    text = f"{text}: shiftTraffic with a route of kind Rollout, or kubectl argo rollouts abort {name} -n {namespace}"
    return Reason("CanaryInProgress", text)


def _restart(at: str, by: str) -> dict[str, Any]:
    """As `kubectl argo rollouts restart`: the controller evicts the pods that are older, at least one at a time.

    It compares the time with the one in its status, which has whole seconds: with parts of a second it would never be done.
    """
    return {"metadata": {"annotations": {RESTARTED_BY: by}}, "spec": {"restartAt": at}}


def _restarted(whole: Rollable) -> tuple[str, str]:
    return whole.spec.restart_at if isinstance(whole, WholeRollout) else "", whole.metadata.annotations.restarted_by


ROLLOUT = WorkloadKind(
    struct=Rollout,
    group="/apis/argoproj.io/v1alpha1",
    plural="rollouts",
    words=("rollout", "rollouts", "ro", "rollout.argoproj.io"),
    whole=WholeRollout,
    history=_history,
    reads=permissions("apps", "replicasets", "list"),
    meaning="of Argo Rollouts; its revisions are ReplicaSets; while a canary is in progress it is aborted, not rolled back",
    restart=RestartMark(_restart, _restarted, timespec="seconds", takes=1),
    instead=_instead,
    optional=True,
    pod_revision=lambda view, pod: pod.metadata.labels.get(_HASH, ""),
    pods=DEPLOYMENT.pods,
)
"""The kind Rollout."""
