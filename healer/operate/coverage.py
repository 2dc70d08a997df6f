"""Computes what rule files would guard in the present cluster, by the daemon's code, before the daemon has the rules."""

from dataclasses import replace

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.cluster.resources import RESOURCES, Resource
from healer.engine.matching.coverage import Coverage, Covering
from healer.model.kube import Namespace, Pod, ReplicaSet
from healer.model.view import View
from healer.operate.workload import listed
from healer.rules.form import ANYWHERE
from healer.rules.rulebook import BoundRule
from healer.sources.canary.canary import missing_route
from healer.workloads.registry import WORKLOADS


async def coverage(api: Api, rules: list[BoundRule]) -> tuple[list[Coverage], list[str]]:
    """Return what each rule covers, and a note on each list that healer may not read. Raises ClusterError."""
    view, notes = View(WORKLOADS), list[str]()
    everywhere = any(ANYWHERE in bound.scope.namespaces for bound in rules)
    namespaces = [""] if everywhere else sorted({space for bound in rules for space in bound.scope.namespaces})
    await _load(api, view, RESOURCES[Namespace], "", notes)
    kinds = [*(kind.resource for kind in WORKLOADS.values()), RESOURCES[ReplicaSet], RESOURCES[Pod]]
    for namespace in namespaces:
        for resource in kinds:
            await _load(api, view, resource, namespace, notes)
    covering = Covering(view)
    found = [covering.of(bound) for bound in rules]
    routes = [await missing_route(api, bound) for bound in rules]
    return [
        replace(each, doubts=(*each.doubts, route)) if route else each for each, route in zip(found, routes, strict=True)
    ], notes


async def _load(api: Api, view: View, resource: Resource, namespace: str, notes: list[str]) -> None:
    try:
        for raw in await listed(api, resource.path(namespace)):
            view.put(msgspec.json.decode(raw, type=resource.kind))
    except (ApiError, msgspec.MsgspecError) as error:
        where = f" in {namespace}" if namespace else ""
        notes.append(f"{resource.plural}{where} are not known: {error}")
