"""The lab's etcd: objects by kind, one resourceVersion for all kinds, and a log of changes for watches.

A watch is a cursor in the log of its collection, so a slow watch needs no buffer. Each object is serialised once for all
lists and watches. Stored objects are never changed in place: a write stores a new dict.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec

from healer.lab.objects import Object, controller_of, labels_of

Key = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is empty."""


class StoredObject:
    """A stored object, and its JSON, which is made at the first use."""

    __slots__ = ("_tail", "object")

    def __init__(self, obj: Object) -> None:
        self.object = obj
        self._tail: bytes | None = None

    @property
    def tail(self) -> bytes:
        """The object's JSON without its opening brace, so that kind and apiVersion can be prepended."""
        if self._tail is None:
            self._tail = msgspec.json.encode(self.object)[1:]
        return self._tail


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """One write: ADDED, MODIFIED or DELETED, at a resourceVersion."""

    revision: int
    type: str
    key: Key
    now: StoredObject
    before: StoredObject | None


@dataclass(slots=True)
class Collection:
    """All objects of one kind, the log of their changes, and the events that wake their watches."""

    objects: dict[Key, StoredObject] = field(default_factory=dict)
    owned: dict[str, set[Key]] = field(default_factory=dict)
    """The keys of the objects by the uid of their controller; "" for objects without a controller."""
    labelled: dict[tuple[str, str, str], dict[Key, None]] = field(default_factory=dict)
    """The keys of the objects by namespace, label and value."""
    log: list[StoreEvent] = field(default_factory=list)
    floor: int = 0
    """The oldest resourceVersion that a request may start from."""
    lost: int = 0
    """The newest resourceVersion that is no longer in the log."""
    wakers: set[asyncio.Event] = field(default_factory=set)

    def index(self, change: StoreEvent) -> None:
        """Note the labels that an object has after a change."""
        before = _labels(None if change.before is None else change.before.object)
        now = _labels(None if change.type == "DELETED" else change.now.object)
        if before == now:
            return
        for name, value in before.items() - now.items():
            del self.labelled[change.key[0], name, value][change.key]
        for name, value in now.items() - before.items():
            self.labelled.setdefault((change.key[0], name, value), {})[change.key] = None

    def since(self, revision: int) -> list[StoreEvent]:
        """The changes after a resourceVersion."""
        return self.log[bisect_right(self.log, revision, key=attrgetter("revision")) :]

    def at(self, revision: int) -> dict[Key, StoredObject]:
        """The objects at a resourceVersion: the present objects with later changes undone."""
        objects = dict(self.objects)
        for change in reversed(self.since(revision)):
            if change.before is None:
                objects.pop(change.key, None)
            else:
                objects[change.key] = change.before
        return objects


Listener = Callable[[str, StoreEvent], None]


class Store:
    """Collections by name (`pods`, `deployments.apps`), with one common resourceVersion.

    history: the number of changes in the log of a collection; older ones are compacted.
    """

    def __init__(self, history: int = 20_000) -> None:
        self.revision = 1
        self.compacted = 0
        self.listeners: list[Listener] = []
        self._history = history
        self._collections: dict[str, Collection] = {}

    def collection(self, name: str) -> Collection:
        """The collection of a name, created at the first use."""
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = Collection(floor=self.compacted)
        return found

    def names(self) -> Iterator[str]:
        """The names of all collections."""
        return iter(list(self._collections))

    def owned(self, name: str, uid: str) -> list[Object]:
        """The objects whose controller has the uid, sorted by key. "" means without a controller."""
        collection = self.collection(name)
        return [collection.objects[key].object for key in sorted(collection.owned.get(uid, ()))]

    def labelled(self, name: str, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """The objects of a namespace that have all of these labels, at least one, in the order in which they got them."""
        collection = self.collection(name)
        found = [collection.labelled.get((namespace, label, value), {}) for label, value in labels.items()]
        fewest = min(found, key=len)
        return [collection.objects[key].object for key in fewest if all(key in keys for keys in found)]

    def get(self, name: str, key: Key) -> Object | None:
        """The stored object, None if there is none. Do not change it in place."""
        stored = self.collection(name).objects.get(key)
        return None if stored is None else stored.object

    def put(self, name: str, key: Key, obj: Object) -> Object:
        """Store `obj` under a new resourceVersion. The store owns `obj` from now on."""
        collection = self.collection(name)
        before = collection.objects.get(key)
        stored = self._stamp(obj)
        collection.objects[key] = stored
        kind = "ADDED" if before is None else "MODIFIED"
        self._publish(name, StoreEvent(self.revision, kind, key, stored, before))
        return obj

    def remove(self, name: str, key: Key) -> Object:
        """Remove the object. The DELETED event has its last state with a new resourceVersion."""
        before = self.collection(name).objects.pop(key)
        last = dict(before.object)
        last["metadata"] = dict(last["metadata"])
        stored = self._stamp(last)
        self._publish(name, StoreEvent(self.revision, "DELETED", key, stored, before))
        return last

    def compact(self) -> None:
        """Compact all history: requests that start from an earlier resourceVersion answer 410 from now on.

        Open watches continue, as in an API server, whose watch cache has already read what etcd compacts.
        """
        self.revision += 1
        self.compacted = self.revision
        for collection in self._collections.values():
            collection.floor = self.revision

    def _stamp(self, obj: Object) -> StoredObject:
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        return StoredObject(obj)

    def _publish(self, name: str, change: StoreEvent) -> None:
        collection = self.collection(name)
        if change.before is not None:
            collection.owned[_owner(change.before.object)].discard(change.key)
        if change.type != "DELETED":
            collection.owned.setdefault(_owner(change.now.object), set()).add(change.key)
        collection.index(change)
        collection.log.append(change)
        if len(collection.log) > 2 * self._history:
            collection.lost = collection.log[self._history - 1].revision
            collection.floor = max(collection.floor, collection.lost)
            del collection.log[: self._history]
        for listener in self.listeners:
            listener(name, change)
        _wake(collection)


def _labels(obj: Object | None) -> dict[str, str]:
    return {} if obj is None else labels_of(obj)


def _owner(obj: Object) -> str:
    owner = controller_of(obj)
    return "" if owner is None else owner["uid"]


def _wake(collection: Collection) -> None:
    for waker in collection.wakers:
        waker.set()
