"""The kinds of workloads that a world can have: how each begins, and the status that its controller writes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from healer.model.kube import Condition, Meta
from healer.model.workload import WorkloadObject
from healer.workloads.cloneset import CloneSet, CloneSetSpec, CloneSetStatus
from healer.workloads.daemonset import DaemonSet, DaemonSetStatus
from healer.workloads.deployment import Deployment, DeploymentSpec, DeploymentStatus
from healer.workloads.leaderworkerset import GroupTemplate, LeaderWorkerSet, LeaderWorkerSetSpec, LeaderWorkerSetStatus
from healer.workloads.rollout import ArgoStrategy, CanaryStrategy, Rollout, RolloutSpec, RolloutStatus
from healer.workloads.statefulset import StatefulSet, StatefulSetSpec, StatefulSetStatus


@dataclass(frozen=True, slots=True)
class PodCounts:
    """What a controller counts of the pods of its workload, or of its groups of pods; those that terminate or have finished are
    left out."""

    workload: str
    """Its name."""
    desired: int
    existing: int
    updated: int
    ready: int
    outdated: int
    """Those of an earlier revision that are there still, terminating ones among them."""
    revision: str
    """The revision that new pods have."""
    generation: int
    """Of the newest spec, which the controller has seen."""


@dataclass(frozen=True, slots=True)
class KeptKind:
    """A kind of workload, as a world keeps it."""

    new: Callable[[Meta, int, int], WorkloadObject]
    """Makes one with so many replicas, each of so many pods, before its controller has seen it."""
    status: Callable[[PodCounts], Mapping[str, Any]]
    """The fields of its status by which a controller says so."""
    by_replica_sets: bool = False
    """Whether each revision is a ReplicaSet, which owns its pods."""
    ordinal: bool = False
    """Whether a pod has its predecessor's name."""
    grouped: bool = False
    """Whether its replicas are groups of a leader and its workers."""
    revision_label: str = ""
    """The label of its pods that has their revision; "" for none."""
    pause: Callable[[Any, bool], WorkloadObject] | None = None
    """Pauses its rollout, or lets it go on; None: it has no such field."""
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """How its controller says what rules look for."""


def _deployment(meta: Meta, replicas: int, _: int) -> WorkloadObject:
    return Deployment(meta, DeploymentSpec(replicas), DeploymentStatus(1))


def _counted(counts: PodCounts) -> Mapping[str, Any]:
    return {"replicas": counts.existing, "updated_replicas": counts.updated, "ready_replicas": counts.ready}


def _deployed(counts: PodCounts) -> Mapping[str, Any]:
    return {"observed_generation": counts.generation, **_counted(counts)}


def _stateful_set(meta: Meta, replicas: int, _: int) -> WorkloadObject:
    return StatefulSet(meta, StatefulSetSpec(replicas), StatefulSetStatus(1))


def _stateful(counts: PodCounts) -> Mapping[str, Any]:
    settled = {"current_revision": counts.revision} if counts.updated >= counts.desired else {}
    return {**_deployed(counts), "update_revision": counts.revision, **settled}


def _daemon_set(meta: Meta, replicas: int, _: int) -> WorkloadObject:
    return DaemonSet(meta, status=DaemonSetStatus(1, replicas))


def _daemons(counts: PodCounts) -> Mapping[str, Any]:
    return {
        "observed_generation": counts.generation,
        "desired_number_scheduled": counts.desired,
        "current_number_scheduled": counts.existing,
        "updated_number_scheduled": counts.updated,
        "number_ready": counts.ready,
    }


def _rollout(meta: Meta, replicas: int, _: int) -> WorkloadObject:
    return Rollout(meta, RolloutSpec(replicas, strategy=ArgoStrategy(CanaryStrategy())), RolloutStatus("1"))


def _rolled(counts: PodCounts) -> Mapping[str, Any]:
    promoted = {} if counts.outdated else {"stable_hash": counts.revision}
    return {**_counted(counts), "observed_generation": f"{counts.generation}", "current_pod_hash": counts.revision, **promoted}


def _clone_set(meta: Meta, replicas: int, _: int) -> WorkloadObject:
    return CloneSet(meta, CloneSetSpec(replicas), CloneSetStatus(1))


def _cloned(counts: PodCounts) -> Mapping[str, Any]:
    return {**_deployed(counts), "update_revision": f"{counts.workload}-{counts.revision}"}


def _leader_worker_set(meta: Meta, replicas: int, size: int) -> WorkloadObject:
    return LeaderWorkerSet(meta, LeaderWorkerSetSpec(replicas, GroupTemplate(size)), LeaderWorkerSetStatus(1))


def _led(counts: PodCounts) -> Mapping[str, Any]:
    updating = (Condition("UpdateInProgress", "True", "GroupsUpdating"),) if counts.outdated else ()
    return {**_deployed(counts), "conditions": updating}


def _pause(obj: Any, paused: bool) -> WorkloadObject:
    changed: WorkloadObject = msgspec.structs.replace(obj, spec=msgspec.structs.replace(obj.spec, paused=paused))
    return changed


def _pause_updates(obj: Any, paused: bool) -> WorkloadObject:
    strategy = msgspec.structs.replace(obj.spec.update_strategy, paused=paused)
    changed: WorkloadObject = msgspec.structs.replace(obj, spec=msgspec.structs.replace(obj.spec, update_strategy=strategy))
    return changed


_OVERDUE = Condition("Progressing", "False", "ProgressDeadlineExceeded", "it has timed out progressing")
_QUOTA = "pods are forbidden: exceeded quota"
_DEPLOYED_CONDITIONS = {
    "ProgressDeadlineExceeded": _OVERDUE,
    "Unavailable": Condition("Available", "False", "MinimumReplicasUnavailable", "it does not have minimum availability"),
    "ReplicaFailure": Condition("ReplicaFailure", "True", "FailedCreate", _QUOTA),
}
_REVISION = "controller-revision-hash"
KEPT_KINDS: Mapping[type[WorkloadObject], KeptKind] = {
    Deployment: KeptKind(_deployment, _deployed, by_replica_sets=True, pause=_pause, conditions=_DEPLOYED_CONDITIONS),
    StatefulSet: KeptKind(_stateful_set, _stateful, ordinal=True, revision_label=_REVISION),
    DaemonSet: KeptKind(_daemon_set, _daemons),
    Rollout: KeptKind(
        _rollout,
        _rolled,
        by_replica_sets=True,
        revision_label="rollouts-pod-template-hash",
        pause=_pause,
        conditions=_DEPLOYED_CONDITIONS,
    ),
    CloneSet: KeptKind(
        _clone_set,
        _cloned,
        revision_label=_REVISION,
        pause=_pause_updates,
        conditions={
            "ProgressDeadlineExceeded": _OVERDUE,
            "ReplicaFailure": Condition("FailedScale", "True", "FailedCreate", _QUOTA),
        },
    ),
    LeaderWorkerSet: KeptKind(_leader_worker_set, _led, ordinal=True, grouped=True),
}


def with_status(obj: Any, fields: Mapping[str, Any]) -> WorkloadObject:
    """The same workload with these fields of its status, of which every kind has a struct of its own."""
    changed: WorkloadObject = msgspec.structs.replace(obj, status=msgspec.structs.replace(obj.status, **fields))
    return changed
