"""The cluster of the show: a model served in one version, and later in a second, on trial behind a canary Ingress."""

from collections.abc import Mapping

from healer.lab import Lab, serving
from healer.lab.objects import Object, is_active, is_ready

NAMESPACE = "production"
APP = "tensorflow-serving"
STABLE, CANARY = f"{APP}-v1", f"{APP}-v2"
"""The Deployments, and their Services."""
REPLICAS = 3
"""Of the stable version; the canary has one."""
ROUTE = "model-ab-testing"
"""The canary's Ingress."""
WEIGHT = 20
"""Percent of the requests that the canary gets."""
NGINX = "nginx.ingress.kubernetes.io"


def stable() -> list[Object]:
    """What there is from the beginning."""
    return [*_version(STABLE, REPLICAS), _ingress("model", STABLE, {})]


def canary() -> list[Object]:
    """What comes with the second version."""
    annotations = {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": str(WEIGHT)}
    return [*_version(CANARY, 1), _ingress(ROUTE, CANARY, annotations)]


def ready_pods(lab: Lab, deployment: str) -> list[str]:
    """The names of a version's pods that are ready, oldest first."""
    pods = [pod for pod in lab.objects("pods", NAMESPACE) if pod["metadata"]["labels"]["version"] == _version_of(deployment)]
    found = [(pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]) for pod in pods if is_active(pod) and is_ready(pod)]
    return [name for _, name in sorted(found)]


def is_gone(lab: Lab, pod: str) -> bool:
    """Whether no pod has that name any more."""
    return all(found["metadata"]["name"] != pod for found in lab.objects("pods", NAMESPACE))


def weight(lab: Lab) -> int:
    """Percent of the requests that the Ingress gives to the canary now."""
    (ingress,) = [ingress for ingress in lab.objects("ingresses", NAMESPACE) if ingress["metadata"]["name"] == ROUTE]
    return int(ingress["metadata"]["annotations"][f"{NGINX}/canary-weight"])


def _version(name: str, replicas: int) -> list[Object]:
    """One version: Deployment, Service and PDB, each of its own pods only."""
    deployment, service, budget = serving(name, NAMESPACE, replicas=replicas, min_available=max(1, replicas - 1))
    labels = {"app": APP, "version": _version_of(name)}
    deployment["metadata"]["labels"] = labels
    deployment["spec"]["template"]["metadata"]["labels"] = labels
    deployment["spec"]["selector"] = budget["spec"]["selector"] = {"matchLabels": labels}
    service["spec"]["selector"] = labels
    return [deployment, service, budget]


def _version_of(deployment: str) -> str:
    return deployment.rpartition("-")[2]


def _ingress(name: str, service: str, annotations: Mapping[str, str]) -> Object:
    backend = {"service": {"name": service, "port": {"number": 8501}}}
    rule = {"host": "models.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": dict(annotations)},
        "spec": {"ingressClassName": "nginx", "rules": [rule]},
    }
