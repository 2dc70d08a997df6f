"""VirtualService of Istio: `spec.http[].route[].weight`.

Source: networking.istio.io/v1, and v1beta1, which has the same fields. Weights sum to 100 by convention; the default is 0, but a
single destination gets everything whatever its weight. A host without a dot is a Service of the VirtualService's own namespace.
Stable and canary are told apart by host and subset: two forms of one host are the same backend, two subsets are two.
"""

import msgspec

from healer.cluster.api import Api
from healer.model.action import permissions
from healer.routes.route import CanaryRoute, KindMissing, Metadata, ReadRoute, Router, fetched
from healer.routes.split import Backend, BackendList, found, named
from healer.rules.probe import subset_words
from healer.rules.vocabulary import RouterSpec

GROUP = "networking.istio.io"


class _Destination(msgspec.Struct):
    host: str
    subset: str | None = None

    def service(self, route: CanaryRoute) -> str:
        """The Service in the Deployments' namespace that the host names; else the host. A host without a dot is one of the
        VirtualService's own namespace."""
        name, _, domain = self.host.partition(".")
        domain = domain or route.home
        inside = domain in (route.namespace, f"{route.namespace}.svc") or domain.startswith(f"{route.namespace}.svc.")
        return name if inside else self.host

    def backend(self, route: CanaryRoute, weight: int) -> Backend:
        return Backend(self.service(route), weight, subset_words(self.subset) if self.subset else "")


class _RouteDestination(msgspec.Struct):
    destination: _Destination
    weight: int | None = None


class _MirrorDestination(msgspec.Struct):
    destination: _Destination


class _VirtualServiceRoute(msgspec.Struct):
    name: str | None = None
    route: list[_RouteDestination] | None = None
    mirror: _Destination | None = None
    mirrors: list[_MirrorDestination] | None = None

    def rule(self, route: CanaryRoute, words: str, where: str) -> BackendList:
        targets = self.route or []
        backends = [target.destination.backend(route, 1 if len(targets) == 1 else target.weight or 0) for target in targets]
        mirrored = [*([self.mirror] if self.mirror else []), *(each.destination for each in self.mirrors or ())]
        return BackendList(words, where, backends, any(each.backend(route, 1).reaches(route.canary) for each in mirrored))


class _VirtualServiceSpec(msgspec.Struct):
    http: list[_VirtualServiceRoute] | None = None
    tcp: list[_VirtualServiceRoute] | None = None
    tls: list[_VirtualServiceRoute] | None = None


class _VirtualService(msgspec.Struct):
    metadata: Metadata
    spec: _VirtualServiceSpec


async def find(api: Api, route: CanaryRoute) -> ReadRoute:
    """See `Find`: splits of HTTP. Routes of TCP or TLS to the canary are listed as requests that weights do not control."""
    path, service = await _get(api, route)
    rules = [
        each.rule(route, f"{kind} route {number + 1}{named(each.name)}", f"/spec/http/{number}/route" if kind == "http" else "")
        for kind, routes in (("http", service.spec.http), ("tcp", service.spec.tcp), ("tls", service.spec.tls))
        for number, each in enumerate(routes or ())
    ]
    return found(route, path, service.metadata, rules, ("f:spec", "f:http"))


async def _get(api: Api, route: CanaryRoute) -> tuple[str, _VirtualService]:
    """The object by v1, or by v1beta1 where the cluster does not serve v1 (Istio before 1.22), with its path."""
    v1, v1beta1 = (
        f"/apis/{GROUP}/{version}/namespaces/{route.home}/virtualservices/{route.name}" for version in ("v1", "v1beta1")
    )
    try:
        return v1, await fetched(api, v1, _VirtualService, route, GROUP)
    except KindMissing:
        return v1beta1, await fetched(api, v1beta1, _VirtualService, route, GROUP)


ROUTER = Router(
    RouterSpec("VirtualService", "of Istio", subsets=True),
    find,
    reads=permissions(GROUP, "virtualservices", "get"),
    writes=permissions(GROUP, "virtualservices", "patch"),
)
