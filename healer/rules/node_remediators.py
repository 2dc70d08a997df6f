"""Who else treats a node: the marks that remediators, autoscalers and cloud agents leave on it while they are at work.

healer waits for them. Sources: the documentation and the code of each, as of 2026. A new one is an entry of the table.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from healer.model.node import Node


@dataclass(frozen=True, slots=True)
class Remediator:
    """An entry of the table."""

    name: str
    """In messages, before "is at work"."""
    keys: tuple[str, ...]
    """The keys of its taints, labels and annotations. One that ends in "/" stands for all that begin so; KEY=VALUE is a label or
    an annotation with that value alone."""
    meaning: str
    """What it does then."""


_UPGRADING = ("cordon", "wait-for-jobs", "pod-deletion", "drain", "node-maintenance", "pod-restart", "validation", "uncordon")
"""The states in which a driver is upgraded: before, the node waits for its turn, and a failed upgrade is for people."""

REMEDIATORS: tuple[Remediator, ...] = (
    Remediator(
        "NVSentinel", ("dgxc.nvidia.com/nvsentinel-state", "quarantineHealthEvent"), "it drains the node and mends its GPUs"
    ),
    Remediator(
        "NVIDIA's GPU operator",
        (
            *(f"nvidia.com/gpu-driver-upgrade-state={state}-required" for state in _UPGRADING),
            "nvidia.com/mig.config.state=pending",
            "nvidia.com/mig.config.state=rebooting",
        ),
        "it takes the pods off the node's GPUs, to upgrade their driver or to divide them",
    ),
    Remediator("AMD's GPU operator", ("amd-gpu-unhealthy",), "it drains the node and mends its GPUs"),
    Remediator("medik8s", ("medik8s.io/", "remediation.medik8s.io/"), "it fences and remediates the node"),
    Remediator(
        "whoever has set the taint out-of-service", ("node.kubernetes.io/out-of-service",), "its pods are deleted by force"
    ),
    Remediator("Karpenter", ("karpenter.sh/disrupted", "karpenter.sh/disruption"), "it drains and replaces the node"),
    Remediator("the cluster autoscaler", ("ToBeDeletedByClusterAutoscaler",), "it drains and removes the node"),
    Remediator("the AWS node termination handler", ("aws-node-termination-handler/",), "the machine is about to be taken"),
    Remediator(
        "GKE",
        ("cloud.google.com/impending-node-termination", "cloud.google.com/active-node-maintenance=ONGOING"),
        "the machine is about to be taken",
    ),
    Remediator("AKS", ("remediator.kubernetes.azure.com/",), "it mends the node"),
    Remediator(
        "kured", ("weave.works/kured-reboot-in-progress", "kured.dev/reboot-in-progress"), "it drains and reboots the node"
    ),
)
"""The table, in the order of docs; the first whose mark is found is named."""

KUBERNETES = Remediator(
    "Kubernetes",
    ("node.kubernetes.io/",),
    "the taint manager deletes the pods that do not tolerate the taint, and a kubelet that runs short evicts pods",
)
"""Its taints by condition: not-ready, unreachable, memory-pressure, disk-pressure, pid-pressure, network-unavailable."""
_CORDONED_TAINT = "node.kubernetes.io/unschedulable"
_CORDONED = Remediator("whoever has cordoned it", (), "a drain may follow")


def marks_of(values: Mapping[str, str]) -> Iterator[str]:
    """What labels or annotations show: each key, and each with its value."""
    for key, value in values.items():
        yield from (key, f"{key}={value}")


def remediator_of(marks: Iterable[str]) -> tuple[Remediator, str] | None:
    """Who treats the node that has these marks: the keys of taints, and those of `marks_of`; and the one that shows it. None:
    nobody."""
    found = list(marks)
    return next(((each, key) for each in REMEDIATORS for key in found if _fits(each, key)), None)


def remediation_of(node: Node) -> tuple[Remediator, str] | None:
    """As `remediator_of`; or that somebody else than healer has cordoned the node, or Kubernetes itself clears it of pods."""
    keys = list(_keys(node))
    if (found := remediator_of(keys)) is not None:
        return found
    if node.spec.unschedulable and not node.metadata.annotations.cordoned_by:
        return _CORDONED, "spec.unschedulable"
    return next(((KUBERNETES, key) for key in keys if _fits(KUBERNETES, key) and key != _CORDONED_TAINT), None)


def _keys(node: Node) -> Iterator[str]:
    meta = node.metadata
    for marks in (meta.marks, meta.annotations):
        kept = zip(type(marks).__struct_encode_fields__, type(marks).__struct_fields__, strict=True)
        yield from marks_of({key: value for key, name in kept if (value := getattr(marks, name))})
    yield from (taint.key for taint in node.spec.taints)


def _fits(remediator: Remediator, key: str) -> bool:
    return any(key == each or (each.endswith("/") and key.startswith(each)) for each in remediator.keys)
