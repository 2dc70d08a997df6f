"""A canary beside its stable version: two workloads, the route between them by each of three routers, and the rule."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from healer.lab import serving
from healer.lab.objects import Object
from tests.support.traffic import METRICS, Version

STABLE, CANARY = "tensorflow-serving-v1", "tensorflow-serving-v2"
"""The names of the Deployments and of their Services."""
ROUTE = "model-ab-testing"
"""The name of the route, of whichever kind."""

_PORT = 8501
_HOST = "models.example.com"
_SERIES = 'namespace="{{ namespace }}", pod=~"{{ pods }}"'
ERRORS = {
    "name": "errors",
    "total": f':tensorflow:serving:request_count{{{_SERIES}, status!="INVALID_ARGUMENT"}}',
    "bad": f':tensorflow:serving:request_count{{{_SERIES}, status!~"OK|INVALID_ARGUMENT"}}',
}
LATENCY = {
    "name": "latency",
    "histogram": f":tensorflow:serving:request_latency_bucket{{{_SERIES}}}",
    "slowerThan": "200ms",
    "unit": "us",
}


def workloads(namespace: str, replicas: int = 2) -> list[Object]:
    """The two Deployments with their Services."""
    return [manifest for name in (STABLE, CANARY) for manifest in serving(name, namespace, replicas=replicas, min_available=None)]


def route(kind: str, namespace: str, weight: int) -> list[Object]:
    """The manifests of a route that gives the canary so many percent."""
    return {"Ingress": _ingresses, "HTTPRoute": _http_route, "VirtualService": _virtual_service}[kind](namespace, weight)


def _ingresses(namespace: str, weight: int) -> list[Object]:
    """ingress-nginx: an Ingress for stable, and a second one for the canary."""
    prefix = "nginx.ingress.kubernetes.io"
    annotations = {f"{prefix}/canary": "true", f"{prefix}/canary-weight": str(weight)}
    return [_ingress("model", namespace, STABLE, {}), _ingress(ROUTE, namespace, CANARY, annotations)]


def _ingress(name: str, namespace: str, service: str, annotations: Mapping[str, str]) -> Object:
    backend = {"service": {"name": service, "port": {"number": _PORT}}}
    rule = {"host": _HOST, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": namespace, "annotations": dict(annotations)},
        "spec": {"ingressClassName": "nginx", "rules": [rule]},
    }


def _http_route(namespace: str, weight: int) -> list[Object]:
    backends = [{"name": name, "port": _PORT, "weight": share} for name, share in _shares(weight)]
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": ROUTE, "namespace": namespace},
            "spec": {"parentRefs": [{"name": "models"}], "hostnames": [_HOST], "rules": [{"backendRefs": backends}]},
        }
    ]


def _virtual_service(namespace: str, weight: int) -> list[Object]:
    split = [{"destination": {"host": name, "port": {"number": _PORT}}, "weight": share} for name, share in _shares(weight)]
    return [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": ROUTE, "namespace": namespace},
            "spec": {"hosts": [_HOST], "http": [{"route": split}]},
        }
    ]


def _shares(weight: int) -> tuple[tuple[str, int], tuple[str, int]]:
    return (STABLE, 100 - weight), (CANARY, weight)


def when(kind: str, *measures: Mapping[str, Any], every: str = "1s", hold: str = "30m") -> dict[str, Any]:
    """The trigger of a rule that judges the canary behind a route of that kind; by errors and latency unless told otherwise."""
    return {
        "canary": {
            "route": {"kind": kind, "name": ROUTE},
            "stable": {"deployment": STABLE},
            "canary": {"deployment": CANARY},
            "every": every,
            "hold": hold,
            "measures": list(measures or (ERRORS, LATENCY)),
        }
    }


def scraping(versions: Sequence[Version]) -> dict[str, Any]:
    """The configuration of a Prometheus in a hurry that scrapes the servers of these versions."""
    targets = [target for version in versions for target in version.targets()]
    return {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
        "scrape_configs": [{"job_name": "tensorflow-serving", "metrics_path": METRICS, "static_configs": targets}],
    }


@contextmanager
def reserved() -> Iterator[str]:
    """An address for a server that dies and comes back: while it is away, nobody else is given its port.

    A socket is bound to it and does not listen: who asks for this very port with SO_REUSEADDR, as Go's servers do, gets it; who
    asks for any port does not.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"
