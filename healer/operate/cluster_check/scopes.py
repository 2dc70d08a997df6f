"""What rule files would guard in the present cluster, by the daemon's code, before the daemon has the rules."""

from collections.abc import Collection, Iterator

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.cluster.resources import RESOURCES, Resource
from healer.engine.matching.coverage import Coverage, Covering, differs
from healer.model.kube import Namespace, Pod, PodDisruptionBudget, ReplicaSet
from healer.model.view import View
from healer.operate.workload import listed
from healer.rules.form import ANYWHERE
from healer.rules.rulebook import BoundRule
from healer.workloads.registry import WORKLOADS


def namespaces_of(rules: list[BoundRule]) -> list[str]:
    """The namespaces that rules hold in; [""] for all of the cluster."""
    everywhere = any(ANYWHERE in bound.scope.namespaces for bound in rules)
    return [""] if everywhere else sorted({space for bound in rules for space in bound.scope.namespaces})


async def seen(api: Api, rules: list[BoundRule]) -> tuple[View, list[str]]:
    """The view of what the rules are about, and a note on each list that may not be read. Raises ClusterError."""
    view, notes = View(WORKLOADS), list[str]()
    named = {kind for bound in rules for kind in bound.scope.kinds}
    kinds = [
        *(kind.resource for kind in WORKLOADS.values()),
        *(RESOURCES[kind] for kind in (ReplicaSet, PodDisruptionBudget, Pod)),
    ]
    for resource, namespace in [
        (RESOURCES[Namespace], ""),
        *((resource, namespace) for namespace in namespaces_of(rules) for resource in kinds),
    ]:
        if why := await _load(api, view, resource, namespace, named=resource.name in named):
            where = f" in {namespace}" if namespace else ""
            notes.append(f"{resource.plural}{where} are not known: {why}")
    return view, notes


def covered_pods(view: View, bound: BoundRule) -> Iterator[Pod]:
    """The living pods of workloads that the rule covers."""
    for pod in view.pods():
        top, meta = view.workload_of(pod), pod.metadata
        if top is not None and not pod.finished and not differs(bound.scope, meta.namespace, meta.labels, top.kind, WORKLOADS):
            yield pod


def coverage(view: View, rules: list[BoundRule], confined: Collection[str] = ()) -> list[Coverage]:
    """What each rule covers; `confined`: the namespaces that healer is confined to, empty for the whole cluster."""
    covering = Covering(view, confined)
    return [covering.of(bound) for bound in rules]


async def _load(api: Api, view: View, resource: Resource, namespace: str, *, named: bool) -> str:
    """Put the objects of a kind into the view; why they cannot be, in words. A cluster may lack a kind that no rule names."""
    try:
        for raw in await listed(api, resource.path(namespace)):
            view.put(msgspec.json.decode(raw, type=resource.kind))
    except (ApiError, msgspec.MsgspecError) as error:
        if not (resource.optional and isinstance(error, ApiError) and error.is_not_found):
            return str(error)
        return f"the cluster has no kind {resource.name}" if named else ""
    return ""
