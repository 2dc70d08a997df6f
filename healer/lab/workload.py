"""Manifests of a model-serving workload: a Deployment like TensorFlow Serving's, with its Service and PDB."""

from __future__ import annotations

from collections.abc import Sequence

from healer.lab.kubelet.behaviour import ADDRESSES, ANNOTATION
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
    app: str | None = None,
    version: str = "v1",
    port: int = 8501,
    addresses: Sequence[str] = (),
) -> list[Object]:
    """The manifests of one workload: Deployment, Service and, unless `min_available` is None, a PDB.

    unhealthy_eviction: the PDB's unhealthyPodEvictionPolicy; behaviour: the behaviour of all its pods; app: the application
    that this workload is one version of (the label `version` selects the version); port: the port of its pods; addresses: the
    IP addresses that its pods may get, empty for any.
    """
    labels = {"app": app or name, "version": version}
    selector = labels if app else {"app": name}
    values = {**({ANNOTATION: behaviour} if behaviour else {}), **({ADDRESSES: ",".join(addresses)} if addresses else {})}
    annotations = {"annotations": values} if values else {}
    container = {
        "name": "tensorflow-serving",
        "image": image,
        "ports": [{"containerPort": port}],
        "readinessProbe": {"httpGet": {"path": "/v1/models/model", "port": port}},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels if app else {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels, **annotations}, "spec": {"containers": [container]}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": port}]},
    }
    if min_available is None:
        return [deployment, service]
    policy = {"unhealthyPodEvictionPolicy": unhealthy_eviction} if unhealthy_eviction else {}
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"minAvailable": min_available, "selector": {"matchLabels": selector}, **policy},
    }
    return [deployment, service, budget]
