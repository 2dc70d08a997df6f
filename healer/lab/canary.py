"""Manifests of a stable version and its canary: two workloads, and the route between them for each of three routers.

The Deployments `tensorflow-serving-v1` and `-v2` are two versions of one application. Each has a Service of the same name.
Weights are the canary's share in percent. HTTPRoute and VirtualService need their definitions in the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

from healer.lab.objects import Object
from healer.lab.workload import serving

APP = "tensorflow-serving"
STABLE, CANARY = f"{APP}-v1", f"{APP}-v2"
"""The names of the Deployments and of their Services."""
ROUTE = "model-ab-testing"
"""The name of the HTTPRoute, the VirtualService or the canary's Ingress."""
MAIN = "model"
"""The name of the stable version's Ingress."""
HOST = "models.example.com"
_NGINX = "nginx.ingress.kubernetes.io"


def versions(
    namespace: str = "production",
    *,
    names: tuple[str, str] = (STABLE, CANARY),
    replicas: tuple[int, int] = (3, 1),
    images: tuple[str, str] = ("tensorflow/serving:2.16.1", "tensorflow/serving:2.17.0"),
    ports: tuple[int, int] = (8501, 8501),
    addresses: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> list[Object]:
    """The two Deployments, each with its Service. Each pair is (stable, canary).

    ports: the ports of their pods and Services; addresses: the IP addresses that their pods may get, empty for any.
    """
    return [
        manifest
        for at, name in enumerate(names)
        for manifest in serving(
            name,
            namespace,
            replicas=replicas[at],
            image=images[at],
            min_available=None,
            app=APP,
            version=f"v{at + 1}",
            port=ports[at],
            addresses=addresses[at],
        )
    ]


def ingresses(
    namespace: str = "production",
    *,
    weight: int = 10,
    ports: tuple[int, int] = (8501, 8501),
    names: tuple[str, str] = (STABLE, CANARY),
    name: str = ROUTE,
    main: str = MAIN,
) -> list[Object]:
    """ingress-nginx: the main Ingress for stable, and the Ingress whose annotations make it the canary's."""
    annotations = {f"{_NGINX}/canary": "true", f"{_NGINX}/canary-weight": str(weight)}
    return [
        _ingress(main, namespace, names[0], ports[0], {}),
        _ingress(name, namespace, names[1], ports[1], {"annotations": annotations}),
    ]


def _ingress(name: str, namespace: str, service: str, port: int, notes: Object) -> Object:
    backend = {"service": {"name": service, "port": {"number": port}}}
    path = {"path": "/v1/models", "pathType": "Prefix", "backend": backend}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": namespace, **notes},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": HOST, "http": {"paths": [path]}}]},
    }


def http_route(
    namespace: str = "production",
    *,
    weight: int = 10,
    ports: tuple[int, int] = (8501, 8501),
    names: tuple[str, str] = (STABLE, CANARY),
    name: str = ROUTE,
) -> Object:
    """Gateway API: one rule with two backendRefs."""
    shares = zip(names, ports, (100 - weight, weight), strict=True)
    backends = [{"name": service, "port": port, "weight": share} for service, port, share in shares]
    matches = [{"path": {"type": "PathPrefix", "value": "/v1/models"}}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "models"}],
            "hostnames": [HOST],
            "rules": [{"matches": matches, "backendRefs": backends}],
        },
    }


def virtual_service(
    namespace: str = "production",
    *,
    weight: int = 10,
    ports: tuple[int, int] = (8501, 8501),
    names: tuple[str, str] = (STABLE, CANARY),
    name: str = ROUTE,
) -> Object:
    """Istio: one HTTP route with two destinations."""
    shares = zip(names, ports, (100 - weight, weight), strict=True)
    split = [{"destination": {"host": service, "port": {"number": port}}, "weight": share} for service, port, share in shares]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hosts": [HOST], "http": [{"match": [{"uri": {"prefix": "/v1/models"}}], "route": split}]},
    }
