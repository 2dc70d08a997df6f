"""The router kinds that rules may name: a new one is a new file and one line here."""

from healer.routes import httproute, inferenceservice, ingress, llminferenceservice, rollout, virtualservice
from healer.routes.route import Router

_FILES = (ingress, httproute, virtualservice, rollout, inferenceservice, llminferenceservice)
ROUTERS: dict[str, Router] = {each.ROUTER.spec.kind: each.ROUTER for each in _FILES}
