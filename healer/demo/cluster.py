"""The cluster of the show: a model served in one version, and later in a second, on trial behind a canary Ingress."""

from healer.lab import Lab, serving
from healer.lab.canary import APP, CANARY, ROUTE, STABLE, ingresses
from healer.lab.objects import Object, is_active, is_ready

__all__ = [
    "APP",
    "CANARY",
    "NAMESPACE",
    "REPLICAS",
    "STABLE",
    "WEIGHT",
    "canary",
    "is_gone",
    "ready_pods",
    "split",
    "stable",
    "weight",
]

NAMESPACE = "production"
REPLICAS = 3
"""Of the stable version; the canary has one."""
WEIGHT = 20
"""Percent of the requests that the canary gets."""


def stable() -> list[Object]:
    """What there is from the beginning: the stable version, with a PDB."""
    main, _ = ingresses(NAMESPACE)
    return [*serving(STABLE, NAMESPACE, replicas=REPLICAS, app=APP), main]


def canary() -> list[Object]:
    """What comes with the second version."""
    return serving(CANARY, NAMESPACE, replicas=1, min_available=None, app=APP, version="v2")


def split() -> Object:
    """What gives it requests."""
    _, second = ingresses(NAMESPACE, weight=WEIGHT)
    return second


def ready_pods(lab: Lab, deployment: str) -> list[str]:
    """The names of a version's pods that are ready, oldest first."""
    pods = [pod for pod in lab.objects("pods", NAMESPACE) if pod["metadata"]["name"].startswith(f"{deployment}-")]
    found = [(pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]) for pod in pods if is_active(pod) and is_ready(pod)]
    return [name for _, name in sorted(found)]


def is_gone(lab: Lab, pod: str) -> bool:
    """Whether no pod has that name any more."""
    return all(found["metadata"]["name"] != pod for found in lab.objects("pods", NAMESPACE))


def weight(lab: Lab) -> int:
    """Percent of the requests that the canary's Ingress gives to it now; none before there is one."""
    found = [ingress["metadata"] for ingress in lab.objects("ingresses", NAMESPACE) if ingress["metadata"]["name"] == ROUTE]
    return sum(int(metadata["annotations"]["nginx.ingress.kubernetes.io/canary-weight"]) for metadata in found)
