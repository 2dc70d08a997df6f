"""WATCH: a stream of JSON lines. Each watch reads the store's log with its own cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
from aiohttp import web

from healer.lab.apiserver import status
from healer.lab.apiserver.listing import ListOptions, encode, head_of, parse_revision
from healer.lab.apiserver.store import Store, StoredObject, StoreEvent
from healer.lab.faults import FaultKind, Faults, SeenRequest
from healer.lab.kinds import Kind
from healer.lab.objects import Object

_BATCH = 500
"""Events per write, so that one large watch does not block the others."""


@dataclass(slots=True)
class WatchRequest:
    """One watch: its selection, and its position in the log."""

    store: Store
    kind: Kind
    options: ListOptions
    bookmarks: bool
    initial_end: bool
    """Whether to send the bookmark that ends the initial events."""
    bookmark_every: float
    timeout: float | None
    cursor: int = 0

    @classmethod
    def read(
        cls, store: Store, kind: Kind, namespace: str | None, query: Mapping[str, str], bookmark_every: float
    ) -> WatchRequest:
        """Parse the query parameters of a request. Raises ApiRefusal 400, 422 or 500."""
        options = ListOptions.read(kind, namespace, query)
        initial = query.get("sendInitialEvents") in ("true", "1")
        problem = ""
        if options.revision and not options.revision.isdecimal():  # a list answers 400 here, a watch 500
            text = options.revision
            why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
            raise status.ApiRefusal(500, "", why)
        if initial and options.match != "NotOlderThan":
            problem = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        elif options.match and "sendInitialEvents" not in query:
            problem = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        if problem:
            cause = status.Cause("resourceVersionMatch", f"Forbidden: {problem}", "FieldValueForbidden")
            raise status.invalid_options([cause])
        seconds = query.get("timeoutSeconds", "")
        return cls(
            store=store,
            kind=kind,
            options=options,
            bookmarks=query.get("allowWatchBookmarks") in ("true", "1"),
            initial_end=initial,
            bookmark_every=bookmark_every,
            timeout=float(seconds) if seconds.isdecimal() and int(seconds) else None,
        )

    def opening(self) -> Iterator[bytes]:
        """The first lines of a watch: all objects, or none if it starts from a resourceVersion."""
        revision = parse_revision(self.options.revision)
        if revision and not self.initial_end:
            floor = self.store.collection(self.kind.stored_in).floor
            if revision < floor:
                raise status.expired(revision, floor)
            self.cursor = revision
            return
        self.cursor = self.store.revision
        head = head_of(self.kind)
        for key, stored in sorted(self.store.collection(self.kind.stored_in).objects.items(), key=lambda item: item[0]):
            if self.options.selects(key, stored.object):
                yield _line("ADDED", encode(self.kind, stored, head=head))
        if self.initial_end and self.bookmarks:
            yield self.bookmark({"k8s.io/initial-events-end": "true"})

    def news(self) -> list[bytes]:
        """The lines of the changes since the last call. Raises ApiRefusal 410 if they are no longer in the log."""
        collection = self.store.collection(self.kind.stored_in)
        if self.cursor < collection.lost:
            raise status.expired(self.cursor, collection.lost)
        changes = collection.since(self.cursor)[:_BATCH]
        if not changes:
            return []
        self.cursor = changes[-1].revision
        head = head_of(self.kind)
        return [line for change in changes if (line := self._event(change, head))]

    def bookmark(self, annotations: Mapping[str, str] | None = None) -> bytes:
        """A BOOKMARK line. It has only the resourceVersion up to which the client has received all changes."""
        if not self.store.collection(self.kind.stored_in).since(self.cursor):
            self.cursor = max(self.cursor, self.store.revision)
        metadata: Object = {"resourceVersion": str(self.cursor)}
        if annotations:
            metadata["annotations"] = dict(annotations)
        body = {**self.kind.head, "metadata": metadata, **self.kind.bookmark}
        return _line("BOOKMARK", msgspec.json.encode(body))

    def _event(self, change: StoreEvent, head: bytes) -> bytes | None:
        """The line of a change, None outside the selection. Objects that leave the selection are DELETED, new ones ADDED."""
        before = change.before is not None and self.options.selects(change.key, change.before.object)
        after = change.type != "DELETED" and self.options.selects(change.key, change.now.object)
        if change.type == "DELETED":
            return _line("DELETED", encode(self.kind, change.now, head=head)) if before else None
        if after:
            return _line("MODIFIED" if before else "ADDED", encode(self.kind, change.now, head=head))
        if before and change.before is not None:
            # As recorded: the last state of the object that matched, with the resourceVersion of the change.
            last = dict(change.before.object)
            last["metadata"] = dict(last["metadata"]) | {"resourceVersion": str(change.revision)}
            return _line("DELETED", encode(self.kind, StoredObject(last), head=head))
        return None


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


class WatchStream:
    """Writes a watch to a connection until a timeout, a failure, a fault or the client ends it."""

    def __init__(self, watch: WatchRequest, faults: Faults, seen: SeenRequest, closing: asyncio.Event) -> None:
        self._watch = watch
        self._faults = faults
        self._seen = seen
        self._closing = closing
        self._woken = asyncio.Event()

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Answer the request with the stream."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        wakers = self._watch.store.collection(self._watch.kind.stored_in).wakers
        wakers.add(self._woken)
        self._faults.register(self._woken)
        try:
            async with asyncio.timeout(self._watch.timeout):
                await self._stream(request, response)
        except (TimeoutError, ConnectionError):
            return response  # the watch has timed out, or the client has disconnected
        finally:
            wakers.discard(self._woken)
            self._faults.unregister(self._woken)
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse) -> None:
        loop = asyncio.get_running_loop()
        deadline = None if self._watch.timeout is None else loop.time() + self._watch.timeout
        bookmark_at = self._next_bookmark(loop.time(), deadline)
        try:
            lines = list(self._watch.opening())
            while not (self._closing.is_set() or self._faults.ends(self._seen)):
                if lines and not await self._write(request, response, lines):
                    return
                self._woken.clear()
                lines = self._watch.news()
                if not lines and await self._idle(bookmark_at - loop.time()):
                    bookmark_at = self._next_bookmark(loop.time(), deadline)
                    lines = [self._watch.bookmark()]
        except status.ApiRefusal as error:
            await self._write(request, response, [_line("ERROR", msgspec.json.encode(error.body))])

    def _next_bookmark(self, now: float, deadline: float | None) -> float:
        """The time of the next bookmark: one interval later, or two seconds before the end (cacher.go, nextBookmarkTime)."""
        if not self._watch.bookmarks:
            return float("inf")
        regular = now + self._watch.bookmark_every
        return min(regular, deadline - 2) if deadline is not None and deadline - 2 > now else regular

    async def _idle(self, seconds: float) -> bool:
        """Wait for a change. Returns True if the next bookmark is due first."""
        try:
            async with asyncio.timeout(None if seconds == float("inf") else max(seconds, 0)):
                await self._woken.wait()
        except TimeoutError:
            return True
        return False

    async def _write(self, request: web.Request, response: web.StreamResponse, lines: list[bytes]) -> bool:
        """Write the lines. Returns False if a fault has ended the connection."""
        fault = self._faults.in_stream(self._seen)
        if fault is None:
            await response.write(b"".join(lines))
            return True
        if fault.kind is FaultKind.STALL_WATCH:
            await self._closing.wait()
            return False
        await response.write(lines[0][: len(lines[0]) // 2])
        if request.transport is not None:
            request.transport.close()
        return False
