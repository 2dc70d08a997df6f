"""The list-watch loop: keeps the objects of one kind in a view equal to those of the API server, whatever faults occur.

The loops are nested, as in kopf's watching.py: `run` repeats for ever, `_attempt` handles the faults of one attempt, `_stream`
reads one stream. Only a complete event counts as contact: single bytes and empty lines do not. The protocol is that of
client-go's Reflector. `_recover` lists what follows from each fault.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn

import aiohttp
import msgspec
import structlog

from healer.cluster.api import Api, pages
from healer.cluster.decode import UNDECODABLE, Bookmark, Drop, ListPage, LooseObject, Put, Splitter, event_decoder
from healer.cluster.errors import ApiError, ApiUnavailable, Backoff, ClusterError, Unreadable, is_servers
from healer.cluster.resources import Resource
from healer.model.annotations import QUARANTINED
from healer.model.kube import KubeObject, Pod
from healer.model.text import body_text
from healer.model.view import View

log = structlog.get_logger()

_CERTAIN, _SOON = 3, 5.0
"""So many answers in a row, so many seconds apart, say for certain that a kind which was there is gone."""


class ObjectChange(msgspec.Struct, frozen=True, gc=False):
    """One change of the view. `obj` is the current state of the object, or its last one; `before` is the earlier one."""

    kind: type[KubeObject]
    verb: Literal["put", "drop"]
    obj: KubeObject
    before: KubeObject | None


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """The settings of the loop. Times are in seconds, sizes in bytes."""

    page: int = 500
    """The number of objects on a page of a list."""
    timeout: tuple[int, int] = (300, 600)
    """The server is asked to end a stream after a random time in this range, so that not all streams end at once."""
    read_timeout: float = 70.0
    """The longest wait for the next complete event. The server sends a bookmark about every 60 s."""
    backoff_first: float = 0.8
    backoff_cap: float = 30.0
    backoff_reset: float = 120.0
    """The count of failures is reset after this long without one."""
    brief: float = 1.0
    """A stream that ends sooner is a failure if it brought no change; otherwise the next stream waits until then."""
    patience: float = 5.0
    """A server that does not answer is logged after this long."""
    again: float = 600.0
    """A failure that stays the same is logged again at this interval."""
    distrust: int = 5
    """After so many failures in a row the resourceVersion is dropped: the server may have been restored from a backup."""
    absent: float = 60.0
    """A kind that the cluster need not have (`Resource.optional`) is looked for again so often."""
    line_limit: int = 16 * 1024 * 1024
    slice: float = 0.01
    """In a burst of events, other tasks run at this interval."""


@dataclass(slots=True)
class WatchCounts:
    """The counts of one reflector since its creation."""

    lists: int = 0
    streams: int = 0
    events: int = 0
    changes: int = 0
    """Events that changed the view."""
    failures: int = 0
    unreadable: int = 0


class _Turns:
    """Lets the other tasks run after every `slice` seconds of work."""

    def __init__(self, slice: float, clock: Callable[[], float]) -> None:
        self._slice = slice
        self._clock = clock
        self._until = clock() + slice

    async def offer(self) -> None:
        if self._clock() >= self._until:
            await asyncio.sleep(0)
            self._until = self._clock() + self._slice


class _ReadTimeout(Exception):
    """No complete event arrived within the read timeout."""


class Reflector:
    """Keeps one kind of `view`, in one namespace or all, up to date and calls `listener` once for each change.

    The listener is called after the view has changed. After a relist, all changes are applied to the view first. Then the
    listener is called for each of them, deletions first. An object with an unchanged resourceVersion is not a change. An
    exception from the listener ends `run`.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        view: View,
        listener: Callable[[ObjectChange], None],
        *,
        namespace: str = "",
        settings: WatchSettings | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.synced = asyncio.Event()
        """Set when the first complete list has been applied and the listener has been called for it."""
        self.counts = WatchCounts()
        self._api = api
        self._view = view
        self._listener = listener
        self._settings = settings = settings or WatchSettings()
        self._clock = clock = api.clock.steady
        self._rng = rng or random.Random()
        self._path = resource.path(namespace)
        self._events = event_decoder(resource.kind)
        self._items: msgspec.json.Decoder[KubeObject] = msgspec.json.Decoder(resource.kind)
        self._backoff = Backoff(settings.backoff_first, settings.backoff_cap, settings.backoff_reset, clock, self._rng.random)
        self._version: str | None = None  # the next stream starts there; None: list first
        self.trouble = ""
        """Why the last attempt failed; empty while all is well."""
        self.absent = ""
        """Why an optional kind is not watched, in the words of the server; empty while it is."""
        self._not_found = 0  # answers in a row that there is no such kind
        self._last_logged = ("", 0.0)  # the last trouble that was logged, and when
        self._alive: float | None = None
        self._failing = self._tried = self._begun = clock()

    @property
    def heard(self) -> bool:
        """Whether the server has ever answered."""
        return self._alive is not None

    def age(self, now: float) -> float:
        """Seconds at `now`, by the reflector's clock, since the last contact: a list, an accepted watch, an event, a bookmark.

        Without any contact, since the start.
        """
        return max(0.0, now - (self._begun if self._alive is None else self._alive))

    def idle(self, now: float) -> float:
        """Seconds at `now` since the last contact or attempt. A large value shows that the loop hangs."""
        return max(0.0, now - max(self._tried, self._alive or self._tried))

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            await self._attempt()

    async def _attempt(self) -> None:
        try:
            if self._version is None:
                self._version = await self._list()
            await self._stream(self._version)
        except _ReadTimeout:
            self._tried = self._clock()
            log.debug("watch is silent, reconnecting", kind=self.resource.name, namespace=self.namespace)
        except ClusterError as error:
            if not await self._absent(error):
                await self._recover(error)

    async def _absent(self, error: ClusterError) -> bool:
        """Whether an optional kind is absent, or may not be read: nothing is held of it then, and healer looks again later."""
        holds = bool(self._view.uids(self.resource.kind, self.namespace))
        refused = isinstance(error, ApiError) and error.is_missing_permission and not holds
        if not self.resource.optional or not (refused or (isinstance(error, ApiError) and error.status == 404)):
            return False
        self._version = None
        self._not_found += 1
        if holds and self._not_found < _CERTAIN:  # one such answer is no proof: a server that starts may give it
            await asyncio.sleep(min(self._settings.absent, _SOON))
            return True
        for change in self._replace({}, set()):
            self._listener(change)
        if self.absent != str(error):
            log.info("a kind is absent: healer watches it when it appears", kind=self.resource.name, answer=str(error))
        self.absent = str(error)
        self._record_contact()
        self.synced.set()
        pause = min(self._settings.absent, _SOON) if refused else self._settings.absent  # rights may come at any moment
        self._tried = self._clock() + pause  # it is not idle while it waits on purpose
        await asyncio.sleep(pause)
        return True

    async def _recover(self, error: ClusterError) -> None:
        """Wait, and drop the resourceVersion when it is no longer valid.

        List again when the version has expired (410 as a status, as an ERROR event, or for a continue token), when a response is
        unreadable, and when the request was refused for another reason than load, authorization or a fault of the server. After
        any other fault, continue where the last stream ended.
        """
        self.counts.failures += 1
        self._tried = self._clock()
        if not self.trouble:
            self._failing = self._tried
        self.trouble = str(error)
        delay = self._backoff.next()
        if isinstance(error, Unreadable):
            self.counts.unreadable += 1
        if isinstance(error, ApiError) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        if _needs_list(error) or self._backoff.failures % self._settings.distrust == 0:
            self._version = None
        log_it = log.warning if self._should_log(error) else log.debug
        log_it(
            "watch failed",
            kind=self.resource.name,
            namespace=self.namespace,
            error=str(error),
            next="list" if self._version is None else "watch",
            delay=round(delay, 3),
        )
        await asyncio.sleep(delay)

    def _should_log(self, error: ClusterError) -> bool:
        """Whether to log an error: once while it stays the same. The contact logs a missing server or permission."""
        now, what = self._clock(), str(error)
        logged, at = self._last_logged
        again = what == logged and now - at < self._settings.again
        brief = is_servers(error) and now - self._failing < self._settings.patience
        missing = isinstance(error, ApiError) and error.is_missing_permission
        if again or brief or missing or self._api.contact.trouble:
            return False
        self._last_logged = (what, now)
        return True

    async def _list(self) -> str:
        """Read all pages and replace the objects of the view. Returns the list's resourceVersion."""
        if not self.resource.kept:
            return await self._begin_now()
        found: dict[str, KubeObject] = {}
        unreadable: set[str] = set()
        version = ""
        turns = _Turns(self._settings.slice, self._clock)
        async for page in pages(self._api, self._path, page=self._settings.page):
            self._record_contact()
            version = page.metadata.resource_version
            for raw in page.items or ():
                try:
                    obj = self._items.decode(raw)
                    found[obj.metadata.uid] = obj
                except UNDECODABLE as error:
                    unreadable.add(self._log_undecodable(raw, error))
                await turns.offer()
        self.counts.lists += 1
        self.absent, self._not_found = "", 0
        for change in self._replace(found, unreadable):
            self._listener(change)
            await turns.offer()
        self.synced.set()
        return version

    async def _begin_now(self) -> str:
        """Read the resourceVersion from which a watch tells what happens from now on, and none of the objects."""
        page = await self._api.get(self._path, ListPage, {"limit": "1"})
        self._record_contact()
        self.counts.lists += 1
        self.absent = ""
        self.synced.set()
        return page.metadata.resource_version

    def _replace(self, found: dict[str, KubeObject], unreadable: set[str]) -> list[ObjectChange]:
        """Replace the objects of the view by `found`, but keep those in `unreadable`. Returns the changes, deletions first."""
        kind = self.resource.kind
        changes: list[ObjectChange] = []
        for uid in self._view.uids(kind, self.namespace) - found.keys() - unreadable:
            if (gone := self._view.drop(kind, uid)) is not None:
                changes.append(ObjectChange(kind, "drop", gone, gone))
        for obj in found.values():
            if (change := self._put(obj)) is not None:
                changes.append(change)
        return changes

    def _log_undecodable(self, raw: msgspec.Raw, error: Exception) -> str:
        """Log which object of a list cannot be decoded. Returns its uid, so that its last state stays in the view."""
        self.counts.unreadable += 1
        try:
            meta = msgspec.json.decode(raw, type=LooseObject).metadata
        except UNDECODABLE:
            meta = LooseObject().metadata
        log.error("object cannot be read", kind=self.resource.name, namespace=meta.namespace, name=meta.name, error=str(error))
        return meta.uid

    async def _stream(self, version: str) -> None:
        """Follow the changes from `version` until the server ends the stream. Raises ClusterError, or _ReadTimeout."""
        query = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._rng.randint(*self._settings.timeout)),
        }
        splitter = Splitter(self._settings.line_limit)
        turns = _Turns(self._settings.slice, self._clock)
        changes, begun = self.counts.changes, self._clock()
        async with self._api.stream(self._path, query, read_timeout=self._settings.read_timeout) as response:
            if (packed := response.headers.get("Content-Encoding", "identity")) != "identity":
                raise Unreadable(f"WATCH {self._path}: the stream is packed ({packed}): a proxy in between does that")
            self.counts.streams += 1
            heard = self._record_contact()
            while chunk := await self._read(response):
                for line in splitter.feed(chunk):
                    if line:
                        self._apply(line)
                        heard = self._record_contact()
                        await turns.offer()
                if self._clock() - heard > self._settings.read_timeout:
                    raise _ReadTimeout
        if splitter.partial:
            raise ApiUnavailable(f"WATCH {self._path}: the stream ended in the middle of a line")
        await self._pace(begun, brought=self.counts.changes > changes)

    async def _pace(self, begun: float, *, brought: bool) -> None:
        """Delay the next stream when this one was brief, so that the loop does not spin."""
        left = self._settings.brief - (self._clock() - begun)
        if left > 0 and not brought:
            raise ApiUnavailable(f"WATCH {self._path}: the stream ended at once")
        if left > 0:
            await asyncio.sleep(left)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The next bytes of a stream; b"" at its end."""
        try:
            return await response.content.readany()
        except aiohttp.SocketTimeoutError as error:
            raise _ReadTimeout from error
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnavailable(f"WATCH {self._path}: {error or type(error).__name__}") from error

    def _apply(self, line: bytes) -> None:
        """Apply one event to the view, call the listener, and store the new resourceVersion."""
        try:
            event = self._events.decode(line)
        except UNDECODABLE as error:
            raise Unreadable(f"WATCH {self._path}: {error}: {body_text(line, 200)!r}") from error
        self.counts.events += 1
        if isinstance(event, Put):
            change = self._put(event.object)
            version = event.object.metadata.resource_version
        elif isinstance(event, Drop):
            change = self._drop(event.object)
            version = event.object.metadata.resource_version
        elif isinstance(event, Bookmark):
            change = None
            version = event.object.metadata.resource_version
        else:
            raise ApiError.of_status(event.object, request=f"WATCH {self._path}")
        if change is not None:
            self.counts.changes += 1
            self._listener(change)
        self._version = version

    def _put(self, obj: KubeObject) -> ObjectChange | None:
        if not self.resource.kept:
            return ObjectChange(self.resource.kind, "put", obj, None)
        if isinstance(obj, Pod) and QUARANTINED in obj.metadata.labels:  # it serves nobody, and is no patient
            return self._drop(obj)
        before = self._view.put(obj)
        if before is not None and before.metadata.resource_version == obj.metadata.resource_version:
            return None
        return ObjectChange(self.resource.kind, "put", obj, before)

    def _drop(self, obj: KubeObject) -> ObjectChange | None:
        before = self._view.drop(self.resource.kind, obj.metadata.uid)
        return None if before is None else ObjectChange(self.resource.kind, "drop", obj, before)

    def _record_contact(self) -> float:
        self._alive = now = self._clock()
        self.trouble = ""
        return now


def _needs_list(error: ClusterError) -> bool:
    match error:
        case Unreadable():
            return True
        case ApiError():
            too_new = "ResourceVersionTooLarge" in error.causes
            return too_new or not (error.status in (401, 403, 429) or error.status >= 500)
        case _:
            return False
