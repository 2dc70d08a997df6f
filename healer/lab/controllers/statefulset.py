"""The StatefulSet controller. It creates and deletes pods in the order of their ordinals, and rolls out from last to first.

It follows pkg/controller/statefulset/stateful_set_control.go of Kubernetes 1.36. Volume claims are not covered.
"""

from __future__ import annotations

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.store import Key
from healer.lab.controllers.owned import REVISION_LABEL, PodsController, finished, is_terminating, revision_of
from healer.lab.kinds import STATEFULSET
from healer.lab.objects import Object, is_ready


class StatefulSetController(PodsController):
    """Keys are StatefulSets."""

    def __init__(self, api: ObjectApi) -> None:
        super().__init__(api, STATEFULSET)

    def reconcile(self, key: Key) -> float | None:
        owner = self.api.store.get(STATEFULSET.stored_in, key)
        if owner is None or is_terminating(owner):
            return None
        update = self._revision(owner)
        current = (owner["status"] or {}).get("currentRevision") or update
        pods = {_ordinal(pod): pod for pod in self._pods(owner)}
        complete = self._reconcile_pods(owner, pods, current, update)
        if complete or owner["spec"]["podManagementPolicy"] == "Parallel":
            self._roll(owner, pods, update)
        self._update_status(key, owner, current, update)
        return None

    def _reconcile_pods(self, owner: Object, pods: dict[int, Object], current: str, update: str) -> bool:
        """Create missing pods and delete surplus ones, in order. Returns whether exactly the desired pods exist, all ready."""
        wanted, in_order = _ordinals(owner), owner["spec"]["podManagementPolicy"] == "OrderedReady"
        complete = True
        for ordinal in wanted:
            pod = pods.get(ordinal)
            if pod is None:
                self._create(owner, ordinal, current, update)
                complete = False
            elif finished(pod):  # a finished pod still has the name
                self._delete_pod(pod)
                complete = False
            elif is_terminating(pod) or not is_ready(pod):
                complete = False
            if in_order and not complete:
                return False
        for ordinal in sorted((number for number in pods if number not in wanted), reverse=True):
            self._delete_pod(pods[ordinal])
            complete = False
            if in_order:
                return False
        return complete

    def _create(self, owner: Object, ordinal: int, current: str, update: str) -> None:
        name = f"{owner['metadata']['name']}-{ordinal}"
        partition = _partition(owner)
        revision = current if ordinal < partition else update
        labels = {
            REVISION_LABEL: revision,
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(ordinal),
        }
        self._create_pod(owner, labels, {"hostname": name, "subdomain": owner["spec"].get("serviceName") or ""}, name=name)

    def _roll(self, owner: Object, pods: dict[int, Object], update: str) -> None:
        """Delete the last pod that is not of the newest revision. The next one follows when the new pod is ready."""
        if not _is_rolling(owner):
            return
        for ordinal in (each for each in reversed(_ordinals(owner)) if each >= _partition(owner)):
            pod = pods.get(ordinal)
            if pod is not None and revision_of(pod) != update and not is_terminating(pod):
                self._delete_pod(pod)
                return
            if pod is None or is_terminating(pod) or not is_ready(pod):
                return

    def _update_status(self, key: Key, owner: Object, current: str, update: str) -> None:
        pods = [pod for pod in self._pods(owner) if not finished(pod)]
        living = [pod for pod in pods if not is_terminating(pod)]
        ready = sum(map(is_ready, pods))
        updated = sum(revision_of(pod) == update for pod in living)
        if _is_rolling(owner) and updated == len(pods) == owner["spec"]["replicas"] and ready == updated:
            current = update
        counts = {
            "readyReplicas": ready,
            "currentReplicas": sum(revision_of(pod) == current for pod in living),
            "updatedReplicas": updated,
        }
        status = {
            "observedGeneration": owner["metadata"]["generation"],
            "replicas": len(pods),
            **{name: count for name, count in counts.items() if count},
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": 0,
            "availableReplicas": ready,
        }
        self._write(key, status)


def _ordinals(owner: Object) -> range:
    """The ordinals of its pods."""
    start = (owner["spec"].get("ordinals") or {}).get("start", 0)
    return range(start, start + owner["spec"]["replicas"])


def _ordinal(pod: Object) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])


def _is_rolling(owner: Object) -> bool:
    return bool(owner["spec"]["updateStrategy"]["type"] == "RollingUpdate")


def _partition(owner: Object) -> int:
    rolling = owner["spec"]["updateStrategy"].get("rollingUpdate") or {}
    return int(rolling.get("partition") or 0)
