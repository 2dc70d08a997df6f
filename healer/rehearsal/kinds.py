"""The kinds of workloads that a world can have: how each begins, and the status that its controller writes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from healer.model.kube import Meta
from healer.model.workload import WorkloadObject
from healer.workloads.daemonset import DaemonSet, DaemonSetStatus
from healer.workloads.deployment import Deployment, DeploymentSpec, DeploymentStatus
from healer.workloads.statefulset import StatefulSet, StatefulSetSpec, StatefulSetStatus


@dataclass(frozen=True, slots=True)
class PodCounts:
    """What a controller counts of the pods of its workload, the terminating and the finished ones left out."""

    desired: int
    existing: int
    updated: int
    ready: int
    revision: str
    """The revision that new pods have."""


@dataclass(frozen=True, slots=True)
class KeptKind:
    """A kind of workload, as a world keeps it."""

    new: Callable[[Meta, int], WorkloadObject]
    """Makes one with so many replicas, before its controller has seen it."""
    status: Callable[[PodCounts], Mapping[str, Any]]
    """The fields of its status by which a controller says so."""
    by_replica_sets: bool = False
    """Whether each revision is a ReplicaSet, which owns its pods."""
    ordinal: bool = False
    """Whether a pod has its predecessor's name."""


def _deployment(meta: Meta, replicas: int) -> WorkloadObject:
    return Deployment(meta, DeploymentSpec(replicas), DeploymentStatus(1))


def _deployed(counts: PodCounts) -> Mapping[str, Any]:
    return {"replicas": counts.existing, "updated_replicas": counts.updated, "ready_replicas": counts.ready}


def _stateful_set(meta: Meta, replicas: int) -> WorkloadObject:
    return StatefulSet(meta, StatefulSetSpec(replicas), StatefulSetStatus(1))


def _stateful(counts: PodCounts) -> Mapping[str, Any]:
    settled = {"current_revision": counts.revision} if counts.updated >= counts.desired else {}
    return {**_deployed(counts), "update_revision": counts.revision, **settled}


def _daemon_set(meta: Meta, replicas: int) -> WorkloadObject:
    return DaemonSet(meta, status=DaemonSetStatus(1, replicas))


def _daemons(counts: PodCounts) -> Mapping[str, Any]:
    return {
        "desired_number_scheduled": counts.desired,
        "current_number_scheduled": counts.existing,
        "updated_number_scheduled": counts.updated,
        "number_ready": counts.ready,
    }


KEPT_KINDS: Mapping[type[WorkloadObject], KeptKind] = {
    Deployment: KeptKind(_deployment, _deployed, by_replica_sets=True),
    StatefulSet: KeptKind(_stateful_set, _stateful, ordinal=True),
    DaemonSet: KeptKind(_daemon_set, _daemons),
}


def with_status(obj: Any, fields: Mapping[str, Any]) -> WorkloadObject:
    """The same workload with these fields of its status, of which every kind has a struct of its own."""
    changed: WorkloadObject = msgspec.structs.replace(obj, status=msgspec.structs.replace(obj.status, **fields))
    return changed
