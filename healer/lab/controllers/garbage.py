"""The garbage collector. It deletes objects whose owners are all gone, and the objects of a terminating namespace."""

from __future__ import annotations

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.kinds import NAMESPACE
from healer.lab.objects import Object


class GarbageCollector(Controller):
    """Keys are (collection, "namespace/name") of objects with owners."""

    def __init__(self, api: ObjectApi) -> None:
        self._living: set[str] = set()
        self._dependents: dict[str, set[Key]] = {}
        super().__init__(api)

    def observe(self, collection: str, change: StoreEvent) -> None:
        metadata = change.now.object["metadata"]
        address = (collection, "/".join(change.key))
        if change.type != "DELETED":
            self._living.add(metadata["uid"])
        else:
            self._living.discard(metadata["uid"])
            for dependent in self._dependents.pop(metadata["uid"], ()):
                self.enqueue(dependent)
        owners = metadata.get("ownerReferences") or []
        for owner in owners:
            dependents = self._dependents.setdefault(owner["uid"], set())
            if change.type == "DELETED":
                dependents.discard(address)
            else:
                dependents.add(address)
        if owners and change.type == "ADDED":
            self.enqueue(address)

    def reconcile(self, key: Key) -> float | None:
        collection, (namespace, _, name) = key[0], key[1].partition("/")
        obj = self.api.store.get(collection, (namespace, name))
        kind = next((kind for kind in self.api.kinds if kind.stored_in == collection), None)
        if obj is None or kind is None or "deletionTimestamp" in obj["metadata"]:
            return None
        owners = obj["metadata"].get("ownerReferences") or []
        if owners and not any(owner["uid"] in self._living for owner in owners):
            self.api.delete(kind, namespace, name)
        return None


class NamespaceController(Controller):
    """Keys are namespaces. A terminating namespace is emptied, then removed."""

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == NAMESPACE.stored_in:
            self.enqueue(change.key)
        elif change.type == "DELETED" and change.key[0]:
            self.enqueue(("", change.key[0]))

    def reconcile(self, key: Key) -> float | None:
        namespace = self.api.store.get(NAMESPACE.stored_in, key)
        if namespace is None or "deletionTimestamp" not in namespace["metadata"]:
            return None
        left = False
        for kind in {kind.stored_in: kind for kind in self.api.kinds if kind.namespaced}.values():
            for obj in self.api.objects(kind, key[1]):
                self._delete(kind.stored_in, obj)
            left |= bool(self.api.objects(kind, key[1]))
        if not left:
            self.api.store.remove(NAMESPACE.stored_in, key)
        return None

    def _delete(self, collection: str, obj: Object) -> None:
        if "deletionTimestamp" not in obj["metadata"]:
            kind = self.api.kinds.named(collection)
            self.api.delete(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
