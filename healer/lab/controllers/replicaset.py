"""The ReplicaSet controller. It keeps the desired number of pods, and adopts and releases pods by their labels."""

from __future__ import annotations

from healer.lab.apiserver.api import DeleteOptions
from healer.lab.apiserver.selectors import label_selector
from healer.lab.apiserver.status import ApiRefusal
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.kinds import POD, REPLICASET
from healer.lab.objects import (
    Object,
    clone,
    condition,
    controller_of,
    is_active,
    is_ready,
    labels_of,
    owner_reference,
    timestamp,
)

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


class ReplicaSetController(Controller):
    """Keys are ReplicaSets."""

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == REPLICASET.stored_in:
            self.enqueue(change.key)
        elif collection == POD.stored_in:
            for state in (change.before, change.now):
                if state is not None:
                    self._enqueue_owner(state.object)

    def _enqueue_owner(self, pod: Object) -> None:
        namespace = pod["metadata"]["namespace"]
        owner = controller_of(pod)
        if owner is not None:
            if owner["kind"] == "ReplicaSet":
                self.enqueue((namespace, owner["name"]))
            return
        for replicaset in self.api.objects(REPLICASET, namespace):  # any ReplicaSet whose selector matches may adopt an orphan
            if label_selector(replicaset["spec"]["selector"])(labels_of(pod)):
                self.enqueue((namespace, replicaset["metadata"]["name"]))

    def reconcile(self, key: Key) -> float | None:
        replicaset = self.api.store.get(REPLICASET.stored_in, key)
        if replicaset is None:
            return None
        pods = self._claim(replicaset)
        active = [pod for pod in pods if is_active(pod)]
        missing = replicaset["spec"]["replicas"] - len(active)
        failure: ApiRefusal | None = None
        if "deletionTimestamp" not in replicaset["metadata"]:
            try:
                for _ in range(missing):
                    self._create(replicaset)
                for pod in sorted(active, key=_deletion_order)[:-missing] if missing < 0 else ():
                    self.api.delete(POD, key[0], pod["metadata"]["name"], DeleteOptions(uid=pod["metadata"]["uid"]))
            except ApiRefusal as error:
                failure = error
        self._count(replicaset, _failed(replicaset, missing, failure))
        if failure is not None:
            raise failure  # the status has the failure; the base class retries the key
        return None

    def _claim(self, replicaset: Object) -> list[Object]:
        """The pods of the ReplicaSet. Releases those whose labels no longer match the selector, and adopts matching orphans."""
        uid, namespace = replicaset["metadata"]["uid"], replicaset["metadata"]["namespace"]
        selects = label_selector(replicaset["spec"]["selector"])
        pods = []
        for pod in self.api.store.owned(POD.stored_in, uid):
            if selects(labels_of(pod)):
                pods.append(pod)
            else:
                self._own(pod, [item for item in pod["metadata"]["ownerReferences"] if item["uid"] != uid])
        for pod in self.api.store.owned(POD.stored_in, ""):
            if pod["metadata"]["namespace"] == namespace and selects(labels_of(pod)) and is_active(pod):
                reference = owner_reference("apps/v1", "ReplicaSet", replicaset)
                pods.append(self._own(pod, [*(pod["metadata"].get("ownerReferences") or []), reference]))
        return pods

    def _own(self, pod: Object, owners: list[Object]) -> Object:
        def change(obj: Object) -> None:
            obj["metadata"].pop("ownerReferences", None)
            if owners:
                obj["metadata"]["ownerReferences"] = owners

        return self.api.modify(POD, pod["metadata"]["namespace"], pod["metadata"]["name"], change)

    def _create(self, replicaset: Object) -> None:
        namespace, template = replicaset["metadata"]["namespace"], clone(replicaset["spec"]["template"])
        pod = {
            "metadata": template["metadata"]
            | {
                "generateName": f"{replicaset['metadata']['name']}-",
                "ownerReferences": [owner_reference("apps/v1", "ReplicaSet", replicaset)],
            },
            "spec": template["spec"],
        }
        pod["metadata"].pop("creationTimestamp", None)
        self.api.create(POD, namespace, pod)

    def _count(self, replicaset: Object, failed: Object | None) -> None:
        namespace, name = replicaset["metadata"]["namespace"], replicaset["metadata"]["name"]
        owned = self.api.store.owned(POD.stored_in, replicaset["metadata"]["uid"])
        active = [pod for pod in owned if is_active(pod)]
        ready = sum(is_ready(pod) for pod in active)
        counts = {
            "replicas": len(active),
            "fullyLabeledReplicas": len(active),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        status = {
            **{name: count for name, count in counts.items() if count or name == "replicas"},
            "terminatingReplicas": sum("deletionTimestamp" in pod["metadata"] for pod in owned),
            "observedGeneration": replicaset["metadata"]["generation"],
            **({"conditions": [failed]} if failed else {}),
        }
        self.api.modify(REPLICASET, namespace, name, lambda obj: obj.update(status=status), subresource="status")


def _failed(replicaset: Object, missing: int, failure: ApiRefusal | None) -> Object | None:
    """The condition ReplicaFailure. It stays until all pods are created or deleted (replica_set_utils.go)."""
    if failure is None:
        return None
    if (before := condition(replicaset, "ReplicaFailure")) is not None:  # the message of the first failure stays
        return before
    return {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": timestamp(),
        "reason": "FailedCreate" if missing > 0 else "FailedDelete",
        "message": failure.message,
    }


def _deletion_order(pod: Object) -> tuple[bool, int, bool, int]:
    """The sort key for deletion: unassigned, pending, not ready and often restarted pods first (ActivePods of pkg/controller)."""
    status = pod["status"]
    restarts = max((item["restartCount"] for item in status.get("containerStatuses") or []), default=0)
    return bool(pod["spec"].get("nodeName")), _PHASES.get(status.get("phase"), 0), is_ready(pod), -restarts
