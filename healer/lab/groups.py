"""LeaderWorkerSets of leaderworkerset.x-k8s.io, which a cluster has when their controller is installed: kind and manifests."""

from __future__ import annotations

from collections.abc import Sequence

from healer.lab.custom import definition
from healer.lab.kinds import Kind
from healer.lab.kubelet.behaviour import ADDRESSES
from healer.lab.objects import Object

PREFIX = "leaderworkerset.sigs.k8s.io"
"""That of the labels of its pods."""
LEADER_WORKER_SET = Kind(
    group="leaderworkerset.x-k8s.io",
    plural="leaderworkersets",
    kind="LeaderWorkerSet",
    short_names=("lws",),
    subresources=("status", "scale"),
    counts_generation=True,
    unconditional=False,
    custom=True,
)


def serving_groups(
    name: str = "vllm",
    namespace: str = "production",
    *,
    groups: int = 2,
    size: int = 2,
    restart_policy: str = "RecreateGroupOnPodRestart",
    protect_leaders: int | None = None,
    addresses: Sequence[str] = (),
) -> list[Object]:
    """The definition of the kind, a LeaderWorkerSet, and a PDB over its leaders when `protect_leaders`, its minAvailable, is
    given. `addresses`: the IP addresses that its pods may get, empty for any."""
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.11.0",
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
    }
    annotations = {"annotations": {ADDRESSES: ",".join(addresses)}} if addresses else {}
    template = {"metadata": {"labels": {"app": name}, **annotations}, "spec": {"containers": [container]}}
    lws = {
        "apiVersion": LEADER_WORKER_SET.api_version,
        "kind": LEADER_WORKER_SET.kind,
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": groups,
            "startupPolicy": "LeaderCreated",
            "leaderWorkerTemplate": {"size": size, "restartPolicy": restart_policy, "workerTemplate": template},
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"partition": 0, "maxUnavailable": 1, "maxSurge": 0},
            },
        },
    }
    made = [definition(LEADER_WORKER_SET), lws]
    if protect_leaders is not None:
        selector = {"matchLabels": {f"{PREFIX}/name": name, f"{PREFIX}/worker-index": "0"}}
        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": f"{name}-leaders", "namespace": namespace},
            "spec": {"minAvailable": protect_leaders, "selector": selector},
        }
        made.append(budget)
    return made
