"""HTTPRoute of the Gateway API: `spec.rules[].backendRefs[].weight`.

Source: gateway.networking.k8s.io/v1. Weights are relative within a rule; the default is 1. A reference is to a Service of the
route's own namespace unless its group, kind or namespace say otherwise. InferencePool is of the Gateway API Inference Extension.
"""

import msgspec

from healer.cluster.api import Api
from healer.model.action import permissions
from healer.routes.route import CanaryRoute, Metadata, ReadRoute, Router, fetched
from healer.routes.split import Backend, BackendList, found, named
from healer.rules.probe import pool_words
from healer.rules.vocabulary import RouterSpec

GROUP = "gateway.networking.k8s.io"
_POOL = "InferencePool"
_POOL_GROUPS = ("inference.networking.k8s.io", "inference.networking.x-k8s.io")
"""The API groups of v1, and of the versions before it."""


class _Ref(msgspec.Struct):
    name: str
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    weight: int | None = None
    filters: "list[_Filter] | None" = None

    def backend(self, route: CanaryRoute) -> Backend:
        kind, namespace = self.kind or "Service", self.namespace or route.home
        weight = 1 if self.weight is None else self.weight
        if namespace == route.namespace and (self.group or "", kind) == ("", "Service"):
            return Backend(self.name, weight)
        if namespace == route.namespace and self.group in _POOL_GROUPS and kind == _POOL:
            return Backend(pool_words(self.name), weight)
        return Backend(f"{kind} {self.name} in {namespace}", weight)


class _RequestMirror(msgspec.Struct, rename="camel"):
    backend_ref: _Ref


class _Filter(msgspec.Struct, rename="camel"):
    request_mirror: _RequestMirror | None = None


class _RouteRule(msgspec.Struct, rename="camel"):
    name: str | None = None
    backend_refs: list[_Ref] | None = None
    filters: list[_Filter] | None = None

    def mirrors(self, route: CanaryRoute) -> bool:
        """Whether copies of its requests go to the canary, by a filter of the rule or of one of its backends."""
        lists = [self.filters, *(each.filters for each in self.backend_refs or ())]
        filters = [each for some in lists for each in some or ()]
        refs = [each.request_mirror.backend_ref for each in filters if each.request_mirror]
        return any(ref.backend(route).service == route.canary for ref in refs)


class HTTPRouteSpec(msgspec.Struct):
    """The rules of an HTTPRoute."""

    rules: list[_RouteRule] | None = None


class _HTTPRoute(msgspec.Struct):
    metadata: Metadata
    spec: HTTPRouteSpec


async def find(api: Api, route: CanaryRoute) -> ReadRoute:
    """See `Find`."""
    path = f"/apis/{GROUP}/v1/namespaces/{route.home}/httproutes/{route.name}"
    found_route = await fetched(api, path, _HTTPRoute, route, GROUP)
    rules = lists_of(route, found_route.spec, "/spec/rules")
    return found(route, path, found_route.metadata, rules, ("f:spec", "f:rules"))


def lists_of(route: CanaryRoute, spec: HTTPRouteSpec, where: str) -> list[BackendList]:
    """The rules of a spec as lists of backends; `where` is the JSON pointer of the rules."""
    return [
        BackendList(
            words=f"rule {number + 1}{named(rule.name)}",
            where=f"{where}/{number}/backendRefs",
            backends=[ref.backend(route) for ref in rule.backend_refs or ()],
            mirrors=rule.mirrors(route),
        )
        for number, rule in enumerate(spec.rules or ())
    ]


ROUTER = Router(
    RouterSpec("HTTPRoute", "of the Gateway API", pools=True),
    find,
    reads=permissions(GROUP, "httproutes", "get"),
    writes=permissions(GROUP, "httproutes", "patch"),
)
