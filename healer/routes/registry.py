"""The router kinds that rules may name: a new one is a new file and one line here."""

from healer.routes import httproute, ingress, virtualservice
from healer.routes.route import Find

ROUTERS: dict[str, Find] = {
    "Ingress": ingress.find,
    "HTTPRoute": httproute.find,
    "VirtualService": virtualservice.find,
}
