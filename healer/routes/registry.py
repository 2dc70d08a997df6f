"""The router kinds that rules may name: a new one is a new file and one line here."""

from healer.model.permission import permissions
from healer.routes import httproute, ingress, virtualservice
from healer.routes.route import Router

ROUTERS: dict[str, Router] = {
    "Ingress": Router(
        ingress.find,
        reads=permissions("networking.k8s.io", "ingresses", "list"),
        writes=permissions("networking.k8s.io", "ingresses", "patch"),
    ),
    "HTTPRoute": Router(
        httproute.find,
        reads=permissions(httproute.GROUP, "httproutes", "get"),
        writes=permissions(httproute.GROUP, "httproutes", "patch"),
    ),
    "VirtualService": Router(
        virtualservice.find,
        reads=permissions(virtualservice.GROUP, "virtualservices", "get"),
        writes=permissions(virtualservice.GROUP, "virtualservices", "patch"),
    ),
}
