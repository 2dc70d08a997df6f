"""Fault injection: a test registers faults, and the lab applies them to the next requests that match."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request in RBAC's terms. `resource` and `subresource` are empty for paths like /version."""

    method: str
    path: str
    """The path with placeholders for the names: /api/v1/namespaces/{namespace}/pods/{name}/eviction."""
    verb: str
    """get, list, watch, create, update, patch, delete or deletecollection."""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    user_agent: str = ""
    accept: str = ""
    """The form that the answer shall have, as the header says."""
    at: float = field(default_factory=time.time)
    """Unix time in seconds."""

    @property
    def permission(self) -> str:
        """The resource as RBAC rules name it: `pods` or `pods/eviction`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class FaultKind(Enum):
    """The effect of a fault."""

    ANSWER = "answer"
    DROP = "drop"
    DELAY = "delay"
    HOLD = "hold"
    CUT_WATCH = "cut watch"
    STALL_WATCH = "stall watch"
    END_WATCH = "end watch"


@dataclass(eq=False, slots=True)
class Fault:
    """One fault: which requests it applies to, and how often. `hits` counts them; `await used()` waits for the first one."""

    kind: FaultKind
    match: Callable[[SeenRequest], bool]
    left: int | None
    code: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    seconds: float = 0
    hits: int = 0
    _used: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def used(self) -> None:
        """Return when the fault has applied to a request."""
        await self._used.wait()

    def release(self) -> None:
        """Handle the requests that are held."""
        self._released.set()

    async def released(self) -> None:
        """Return when `release` was called."""
        await self._released.wait()

    def count_hit(self) -> None:
        """Count one request."""
        self.hits += 1
        if self.left is not None:
            self.left -= 1
        self._used.set()


_IN_STREAM = (FaultKind.CUT_WATCH, FaultKind.STALL_WATCH)


class Faults:
    """The registered faults, oldest first.

    Every method takes the same optional filters: `verb` (RBAC's: "watch", "list", "get", "create", ...), `resource` ("pods"
    or "pods/eviction"), `name`, `match` (any predicate of the request), and `times`: the number of requests that the fault
    applies to (1 by default), None for all until `clear()` or `remove(fault)`.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._wakers: set[asyncio.Event] = set()

    def answer(self, code: int, *, headers: Mapping[str, str] | None = None, body: Any = None, **filters: Any) -> Fault:
        """Answer with this status code. The default body is a Status object with the code."""
        return self._add(Fault(FaultKind.ANSWER, **_filters(filters), code=code, headers=headers or {}, body=body))

    def drop(self, **filters: Any) -> Fault:
        """Close the connection without an answer. Some clients then retry a GET themselves: see `times`."""
        return self._add(Fault(FaultKind.DROP, **_filters(filters)))

    def delay(self, seconds: float, **filters: Any) -> Fault:
        """Wait for `seconds` before the request is handled normally."""
        return self._add(Fault(FaultKind.DELAY, **_filters(filters), seconds=seconds))

    def hold(self, **filters: Any) -> Fault:
        """Handle the request normally, but not before the fault's `release()` is called."""
        return self._add(Fault(FaultKind.HOLD, **_filters(filters)))

    def cut_watch(self, **filters: Any) -> Fault:
        """Send half of a watch's next event, then close the connection. Applies to open watches too."""
        return self._add(Fault(FaultKind.CUT_WATCH, **_filters(filters)))

    def stall_watch(self, **filters: Any) -> Fault:
        """Stop sending on a watch at its next event, and keep the connection open. Applies to open watches too."""
        return self._add(Fault(FaultKind.STALL_WATCH, **_filters(filters)))

    def end_watch(self, **filters: Any) -> Fault:
        """End a watch cleanly and immediately. Applies to open watches too."""
        fault = self._add(Fault(FaultKind.END_WATCH, **_filters(filters)))
        self.wake()
        return fault

    def wake(self) -> None:
        """Wake all open watches, so that they check whether to end."""
        for waker in self._wakers:
            waker.set()

    def remove(self, fault: Fault) -> None:
        """Remove a fault."""
        self._faults = [other for other in self._faults if other is not fault]

    def clear(self) -> None:
        """Remove all faults. A stalled watch stays stalled, like a dead connection."""
        self._faults.clear()

    def at_request(self, seen: SeenRequest) -> Fault | None:
        """The fault that applies to a new request, if any."""
        return self._next(seen, (FaultKind.ANSWER, FaultKind.DROP, FaultKind.DELAY, FaultKind.HOLD))

    def in_stream(self, seen: SeenRequest) -> Fault | None:
        """The fault that applies to a watch at its next event, if any."""
        return self._next(seen, _IN_STREAM) if self._faults else None

    def ends(self, seen: SeenRequest) -> bool:
        """Whether a fault ends this watch now."""
        return bool(self._faults) and self._next(seen, (FaultKind.END_WATCH,)) is not None

    def register(self, waker: asyncio.Event) -> None:
        """Register an open watch. `waker` is set when a fault may apply before the watch's next event."""
        self._wakers.add(waker)

    def unregister(self, waker: asyncio.Event) -> None:
        """Unregister a watch that has ended."""
        self._wakers.discard(waker)

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def _next(self, seen: SeenRequest, kinds: tuple[FaultKind, ...]) -> Fault | None:
        for fault in self._faults:
            if fault.kind in kinds and fault.match(seen):
                fault.count_hit()
                if fault.left == 0:
                    self.remove(fault)
                return fault
        return None


def _filters(filters: dict[str, Any]) -> dict[str, Any]:
    """Turn the filters of a test into constructor arguments of Fault. Raises TypeError for an unknown filter."""
    times: int | None = filters.pop("times", 1)
    extra: Callable[[SeenRequest], bool] | None = filters.pop("match", None)
    if unknown := filters.keys() - {"verb", "resource", "name"}:
        raise TypeError(f"unknown filter {sorted(unknown)}; use verb, resource, name, match, times")

    def match(seen: SeenRequest) -> bool:
        facts = {"verb": seen.verb, "resource": seen.permission, "name": seen.name}
        return all(facts[key] == value for key, value in filters.items()) and (extra is None or extra(seen))

    return {"match": match, "left": times}


class Requests:
    """The last `limit` requests, oldest first."""

    def __init__(self, limit: int = 10_000) -> None:
        self._seen: deque[SeenRequest] = deque(maxlen=limit)

    def __iter__(self) -> Iterator[SeenRequest]:
        return iter(list(self._seen))

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, seen: SeenRequest) -> None:
        """Record a request."""
        self._seen.append(seen)

    def clear(self) -> None:
        """Remove all recorded requests."""
        self._seen.clear()

    def permissions(self) -> set[tuple[str, str, str]]:
        """The (API group, resource or resource/subresource, verb) of all requests, for a comparison with RBAC rules."""
        return {(seen.group, seen.permission, seen.verb) for seen in self._seen if seen.resource}
