"""The simulated scheduler. It binds pods to the lab's nodes in turn, except pods with the behaviour `unschedulable`."""

from __future__ import annotations

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
        if collection == POD.stored_in and change.type != "DELETED" and not change.now.object["spec"].get("nodeName"):
            self.enqueue(change.key)

    def reconcile(self, key: Key) -> float | None:
        pod = self.api.store.get(POD.stored_in, key)
        if pod is None or pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
            return None
        required = bound_node(pod)
        free = [node for node in self.api.objects(NODE) if not node["spec"].get("unschedulable") and not _repels(node, pod)]
        nodes = [name for node in free if (name := node["metadata"]["name"]) == (required or name)]
        if not nodes or behaviour_of(pod) == "unschedulable":
            total = len(nodes)
            why = f"0/{total} nodes are available: {total} Insufficient cpu. preemption: 0/{total} nodes are available."
            self.api.modify(POD, *key, lambda obj: _not_placed(obj, why), subresource="status")
            return None
        node = nodes[self._turn % len(nodes)]
        self._turn += 1
        self.api.bind(*key, node, _placed)
        return None


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
