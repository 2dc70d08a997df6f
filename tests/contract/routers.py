"""The three kinds of route, and the definitions of two of them: the parts that weights and backends need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from healer.lab import canary
from tests.contract.client import Client, Object

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WITHIN = 20.0
"""Seconds for a server to serve a new definition; the lab needs none of them."""


def definition(plural: str) -> Object:
    """The CustomResourceDefinition of a kind that `crds` has: `httproutes`, `virtualservices`."""
    text = (Path(__file__).parent / "crds" / f"{plural}.yaml").read_text(encoding="utf-8")
    found: Object = yaml.safe_load(text)
    return found


async def define(api: Client, plural: str) -> None:
    """Have the server serve the kind, which it may do already: others define it as well."""
    body = definition(plural)
    answer = await api.post(DEFINITIONS, body)
    assert answer.code in (201, 409), answer
    version = body["spec"]["versions"][0]["name"]
    path = f"/apis/{body['spec']['group']}/{version}/namespaces/{api.namespace}/{plural}"
    async with asyncio.timeout(WITHIN):
        while (await api.get(path)).code != 200:  # noqa: ASYNC110 - the server offers nothing to wait on
            await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Router:
    """One kind of route: where it is, how a canary's looks, and where in it the weights are.

    manifests(namespace): the objects of a route that gives the canary 10 of 100; the last is the one with the weights;
    weights: JSON pointers to stable's weight (None where there is none of its own) and the canary's; backend: to the name
    of the canary's backend.
    """

    kind: str
    group: str
    plural: str
    manifests: Callable[[str], list[Object]]
    weights: tuple[str | None, str]
    backend: str
    custom: bool = True

    def path(self, namespace: str) -> str:
        """The collection."""
        return f"/apis/{self.group}/v1/namespaces/{namespace}/{self.plural}"

    def weight(self, number: int) -> int | str:
        """A weight as the kind writes it."""
        return number if self.custom else str(number)


INGRESS = Router(
    kind="Ingress",
    group="networking.k8s.io",
    plural="ingresses",
    manifests=canary.ingresses,
    weights=(None, "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight"),
    backend="/spec/rules/0/http/paths/0/backend/service/name",
    custom=False,
)
HTTP_ROUTE = Router(
    kind="HTTPRoute",
    group="gateway.networking.k8s.io",
    plural="httproutes",
    manifests=lambda namespace: [canary.http_route(namespace)],
    weights=("/spec/rules/0/backendRefs/0/weight", "/spec/rules/0/backendRefs/1/weight"),
    backend="/spec/rules/0/backendRefs/1/name",
)
VIRTUAL_SERVICE = Router(
    kind="VirtualService",
    group="networking.istio.io",
    plural="virtualservices",
    manifests=lambda namespace: [canary.virtual_service(namespace)],
    weights=("/spec/http/0/route/0/weight", "/spec/http/0/route/1/weight"),
    backend="/spec/http/0/route/1/destination/host",
)
ROUTERS = (INGRESS, HTTP_ROUTE, VIRTUAL_SERVICE)
