"""The DaemonSet controller. It runs one pod on each eligible node, and replaces them one by one in a rollout.

It follows pkg/controller/daemon of Kubernetes 1.36, without maxSurge. A lost node keeps its pod, because the pods of a
DaemonSet tolerate the loss of a node.
"""

from __future__ import annotations

import math

from healer.lab.apiserver.api import TEMPLATE_GENERATION, ObjectApi
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.owned import REVISION_LABEL, PodsController, finished, is_terminating, revision_of
from healer.lab.kinds import DAEMONSET, NODE
from healer.lab.objects import Object, is_ready, labels_of

_TOLERATED = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)


class DaemonSetController(PodsController):
    """Keys are DaemonSets."""

    def __init__(self, api: ObjectApi) -> None:
        super().__init__(api, DAEMONSET)

    def observe(self, collection: str, change: StoreEvent) -> None:
        super().observe(collection, change)
        if collection == NODE.stored_in and change.type != "MODIFIED":
            for owner in self.api.objects(DAEMONSET):
                self.enqueue((owner["metadata"]["namespace"], owner["metadata"]["name"]))

    def reconcile(self, key: Key) -> float | None:
        owner = self.api.store.get(DAEMONSET.stored_in, key)
        if owner is None or is_terminating(owner):
            return None
        revision = self._revision(owner)
        digest = revision.rpartition("-")[2]
        wanted = owner["spec"]["template"]["spec"].get("nodeSelector") or {}
        nodes = [node["metadata"]["name"] for node in self.api.objects(NODE) if wanted.items() <= labels_of(node).items()]
        by_node: dict[str, Object] = {}
        for pod in self._pods(owner):
            node = _node_of(pod)
            if finished(pod) or node not in nodes or node in by_node:
                self._delete_pod(pod)
            if not finished(pod):
                by_node.setdefault(node, pod)
        for node in nodes:
            if node not in by_node:
                self._create_pod(
                    owner,
                    {REVISION_LABEL: digest, "pod-template-generation": owner["metadata"]["annotations"][TEMPLATE_GENERATION]},
                    _node_binding(owner, node),
                    generateName=f"{key[1]}-",
                )
        self._roll(owner, list(by_node.values()), digest)
        self._update_status(key, owner, nodes, digest)
        return None

    def _roll(self, owner: Object, pods: list[Object], digest: str) -> None:
        strategy = owner["spec"]["updateStrategy"]
        if strategy["type"] != "RollingUpdate":
            return
        max_unavailable = _count(strategy.get("rollingUpdate", {}).get("maxUnavailable", 1), len(pods))
        old = [pod for pod in pods if revision_of(pod) != digest]
        missing = sum(not is_ready(pod) or is_terminating(pod) for pod in pods)
        for pod in sorted(old, key=is_ready):  # pods that are not ready are deleted first
            if not is_ready(pod):
                self._delete_pod(pod)
            elif missing < max_unavailable:
                self._delete_pod(pod)
                missing += 1

    def _update_status(self, key: Key, owner: Object, nodes: list[str], digest: str) -> None:
        pods = [pod for pod in self._pods(owner) if not finished(pod) and not is_terminating(pod)]
        ready = sum(map(is_ready, pods))
        scheduled = len({_node_of(pod) for pod in pods} & set(nodes))
        counts = {
            "updatedNumberScheduled": sum(revision_of(pod) == digest for pod in pods),
            "numberAvailable": ready,
            "numberUnavailable": len(nodes) - ready,
        }
        status = {
            "currentNumberScheduled": scheduled,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": len(nodes),
            "numberReady": ready,
            "observedGeneration": owner["metadata"]["generation"],
            **{name: count for name, count in counts.items() if count},
        }
        self._write(key, status)


def _count(amount: int | str, whole: int) -> int:
    """A number, or a percentage of `whole`, rounded up."""
    return amount if isinstance(amount, int) else math.ceil(whole * int(amount.removesuffix("%")) / 100)


def _node_binding(owner: Object, node: str) -> Object:
    """The part of a pod's spec that binds the pod to one node: a node affinity and tolerations."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    tolerations = [{"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": effect} for taint, effect in _TOLERATED]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
        "tolerations": [*(owner["spec"]["template"]["spec"].get("tolerations") or []), *tolerations],
    }


def bound_node(pod: Object) -> str:
    """The node that the affinity of a DaemonSet's pod names. Empty for other pods."""
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    for term in (affinity or {}).get("nodeSelectorTerms") or []:
        for field in term.get("matchFields") or []:
            if field["key"] == "metadata.name" and len(field.get("values") or []) == 1:
                return str(field["values"][0])
    return ""


def _node_of(pod: Object) -> str:
    return pod["spec"].get("nodeName") or bound_node(pod)
