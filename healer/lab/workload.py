"""A model-serving workload as manifests: a TensorFlow-Serving-like Deployment with its Service and PDB."""

from __future__ import annotations

from healer.lab.behaviour import ANNOTATION
from healer.lab.objects import Object


def serving(
    name: str = "tensorflow-serving",
    namespace: str = "production",
    *,
    replicas: int = 3,
    image: str = "tensorflow/serving:2.16.1",
    min_available: int | str | None = 2,
    unhealthy_eviction: str | None = None,
    behaviour: str | None = None,
) -> list[Object]:
    """The manifests of one workload: Deployment, Service and, unless `min_available` is None, a PDB.

    unhealthy_eviction: the PDB's unhealthyPodEvictionPolicy; behaviour: what all its pods do.
    """
    labels = {"app": name, "version": "v1"}
    annotations = {"annotations": {ANNOTATION: behaviour}} if behaviour else {}
    container = {
        "name": "tensorflow-serving",
        "image": image,
        "ports": [{"containerPort": 8501}],
        "readinessProbe": {"httpGet": {"path": "/v1/models/model", "port": 8501}},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels, **annotations}, "spec": {"containers": [container]}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 8501}]},
    }
    if min_available is None:
        return [deployment, service]
    policy = {"unhealthyPodEvictionPolicy": unhealthy_eviction} if unhealthy_eviction else {}
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"minAvailable": min_available, "selector": {"matchLabels": {"app": name}}, **policy},
    }
    return [deployment, service, budget]
