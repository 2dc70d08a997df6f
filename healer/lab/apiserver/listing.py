"""LIST: snapshots at a resourceVersion, cut into pages, selected by labels and fields."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from healer.lab.apiserver import status
from healer.lab.apiserver.selectors import parse_fields, parse_labels
from healer.lab.apiserver.status import Cause
from healer.lab.apiserver.store import Key, Store, StoredObject
from healer.lab.kinds import Kind, same
from healer.lab.objects import Object, labels_of

_FRESHNESS_TIMEOUT = 3.0
"""Seconds that a read waits for a future resourceVersion (the watch cache's blockTimeout)."""

Selector = Callable[[Object], bool]


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The parsed query of a LIST or WATCH."""

    namespace: str | None
    selector: Selector | None
    limit: int
    token: str
    revision: str
    match: str
    initial: bool
    """sendInitialEvents was given."""

    @classmethod
    def read(cls, kind: Kind, namespace: str | None, query: Mapping[str, str]) -> ListOptions:
        """Parse the query parameters of a request. Raises ApiRefusal 400 or 422 for invalid ones."""
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        selector: Selector | None = None
        if labels or fields:
            by_label = parse_labels(labels)
            by_field = parse_fields(fields, kind.fields)

            def both(obj: Object) -> bool:
                return by_label(labels_of(obj)) and by_field(obj)

            selector = both
        return cls(
            namespace=namespace,
            selector=selector,
            limit=_number(query.get("limit", "")),
            token=query.get("continue", ""),
            revision=query.get("resourceVersion", ""),
            match=query.get("resourceVersionMatch", ""),
            initial="sendInitialEvents" in query,
        )

    def selects(self, key: Key, obj: Object) -> bool:
        """Whether the namespace and the selectors select the object."""
        return (self.namespace is None or key[0] == self.namespace) and (self.selector is None or self.selector(obj))


def _number(text: str) -> int:
    if not text:
        return 0
    if not text.lstrip("-").isdecimal():
        raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def head_of(kind: Kind) -> bytes:
    """The start of an object's JSON, with kind and apiVersion."""
    return msgspec.json.encode(kind.head)[:-1] + b","


def encode(kind: Kind, stored: StoredObject, *, head: bytes) -> bytes:
    """The JSON of a stored object in the form of this kind. `head` is `{` or head_of(kind)."""
    if kind.show is same:
        return head + stored.tail
    return head + msgspec.json.encode(kind.show(stored.object))[1:]


async def list_objects(store: Store, kind: Kind, options: ListOptions) -> bytes:
    """The body of the answer to a LIST."""
    _check_match(options)
    if options.token:
        snapshot, revision, start = _continued(store, kind, options.token)
    else:
        snapshot, revision, start = *await _fresh(store, kind, options), ("", "")
    chosen: list[StoredObject] = []
    remaining = 0
    last: Key = ("", "")
    for key in sorted(key for key in snapshot if key > start):
        if not options.selects(key, snapshot[key].object):
            continue
        if options.limit and len(chosen) == options.limit:
            remaining += 1
            continue
        chosen.append(snapshot[key])
        last = key
    metadata: dict[str, object] = {"resourceVersion": str(revision)}
    if remaining:
        metadata["continue"] = _token(revision, last)
        if options.selector is None:
            metadata["remainingItemCount"] = remaining
    head = head_of(kind) if kind.custom else b"{"
    items = b",".join(encode(kind, stored, head=head) for stored in chosen)
    envelope = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata}
    return msgspec.json.encode(envelope)[:-1] + b',"items":[' + items + b"]}"


def _check_match(options: ListOptions) -> None:
    problem = ""
    if options.initial:
        cause = Cause("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list", "FieldValueForbidden")
        raise status.invalid_options([cause])
    if options.match and not options.revision:
        problem = "resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif options.match and options.token:
        problem = "resourceVersionMatch is forbidden when continue is provided"
    elif options.match == "Exact" and options.revision == "0":
        problem = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    if problem:
        raise status.invalid_options([Cause("resourceVersionMatch", f"Forbidden: {problem}", "FieldValueForbidden")])
    if options.match not in ("", "Exact", "NotOlderThan"):
        message = f'Unsupported value: "{options.match}": supported values: "Exact", "NotOlderThan", ""'
        raise status.invalid_options([Cause("resourceVersionMatch", message, "FieldValueNotSupported")])


async def _fresh(store: Store, kind: Kind, options: ListOptions) -> tuple[Mapping[Key, StoredObject], int]:
    collection = store.collection(kind.stored_in)
    wanted = parse_revision(options.revision)
    if wanted > store.revision:
        await _wait_for(store, wanted)
    exact = options.match == "Exact" or (options.limit and not options.match)
    if wanted and exact and wanted < store.revision:
        if wanted < collection.floor:
            raise status.expired(wanted, collection.floor)
        return collection.at(wanted), wanted
    return collection.objects, store.revision


def parse_revision(text: str) -> int:
    """The number of a resourceVersion; 0 for "" and "0". Raises ApiRefusal 400 if it is not a number."""
    if not text:
        return 0
    if not text.isdecimal():
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise status.bad_request(f"invalid resource version: {why}")
    return int(text)


async def _wait_for(store: Store, revision: int) -> None:
    arrived = asyncio.Event()

    def on_change(name: str, change: object) -> None:
        if store.revision >= revision:
            arrived.set()

    store.listeners.append(on_change)
    try:
        async with asyncio.timeout(_FRESHNESS_TIMEOUT):
            await arrived.wait()
    except TimeoutError:
        raise status.too_large_resource_version(revision, store.revision) from None
    finally:
        store.listeners.remove(on_change)


def _token(revision: int, last: Key) -> str:
    body = {"v": "meta.k8s.io/v1", "rv": revision, "start": f"{last[0]}/{last[1]}\0"}
    return base64.urlsafe_b64encode(msgspec.json.encode(body)).rstrip(b"=").decode()


def _continued(store: Store, kind: Kind, token: str) -> tuple[Mapping[Key, StoredObject], int, Key]:
    try:
        body = msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = body["start"].rstrip("\0").partition("/")
        revision, start = int(body["rv"]), (namespace, name)
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise status.bad_request(
            "invalid continue token: continue key is not valid: illegal base64 data or missing start"
        ) from None
    collection = store.collection(kind.stored_in)
    if revision < 0:
        return collection.objects, store.revision, start
    if revision < max(collection.floor, store.compacted):
        raise status.expired_continue(_token(-1, start))
    return collection.at(revision), revision, start
