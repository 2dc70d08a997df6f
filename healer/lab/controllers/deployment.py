"""The Deployment controller. It makes one ReplicaSet for each template, and rolls out from the old one to the new one.

It follows pkg/controller/deployment of Kubernetes (sync.go, rolling.go, recreate.go): revisions, the reuse of an old
ReplicaSet when its template comes back, maxSurge and maxUnavailable, pausing, and the history limit.
"""

from __future__ import annotations

import math

import msgspec

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.status import ApiRefusal
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.controllers.progress import RolloutView, deployment_status, not_created, overdue_in
from healer.lab.kinds import DEPLOYMENT, POD, REPLICASET
from healer.lab.objects import (
    ALPHABET,
    Object,
    annotations_of,
    clone,
    controller_of,
    labels_of,
    owner_reference,
)

REVISION = "deployment.kubernetes.io/revision"
_HISTORY = "deployment.kubernetes.io/revision-history"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
_HASH = "pod-template-hash"
_NOT_COPIED = (REVISION, _HISTORY, _DESIRED, _MAX_REPLICAS, "kubectl.kubernetes.io/last-applied-configuration")


class DeploymentController(Controller):
    """Keys are Deployments."""

    def __init__(self, api: ObjectApi, time_scale: float) -> None:
        super().__init__(api)
        self._time_scale = time_scale

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == DEPLOYMENT.stored_in:
            self.enqueue(change.key)
        elif collection == REPLICASET.stored_in:
            self._enqueue_owner(change.now.object)
        elif (
            collection == POD.stored_in and change.type == "DELETED"
        ):  # the strategy Recreate waits until the last old pod is removed
            owner = controller_of(change.now.object)
            replicaset = self.api.store.get(REPLICASET.stored_in, (change.key[0], owner["name"])) if owner else None
            if replicaset is not None:
                self._enqueue_owner(replicaset)

    def _enqueue_owner(self, replicaset: Object) -> None:
        owner = controller_of(replicaset)
        if owner is not None and owner["kind"] == "Deployment":
            self.enqueue((replicaset["metadata"]["namespace"], owner["name"]))

    def reconcile(self, key: Key) -> float | None:
        deployment = self.api.store.get(DEPLOYMENT.stored_in, key)
        if deployment is None or "deletionTimestamp" in deployment["metadata"]:
            return None
        owned = self._owned(deployment)
        current = self._current(deployment, owned)
        paused = bool(deployment["spec"].get("paused"))
        created = False
        if current is None and not paused:
            current, created = self._create(deployment, owned), True
        elif current is not None and not paused:
            current = self._give_new_revision(deployment, current, owned)
        old = [item for item in owned if current is None or item["metadata"]["uid"] != current["metadata"]["uid"]]
        if paused or self._was_scaled(deployment, owned):
            self._scale_all(deployment, current, old)
        elif current is not None and deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(deployment, current, old)
        elif current is not None:
            self._roll(deployment, current, old)
        return self._update_status(deployment, created)

    def _owned(self, deployment: Object) -> list[Object]:
        """The ReplicaSets of the Deployment, oldest first."""
        owned = self.api.store.owned(REPLICASET.stored_in, deployment["metadata"]["uid"])
        return sorted(owned, key=lambda item: (item["metadata"]["creationTimestamp"], _revision(item)))

    def _current(self, deployment: Object, owned: list[Object]) -> Object | None:
        """The ReplicaSet with the Deployment's present template. It need not be the newest one."""
        template = deployment["spec"]["template"]
        return next((item for item in owned if _bare_template(item) == _comparable(template)), None)

    def _create(self, deployment: Object, owned: list[Object]) -> Object:
        metadata, spec = deployment["metadata"], deployment["spec"]
        digest = template_hash(spec["template"])
        template = clone(spec["template"])
        template["metadata"]["labels"] = labels_of(template) | {_HASH: digest}
        selector = clone(spec["selector"])
        selector["matchLabels"] = (selector.get("matchLabels") or {}) | {_HASH: digest}
        replicas = self._allowed_replicas(deployment, owned, 0)
        replicaset = {
            "metadata": {
                "name": f"{metadata['name']}-{digest}",
                "labels": template["metadata"]["labels"],
                "annotations": _copied(deployment) | self._scale_annotations(deployment) | {REVISION: _next_revision(owned)},
                "ownerReferences": [owner_reference("apps/v1", "Deployment", deployment)],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        }
        try:
            return self.api.create(REPLICASET, metadata["namespace"], replicaset)
        except ApiRefusal as error:
            self._record_refusal(
                deployment, f'Failed to create new replica set "{replicaset["metadata"]["name"]}": {error.message}'
            )
            raise

    def _record_refusal(self, deployment: Object, message: str) -> None:
        def change(obj: Object) -> None:
            obj["status"]["conditions"] = [
                *(item for item in obj["status"].get("conditions") or [] if item["type"] != "Progressing"),
                not_created(deployment, message),
            ]

        self.api.modify(
            DEPLOYMENT, deployment["metadata"]["namespace"], deployment["metadata"]["name"], change, subresource="status"
        )

    def _give_new_revision(self, deployment: Object, current: Object, owned: list[Object]) -> Object:
        """Give a new revision to a ReplicaSet whose template is in use again, as after a rollback."""
        newest = max((_revision(item) for item in owned if item is not current), default=0)
        known = annotations_of(current)
        wanted = known | _copied(deployment)
        if _revision(current) <= newest:
            history = [*filter(None, known.get(_HISTORY, "").split(",")), known.get(REVISION, "")]
            wanted |= {REVISION: str(newest + 1), _HISTORY: ",".join(filter(None, history))}
        return self._write(current, current["spec"]["replicas"], wanted)

    def _was_scaled(self, deployment: Object, owned: list[Object]) -> bool:
        wanted = str(deployment["spec"]["replicas"])
        return any(item["spec"]["replicas"] > 0 and annotations_of(item).get(_DESIRED, wanted) != wanted for item in owned)

    def _scale_all(self, deployment: Object, current: Object | None, old: list[Object]) -> None:
        """Scale the ReplicaSets to a new number of replicas. During a rollout each gets its proportional share."""
        replicas = deployment["spec"]["replicas"]
        replicasets = [*old, *([current] if current else [])]
        active = [item for item in replicasets if item["spec"]["replicas"] > 0]
        if len(active) <= 1:
            only = active[0] if active else current
            if only is not None:
                self._scale(deployment, only, replicas)
            return
        total = sum(item["spec"]["replicas"] for item in active)
        missing = (replicas + self._surge(deployment) if replicas else 0) - total
        max_replicas = int(annotations_of(active[-1]).get(_MAX_REPLICAS, total)) or total
        left = missing
        for item in sorted(active, key=lambda one: -one["spec"]["replicas"]):
            share = round(item["spec"]["replicas"] * (total + missing) / max_replicas) - item["spec"]["replicas"]
            share = max(min(share, left), 0) if missing > 0 else min(max(share, left), 0)
            left -= share
            self._scale(deployment, item, max(item["spec"]["replicas"] + share, 0))
        largest = max(active, key=lambda one: int(one["spec"]["replicas"]))
        if left:
            fresh = self.api.get(REPLICASET, largest["metadata"]["namespace"], largest["metadata"]["name"])
            self._scale(deployment, fresh, max(fresh["spec"]["replicas"] + left, 0))

    def _roll(self, deployment: Object, current: Object, old: list[Object]) -> None:
        """One step of a rolling update: scale the new ReplicaSet up if maxSurge allows it, otherwise scale old ones down."""
        replicas = deployment["spec"]["replicas"]
        if current["spec"]["replicas"] > replicas:
            self._scale(deployment, current, replicas)
            return
        allowed = self._allowed_replicas(deployment, [*old, current], current["spec"]["replicas"])
        if allowed > current["spec"]["replicas"]:
            self._scale(deployment, current, allowed)
            return
        self._annotate(deployment, current)
        running = [item for item in old if item["spec"]["replicas"] > 0]
        if running:
            self._shrink(deployment, current, running)

    def _shrink(self, deployment: Object, current: Object, old: list[Object]) -> None:
        min_available = deployment["spec"]["replicas"] - self._unavailable(deployment)
        total = sum(item["spec"]["replicas"] for item in [*old, current])
        new_missing = current["spec"]["replicas"] - current["status"].get("availableReplicas", 0)
        spare = total - min_available - new_missing
        for item in old:  # unhealthy pods first (cleanupUnhealthyReplicas)
            broken = item["spec"]["replicas"] - item["status"].get("availableReplicas", 0)
            removed = max(min(broken, spare), 0)
            if removed:
                spare -= removed
                self._scale(deployment, item, item["spec"]["replicas"] - removed)
        fresh = [self.api.get(REPLICASET, item["metadata"]["namespace"], item["metadata"]["name"]) for item in old]
        available = sum(item["status"].get("availableReplicas", 0) for item in [*fresh, current])
        spare = available - min_available
        for item in fresh:
            removed = max(min(item["spec"]["replicas"], spare), 0)
            if removed:
                spare -= removed
                self._scale(deployment, item, item["spec"]["replicas"] - removed)

    def _recreate(self, deployment: Object, current: Object, old: list[Object]) -> None:
        for item in old:
            if item["spec"]["replicas"]:
                self._scale(deployment, item, 0)
        remaining = any(
            pod["status"]["phase"] != "Failed"
            for item in old
            for pod in self.api.store.owned(POD.stored_in, item["metadata"]["uid"])
        )
        if not remaining:
            self._scale(deployment, current, deployment["spec"]["replicas"])

    def _allowed_replicas(self, deployment: Object, replicasets: list[Object], current: int) -> int:
        """The number of replicas that the new ReplicaSet may have now (NewRSNewReplicas)."""
        replicas: int = deployment["spec"]["replicas"]
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            return replicas if not replicasets else current
        total = sum(item["spec"]["replicas"] for item in replicasets)
        allowed = replicas + self._surge(deployment) - total
        scaled: int = current + max(min(allowed, replicas - current), 0)
        return scaled

    def _surge(self, deployment: Object) -> int:
        strategy = deployment["spec"]["strategy"]
        if strategy["type"] != "RollingUpdate":
            return 0
        return _share(strategy["rollingUpdate"]["maxSurge"], deployment["spec"]["replicas"], math.ceil)

    def _unavailable(self, deployment: Object) -> int:
        value = deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"]
        share = _share(value, deployment["spec"]["replicas"], math.floor)
        return (
            share if share or self._surge(deployment) else 1
        )  # with both at zero the rollout would make no progress (ResolveFenceposts)

    def _scale_annotations(self, deployment: Object) -> dict[str, str]:
        replicas = deployment["spec"]["replicas"]
        return {_DESIRED: str(replicas), _MAX_REPLICAS: str(replicas + self._surge(deployment))}

    def _annotate(self, deployment: Object, replicaset: Object) -> None:
        self._scale(deployment, replicaset, replicaset["spec"]["replicas"])

    def _scale(self, deployment: Object, replicaset: Object, replicas: int) -> None:
        self._write(replicaset, replicas, annotations_of(replicaset) | self._scale_annotations(deployment))

    def _write(self, replicaset: Object, replicas: int, annotations: dict[str, str]) -> Object:
        def change(obj: Object) -> None:
            obj["spec"]["replicas"] = replicas
            obj["metadata"]["annotations"] = annotations

        metadata = replicaset["metadata"]
        return self.api.modify(REPLICASET, metadata["namespace"], metadata["name"], change)

    def _update_status(self, deployment: Object, created: bool) -> float | None:
        """Write the status and delete ReplicaSets beyond the history limit. Returns the seconds until the progress deadline."""
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        owned = self._owned(deployment)
        current = self._current(deployment, owned)
        terminating = sum(
            "deletionTimestamp" in pod["metadata"]
            for item in owned
            for pod in self.api.store.owned(POD.stored_in, item["metadata"]["uid"])
        )
        view = RolloutView(deployment, current, owned, terminating, created, self._time_scale)
        status = deployment_status(view)

        def change(obj: Object) -> None:
            obj["status"] = status
            if current is not None:
                revision = annotations_of(current)[REVISION]
                obj["metadata"]["annotations"] = annotations_of(obj) | {REVISION: revision}

        stored = self.api.modify(DEPLOYMENT, namespace, name, change, subresource="status")
        if view.complete:
            self._delete_old(deployment, owned, current)
        return overdue_in(stored, self._time_scale)

    def _delete_old(self, deployment: Object, owned: list[Object], current: Object | None) -> None:
        old = [item for item in owned if item is not current and not item["spec"]["replicas"]]
        idle = [item for item in old if not item["status"].get("replicas")]
        for item in sorted(idle, key=_revision)[: max(len(idle) - deployment["spec"]["revisionHistoryLimit"], 0)]:
            self.api.delete(REPLICASET, item["metadata"]["namespace"], item["metadata"]["name"])


def template_hash(template: Object) -> str:
    """The pod-template-hash: FNV-1a of the template, in Kubernetes' safe alphabet. Stable, but not equal to Kubernetes' hash."""
    digest = 0x811C9DC5
    for byte in msgspec.json.encode(template, order="deterministic"):
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(digest))


def _comparable(template: Object) -> Object:
    stripped = clone(template)
    stripped["metadata"] = {key: value for key, value in stripped["metadata"].items() if value and key != "creationTimestamp"}
    return stripped


def _bare_template(replicaset: Object) -> Object:
    template = clone(replicaset["spec"]["template"])
    template["metadata"]["labels"].pop(_HASH, None)
    return _comparable(template)


def _revision(replicaset: Object) -> int:
    return int(annotations_of(replicaset).get(REVISION, 0))


def _next_revision(owned: list[Object]) -> str:
    return str(max((_revision(item) for item in owned), default=0) + 1)


def _copied(deployment: Object) -> dict[str, str]:
    return {key: value for key, value in annotations_of(deployment).items() if key not in _NOT_COPIED}


def _share(value: int | str, whole: int, rounding: object) -> int:
    if isinstance(value, int):
        return value
    share = whole * int(value.rstrip("%")) / 100
    return math.ceil(share) if rounding is math.ceil else math.floor(share)
