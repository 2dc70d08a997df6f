"""The state of healer as it changes: the answer of GET /state/stream, as server-sent events.

The first event, `whole`, has all that is known: {"at": time, "set": {table: {key: row}}}. Each `change` after it has what is new,
and {"gone": {table: [key]}}. All readers share one look at the state, which is encoded once, and only while somebody reads.

What a slow reader costs is bounded: the events are everybody's, and of one that it has not taken a few pieces are copied for it
(asyncio copies what it cannot send at once). The changes that are kept are together no larger than the whole.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from aiohttp import web

from healer.http.answer import Refused
from healer.http.state import STATE_PATH, StateBody
from healer.turns import in_turns

STREAM_PATH = STATE_PATH + "/stream"
EVERY = 0.25
"""The fewest seconds between two looks."""
_PAUSE = 9.0
"""A look is followed by a pause that is so many times as long: however large the cluster is, looks take a tenth of the time."""
_BEAT = 10.0
"""Seconds without a change after which a reader hears that the stream is alive."""
SLOW = 15.0
"""Seconds in which a reader must take an event; the stream of one that does not ends."""
STREAM_TYPE = "text/event-stream"
LIFE = 300.0
"""Seconds after which a stream ends. Its reader comes again by itself, and shows its token again: it may have been taken away."""
_KEPT = 32
"""Changes that are kept for slower readers, if they are together no larger than the whole. One that is further behind gets the
whole again."""
_PIECE = 64 * 1024
"""Bytes that are written before the reader must have taken those before them: asyncio's own limit of what it holds for one."""
_AT_ONCE = 200
"""Rows that are encoded before the loop is yielded: about a millisecond."""

_Rows = dict[str, bytes]


class StateStream:
    """The route. `whole` gives the state of now; `most` is the number of readers at once."""

    def __init__(self, whole: Callable[[], Awaitable[StateBody]], most: int) -> None:
        self._whole = whole
        self._most = most
        self._readers = 0
        self._looking: asyncio.Task[None] | None = None
        self._tables: dict[str, _Rows] = {}
        self._number = 0  # of the last change; 0 before the first look
        self._at = 0.0
        self._changes: deque[bytes] = deque()
        self._size = 0  # of the changes that are kept
        self._snapshot: tuple[int, bytes] = (0, b"")
        self._news = asyncio.Event()
        self._round = 0  # readers of an earlier one are sent away: who leads has changed
        self._closed = False
        self._log = structlog.get_logger("healer.http")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers 200 with events until the reader goes, the server stops, or another replica leads; 503 when too many read."""
        if self._closed or self._readers >= self._most:
            hint = "close other pages, or raise HEALER_HTTP__STREAMS"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many read the stream of the state", hint, {"Retry-After": "5"})
        self._readers += 1
        try:
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_again(), name="state stream")
            headers = {"Content-Type": STREAM_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            answer = web.StreamResponse(headers=headers)
            await answer.prepare(request)
            await self._send(request, answer)
            return answer
        finally:
            self._readers -= 1
            if not self._readers:
                await self._rest()

    async def aclose(self) -> None:
        """End every stream."""
        self._closed = True
        self._tell()
        await self._rest()

    async def _rest(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            self._tables, self._number, self._snapshot = {}, 0, (0, b"")  # now: who comes meanwhile has a look of its own
            self._changes.clear()
            self._size = 0
            await asyncio.wait((looking,))

    async def _send(self, request: web.Request, answer: web.StreamResponse) -> None:
        seen, joined, end = 0, self._round, asyncio.get_running_loop().time() + LIFE
        try:
            while (
                asyncio.get_running_loop().time() < end
                and not self._closed
                and self._round == joined
                and self._looking is not None
                and not self._looking.done()
            ):
                news = self._news
                if seen == self._number:
                    if not await _set(news):
                        await _write(answer, b": alive\n\n")
                    continue
                events, seen = self._since(seen), self._number
                for event in events:
                    await _write(answer, event)
        except (ConnectionError, TimeoutError):
            self._log.debug("a reader of the state is gone, or too slow")
            hang_up(request)

    def _since(self, seen: int) -> list[bytes]:
        """The events for a reader that has seen the change of this number.

        A reader without any gets the last whole that was made, so that those that are slow to take it hold one and not many.
        """
        first = [] if seen and self._kept_since(seen) else [self._last_whole()]
        behind = self._number - (self._snapshot[0] if first else seen)
        return first + list(self._changes)[len(self._changes) - behind :]

    def _kept_since(self, number: int) -> bool:
        """Whether all changes after this one are kept."""
        return self._number - number <= len(self._changes)

    def _last_whole(self) -> bytes:
        """The event of the whole: the last one made, if what changed since is kept."""
        made, event = self._snapshot
        if not made or not self._kept_since(made):
            event = _event("whole", {"at": self._at, "set": _raw(self._tables)})
            self._snapshot = self._number, event
        return event

    async def _look_again(self) -> None:
        """Look for ever. When a look fails, the streams end, and their readers may come again."""
        loop, leads = asyncio.get_running_loop(), None
        try:
            while True:
                began = loop.time()
                state = await self._whole()
                await self._note(state)
                if leads not in (None, state.leads):
                    self._round += 1
                    self._tell()
                leads = state.leads
                await asyncio.sleep(max(EVERY, _PAUSE * (loop.time() - began)))
        finally:
            self._tell()

    async def _note(self, state: StateBody) -> None:
        """Keep what has changed, and wake the readers."""
        tables: dict[str, _Rows] = {table: {} for table in _TABLES}
        async for table, key, row in in_turns(_rows(state), _AT_ONCE):
            tables[table][key] = msgspec.json.encode(row)
        fresh = {
            table: {key: row for key, row in rows.items() if self._tables.get(table, {}).get(key) != row}
            for table, rows in tables.items()
        }
        gone = {table: [key for key in rows if key not in tables[table]] for table, rows in self._tables.items()}
        changed = {table: rows for table, rows in fresh.items() if rows}
        left = {table: keys for table, keys in gone.items() if keys}
        self._tables, self._at = tables, state.at
        if changed or left:
            change = _event("change", {"at": state.at, "set": _raw(changed), "gone": left})
            self._keep(change, sum(len(row) for rows in tables.values() for row in rows.values()))
            self._tell()

    def _keep(self, change: bytes, whole: int) -> None:
        """Keep a change, and of those before it what is together no larger than the whole state."""
        self._changes.append(change)
        self._number += 1
        self._size += len(change)
        while len(self._changes) > _KEPT or (self._size > whole and self._changes):
            self._size -= len(self._changes.popleft())

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


_TABLES = ("head", "checks", "incidents", "workloads", "canaries", "limits", "rules", "activity")


_HEAD = ("version", "cluster", "mode", "leads", "leader", "paused", "control", "loaded")


def _rows(state: StateBody) -> Iterator[tuple[str, str, object]]:
    """Each row with its table and its key. The key orders the rows where their order says something."""
    head = {name: getattr(state, name) for name in _HEAD}
    yield "head", "", head
    for number, check in enumerate(state.checks):
        yield "checks", f"{number:03} {check.name}", check
    for incident in state.incidents:
        yield "incidents", f"{incident.namespace}/{incident.name}", incident
    for row in state.workloads:
        yield "workloads", f"{row.target.namespace}/{row.target.kind}/{row.target.name}", row
    for canary in state.canaries:
        yield "canaries", f"{canary.rule} {canary.workload.uid}", canary
    for number, limit in enumerate(state.limits):
        about = "" if limit.workload is None else f"{limit.workload.kind}/{limit.workload.name}"
        yield "limits", f"{limit.kind} {limit.rule} {limit.namespace} {about or number}", limit
    for number, rule in enumerate(state.rules):
        yield "rules", f"{number:04} {rule.name}", rule
    for did in state.activity:
        yield "activity", did.rule, did


def _raw(tables: Mapping[str, _Rows]) -> dict[str, dict[str, msgspec.Raw]]:
    return {table: {key: msgspec.Raw(row) for key, row in rows.items()} for table, rows in tables.items()}


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    """An event; JSON as msgspec writes it has no line break."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


async def _set(event: asyncio.Event) -> bool:
    """Whether the event was set before it is time for a sign of life."""
    try:
        async with asyncio.timeout(_BEAT):
            return await event.wait()
    except TimeoutError:
        return False


def hang_up(request: web.Request) -> None:
    """Close the connection and drop what is not sent: to end the answer in order would wait for a reader that is too slow."""
    if request.transport is not None:
        request.transport.abort()


async def _write(answer: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SLOW):
        for start in range(0, len(data), _PIECE):
            await answer.write(memoryview(data)[start : start + _PIECE])
