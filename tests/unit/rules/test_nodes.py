"""What a node shows, by the names that rules write; and who else is at work on it."""

from typing import Any

import msgspec
import pytest

from healer.model.node import Node
from healer.rules.node_conditions import node_finding
from healer.rules.node_remediators import REMEDIATORS, remediation_of, remediator_of
from tests.support.world import rule, rulebook


def node(
    *conditions: tuple[str, str],
    taints: tuple[str, ...] = (),
    labels: Any = None,
    annotations: Any = None,
    cordoned: bool = False,
    name: str = "node-1",
) -> Node:
    written = {
        "metadata": {"name": name, "uid": name, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {"unschedulable": cordoned, "taints": [{"key": key, "effect": "NoSchedule"} for key in taints]},
        "status": {
            "conditions": [{"type": kind, "status": status, "reason": "R", "message": "why"} for kind, status in conditions]
        },
    }
    return msgspec.json.decode(msgspec.json.encode(written), type=Node)


@pytest.mark.parametrize(
    ("name", "kind", "bad"),
    [
        ("NotReady", "Ready", {"False", "Unknown"}),
        ("MemoryPressure", "MemoryPressure", {"True"}),
        ("KernelDeadlock", "KernelDeadlock", {"True"}),
        ("AcceleratedHardwareReady", "AcceleratedHardwareReady", {"False"}),
        ("StorageHealthy", "StorageHealthy", {"False"}),
        ("AcceleratedHardwareReady=Unknown", "AcceleratedHardwareReady", {"Unknown"}),
        ("example.com/Broken", "example.com/Broken", {"True"}),
    ],
)
def test_a_condition_is_bad_in_the_status_that_its_name_tells(name: str, kind: str, bad: set[str]) -> None:
    """Unknown is bad only of Ready, whose kubelet is silent then, or where the rule says so."""
    found = {status for status in ("True", "False", "Unknown") if node_finding(node((kind, status)), name) is not None}
    assert found == bad
    assert node_finding(node(), name) is None


def test_a_taint_is_named_by_its_key() -> None:
    finding = node_finding(node(taints=("nvidia.com/gpu-unhealthy",)), "taint:nvidia.com/gpu-unhealthy")
    assert finding is not None
    assert finding.message == "node/node-1 has the taint nvidia.com/gpu-unhealthy:NoSchedule"
    assert node_finding(node(taints=("nvidia.com/gpu",)), "taint:nvidia.com/gpu-unhealthy") is None


@pytest.mark.parametrize("name", ["Ready", "taint:", "Kernel Deadlock", "KernelDeadlock=true", "=True", "taint:a b"])
def test_what_no_node_can_have_is_an_error_of_the_rule(name: str) -> None:
    with pytest.raises(AssertionError, match=r"write NotReady|taint:KEY"):
        rulebook(rule(when={"node": [name]}))


def who(found: Node) -> str:
    """Who is at work there, and by which mark that is known."""
    works = remediation_of(found)
    return "" if works is None else f"{works[0].name}: {works[1]}"


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (node(), ""),
        (node(taints=("nvidia.com/gpu",)), ""),
        (
            node(labels={"dgxc.nvidia.com/nvsentinel-state": "draining"}, cordoned=True),
            "NVSentinel: dgxc.nvidia.com/nvsentinel-state",
        ),
        (node(annotations={"quarantineHealthEvent": "[]"}), "NVSentinel: quarantineHealthEvent"),
        (node(taints=("ToBeDeletedByClusterAutoscaler",)), "the cluster autoscaler: ToBeDeletedByClusterAutoscaler"),
        (node(taints=("karpenter.sh/disrupted",)), "Karpenter: karpenter.sh/disrupted"),
        (node(taints=("medik8s.io/remediation",)), "medik8s: medik8s.io/remediation"),
        (node(annotations={"weave.works/kured-reboot-in-progress": "now"}), "kured: weave.works/kured-reboot-in-progress"),
        (node(labels={"nvidia.com/gpu-driver-upgrade-state": "upgrade-done", "nvidia.com/mig.config.state": "success"}), ""),
        (node(labels={"nvidia.com/gpu-driver-upgrade-state": "upgrade-required"}), ""),
        (
            node(labels={"nvidia.com/gpu-driver-upgrade-state": "drain-required"}, cordoned=True),
            "NVIDIA's GPU operator: nvidia.com/gpu-driver-upgrade-state=drain-required",
        ),
        (
            node(labels={"nvidia.com/mig.config.state": "rebooting"}),
            "NVIDIA's GPU operator: nvidia.com/mig.config.state=rebooting",
        ),
        (node(taints=("amd-gpu-unhealthy",)), "AMD's GPU operator: amd-gpu-unhealthy"),
        (
            node(labels={"cloud.google.com/active-node-maintenance": "ONGOING"}),
            "GKE: cloud.google.com/active-node-maintenance=ONGOING",
        ),
        (node(labels={"cloud.google.com/active-node-maintenance": "PENDING"}), ""),
        (node(cordoned=True, taints=("node.kubernetes.io/unschedulable",)), "whoever has cordoned it: spec.unschedulable"),
        (node(taints=("node.kubernetes.io/not-ready",)), "Kubernetes: node.kubernetes.io/not-ready"),
        (
            node(cordoned=True, taints=("node.kubernetes.io/unschedulable",), annotations={"healer.dev/cordoned-by": "a/b"}),
            "",
        ),
    ],
)
def test_who_else_is_at_work_is_known_by_its_mark(found: Node, named: str) -> None:
    """A node that healer has cordoned itself is nobody else's, unless somebody comes on top."""
    assert who(found) == named


def test_every_remediator_is_known_by_each_of_its_keys() -> None:
    for each in REMEDIATORS:
        for key in each.keys:
            found = remediator_of(["app", key if not key.endswith("/") else f"{key}x"])
            assert found is not None
            assert found[0] is each
