"""The common part of the controllers of pods: pods from a template, and the revisions of that template."""

from __future__ import annotations

from typing import Any

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.controllers.deployment import template_hash
from healer.lab.kinds import CONTROLLER_REVISION, DAEMONSET, POD, Kind
from healer.lab.objects import Object, clone, controller_of, labels_of, owner_reference

REVISION_LABEL = "controller-revision-hash"


class PodsController(Controller):
    """A controller of one kind whose objects own pods directly. Keys are the objects."""

    def __init__(self, api: ObjectApi, kind: Kind) -> None:
        super().__init__(api)
        self._kind = kind

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == self._kind.stored_in:
            self.enqueue(change.key)
        elif collection == POD.stored_in:
            owner = controller_of(change.now.object)
            if owner is not None and owner["kind"] == self._kind.kind:
                self.enqueue((change.key[0], owner["name"]))

    def _pods(self, owner: Object) -> list[Object]:
        """The pods of an owner, oldest first."""
        pods = self.api.store.owned(POD.stored_in, owner["metadata"]["uid"])
        return sorted(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def _create_pod(self, owner: Object, labels: dict[str, str], spec: Object | None = None, **metadata: Any) -> Object:
        """Create a pod from the owner's template."""
        template = clone(owner["spec"]["template"])
        template["metadata"].pop("creationTimestamp", None)
        pod = {
            "metadata": template["metadata"]
            | {
                "labels": labels_of(template) | labels,
                "ownerReferences": [owner_reference(self._kind.api_version, self._kind.kind, owner)],
            }
            | metadata,
            "spec": template["spec"] | (spec or {}),
        }
        return self.api.create(POD, owner["metadata"]["namespace"], pod)

    def _delete_pod(self, pod: Object) -> None:
        if "deletionTimestamp" not in pod["metadata"]:
            self.api.delete(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _revision(self, owner: Object) -> str:
        """The name of the ControllerRevision of the owner's template. The revision is created if it does not exist."""
        digest = template_hash(owner["spec"]["template"])
        hashed = REVISION_LABEL if self._kind is DAEMONSET else "controller.kubernetes.io/hash"
        namespace, name = owner["metadata"]["namespace"], f"{owner['metadata']['name']}-{digest}"
        known = self.api.store.owned(CONTROLLER_REVISION.stored_in, owner["metadata"]["uid"])
        newest = max((item["revision"] for item in known), default=0)
        found = next((item for item in known if item["metadata"]["name"] == name), None)
        if found is None:
            revision = {
                "metadata": {
                    "name": name,
                    "labels": labels_of(owner["spec"]["template"]) | {hashed: digest},
                    "annotations": dict(owner["metadata"].get("annotations") or {}),
                    "ownerReferences": [owner_reference(self._kind.api_version, self._kind.kind, owner)],
                },
                "data": {"spec": {"template": clone(owner["spec"]["template"]) | {"$patch": "replace"}}},
                "revision": newest + 1,
            }
            self.api.create(CONTROLLER_REVISION, namespace, revision)
        elif found["revision"] < newest:  # the template of an older revision is in use again
            self.api.modify(CONTROLLER_REVISION, namespace, name, lambda obj: obj.update(revision=newest + 1))
        return name

    def _write(self, key: Key, status: Object) -> None:
        def change(obj: Object) -> None:
            obj["status"] = status

        self.api.modify(self._kind, *key, change, subresource="status")


def revision_of(pod: Object) -> str:
    """The revision of a pod, read from its label."""
    return labels_of(pod).get(REVISION_LABEL, "")


def finished(pod: Object) -> bool:
    """Whether the pod has the phase Succeeded or Failed."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def is_terminating(pod: Object) -> bool:
    """Whether the object has a deletionTimestamp."""
    return "deletionTimestamp" in pod["metadata"]
