"""The canary Ingress of ingress-nginx: its annotations `canary-weight` of `canary-weight-total`.

Source: ingress-nginx, annotations "canary" and rootfs/etc/nginx/lua/balancer.lua. The canary Ingress has the hosts and paths of
the main one, and gets `weight` of `total` requests (default and minimum 100); the main one gets the rest. A header or a cookie
takes precedence over the weight, and so does session affinity unless `affinity-canary-behavior` is "legacy".
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from healer.cluster.api import Api
from healer.model.action import permissions
from healer.routes.route import (
    BackendMissing,
    CanaryRoute,
    Edit,
    Metadata,
    ReadRoute,
    RouteMissing,
    Router,
    RouteUnreadable,
    Weights,
)
from healer.rules.vocabulary import RouterSpec

PREFIX = "nginx.ingress.kubernetes.io/"
WEIGHT = f"{PREFIX}canary-weight"
_CLASS = "kubernetes.io/ingress.class"
_TOTAL = 100
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
"""The texts that ingress-nginx reads as true (strconv.ParseBool of Go)."""

Spot = tuple[str, str]
"""A host and a path."""


class _IngressService(msgspec.Struct):
    name: str


class _IngressBackend(msgspec.Struct):
    service: _IngressService | None = None

    def __str__(self) -> str:
        return self.service.name if self.service else "no Service"


class _Path(msgspec.Struct):
    backend: _IngressBackend
    path: str = "/"


class _IngressHttp(msgspec.Struct):
    paths: list[_Path] | None = None


class _IngressRule(msgspec.Struct):
    host: str = ""
    http: _IngressHttp | None = None


class _IngressSpec(msgspec.Struct, rename="camel"):
    rules: list[_IngressRule] | None = None
    default_backend: _IngressBackend | None = None
    ingress_class_name: str | None = None


class _Ingress(msgspec.Struct):
    metadata: Metadata
    spec: _IngressSpec

    @property
    def name(self) -> str:
        return str(self.metadata.get("name", ""))

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.get("annotations") or {}

    def nginx(self, name: str) -> str:
        """An annotation of ingress-nginx; "" where it is left out."""
        return self.annotations.get(PREFIX + name, "")

    @property
    def is_canary(self) -> bool:
        return self.nginx("canary") in _TRUE

    @property
    def controller(self) -> str:
        """Its class; "" where it names none."""
        return self.spec.ingress_class_name or self.annotations.get(_CLASS, "")

    @property
    def backends(self) -> Iterator[tuple[Spot, str]]:
        """Each host and path with the Service behind it; the default backend has neither."""
        if self.spec.default_backend:
            yield ("", ""), str(self.spec.default_backend)
        for rule in self.spec.rules or ():
            for path in (rule.http.paths if rule.http else None) or ():
                yield (rule.host, path.path or "/"), str(path.backend)


class _Ingresses(msgspec.Struct):
    items: list[_Ingress]


async def find(api: Api, route: CanaryRoute) -> ReadRoute:
    """See `Find`. The main Ingress must lead to stable, or the traffic taken from the canary would go elsewhere."""
    collection = f"/apis/networking.k8s.io/v1/namespaces/{route.namespace}/ingresses"
    everything = (await api.get(collection, _Ingresses)).items
    canary = next((each for each in everything if each.name == route.name), None)
    if canary is None:
        raise RouteMissing(f"there is no {route} in {route.namespace}")
    if not canary.is_canary:
        found = canary.annotations.get(f"{PREFIX}canary")
        raise RouteUnreadable(f'{route} is no canary: its annotation {PREFIX}canary is {found!r}, not "true"')
    spots = _spots(route, canary)
    mains = [each for each in everything if not each.is_canary and _shared(each, canary)]
    besides = _besides(canary, _mains(route, spots, mains))
    weight, total = _number(route, canary, "canary-weight", 0), _number(route, canary, "canary-weight-total", _TOTAL)
    total = max(total, _TOTAL)
    if weight > total:
        raise RouteUnreadable(f"{route} has weight {weight} of {total}: set a weight from 0 to {total}")

    def edits(weights: Weights) -> Iterable[Edit]:
        ((_, value),) = weights.pairs
        yield {"op": "add", "path": f"/metadata/annotations/{WEIGHT.replace('/', '~1')}", "value": str(value)}

    weights = Weights(((total - weight, weight),), besides)
    part = ("f:metadata", "f:annotations", f"f:{WEIGHT}")
    return ReadRoute(
        f"{collection}/{route.name}", canary.metadata.get("resourceVersion", ""), weights, edits, canary.metadata, part
    )


def _shared(one: _Ingress, other: _Ingress) -> bool:
    """Whether one controller may serve both: an Ingress of the default class need not name it."""
    return not one.controller or not other.controller or one.controller == other.controller


def _spots(route: CanaryRoute, canary: _Ingress) -> set[Spot]:
    """The hosts and paths of the canary Ingress. Raises BackendMissing unless all lead to the canary."""
    services = {service for _, service in canary.backends}
    if services != {route.canary}:
        found = ", ".join(sorted(services)) or "nothing"
        raise BackendMissing(f"{route} should lead to the Service {route.canary} alone, and leads to {found}")
    return {spot for spot, _ in canary.backends}


def _mains(route: CanaryRoute, spots: set[Spot], others: list[_Ingress]) -> list[_Ingress]:
    """The Ingresses that the canary takes traffic from. Raises BackendMissing unless they lead to stable."""
    leads = [(each, spot, service) for each in others for spot, service in each.backends if spot in spots]
    astray = [
        f"ingress/{each.name} leads {host}{path} to {service}" for each, (host, path), service in leads if service != route.stable
    ]
    if astray or not leads:
        found = "; ".join(astray) or "no Ingress that is no canary has one of its hosts and paths"
        raise BackendMissing(f"what {route} does not take should go to the Service {route.stable}: {found}")
    return [each for each, _, _ in leads]


def _besides(canary: _Ingress, mains: list[_Ingress]) -> tuple[str, ...]:
    """The requests that reach the canary whatever its weight is, in words."""
    besides = []
    if header := canary.nginx("canary-by-header"):
        value = canary.nginx("canary-by-header-value") or canary.nginx("canary-by-header-pattern") or "always"
        besides.append(f"requests with the header {header}: {value} go to the canary")
    if cookie := canary.nginx("canary-by-cookie"):
        besides.append(f"requests with the cookie {cookie}=always go to the canary")
    sticky = any(each.nginx("affinity") == "cookie" for each in (canary, *mains))
    if sticky and canary.nginx("affinity-canary-behavior") != "legacy":
        besides.append("clients whose session is bound to the canary by a cookie (affinity) stay there")
    return tuple(besides)


def _number(route: CanaryRoute, canary: _Ingress, name: str, default: int) -> int:
    text = canary.nginx(name)
    if text and not (text.isascii() and text.isdigit()):
        raise RouteUnreadable(f"{route} has {PREFIX}{name}: {text!r}, which is no whole number")
    return int(text) if text else default


ROUTER = Router(
    RouterSpec("Ingress", 'the canary Ingress of ingress-nginx, the one with `canary: "true"`', other_namespace=False),
    find,
    reads=permissions("networking.k8s.io", "ingresses", "list"),
    writes=permissions("networking.k8s.io", "ingresses", "patch"),
)
