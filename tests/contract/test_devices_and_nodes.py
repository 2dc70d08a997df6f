"""What healer reads of the devices of a pod, and of nodes, as the API server keeps it."""

from __future__ import annotations

import msgspec

from healer.model.kube import Pod
from healer.model.node import Node
from healer.rules.node_conditions import node_finding
from healer.rules.node_remediators import remediation_of
from tests.contract.client import Client, pod


async def test_the_health_of_a_device_is_kept_in_the_status_of_its_container(api: Client) -> None:
    """The kubelet writes it (ResourceHealthStatus, on by default in 1.36)."""
    await api.make(f"{api.core}/pods", pod("serving"))
    devices = [{"name": "nvidia.com/gpu", "resources": [{"resourceID": "GPU-0", "health": "Unhealthy"}]}]
    container = {"name": "main", "image": "x", "imageID": "", "ready": True, "restartCount": 0}
    status = {"phase": "Running", "containerStatuses": [container | {"allocatedResourcesStatus": devices}]}
    await api.patch(f"{api.core}/pods/serving/status", {"status": status})
    found = msgspec.convert((await api.get(f"{api.core}/pods/serving")).body, Pod)
    (allocated,) = found.status.container_statuses[0].allocated_resources_status
    assert [(each.resource_id, each.health) for each in allocated.resources] == [("GPU-0", "Unhealthy")]


async def test_a_node_is_read_with_its_conditions_its_taints_and_the_marks_on_it(api: Client) -> None:
    name = f"node-{api.namespace}"
    labels = {"dgxc.nvidia.com/nvsentinel-state": "draining", "kubernetes.io/os": "linux"}
    body = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": "example.com/gpu", "effect": "NoSchedule"}]},
    }
    await api.make("/api/v1/nodes", body)
    condition = {"type": "KernelDeadlock", "status": "True", "reason": "DockerHung", "message": "blocked"}
    await api.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}})
    found = msgspec.convert((await api.get(f"/api/v1/nodes/{name}")).body, Node)
    assert node_finding(found, "KernelDeadlock") is not None
    assert node_finding(found, "taint:example.com/gpu") is not None
    works = remediation_of(found)
    assert works is not None
    assert works[0].name == "NVSentinel"
    await api.delete(f"/api/v1/nodes/{name}")
