"""The scale subresource: a workload's replicas as an autoscaling/v1 Scale."""

from __future__ import annotations

from healer.lab.apiserver import status
from healer.lab.apiserver.selectors import format_selector
from healer.lab.objects import Object

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(workload: Object) -> Object:
    """The Scale of a Deployment or ReplicaSet."""
    metadata = workload["metadata"]
    counted = (workload.get("status") or {}).get("replicas", 0)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in _KEPT if field in metadata},
        "spec": {"replicas": workload["spec"]["replicas"]},
        "status": {"replicas": counted, "selector": format_selector(workload["spec"].get("selector"))},
    }


def scaled(workload: Object, scale: Object) -> Object:
    """The workload with the replicas of a written Scale. Raises ApiError 422 for a number below zero."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    name = workload["metadata"]["name"]
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise status.invalid_patch("json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise status.invalid_scale(name, status.Cause("spec.replicas", message))
    metadata = dict(workload["metadata"])
    if version := (scale.get("metadata") or {}).get("resourceVersion"):
        metadata["resourceVersion"] = version
    return workload | {"metadata": metadata, "spec": workload["spec"] | {"replicas": replicas}}
