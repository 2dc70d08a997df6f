"""The lease that lets one replica act at a time: campaigned for, renewed, given up in time, released on a clean exit.

The protocol is that of client-go's tools/leaderelection on a coordination.k8s.io/v1 Lease: every write is a compare-and-swap
on its resourceVersion, and no clock is compared with that of another machine. Why two never act at once: a leader acts until
`deadline` after it *sent* the last renewal that was accepted; a rival waits `duration`, which is longer, after it first *saw*
that renewal, which is later, and a renewal that comes in between makes its write fail. What this cannot fence is a request
that is already on its way when the deadline passes: that is what the compare-and-swap of the journal is for.
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
"""By which people's verbs find the Lease, whatever its name and namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """The knobs of the lease; times in seconds. Raises ValueError when they do not go together."""

    namespace: str
    name: str = "healer"
    duration: float = 10.0
    """A rival takes over when it has seen no renewal for so long; written to the Lease in whole seconds, rounded up."""
    deadline: float = 7.0
    """A leader stops acting when so long has passed since it sent the last renewal that was accepted."""
    renew: float = 2.0
    """A leader renews so often."""
    retry: float = 1.0
    """A follower looks so often; a leader tries again after so long when a renewal fails."""
    request_timeout: float = 0.9
    """The longest wait for one answer. An API server that always takes longer has no leader."""

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
    """What we read of a Lease's spec; times in RFC 3339 with microseconds, as they stand."""

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

    `on_annotations` is given the annotations of the Lease object each time that it is read, also before a term begins. What it
    raises ends `run`. The steady clock of `api` must go on while the process is stopped (CLOCK_MONOTONIC does).
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
        """The identity of whom we last saw hold it, maybe ours; None when nobody was seen to."""
        self.epoch = -1
        """spec.leaseTransitions of our last term; each term, of whichever replica, has a higher one than the terms before it."""
        self._api = api
        self._settings = settings
        self._identity = identity
        self._clock = api.clock.steady
        self._on_annotations = on_annotations
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{settings.namespace}/leases"
        self._path = f"{self._collection}/{settings.name}"
        self._until = _NEVER  # by our clock: when we stop acting unless we renew
        self._object: dict[str, Any] | None = None  # the Lease as last read, whole, to be written back as it was found
        self._spec: _ElectionSpec | None = None  # the same, typed
        self._since = _NEVER  # by our clock: when we first saw this spec
        self._highest = -1  # of the leaseTransitions seen
        self._acquisition: tuple[str, str] | None = None  # holder and acquireTime of our last attempt to take it
        self._stale = False  # a write of ours was refused or not answered: read before the next
        self._last_error = ""

    def is_leader(self) -> bool:
        """May we act, at this moment? To be asked right before every change of the cluster."""
        return self._clock() < self._until

    @property
    def trouble(self) -> str:
        """What the last request about the Lease failed with; empty when it did not."""
        return self._last_error

    def leader(self) -> str | None:
        """The identity of whom we may take for the leader: we, while we hold it; another, until their Lease has expired."""
        if self._is_ours():
            return self._identity if self.is_leader() else None
        return None if self._is_free() else self.holder

    async def run(self, term: Callable[[], Awaitable[None]]) -> None:
        """Campaign for ever; while we lead, run `term()` as a task.

        When the lease is lost or the deadline passes, the term is cancelled and awaited, and the campaign begins again. When the
        term ends or raises by itself, the lease is released and `run` ends or raises the same. When `run` is cancelled, the
        term is cancelled first and awaited, the lease being renewed while it winds down, and then the lease is released, so
        that a follower need not wait for it to expire; cancelled again, `run` cancels the term again. Neither a server that
        is away nor its refusals end `run`.
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
        """Until we hold the lease."""
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
        """One term. Returns whether it ended by itself, and raises what it raised."""
        async with _owned(self._renew()) as renewing, _owned(term()) as acting:
            await asyncio.wait((renewing, acting), return_when=asyncio.FIRST_COMPLETED)
            return acting.done()

    async def _renew(self) -> None:
        """Until the lease is lost."""
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
                # Most often somebody has annotated the Lease: read it and renew at once, unless that is what we just did.
                changed = isinstance(error, ApiError) and error.is_conflict and not stale
                pause = 0 if changed else self._settings.retry
        lost = "not renewed in time" if self._is_ours() else f"held by {self.holder or 'nobody'} now"
        log.warning("lease lost", lease=self._path, identity=self._identity, epoch=self.epoch, reason=lost)

    async def _release(self) -> None:
        """Let a follower take over at once, if the lease is ours and the server answers soon."""
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
        """Is what we last read what we last took? A record with our name that another process wrote is not."""
        spec = self._spec
        return spec is not None and (spec.holder_identity, spec.acquire_time) == self._acquisition

    def _is_free(self) -> bool:
        """May we try to take what we last read? That nobody renews in between is for the compare-and-swap to see.

        A Lease that was there and is gone (somebody deleted it) may still have a leader, who has not noticed yet.
        """
        spec = self._spec
        if spec is not None and (not spec.holder_identity or self._is_ours()):
            return True  # released; or taken by us in a request that was not answered, or in a term that has ended
        duration = (spec and spec.lease_duration_seconds) or self._settings.duration
        return self._clock() - self._since >= duration

    async def _acquire(self) -> None:
        """Begin a term. Its number is new also when we follow ourselves: what a term before has claimed is not of this one."""
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
        """Create the Lease, or replace what we last read, unless it has changed. Raises ClusterError."""
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
        """One request, never beyond our own deadline. Raises ClusterError."""
        limit = self._settings.request_timeout
        if self.is_leader():
            limit = min(limit, self._until - self._clock())
        return await self._api.request(method, path, body=body, within=limit)

    def _apply(self, body: bytes | None) -> None:
        """Take note of the Lease as it is, None for missing. Raises Unreadable."""
        found = None if body is None else _decoded(body, dict[str, Any], self._path)
        lease = None if body is None else _decoded(body, _LeaseBody, self._path)
        spec = None if lease is None else lease.spec
        if spec != self._spec:  # and not when merely an annotation has changed
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
        """The wall time as metav1.MicroTime, for humans: nobody compares it but for being another one."""
        return self._api.clock.stamp("microseconds")

    def _log_failure(self, error: ClusterError) -> None:
        """Log what went wrong, once for as long as it stays the same."""
        text = str(error)
        if isinstance(error, ApiError) and error.is_conflict:
            log.debug("lease has changed meanwhile", lease=self._path, error=text)
        elif text != self._last_error:
            log_it = log.debug if self._api.contact.trouble else log.warning  # the contact says for all that there is no answer
            log_it("lease request failed, trying again", lease=self._path, identity=self._identity, error=text)
            self._last_error = text


@asynccontextmanager
async def _owned(work: Awaitable[None]) -> AsyncGenerator["asyncio.Future[None]", None]:
    """A task for the length of a block: cancelled and awaited at its end, where what it raised is raised.

    A cancellation that comes while it is awaited is passed on to it, and raised when it has ended.
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
