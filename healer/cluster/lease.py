"""Leader election: the Lease that lets one replica act at a time.

The protocol is that of client-go's tools/leaderelection on a coordination.k8s.io/v1 Lease. Every write is a compare-and-swap
on its resourceVersion. No clock is compared with the clock of another machine. Two replicas never act at once, because a leader
acts until `deadline` after it *sent* the last renewal that was accepted. A rival waits `duration`, which is longer, after it
first *saw* that renewal, which is later; a renewal in between makes the rival's write fail. The Lease cannot stop a request that
is already sent when the deadline passes. The compare-and-swap of the journal covers that case.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import structlog

from healer.cluster.api import Api, ApiError, ClusterError, Unreadable

log = structlog.get_logger()

T = TypeVar("T")

_NEVER = -math.inf
LABELS = {"app.kubernetes.io/name": "healer"}
"""The labels by which the CLI finds the Lease, whatever its name and namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """The settings of the Lease; times in seconds. Raises ValueError when they contradict each other."""

    namespace: str
    name: str = "healer"
    duration: float = 10.0
    """A rival takes over when it has seen no renewal for this long. The Lease has it in whole seconds, rounded up."""
    deadline: float = 7.0
    """A leader stops acting when this long has passed since it sent the last renewal that was accepted."""
    renew: float = 2.0
    """The interval at which a leader renews."""
    retry: float = 1.0
    """The interval at which a follower reads the Lease, and after which a leader repeats a renewal that failed."""
    request_timeout: float = 0.9
    """The longest wait for one response. With an API server that always takes longer, no replica leads."""

    def __post_init__(self) -> None:
        for field in ("duration", "deadline", "renew", "retry", "request_timeout"):
            value = getattr(self, field)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"lease: {field} is {value:g} s; it must be above 0")
        orders = (("renew", "deadline"), ("retry", "deadline"), ("request_timeout", "deadline"), ("deadline", "duration"))
        for field, below in orders:
            value, limit = getattr(self, field), getattr(self, below)
            if value >= limit:
                raise ValueError(f"lease: {field} ({value:g} s) must be below {below} ({limit:g} s)")
        for field in ("namespace", "name"):
            if not getattr(self, field):
                raise ValueError(f"lease: {field} is empty; say which Lease the replicas share")


class _ElectionSpec(msgspec.Struct, rename="camel", frozen=True):
    """The fields of a Lease's spec. Times are RFC 3339 with microseconds, not decoded."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _LeaseMeta(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _LeaseBody(msgspec.Struct):
    metadata: _LeaseMeta
    spec: _ElectionSpec = _ElectionSpec()


class Lease:
    """One replica's part in the election. `identity` must differ between processes.

    `on_annotations` is called with the Lease's annotations each time that it is read, also before a term begins. Its
    exceptions end `run`. The steady clock of `api` must continue while the process is stopped (CLOCK_MONOTONIC does).
    """

    def __init__(
        self,
        api: Api,
        settings: LeaseSettings,
        identity: str,
        *,
        on_annotations: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        if not identity:
            raise ValueError("lease: the identity is empty; give each replica one of its own")
        self.holder: str | None = None
        """The identity of the holder at the last read, which may be ours; None when there was none."""
        self.epoch = -1
        """spec.leaseTransitions of our last term. Each term, of any replica, has a higher number than all earlier terms."""
        self._api = api
        self._settings = settings
        self._identity = identity
        self._clock = api.clock.steady
        self._on_annotations = on_annotations
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{settings.namespace}/leases"
        self._path = f"{self._collection}/{settings.name}"
        self._until = _NEVER  # by our clock: we stop acting then unless we renew
        self._object: dict[str, Any] | None = None  # the whole Lease as last read, so that a write keeps its other fields
        self._spec: _ElectionSpec | None = None  # the same, typed
        self._since = _NEVER  # by our clock: when we first saw this spec
        self._highest = -1  # of the leaseTransitions seen
        self._acquisition: tuple[str, str] | None = None  # holder and acquireTime of our last attempt to take it
        self._stale = False  # our last write was refused or not answered: read before the next one
        self._last_error = ""

    def is_leader(self) -> bool:
        """Whether we may act now. Callers ask this right before every change to the cluster."""
        return self._clock() < self._until

    @property
    def trouble(self) -> str:
        """The error of the last request about the Lease; empty when it succeeded."""
        return self._last_error

    def leader(self) -> str | None:
        """The identity of the leader: ours while we lead, another one until its Lease has expired, None when nobody leads."""
        if self._is_ours():
            return self._identity if self.is_leader() else None
        return None if self._is_free() else self.holder

    async def run(self, term: Callable[[], Awaitable[None]]) -> None:
        """Campaign for ever. While we lead, run `term()` as a task.

        When the lease is lost or the deadline passes, the term is cancelled and awaited, and the campaign starts again. When the
        term returns or raises by itself, the lease is released, and `run` returns or raises the same. When `run` is cancelled, it
        first cancels and awaits the term, and renews the lease meanwhile. It then releases the lease, so that a follower does
        not wait for it to expire. A second cancellation of `run` cancels the term again. An API server that does not answer or
        refuses requests does not end `run`.
        """
        try:
            ended = False
            while not ended:
                await self._campaign()
                log.info("lease acquired", lease=self._path, identity=self._identity, epoch=self.epoch)
                ended = await self._lead(term)
        finally:
            self._until = _NEVER
            await self._release()

    async def _campaign(self) -> None:
        """Try to acquire the lease until we hold it."""
        while True:
            try:
                await self._read()
                if self._is_free():
                    await self._acquire()
                if self.is_leader():
                    return
            except ClusterError as error:
                self._log_failure(error)
            await asyncio.sleep(self._settings.retry)

    async def _lead(self, term: Callable[[], Awaitable[None]]) -> bool:
        """Run one term. Returns whether it ended by itself, and raises what it raised."""
        async with _owned(self._renew()) as renewing, _owned(term()) as acting:
            await asyncio.wait((renewing, acting), return_when=asyncio.FIRST_COMPLETED)
            return acting.done()

    async def _renew(self) -> None:
        """Renew the lease until it is lost."""
        pause = self._settings.renew
        while True:
            await asyncio.sleep(min(pause, self._until - self._clock()))
            try:
                stale = self._stale
                if stale and self.is_leader():
                    await self._read()
                if not self.is_leader():
                    break
                await self._write({"renewTime": self._timestamp()})
                pause = self._settings.renew
            except ClusterError as error:
                self._log_failure(error)
                # Usually somebody has annotated the Lease: read it and renew at once, unless this was such an attempt.
                changed = isinstance(error, ApiError) and error.is_conflict and not stale
                pause = 0 if changed else self._settings.retry
        lost = "not renewed in time" if self._is_ours() else f"held by {self.holder or 'nobody'} now"
        log.warning("lease lost", lease=self._path, identity=self._identity, epoch=self.epoch, reason=lost)

    async def _release(self) -> None:
        """Release the lease, if it is ours and the server answers soon, so that a follower can take over at once."""
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                while self._stale or self._is_ours():
                    try:
                        if self._stale:
                            await self._read()
                        else:
                            await self._write({"holderIdentity": "", "renewTime": self._timestamp()})
                            log.info("lease released", lease=self._path, identity=self._identity, epoch=self.epoch)
                    except ApiError as error:
                        if not error.is_conflict:
                            raise
        except (ClusterError, TimeoutError) as error:
            log.warning(
                "lease not released, it will expire", lease=self._path, identity=self._identity, error=str(error) or "timed out"
            )

    def _is_ours(self) -> bool:
        """Whether the Lease as last read is the one that we acquired. One that another process wrote with our name is not."""
        spec = self._spec
        return spec is not None and (spec.holder_identity, spec.acquire_time) == self._acquisition

    def _is_free(self) -> bool:
        """Whether we may try to acquire the Lease as last read. The compare-and-swap fails when somebody renews in between.

        When somebody has deleted the Lease, its leader may not have noticed yet, so that it still counts until it expires.
        """
        spec = self._spec
        if spec is not None and (not spec.holder_identity or self._is_ours()):
            return True  # released; or acquired by us in a request that was not answered, or in an earlier term
        duration = (spec and spec.lease_duration_seconds) or self._settings.duration
        return self._clock() - self._since >= duration

    async def _acquire(self) -> None:
        """Begin a term. Its number is new even after a term of our own, so that claims of an earlier term are recognised."""
        moment = self._timestamp()
        self._acquisition = (self._identity, moment)
        epoch = self._highest + 1
        await self._write(
            {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": math.ceil(self._settings.duration),
                "acquireTime": moment,
                "renewTime": moment,
                "leaseTransitions": epoch,
            }
        )
        self.epoch = epoch

    async def _read(self) -> None:
        """Read the Lease. Raises ClusterError."""
        try:
            body = await self._request("GET", self._path)
        except ApiError as error:
            if not error.is_not_found:
                raise
            self._apply(None)
        else:
            self._apply(body)

    async def _write(self, spec: Mapping[str, object]) -> None:
        """Create the Lease, or replace it if it has not changed since we read it. Raises ClusterError."""
        sent = self._clock()
        self._stale = True
        if self._object is None:
            metadata = {"name": self._settings.name, "labels": LABELS}
            head = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
            body = await self._request("POST", self._collection, head | {"spec": spec})
        else:
            whole = self._object | {"spec": self._object.get("spec", {}) | spec}
            body = await self._request("PUT", self._path, whole)
        self._apply(body)
        if self._is_ours():
            self._until = sent + self._settings.deadline

    async def _request(self, method: str, path: str, body: object | None = None) -> bytes:
        """Send one request, which times out at our own deadline at the latest. Raises ClusterError."""
        limit = self._settings.request_timeout
        if self.is_leader():
            limit = min(limit, self._until - self._clock())
        return await self._api.request(method, path, body=body, within=limit)

    def _apply(self, body: bytes | None) -> None:
        """Store the Lease as read; None when it does not exist. Raises Unreadable."""
        found = None if body is None else _decoded(body, dict[str, Any], self._path)
        lease = None if body is None else _decoded(body, _LeaseBody, self._path)
        spec = None if lease is None else lease.spec
        if spec != self._spec:  # not when only an annotation has changed
            self._since = self._clock()
        self._object, self._spec, self._stale, self._last_error = found, spec, False, ""
        self.holder = None if spec is None else spec.holder_identity or None
        if spec is not None:
            self._highest = max(self._highest, spec.lease_transitions or 0)
        if not self._is_ours():
            self._until = _NEVER
        if lease is not None and self._on_annotations is not None:
            self._on_annotations(lease.metadata.annotations or {})

    def _timestamp(self) -> str:
        """The wall time as metav1.MicroTime. People read it; healer only checks whether it has changed."""
        return self._api.clock.stamp("microseconds")

    def _log_failure(self, error: ClusterError) -> None:
        """Log a failed request, once while the error stays the same."""
        text = str(error)
        if isinstance(error, ApiError) and error.is_conflict:
            log.debug("lease has changed meanwhile", lease=self._path, error=text)
        elif text != self._last_error:
            log_it = log.debug if self._api.contact.trouble else log.warning  # the contact logs that the server does not answer
            log_it("lease request failed, trying again", lease=self._path, identity=self._identity, error=text)
            self._last_error = text


@asynccontextmanager
async def _owned(work: Awaitable[None]) -> AsyncGenerator["asyncio.Future[None]", None]:
    """Run a task for the length of a block. At the end it is cancelled and awaited, and its exception is raised.

    A cancellation that arrives meanwhile is passed on to the task, and raised when the task has ended.
    """
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            task.cancel()
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as again:
                cancelled = again
        if not task.cancelled():
            task.result()
        if cancelled is not None:
            raise cancelled


def _decoded(body: bytes, type: type[T], path: str) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: the answer is no Lease: {error}") from error
