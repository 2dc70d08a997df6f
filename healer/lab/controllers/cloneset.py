"""The CloneSet controller of OpenKruise. It owns pods directly, and updates them by recreating them or in place.

It follows pkg/controller/cloneset of openkruise/kruise: partition, maxUnavailable, paused, revisions. Surge, lifecycle hooks and
volume claims are not covered.
"""

from __future__ import annotations

import math

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.selectors import format_selector
from healer.lab.apiserver.store import Key
from healer.lab.controllers.owned import REVISION_LABEL, PodsController, finished, is_terminating, revision_of
from healer.lab.custom import CLONESET
from healer.lab.kinds import POD
from healer.lab.objects import Object, clone, is_ready, labels_of, suffix


class CloneSetController(PodsController):
    """Keys are CloneSets."""

    def __init__(self, api: ObjectApi) -> None:
        super().__init__(api, CLONESET)

    def reconcile(self, key: Key) -> float | None:
        owner = self.api.store.get(CLONESET.stored_in, key)
        if owner is None or is_terminating(owner):
            return None
        update = self._revision(owner)
        current = (owner.get("status") or {}).get("currentRevision") or update
        if not self._scale(owner, current, update):
            self._update(owner, update)
        self._update_status(key, owner, current, update)
        return None

    def _active(self, owner: Object) -> list[Object]:
        return [pod for pod in self._pods(owner) if not finished(pod) and not is_terminating(pod)]

    def _scale(self, owner: Object, current: str, update: str) -> bool:
        """Create missing pods and delete surplus ones. Returns whether it did."""
        pods, replicas = self._active(owner), owner["spec"].get("replicas", 1)
        for pod in self._pods(owner):
            if finished(pod):
                self._delete_pod(pod)
        for pod in sorted(pods, key=lambda pod: (revision_of(pod) == update, is_ready(pod)))[: max(len(pods) - replicas, 0)]:
            self._delete_pod(pod)
        old = sum(revision_of(pod) != update for pod in pods)
        for _ in range(replicas - len(pods)):
            keeps = old < _partition(owner)
            old += keeps
            self._create(owner, current if keeps else update)
        return bool(len(pods) != replicas)

    def _create(self, owner: Object, revision: str) -> None:
        labels = {REVISION_LABEL: revision, "apps.kruise.io/cloneset-instance-id": suffix()}
        template = self._template(owner, revision)
        self._create_pod(
            owner | {"spec": owner["spec"] | {"template": template}}, labels, generateName=f"{owner['metadata']['name']}-"
        )

    def _template(self, owner: Object, revision: str) -> Object:
        kept = self.api.store.get("controllerrevisions.apps", (owner["metadata"]["namespace"], revision))
        if kept is None:
            return clone(owner["spec"]["template"])
        return {key: clone(value) for key, value in kept["data"]["spec"]["template"].items() if key != "$patch"}

    def _update(self, owner: Object, update: str) -> None:
        """Update so many pods as may be unavailable at once, pods that are not ready first."""
        strategy = owner["spec"].get("updateStrategy") or {}
        if strategy.get("paused") or strategy.get("type") == "OnDelete":
            return
        pods = self._active(owner)
        old = sorted((pod for pod in pods if revision_of(pod) != update), key=is_ready)
        limit = _share(strategy.get("maxUnavailable", "20%"), owner["spec"].get("replicas", 1))
        spare = limit - sum(not is_ready(pod) for pod in pods)
        for pod in old[: max(len(old) - _partition(owner), 0)]:
            if is_ready(pod) and spare <= 0:
                return
            spare -= is_ready(pod)
            if not (str(strategy.get("type", "")).startswith("InPlace") and self._updated_in_place(owner, pod, update)):
                self._delete_pod(pod)

    def _updated_in_place(self, owner: Object, pod: Object, update: str) -> bool:
        """Give a running pod the new images and metadata. Returns whether that is all that differs."""
        before, after = self._template(owner, revision_of(pod)), owner["spec"]["template"]
        if _without_images(before) != _without_images(after):
            return False
        images = {container["name"]: container["image"] for container in after["spec"]["containers"]}
        changed = {c["name"] for c in pod["spec"]["containers"] if c["name"] in images and c["image"] != images[c["name"]]}

        def change(obj: Object) -> None:
            obj["metadata"]["labels"] = labels_of(obj) | labels_of(after) | {REVISION_LABEL: update}
            obj["metadata"]["annotations"] = (obj["metadata"].get("annotations") or {}) | (
                after["metadata"].get("annotations") or {}
            )
            for container in obj["spec"]["containers"]:
                container["image"] = images.get(container["name"], container["image"])

        def restart(obj: Object) -> None:
            for status in obj["status"].get("containerStatuses") or []:
                if status["name"] in changed:
                    status["restartCount"] += 1
                    status["image"] = images[status["name"]]

        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self.api.modify(POD, namespace, name, change)
        if changed:
            self.api.modify(POD, namespace, name, restart, subresource="status")
        return True

    def _update_status(self, key: Key, owner: Object, current: str, update: str) -> None:
        pods, replicas = self._active(owner), owner["spec"].get("replicas", 1)
        updated = [pod for pod in pods if revision_of(pod) == update]
        if len(updated) == len(pods) == replicas:
            current = update
        ready = sum(map(is_ready, pods))
        status = {
            "observedGeneration": owner["metadata"]["generation"],
            "replicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "updatedReplicas": len(updated),
            "updatedReadyReplicas": sum(map(is_ready, updated)),
            "expectedUpdatedReplicas": replicas - _partition(owner),
            "updateRevision": update,
            "currentRevision": current,
            "collisionCount": 0,
            "labelSelector": format_selector(owner["spec"]["selector"]),
        }
        if status != owner.get("status"):
            self._write(key, status)


def _share(amount: int | str, whole: int) -> int:
    return amount if isinstance(amount, int) else math.ceil(whole * int(amount.rstrip("%")) / 100)


def _partition(owner: Object) -> int:
    replicas: int = owner["spec"].get("replicas", 1)
    return min(_share((owner["spec"].get("updateStrategy") or {}).get("partition") or 0, replicas), replicas)


def _without_images(template: Object) -> Object:
    spec: Object = clone(template["spec"])
    for container in spec["containers"]:
        container.pop("image", None)
    return spec
