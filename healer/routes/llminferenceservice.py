"""LLMInferenceService of KServe: the weights of the backends in `spec.router.route.http.spec`, from which it makes an HTTPRoute.

Source: serving.kserve.io/v1alpha1. The spec is that of an HTTPRoute of the Gateway API. KServe makes the names of a service's
workloads, of their Service and of their InferencePool: where the route names one of these, the rule must name its workload.
"""

from dataclasses import replace

import msgspec

from healer.cluster.api import Api
from healer.model.action import permissions
from healer.routes.httproute import HTTPRouteSpec, lists_of
from healer.routes.inferenceservice import GROUP, child_name
from healer.routes.route import BackendMissing, CanaryRoute, Metadata, ReadRoute, Router, fetched
from healer.routes.split import found
from healer.rules.probe import pool_words
from healer.rules.vocabulary import RouterSpec

_FIELDS = ("spec", "router", "route", "http", "spec")
_WORKLOADS = ("-kserve-mn-prefill", "-kserve-prefill", "-kserve-mn", "-kserve")
"""The ends of the names of a service's workloads."""
_BACKENDS = ("-kserve-workload-svc", "-inference-pool")
"""The ends of the names of what leads to them."""


class _Http(msgspec.Struct):
    spec: HTTPRouteSpec | None = None


class _GatewayRoute(msgspec.Struct):
    http: _Http | None = None


class _LLMRouter(msgspec.Struct):
    route: _GatewayRoute | None = None


class _LLMSpec(msgspec.Struct):
    router: _LLMRouter | None = None

    @property
    def http_route(self) -> HTTPRouteSpec:
        """The spec of its route; without rules where KServe makes them itself."""
        route = None if self.router is None else self.router.route
        http = None if route is None else route.http
        return HTTPRouteSpec() if http is None or http.spec is None else http.spec


class _LLMInferenceService(msgspec.Struct):
    metadata: Metadata
    spec: _LLMSpec = msgspec.field(default_factory=_LLMSpec)


async def find(api: Api, route: CanaryRoute) -> ReadRoute:
    """See `Find`."""
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{route.home}/llminferenceservices/{route.name}"
    service = await fetched(api, path, _LLMInferenceService, route, GROUP)
    _check_sides(route)
    rules = lists_of(route, service.spec.http_route, "/" + "/".join((*_FIELDS, "rules")))
    part = (*(f"f:{field}" for field in _FIELDS), "f:rules")
    return replace(found(route, path, service.metadata, rules, part), of_owner=True)


def _check_sides(route: CanaryRoute) -> None:
    """Raises BackendMissing where a backend that KServe has named leads to other pods than those of the side's workload."""
    for side, backend, workload in zip(("stable", "canary"), (route.stable, route.canary), route.counted_by, strict=True):
        name = backend.removeprefix(pool_words(""))
        end = next(filter(name.endswith, _BACKENDS), "")
        named = "" if workload is None else workload.name
        service = next((named.removesuffix(each) for each in _WORKLOADS if named.endswith(each)), "")
        if end and name != child_name(service, end):
            text = f"{backend} on the {side} side of {route} does not lead to {workload or 'no workload'}, which the rule names"
            raise BackendMissing(f"{text}: its traffic is left alone; name the workload of {backend} in {side}")


ROUTER = Router(
    RouterSpec(
        "LLMInferenceService",
        "of KServe: the weights in `spec.router.route.http.spec`",
        pools=True,
        other_namespace=False,
        of_owner=True,
    ),
    find,
    reads=permissions(GROUP, "llminferenceservices", "get"),
    writes=permissions(GROUP, "llminferenceservices", "patch"),
)
