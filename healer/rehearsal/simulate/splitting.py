"""The routes between workloads and their canaries: their manifests, and the share of the requests that each canary gets now."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from healer.lab.apiserver.store import StoreEvent
from healer.lab.canary import http_route, ingresses, virtual_service
from healer.lab.custom import HTTP_ROUTE, VIRTUAL_SERVICE, definition
from healer.lab.kinds import INGRESS, Kind
from healer.lab.objects import Object, annotations_of
from healer.rehearsal.simulate.cluster_spec import PlayedCanary, PlayedWorkload

ROUTES: Mapping[str, Kind] = {"HTTPRoute": HTTP_ROUTE, "VirtualService": VIRTUAL_SERVICE, "Ingress": INGRESS}
_NGINX_WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"
_MAIN = "main-"
"""How the name of the stable workload's Ingress begins."""


def definitions(workloads: Sequence[PlayedWorkload]) -> list[Object]:
    """The definitions of the kinds of their routes, as far as they are no built-in kinds."""
    kinds = dict.fromkeys(each.canary.router for each in workloads if each.canary is not None)
    return [definition(ROUTES[kind]) for kind in kinds if ROUTES[kind].custom]


def route_name(spec: PlayedCanary) -> str:
    """The name of a canary's route."""
    return spec.route or spec.of


def route_of(canary: PlayedWorkload, stable: PlayedWorkload) -> list[Object]:
    """The manifests of the route between two workloads."""
    spec = canary.canary
    assert spec is not None, "it is a canary"
    name, weight = route_name(spec), round(100 * spec.weight)
    between: dict[str, Any] = {"weight": weight, "ports": (stable.port, canary.port), "names": (stable.name, canary.name)}
    if spec.router == "Ingress":
        return ingresses(canary.namespace, **between, name=name, main=_MAIN + name)
    make = http_route if spec.router == "HTTPRoute" else virtual_service
    return [make(canary.namespace, **between, name=name)]


class Splits:
    """The share of each canary, as its route has it. `changed` is told when one has changed."""

    def __init__(self, workloads: Sequence[PlayedWorkload], changed: Callable[[], None]) -> None:
        self._canaries = {
            (ROUTES[each.canary.router].stored_in, (each.namespace, route_name(each.canary))): each
            for each in workloads
            if each.canary is not None
        }
        self._shares: dict[str, float] = {}
        self._changed = changed

    def share(self, canary: str) -> float:
        """The share of a canary, 0 to 1; 0 without a route."""
        return self._shares.get(canary, 0.0)

    def read(self, get: Callable[[str, tuple[str, str]], Object | None]) -> None:
        """Read the routes as the store has them."""
        for (collection, key), canary in self._canaries.items():
            route = get(collection, key)
            self._shares[canary.name] = 0.0 if route is None else share_of(route, canary)

    def observe(self, collection: str, change: StoreEvent) -> None:
        """Take a change of the store."""
        canary = self._canaries.get((collection, change.key))
        if canary is None:
            return
        share = 0.0 if change.type == "DELETED" else share_of(change.now.object, canary)
        if share != self._shares.get(canary.name, 0.0):
            self._shares[canary.name] = share
            self._changed()


def weighed(canary: PlayedWorkload, weight: float) -> Callable[[Object], None]:
    """How a canary's route is changed to another share."""
    spec = canary.canary
    assert spec is not None, "it is a canary"
    percent = round(100 * weight)
    shares = {spec.of: 100 - percent, canary.name: percent}

    def change(route: Object) -> None:
        if spec.router == "Ingress":
            route["metadata"]["annotations"] = annotations_of(route) | {_NGINX_WEIGHT: str(percent)}
            return
        for service, backend in _backends(route, spec.router):
            if service in shares:
                backend["weight"] = shares[service]

    return change


def share_of(route: Object, canary: PlayedWorkload) -> float:
    """The share of its requests that a route sends to the canary."""
    spec = canary.canary
    assert spec is not None, "it is a canary"
    if spec.router == "Ingress":
        return float(annotations_of(route).get(_NGINX_WEIGHT, "0")) / 100
    weights = dict.fromkeys((spec.of, canary.name), 0.0)
    for service, backend in _backends(route, spec.router):
        if service in weights:
            weights[service] += float(backend.get("weight", 1))
    total = sum(weights.values())
    return weights[canary.name] / total if total else 0.0


def _backends(route: Object, router: str) -> Iterator[tuple[str, Object]]:
    """The backends of an HTTPRoute or a VirtualService, with their Services."""
    if router == "HTTPRoute":
        for rule in route["spec"].get("rules") or []:
            for ref in rule.get("backendRefs") or []:
                yield ref["name"], ref
    else:
        for rule in route["spec"].get("http") or []:
            for ref in rule.get("route") or []:
                yield ref["destination"]["host"], ref
