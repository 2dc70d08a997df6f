"""The cluster of the demo: a model served in one version, later also in a canary version, and a language model in vLLM."""

from collections.abc import Mapping, Sequence

from healer.lab import Lab, serving
from healer.lab.canary import APP, CANARY, ROUTE, STABLE, ingresses
from healer.lab.objects import Object, is_active, is_ready

__all__ = [
    "APP",
    "CANARY",
    "LLM",
    "NAMESPACE",
    "REPLICAS",
    "STABLE",
    "WEIGHT",
    "canary",
    "is_gone",
    "llm",
    "ready_pods",
    "split",
    "stable",
    "weight",
]

NAMESPACE = "production"
REPLICAS = 3
"""Replicas of the stable version. The canary has one."""
LLM = "llm"
"""The Deployment of the language model, with as many replicas."""
WEIGHT = 20
"""The canary's share of the requests in percent."""


def stable() -> list[Object]:
    """The manifests that exist from the start: the stable version with a PDB."""
    main, _ = ingresses(NAMESPACE)
    return [*serving(STABLE, NAMESPACE, replicas=REPLICAS, app=APP), main]


def canary() -> list[Object]:
    """The manifests of the canary version."""
    return serving(CANARY, NAMESPACE, replicas=1, min_available=None, app=APP, version="v2")


def llm(labels: Mapping[str, str], addresses: Sequence[str]) -> list[Object]:
    """The manifests of the language model. `labels` are further labels of its pods; `addresses` those that they get."""
    image = "vllm/vllm-openai:v0.33.0"
    objects = serving(LLM, NAMESPACE, replicas=REPLICAS, image=image, port=8000, addresses=addresses)
    deployment, service, budget = objects
    selector = {"app": LLM} | dict(labels)
    template = deployment["spec"]["template"]
    template["metadata"]["labels"] |= selector
    (container,) = template["spec"]["containers"]
    container |= {"name": "vllm", "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}}}
    deployment["spec"]["selector"] = budget["spec"]["selector"] = {"matchLabels": selector}
    service["spec"]["selector"] = selector
    return objects


def split() -> Object:
    """The Ingress that sends requests to the canary."""
    _, second = ingresses(NAMESPACE, weight=WEIGHT)
    return second


def ready_pods(lab: Lab, deployment: str) -> list[str]:
    """The names of a version's pods that are ready, oldest first."""
    pods = [pod for pod in lab.objects("pods", NAMESPACE) if pod["metadata"]["name"].startswith(f"{deployment}-")]
    found = [(pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]) for pod in pods if is_active(pod) and is_ready(pod)]
    return [name for _, name in sorted(found)]


def is_gone(lab: Lab, pod: str) -> bool:
    """Whether no pod of that name exists."""
    return all(found["metadata"]["name"] != pod for found in lab.objects("pods", NAMESPACE))


def weight(lab: Lab) -> int:
    """The share of the requests in percent that the canary's Ingress sends to it now. 0 without that Ingress."""
    found = [ingress["metadata"] for ingress in lab.objects("ingresses", NAMESPACE) if ingress["metadata"]["name"] == ROUTE]
    return sum(int(metadata["annotations"]["nginx.ingress.kubernetes.io/canary-weight"]) for metadata in found)
