"""A bare API server with the three router kinds, two Services with ready endpoints, and a client of it."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from healer.cluster.api import Api
from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE, http_route, ingresses, virtual_service
from healer.lab.kinds import Kind
from healer.lab.objects import Object, clone
from healer.lab.workload import serving
from healer.routes.base import CanaryRoute, WeightChange, Weights, write

NAMESPACE = "production"
RESOURCES = {
    "Ingress": "ingresses",
    "HTTPRoute": "httproutes.gateway.networking.k8s.io",
    "VirtualService": "virtualservices.networking.istio.io",
}
KINDS = tuple(RESOURCES)


def definition(group: str, plural: str, kind: str, *versions: str) -> Object:
    """A definition that takes everything as it is written."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served = [{"name": name, "served": True, "storage": name == versions[0], "schema": schema} for name in versions]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": served,
        },
    }


def gateway() -> Object:
    return definition("gateway.networking.k8s.io", "httproutes", "HTTPRoute", "v1")


def istio(*versions: str) -> Object:
    return definition("networking.istio.io", "virtualservices", "VirtualService", *(versions or ("v1",)))


def route(kind: str, weight: int = 20) -> list[Object]:
    """The manifests of a route that gives the canary so many percent."""
    match kind:
        case "Ingress":
            return ingresses(NAMESPACE, weight=weight)
        case "HTTPRoute":
            return [http_route(NAMESPACE, weight=weight)]
        case _:
            return [virtual_service(NAMESPACE, weight=weight)]


def weighing(kind: str, weight: int) -> Callable[[Object], None]:
    """Give the canary so many percent, as whoever made the route would."""
    wanted = route(kind, weight)[-1]

    def change(obj: Object) -> None:
        obj["spec"] = wanted["spec"]
        obj["metadata"]["annotations"] = wanted["metadata"].get("annotations")

    return change


def slice_of(service: str, *ready: bool | None, name: str = "") -> Object:
    """An EndpointSlice with an endpoint for each of these; None leaves out whether it is ready."""
    endpoints = [
        {"addresses": [f"10.0.0.{number + 1}"], "conditions": {} if each is None else {"ready": each}}
        for number, each in enumerate(ready)
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{service}-abc",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "rest", "port": 8501}],
    }


def nothing(_: Object) -> None:
    """Leave it as it is."""


@dataclass
class Roads:
    """What a test works on."""

    lab: Lab
    api: Api
    sent: list[tuple[str, str]] = field(default_factory=list)
    """The weights before and after of each patch that was about to be sent."""

    def place(self, kind: str) -> CanaryRoute:
        return CanaryRoute(NAMESPACE, kind, ROUTE, STABLE, CANARY)

    async def add(self, kind: str, weight: int = 20, edit: Callable[[Object], None] = nothing) -> CanaryRoute:
        """Make the route, with its manifest edited."""
        manifests = route(kind, weight)
        edit(manifests[-1])
        await self.lab.apply(manifests)
        return self.place(kind)

    def kind(self, place: CanaryRoute) -> Kind:
        return self.lab.api.kinds.named(RESOURCES[place.kind])

    def object(self, place: CanaryRoute) -> Object:
        """The route as the cluster has it."""
        (found,) = [obj for obj in self.lab.objects(RESOURCES[place.kind]) if obj["metadata"]["name"] == place.name]
        return found

    def modify(self, place: CanaryRoute, change: Callable[[Object], None]) -> None:
        """As somebody else does it."""
        self.lab.api.modify(self.kind(place), NAMESPACE, place.name, change)

    def label(self, place: CanaryRoute, **labels: str) -> None:
        """Somebody else writes what has nothing to do with weights."""

        def change(obj: Object) -> None:
            obj["metadata"]["labels"] = (obj["metadata"].get("labels") or {}) | labels

        self.modify(place, change)

    def serving(self, service: str, *ready: bool | None) -> None:
        """Who is ready behind a Service from now on."""
        wanted = slice_of(service, *ready)
        kind = self.lab.api.kinds.named("endpointslices")
        self.lab.api.modify(kind, NAMESPACE, wanted["metadata"]["name"], lambda obj: obj.update(endpoints=wanted["endpoints"]))

    async def deployed(self, name: str, ready: int) -> None:
        """A Deployment of which so many pods are ready."""
        if all(obj["metadata"]["name"] != name for obj in self.lab.objects("deployments")):
            await self.lab.apply(serving(name, NAMESPACE, replicas=2, min_available=None))
        kind = self.lab.api.kinds.named("deployments")
        self.lab.api.modify(kind, NAMESPACE, name, lambda obj: obj.update(status={"readyReplicas": ready}), subresource="status")

    async def to(
        self,
        place: CanaryRoute,
        percent: int | Weights,
        *,
        meanwhile: Sequence[Callable[[], None]] = (),
        dry_run: bool = False,
    ) -> WeightChange:
        """Shift, or set these weights; what is to happen meanwhile happens between the read and the patch, one thing a try."""
        events = iter(meanwhile)

        async def sending(before: Weights, after: Weights) -> None:
            self.sent.append((str(before), str(after)))
            next(events, lambda: None)()

        def change(now: Weights) -> Weights:
            return percent if isinstance(percent, Weights) else now.at_most(percent)

        self.lab.requests.clear()
        return await write(self.api, place, change, sending=sending, dry_run=dry_run)

    @property
    def writes(self) -> list[str]:
        """The requests since the last write that may change something."""
        return [f"{s.verb} {s.permission}" for s in self.lab.requests if s.verb not in ("get", "list", "watch")]


def bare(obj: Object) -> Any:
    """The object without what every write changes, and without the weights."""
    left = clone(obj)
    for key in ("resourceVersion", "generation", "managedFields"):
        left["metadata"].pop(key, None)
    if annotations := left["metadata"].get("annotations"):
        annotations.pop("nginx.ingress.kubernetes.io/canary-weight", None)
    for rule in left["spec"].get("rules") or ():
        for ref in rule.get("backendRefs") or ():
            ref.pop("weight", None)
    for http in left["spec"].get("http") or ():
        for target in http.get("route") or ():
            target.pop("weight", None)
    return left


@pytest.fixture
async def roads(tmp_path: Path) -> AsyncIterator[Roads]:
    """No route yet; each Service has one ready endpoint."""
    async with Lab(controllers=False) as lab:
        await lab.apply([gateway(), istio()])
        await lab.apply([slice_of(STABLE, True), slice_of(CANARY, True)])
        lab.write_kubeconfig(tmp_path / "config")
        api = await Api.connect(kubeconfig=str(tmp_path / "config"))
        try:
            yield Roads(lab, api)
        finally:
            await api.aclose()
