"""Lost nodes. Their pods become not ready, and are deleted when their toleration of the taint ends.

It follows pkg/controller/nodelifecycle and tainteviction of Kubernetes 1.36. The node's condition Ready is Unknown, the node has
the taint unreachable, and the pods keep their phase. A pod that the taint manager deletes stays until the kubelet answers.
"""

from __future__ import annotations

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.kinds import NODE, POD
from healer.lab.objects import Object, condition, seconds_since, timestamp

UNREACHABLE = "node.kubernetes.io/unreachable"


class NodeLifecycle(Controller):
    """Keys are pods. `time_scale` is a factor on the time that a pod tolerates a lost node (300 s by default)."""

    def __init__(self, api: ObjectApi, time_scale: float) -> None:
        super().__init__(api)
        self._time_scale = time_scale

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == NODE.stored_in:
            for pod in self.api.objects(POD):
                if pod["spec"].get("nodeName") == change.key[1]:
                    self.enqueue((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        elif collection == POD.stored_in and change.type == "ADDED":
            self.enqueue(change.key)

    def reconcile(self, key: Key) -> float | None:
        pod = self.api.store.get(POD.stored_in, key)
        taint = None if pod is None else _lost_since(self.api, pod["spec"].get("nodeName") or "")
        if pod is None or taint is None or pod["status"].get("phase") in ("Succeeded", "Failed"):
            return None
        ready = condition(pod, "Ready")
        if ready is not None and ready["status"] == "True":
            self.api.modify(POD, *key, _not_ready, subresource="status")
        tolerated = _tolerated(pod)
        if tolerated is None or "deletionTimestamp" in pod["metadata"]:
            return None
        left = tolerated * self._time_scale - seconds_since(taint)
        if left > 0:
            return left
        self.api.modify(POD, *key, _add_disruption_target, subresource="status")
        self.api.delete(POD, *key)
        return None


def is_lost(api: ObjectApi, node: str) -> bool:
    """Whether the kubelet of the node has stopped answering."""
    return _lost_since(api, node) is not None


def lose(api: ObjectApi, node: str) -> None:
    """Make a node lost: its kubelet stops answering."""

    def change(obj: Object) -> None:
        taints = [{"key": UNREACHABLE, "effect": effect, "timeAdded": timestamp()} for effect in ("NoSchedule", "NoExecute")]
        obj["spec"]["taints"] = [*(obj["spec"].get("taints") or []), *taints]

    api.modify(NODE, "", node, change)
    set_condition(api, node, "Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")


def recover(api: ObjectApi, node: str) -> None:
    """Make a lost node answer again."""

    def change(obj: Object) -> None:
        obj["spec"]["taints"] = [taint for taint in obj["spec"].get("taints") or [] if taint["key"] != UNREACHABLE]

    api.modify(NODE, "", node, change)
    set_condition(api, node, "Ready", "True", "KubeletReady", "kubelet is posting ready status")


def set_condition(api: ObjectApi, node: str, kind: str, status: str, reason: str, message: str) -> None:
    """Set a condition of a node, as the kubelet or another agent does."""
    said = {"type": kind, "status": status, "lastTransitionTime": timestamp(), "reason": reason, "message": message}

    def change(obj: Object) -> None:
        others = [item for item in obj["status"].get("conditions") or [] if item["type"] != kind]
        obj["status"]["conditions"] = [*others, said]

    api.modify(NODE, "", node, change, subresource="status")


def _lost_since(api: ObjectApi, node: str) -> str | None:
    found = api.store.get(NODE.stored_in, ("", node))
    for taint in (found["spec"].get("taints") or []) if found is not None else []:
        if (taint["key"], taint["effect"]) == (UNREACHABLE, "NoExecute"):
            return str(taint["timeAdded"])
    return None


def _tolerated(pod: Object) -> float | None:
    """Seconds that a pod tolerates a lost node. None: for ever; 0: not at all."""
    for toleration in pod["spec"].get("tolerations") or []:
        applies = toleration.get("key") in (None, "", UNREACHABLE) and toleration.get("effect") in (None, "", "NoExecute")
        if applies and toleration.get("operator") == "Exists":
            seconds = toleration.get("tolerationSeconds")
            return None if seconds is None else float(seconds)
    return 0.0


def _not_ready(pod: Object) -> None:
    """Set the condition Ready to False as MarkPodsNotReady does: its status and time, nothing else."""
    for item in pod["status"]["conditions"]:
        if item["type"] == "Ready":
            item |= {"status": "False", "lastTransitionTime": timestamp()}


def _add_disruption_target(pod: Object) -> None:
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(),
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
    }
    others = [item for item in pod["status"].get("conditions") or [] if item["type"] != "DisruptionTarget"]
    pod["status"]["conditions"] = [*others, target]
