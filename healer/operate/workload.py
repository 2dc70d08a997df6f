"""Reads a workload's pods, and what owns them below it, from the API server."""

from collections.abc import Mapping

import msgspec

from healer.cluster.api import Api, pages
from healer.cluster.errors import ApiError, Unreadable
from healer.cluster.resources import RESOURCES
from healer.model.kube import LabelSelector, Pod, ReplicaSet
from healer.model.view import View
from healer.operate.objects import ObjectRef, decoded
from healer.workloads.registry import WORKLOADS
from healer.workloads.statefulset import STATEFUL_SET

_PAGE = 500
_TRIES = 5


class _SelectorSpec(msgspec.Struct):
    selector: LabelSelector | None = None


class _SelectorObject(msgspec.Struct):
    spec: _SelectorSpec


async def put_pods(api: Api, ref: ObjectRef, body: bytes, view: View) -> None:
    """Put the pods of a workload, and their ReplicaSets, into the view. `body` is the workload as it was read.

    Without a selector, as a LeaderWorkerSet, the workload itself and its StatefulSets are put as well: they lead to its pods.

    Raises ClusterError; some objects may be in the view then.
    """
    selects = decoded(body, _SelectorObject, ref).spec.selector
    resources, selector = [RESOURCES[ReplicaSet], RESOURCES[Pod]], "" if selects is None else _selector_query(selects)
    if selects is None:
        kind = WORKLOADS[ref.kind]
        view.put(decoded(body, kind.struct, ref))
        resources, selector = [STATEFUL_SET.resource, RESOURCES[Pod]], f"{kind.name_label}={ref.name}"
    try:
        for resource in resources:
            for raw in await listed(api, resource.path(ref.namespace), labelSelector=selector):
                view.put(msgspec.json.decode(raw, type=resource.kind))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"{ref.path}: one of its pods cannot be read: {error}") from error


async def listed(api: Api, path: str, **query: str) -> list[msgspec.Raw]:
    """Return the objects of a list, read page by page. If the continue token expires, the list is read again from its beginning.

    Raises ClusterError.
    """
    for attempt in range(_TRIES):
        try:
            return [raw async for page in pages(api, path, page=_PAGE, query=query) for raw in page.items or ()]
        except ApiError as error:
            if not (error.is_expired and attempt + 1 < _TRIES):
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _selector_query(selector: LabelSelector) -> str:
    """Return a selector as a query parameter."""
    operators: Mapping[str, str] = {"In": "{0} in ({1})", "NotIn": "{0} notin ({1})", "Exists": "{0}", "DoesNotExist": "!{0}"}
    labels = [f"{key}={value}" for key, value in selector.match_labels.items()]
    return ",".join(labels + [operators[e.operator].format(e.key, ",".join(e.values)) for e in selector.match_expressions])
