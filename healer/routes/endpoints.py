"""The backends that are ready: of a Service, by its EndpointSlices; of a workload, by its status.

Source: discovery.k8s.io/v1. `conditions.ready` left out means ready; an endpoint may be in more than one slice. Subsets of one
Service share its EndpointSlices, and an InferencePool has none.
"""

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.model.target import Target
from healer.rules.named_workload import NamedWorkload
from healer.workloads.registry import read_workload


class _Conditions(msgspec.Struct):
    ready: bool | None = None


class _BackendEndpoint(msgspec.Struct):
    addresses: list[str] | None = None
    conditions: _Conditions | None = None


class _BackendSlice(msgspec.Struct):
    endpoints: list[_BackendEndpoint] | None = None


class _Slices(msgspec.Struct):
    items: list[_BackendSlice] | None = None


async def ready(api: Api, namespace: str, service: str) -> int:
    """How many endpoints of a Service are ready; 0 where there is no such Service. Raises ClusterError."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    slices = await api.get(path, _Slices, {"labelSelector": f"kubernetes.io/service-name={service}"})
    return len(
        {
            tuple(endpoint.addresses or ())
            for each in slices.items or ()
            for endpoint in each.endpoints or ()
            if endpoint.conditions is None or endpoint.conditions.ready is not False
        }
    )


async def ready_pods(api: Api, namespace: str, workload: NamedWorkload) -> int:
    """How many pods of a workload are ready; 0 where there is no such workload. Raises ClusterError."""
    try:
        found = await read_workload(api, Target(workload.kind, namespace, workload.name, ""))
    except ApiError as error:
        if not error.is_not_found:
            raise
        return 0
    return found.ready
