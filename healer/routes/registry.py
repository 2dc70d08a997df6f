"""The router kinds that rules may name: a new one is a new file and one line here."""

from healer.routes import httproute, ingress, virtualservice
from healer.routes.route import Router

ROUTERS: dict[str, Router] = {router.spec.kind: router for router in (ingress.ROUTER, httproute.ROUTER, virtualservice.ROUTER)}
