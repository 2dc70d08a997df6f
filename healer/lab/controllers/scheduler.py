"""The simulated scheduler. It binds pods to the lab's nodes in turn, except pods with the behaviour `unschedulable`.

Of resources it knows the extended ones (`nvidia.com/gpu`), on nodes that say how many they have. A pod without a place is tried
again when a pod has gone or a node has changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.controllers.daemonset import bound_node
from healer.lab.kinds import NODE, POD
from healer.lab.kubelet.behaviour import behaviour_of
from healer.lab.objects import Object, condition, timestamp


class Scheduler(Controller):
    """Keys are pods."""

    _turn = 0

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == NODE.stored_in or (collection == POD.stored_in and change.type == "DELETED"):
            for pod in self.api.objects(POD):
                if not pod["spec"].get("nodeName"):
                    self.enqueue((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        elif collection == POD.stored_in and not change.now.object["spec"].get("nodeName"):
            self.enqueue(change.key)

    def reconcile(self, key: Key) -> float | None:
        pod = self.api.store.get(POD.stored_in, key)
        if pod is None or pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
            return None
        required = bound_node(pod)
        free = [node for node in self.api.objects(NODE) if not node["spec"].get("unschedulable") and not _repels(node, pod)]
        near = [node for node in free if node["metadata"]["name"] == (required or node["metadata"]["name"])]
        wanted = _extended(pod)
        nodes = [node["metadata"]["name"] for node in near if self._has_room(node, wanted)]
        if not nodes or behaviour_of(pod) == "unschedulable":
            total, missing = len(near), next(iter(wanted), "cpu")
            why = f"0/{total} nodes are available: {total} Insufficient {missing}. preemption: 0/{total} nodes are available."
            self.api.modify(POD, *key, lambda obj: _not_placed(obj, why), subresource="status")
            return None
        node = nodes[self._turn % len(nodes)]
        self._turn += 1
        self.api.bind(*key, node, _placed)
        return None

    def _has_room(self, node: Object, wanted: Mapping[str, int]) -> bool:
        """Whether the node has as many of the extended resources left; one that does not say what it has, has enough."""
        allocatable = (node.get("status") or {}).get("allocatable")
        if not wanted or allocatable is None:
            return True
        here = [pod for pod in self.api.objects(POD) if pod["spec"].get("nodeName") == node["metadata"]["name"]]
        used = [_extended(pod) for pod in here if pod["status"].get("phase") not in ("Succeeded", "Failed")]
        return all(
            int(allocatable.get(name, 0)) - sum(each.get(name, 0) for each in used) >= count for name, count in wanted.items()
        )


def _extended(pod: Object) -> dict[str, int]:
    """How many of each extended resource the pod's containers ask for. Kubernetes takes them from the limits."""
    found: dict[str, int] = {}
    for container in pod["spec"]["containers"]:
        for name, count in ((container.get("resources") or {}).get("limits") or {}).items():
            if "/" in name:
                found[name] = found.get(name, 0) + int(count)
    return found


def _repels(node: Object, pod: Object) -> bool:
    """Whether the node has a taint that the pod does not tolerate."""
    tolerated = {(item.get("key"), item.get("effect")) for item in pod["spec"].get("tolerations") or []}
    taints = [taint for taint in node["spec"].get("taints") or [] if taint["effect"] in ("NoSchedule", "NoExecute")]
    return any((taint["key"], taint["effect"]) not in tolerated for taint in taints)


def _placed(pod: Object) -> None:
    others = [item for item in pod["status"].get("conditions") or [] if item["type"] != "PodScheduled"]
    placed = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp()}
    pod["status"]["conditions"] = [*others, placed]


def _not_placed(pod: Object, why: str) -> None:
    if condition(pod, "PodScheduled") is None:
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": timestamp(),
                "reason": "Unschedulable",
                "message": why,
            }
        ]
