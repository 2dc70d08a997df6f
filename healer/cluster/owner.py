"""Whose pod it is, when the view does not know yet."""

from typing import TypeVar

from healer.cluster.api import Api, ApiError
from healer.cluster.resources import RESOURCES
from healer.model.kube import Deployment, OwnerReference, Pod, ReplicaSet
from healer.model.target import Target
from healer.model.view import View

_Kind = TypeVar("_Kind", ReplicaSet, Deployment)


async def resolve_owner(api: Api, view: View, pod: Pod) -> Target | None:
    """The workload of `pod`: from the view, else read fresh, the uid checked at each hop.

    None for a bare pod, and when an owner is gone or its name belongs to another object now. Nothing that is read here goes into
    the view: only the watch knows the order of things. Raises ClusterError when the API server cannot be asked.
    """
    known = view.workload_of(pod)
    owner = pod.metadata.controller
    if known is not None or owner is None:
        return known
    namespace = pod.metadata.namespace
    replica_set = await _read(api, ReplicaSet, namespace, owner)
    if replica_set is None:
        return None
    top = replica_set.metadata.controller
    if top is None:
        return Target(owner.kind, namespace, owner.name, owner.uid)
    if top.kind == "Deployment" and await _read(api, Deployment, namespace, top) is None:
        return None
    return Target(top.kind, namespace, top.name, top.uid)


async def _read(api: Api, kind: type[_Kind], namespace: str, owner: OwnerReference) -> _Kind | None:
    try:
        found = await api.get(RESOURCES[kind].path(namespace, owner.name), kind)
    except ApiError as error:
        if error.is_not_found:
            return None
        raise
    return found if found.metadata.uid == owner.uid else None
