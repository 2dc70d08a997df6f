"""Who else treats a node: the marks that node remediators, autoscalers and cloud agents leave on it while they are at work.

Sources: the documentation of each, as of 2026; the keys are compared up to their end, or by their prefix where they end in "/".
"""

from collections.abc import Iterable

import msgspec

_MARKS = {
    "dgxc.nvidia.com/nvsentinel-state": "NVSentinel",
    "quarantineHealthEvent": "NVSentinel",
    "medik8s.io/": "a node remediation of medik8s",
    "remediation.medik8s.io/": "a node remediation of medik8s",
    "node.kubernetes.io/out-of-service": "whoever has set the taint out-of-service",
    "karpenter.sh/disrupted": "Karpenter",
    "karpenter.sh/disruption": "Karpenter",
    "ToBeDeletedByClusterAutoscaler": "the cluster autoscaler",
    "aws-node-termination-handler/": "the AWS node termination handler",
    "cloud.google.com/impending-node-termination": "GKE, which ends the node",
    "weave.works/kured-reboot-in-progress": "kured",
    "kured.dev/reboot-in-progress": "kured",
}
"""Keys of taints, labels and annotations, and whose they are."""


class NodeTaint(msgspec.Struct):
    """core/v1 Taint."""

    key: str = ""
    effect: str = ""


def remediator_of(labels: Iterable[str], annotations: Iterable[str], taints: Iterable[NodeTaint]) -> str | None:
    """Who treats the node, in words; None when nobody is known to."""
    for key in (*labels, *annotations, *(taint.key for taint in taints)):
        for mark, whose in _MARKS.items():
            if key == mark or (mark.endswith("/") and key.startswith(mark)):
                return f"{whose} ({key})"
    return None
