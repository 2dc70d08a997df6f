"""The LeaderWorkerSet controller: a StatefulSet of leaders, and for each leader a StatefulSet of its workers, which it owns.

It follows pkg/controllers of sigs.k8s.io/lws. What the real one's webhook writes into new pods, this one writes after they are
created. A rollout is that of the leaders' StatefulSet; maxSurge, subgroups, volume claims and revisions are not covered.
"""

from __future__ import annotations

from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.controllers.deployment import template_hash
from healer.lab.controllers.owned import is_terminating
from healer.lab.groups import LEADER_WORKER_SET, PREFIX
from healer.lab.kinds import POD, STATEFULSET
from healer.lab.objects import Object, clone, condition, is_ready, labels_of, owner_reference, timestamp

_NAME, _GROUP, _WORKER = (f"{PREFIX}/{label}" for label in ("name", "group-index", "worker-index"))
_REVISION = f"{PREFIX}/template-revision-hash"
_WHOLE = ("RecreateGroupOnPodRestart", "RecreateGroupAfterStart")


class LeaderWorkerSetController(Controller):
    """Keys are LeaderWorkerSets."""

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == LEADER_WORKER_SET.stored_in:
            self.enqueue(change.key)
        elif collection in (POD.stored_in, STATEFULSET.stored_in) and (name := labels_of(change.now.object).get(_NAME)):
            self.enqueue((change.key[0], name))

    def reconcile(self, key: Key) -> float | None:
        lws = self.api.store.get(LEADER_WORKER_SET.stored_in, key)
        if lws is None or is_terminating(lws):
            return None
        revision = template_hash(lws["spec"]["leaderWorkerTemplate"])
        self._put_leaders(lws, revision)
        for leader in self._leaders(lws):
            self._reconcile_group(lws, leader)
        self._update_status(key, lws, revision)
        return None

    def _put_leaders(self, lws: Object, revision: str) -> None:
        """Create the StatefulSet of the leaders, or give it the present template and number."""
        spec, name, namespace = lws["spec"], lws["metadata"]["name"], lws["metadata"]["namespace"]
        groups = spec["leaderWorkerTemplate"]
        template = clone(groups.get("leaderTemplate") or groups["workerTemplate"])
        _label(template, {_NAME: name, _WORKER: "0", _REVISION: revision})
        rolling = {"partition": _update(lws).get("partition", 0)}
        wanted = {
            "replicas": spec["replicas"],
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {_NAME: name, _WORKER: "0"}},
            "template": template,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        }
        if self.api.store.get(STATEFULSET.stored_in, (namespace, name)) is None:
            owner = owner_reference(LEADER_WORKER_SET.api_version, LEADER_WORKER_SET.kind, lws)
            meta = {"name": name, "labels": {_NAME: name, _REVISION: revision}, "ownerReferences": [owner]}
            self.api.create(STATEFULSET, namespace, {"metadata": meta, "spec": wanted})
            return
        present = self.api.get(STATEFULSET, namespace, name)
        if labels_of(present).get(_REVISION) != revision or present["spec"]["replicas"] != spec["replicas"]:

            def change(obj: Object) -> None:
                obj["metadata"]["labels"][_REVISION] = revision
                obj["spec"] |= {field: wanted[field] for field in ("replicas", "template", "updateStrategy")}

            self.api.modify(STATEFULSET, namespace, name, change)

    def _leaders(self, lws: Object) -> list[Object]:
        """The leaders that there are, by their number."""
        owned = self.api.store.owned(STATEFULSET.stored_in, lws["metadata"]["uid"])
        pods = [pod for each in owned for pod in self.api.store.owned(POD.stored_in, each["metadata"]["uid"])]
        return sorted(pods, key=_number)

    def _reconcile_group(self, lws: Object, leader: Object) -> None:
        """Replace the group if one of its pods was restarted or deleted, else create its workers."""
        template, policy = lws["spec"]["leaderWorkerTemplate"], lws["spec"].get("startupPolicy", "LeaderCreated")
        workers = self._workers(leader)
        members = [leader] if workers is None else [leader, *self.api.store.owned(POD.stored_in, workers["metadata"]["uid"])]
        for pod in members:
            self._number_pod(leader, pod)
        if is_terminating(leader):
            return
        if template.get("restartPolicy") in _WHOLE and any(is_terminating(pod) or _restarted(pod) for pod in members):
            self.api.delete(POD, leader["metadata"]["namespace"], leader["metadata"]["name"])
        elif workers is None and template["size"] > 1 and (policy != "LeaderReady" or is_ready(leader)):
            self._create_workers(lws, leader)

    def _workers(self, leader: Object) -> Object | None:
        owned = self.api.store.owned(STATEFULSET.stored_in, leader["metadata"]["uid"])
        return next((each for each in owned if not is_terminating(each)), None)

    def _create_workers(self, lws: Object, leader: Object) -> None:
        metadata, groups = leader["metadata"], lws["spec"]["leaderWorkerTemplate"]
        if self.api.store.get(STATEFULSET.stored_in, (metadata["namespace"], metadata["name"])) is not None:
            return  # that of the leader before: the garbage collector has not taken it yet
        selector = {_NAME: lws["metadata"]["name"], _GROUP: str(_number(leader))}
        labels = selector | {_REVISION: labels_of(leader)[_REVISION]}
        template = clone(groups["workerTemplate"])
        _label(template, labels)
        body = {
            "metadata": {
                "name": metadata["name"],
                "labels": labels,
                "ownerReferences": [owner_reference(POD.api_version, POD.kind, leader)],
            },
            "spec": {
                "replicas": groups["size"] - 1,
                "serviceName": lws["metadata"]["name"],
                "podManagementPolicy": "Parallel",
                "ordinals": {"start": 1},
                "selector": {"matchLabels": selector},
                "template": template,
            },
        }
        self.api.create(STATEFULSET, metadata["namespace"], body)

    def _number_pod(self, leader: Object, pod: Object) -> None:
        """Give a pod the labels of its place, as the real one's webhook does."""
        numbers = {_GROUP: str(_number(leader)), _WORKER: "0" if pod is leader else str(_number(pod))}
        if not numbers.items() <= labels_of(pod).items():
            metadata = pod["metadata"]
            self.api.modify(POD, metadata["namespace"], metadata["name"], lambda obj: _label(obj, numbers))

    def _update_status(self, key: Key, lws: Object, revision: str) -> None:
        size, wanted = lws["spec"]["leaderWorkerTemplate"]["size"], lws["spec"]["replicas"]
        leaders = self._leaders(lws)
        groups = [(leader, self._workers(leader)) for leader in leaders]
        whole = [group for group in groups if size == 1 or group[1] is not None]
        ready = sum(is_ready(leader) and not is_terminating(leader) and _all_ready(workers) for leader, workers in whole)
        updated = sum(labels_of(leader).get(_REVISION) == revision for leader, _ in whole)
        state = "UpdateInProgress" if updated < len(whole) else "Available" if ready == wanted else "Progressing"
        status = {
            "observedGeneration": lws["metadata"]["generation"],
            "replicas": len(leaders),
            "readyReplicas": ready,
            "updatedReplicas": updated,
            "conditions": [_condition(lws, kind, kind == state) for kind in ("Available", "Progressing", "UpdateInProgress")],
        }
        if status != lws.get("status"):
            self.api.modify(LEADER_WORKER_SET, *key, lambda obj: obj.update(status=status), subresource="status")


def _update(lws: Object) -> Object:
    found: Object = (lws["spec"].get("rolloutStrategy") or {}).get("rollingUpdateConfiguration") or {}
    return found


def _label(obj: Object, labels: dict[str, str]) -> None:
    metadata = obj.setdefault("metadata", {})
    metadata["labels"] = (metadata.get("labels") or {}) | labels


def _number(pod: Object) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])


def _restarted(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any(each.get("restartCount") for each in statuses)


def _all_ready(workers: Object | None) -> bool:
    return workers is None or (workers.get("status") or {}).get("readyReplicas", 0) == workers["spec"]["replicas"]


def _condition(lws: Object, kind: str, holds: bool) -> Object:
    before = condition(lws, kind)
    status = "True" if holds else "False"
    if before is not None and before["status"] == status:
        return before
    return {"type": kind, "status": status, "lastTransitionTime": timestamp(), "reason": f"Groups{kind}", "message": ""}
