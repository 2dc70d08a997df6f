"""Objects whose controllers own pods directly, for a cluster without kubelets (rollout.py)."""

from __future__ import annotations

from typing import Any

from healer.lab.kubelet.behaviour import ANNOTATION
from tests.contract.client import Client, Object


def owner(name: str, spec: Object, **pod: Any) -> Object:
    """An object with a pod template whose pods the lab's own kubelet leaves alone."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels, "annotations": {ANNOTATION: "manual"}},
        "spec": {
            "nodeName": "node-0",
            "automountServiceAccountToken": False,
            "containers": [{"name": "c", "image": "serving:1"}],
            **pod,
        },
    }
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}


def statefulset(**spec: Any) -> Object:
    return owner("db", {"replicas": 3, "serviceName": "db", **spec})


async def free_nodes(cluster: Client) -> list[str]:
    """The nodes, at least one, without the taint that each has until its kubelet is ready: here none ever reports."""
    nodes: list[Object] = (await cluster.get("/api/v1/nodes")).body["items"]
    if not nodes:
        nodes = [await cluster.make("/api/v1/nodes", {"metadata": {"name": "only"}})]
    for node in nodes:
        if node["spec"].get("taints"):
            await cluster.patch(f"/api/v1/nodes/{node['metadata']['name']}", {"spec": {"taints": None}})
    return names(nodes)


def names(found: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in found]


def whole(replicas: int, **status: Any) -> Any:
    def so(found: list[Object]) -> bool:
        counts = found[0]["status"] if found else {}
        return counts.get("readyReplicas") == replicas and status.items() <= counts.items()

    return so
