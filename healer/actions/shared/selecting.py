"""What selects the pods of a namespace by their labels, and which labels a pod has to lose so that nothing selects it any more.

A ReplicaSet owns what it selects, a Service and an InferencePool send requests to it, a PodDisruptionBudget counts it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from healer.cluster.api import Api, ApiError
from healer.model.action import permissions
from healer.model.kube import KubeObject, KubeStruct, LabelSelector, Pod, matches

_POOLS = "inference.networking.k8s.io"
_OLDER_POOLS = "inference.networking.x-k8s.io"
READS = (
    permissions("", "services", "list")
    | permissions("apps", "replicasets", "get")
    | permissions("policy", "poddisruptionbudgets", "list")
    | permissions(_POOLS, "inferencepools", "list")
    | permissions(_OLDER_POOLS, "inferencepools", "list")
)
"""What is read to find all that selects a pod."""


@dataclass(frozen=True, slots=True)
class Selecting:
    """One object that selects pods; `name` is for people."""

    name: str
    selector: LabelSelector


class StillSelected(Exception):
    """No labels can be taken off the pod so that the named object selects it no more."""


class _ReplicaSetSpec(KubeStruct, frozen=True):
    selector: LabelSelector


class _SelectingReplicaSet(KubeObject, frozen=True, kw_only=True):
    spec: _ReplicaSetSpec


class _LabelsSpec(KubeStruct, frozen=True):
    selector: dict[str, str] | None = None


class _SelectingByLabels(KubeObject, frozen=True, kw_only=True):
    """A Service, or an InferencePool of the older API."""

    spec: _LabelsSpec = _LabelsSpec()


class _PoolSpec(KubeStruct, frozen=True):
    selector: LabelSelector | None = None


class _SelectingPool(KubeObject, frozen=True, kw_only=True):
    spec: _PoolSpec = _PoolSpec()


class _ByLabelsList(msgspec.Struct):
    items: list[_SelectingByLabels] = []


class _PoolList(msgspec.Struct):
    items: list[_SelectingPool] = []


async def selecting(api: Api, pod: Pod, replica_set: str) -> list[Selecting]:
    """The pod's ReplicaSet, and all Services and InferencePools of its namespace, whatever they select. Raises ClusterError."""
    namespace = pod.metadata.namespace
    owner = await api.get(f"/apis/apps/v1/namespaces/{namespace}/replicasets/{replica_set}", _SelectingReplicaSet)
    services = await api.get(f"/api/v1/namespaces/{namespace}/services", _ByLabelsList)
    return [
        Selecting(f"ReplicaSet {replica_set}", owner.spec.selector),
        *(_by_labels("Service", each) for each in services.items if each.spec.selector),  # one without a selector selects nothing
        *await _pools(api, namespace),
    ]


def leaving(labels: Mapping[str, str], added: Mapping[str, str], found: Sequence[Selecting]) -> dict[str, str]:
    """The labels to take off a pod so that nothing of `found` selects it any more, when `added` are given to it at the same time.

    Raises StillSelected: a selector that is empty, or asks only for what a pod must not have, is left by no such change.
    """
    mine = [each.selector for each in found if matches(each.selector, labels)]
    keys = {key for selector in mine for key in _keys(selector)}
    after = {key: value for key, value in labels.items() if key not in keys} | dict(added)
    for each in found:
        if matches(each.selector, after):
            raise StillSelected(each.name)
    return {key: value for key, value in labels.items() if key in keys}


def _keys(selector: LabelSelector) -> set[str]:
    """The labels that a pod must have to be selected."""
    return {*selector.match_labels, *(each.key for each in selector.match_expressions if each.operator in ("In", "Exists"))}


def _by_labels(kind: str, obj: _SelectingByLabels) -> Selecting:
    return Selecting(f"{kind} {obj.metadata.name}", LabelSelector(match_labels=obj.spec.selector or {}))


async def _pools(api: Api, namespace: str) -> list[Selecting]:
    """The InferencePools of both APIs. A cluster may have neither. Raises ClusterError."""
    found: list[Selecting] = []
    try:
        pools = await api.get(f"/apis/{_POOLS}/v1/namespaces/{namespace}/inferencepools", _PoolList)
        found += [
            Selecting(f"InferencePool {each.metadata.name}", each.spec.selector)
            for each in pools.items
            if each.spec.selector is not None
        ]
    except ApiError as error:
        if not error.is_not_found:
            raise
    try:
        older = await api.get(f"/apis/{_OLDER_POOLS}/v1alpha2/namespaces/{namespace}/inferencepools", _ByLabelsList)
        found += [_by_labels("InferencePool", each) for each in older.items if each.spec.selector is not None]
    except ApiError as error:
        if not error.is_not_found:
            raise
    return found
