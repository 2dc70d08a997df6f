"""Writes incidents to their objects: what waits to be written, in which order, and what follows from a failure."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from healer.cluster.errors import ApiError, Backoff, ClusterError, Unreadable
from healer.journal import codec
from healer.journal.base import ClaimLost, JournalCounts, JournalMissing, NotLeading
from healer.journal.reading import off_loop
from healer.journal.stored import IncidentStore, journal_error
from healer.model.effects import Loss
from healer.model.incident import Incident

_FAILURES_ALONE = 5
"""Failures in a row after which an incident waits by itself, if others have been written meanwhile."""
_RETRY_REFUSED = 60.0
"""Seconds until a write that the server refused is tried again; no other incident waits for it."""
_TARGET_BYTES = 500
"""The approximate size of a target with a signal or two, as JSON."""


@dataclass(slots=True, eq=False)
class KeptIncident:
    """An incident, its object, and how much of it is written: `noted` counts what was to be written, `written` what was."""

    incident: Incident
    store: IncidentStore
    notices: dict[str, Mapping[str, str]] = field(default_factory=dict)
    complete: bool = True
    """Whether `incident` has all lines of its history; one without is read again before it is written."""
    claim: str = ""
    """The mark of the last claim. Each claim has another one, so that each is a write that only one replica can win."""
    noted: int = 0
    written: int = 0
    ticket: int = 0
    """The place in the queue: the lowest is written first."""
    failures: int = 0
    """Attempts in a row that failed because of the server."""
    written_before: int = 0
    """How many incidents had been written when this one began to wait."""
    refused: str = ""
    """Why the server refuses it; empty while it does not."""
    not_before: float = 0.0
    """The time of the next attempt after a refusal, by the loop's clock, in seconds."""
    reported_lost: bool = False
    """Whether its loss was reported: a claim and a note may both find out."""

    @property
    def unwritten(self) -> bool:
        """Whether a snapshot of it is still to be written."""
        return self.written < self.noted and not self.store.lost


class IncidentWriter:
    """The queue of incidents that are to be written. It holds each incident once, so the number of incidents bounds it.

    at_once: writes under way at a time, never two for one workload; on_lost: called with the id of an incident whose object is
    not ours any more, with the reason, and with what became of the object.
    """

    def __init__(
        self, *, at_once: int, backoff: Backoff, counts: JournalCounts, on_lost: Callable[[str, str, Loss], None]
    ) -> None:
        self._at_once = at_once
        self._backoff = backoff
        self._counts = counts
        self._on_lost = on_lost
        self._pending: dict[str, KeptIncident] = {}
        self._tickets = itertools.count()
        self._enqueued = asyncio.Event()
        self._progress = asyncio.Event()
        self._log = structlog.get_logger("healer.journal")

    def enqueue(self, kept: KeptIncident) -> None:
        """Have the newest snapshot of an incident written. It keeps its place if it waits already."""
        kept.noted += 1
        if not kept.store.lost and kept.incident.id not in self._pending:
            kept.ticket = next(self._tickets)
            kept.written_before = kept.written_before if kept.failures else self._counts.written
            self._pending[kept.incident.id] = kept
            self._enqueued.set()

    def clear(self) -> None:
        """Forget what waits: the journal was read anew."""
        self._pending.clear()
        self._progress.set()

    async def progress(self) -> None:
        """Return when an incident was written, refused or lost after this call."""
        self._progress.clear()
        await self._progress.wait()

    async def claim(self, kept: KeptIncident, incident: Incident) -> None:
        """Write the intent to act. Raises ClaimLost, NotLeading, JournalError (see `Journal.claim`)."""
        try:
            async with kept.store.lock:
                kept.claim = uuid.uuid4().hex
                await self._write(kept, incident)
        except NotLeading:
            raise
        except ClaimLost as error:
            self._lose(kept, error)
            raise
        except (ClusterError, ValueError) as error:
            raise journal_error(error) from error
        finally:
            self._progress.set()

    async def run(self) -> NoReturn:
        """Write what waits, until cancelled. An unavailable API server delays all; what it refuses delays only itself."""
        troubled = False
        while True:
            batch = await self._next_batch()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._write_noted(kept), name=f"journal {kept.incident.id}") for kept in batch]
            troubles = [trouble for task in tasks if (trouble := task.result()) is not None]
            self._progress.set()
            if troubles:
                if not troubled:
                    self._log.warning(
                        "the journal cannot be written: retrying", error=str(troubles[0]), pending=len(self._pending)
                    )
                after = max((t.retry_after or 0.0 for t in troubles if isinstance(t, ApiError)), default=0.0)
                await asyncio.sleep(max(self._backoff.next(), min(after, _RETRY_REFUSED)))
            elif troubled:
                self._log.info("the journal can be written again", pending=len(self._pending))
            troubled = bool(troubles)

    async def _next_batch(self) -> list[KeptIncident]:
        """The next to be written: of each workload the one that waits longest. Waits until there is one."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            batch: dict[str, KeptIncident] = {}
            for kept in sorted(self._pending.values(), key=lambda kept: kept.ticket):
                if kept.not_before <= now and len(batch) < self._at_once:
                    batch.setdefault(kept.incident.workload.uid, kept)
            if batch:
                return list(batch.values())
            self._enqueued.clear()
            try:
                async with asyncio.timeout_at(min((kept.not_before for kept in self._pending.values()), default=None)):
                    await self._enqueued.wait()
            except TimeoutError:
                continue

    async def _write_noted(self, kept: KeptIncident) -> Exception | None:
        """Write the newest snapshot of an incident; returns an error that stops all writes, if there is one."""
        try:
            async with kept.store.lock:
                await self._write(kept)
        except (NotLeading, JournalMissing) as error:
            return error
        except ClaimLost as error:
            self._lose(kept, error)
            return None
        except (ClusterError, ValueError) as error:
            if isinstance(error, ClusterError) and _is_temporary(error) and not self._fails_alone(kept, error):
                return error
            self._refuse(kept, error)
        return None

    async def _write(self, kept: KeptIncident, claimed: Incident | None = None) -> None:
        """Write the newest snapshot, or the claimed one if that is of another attempt. The caller holds the store's lock.

        A claim that was overtaken is written all the same, for it may be acted upon. What overtook it is written after it.
        """
        if not kept.complete:
            kept.incident, kept.complete = await kept.store.read(_incident_of), True
        newest, noted = kept.incident, kept.noted
        same = claimed is None or _attempt(claimed) == _attempt(newest)
        snapshot = newest if claimed is None or (same and claimed.changed_at <= newest.changed_at) else claimed
        async with self._dequeued(kept):
            spec, status = await off_loop(codec.encode, snapshot, len(snapshot.targets) * _TARGET_BYTES)
            await kept.store.write(spec, status | codec.extras(kept.notices, kept.claim))
        self._counts.written += 1
        kept.refused, kept.not_before, kept.failures = "", 0.0, 0
        if not same and snapshot.changed_at < newest.changed_at:
            self.enqueue(kept)
            return
        kept.written = noted
        if kept.incident is newest:
            kept.incident = snapshot

    @asynccontextmanager
    async def _dequeued(self, kept: KeptIncident) -> AsyncIterator[None]:
        """Out of the queue while it is written, so that later news queue at the end. It gets its place back if that fails."""
        waiting, ticket = self._pending.pop(kept.incident.id, None), kept.ticket
        try:
            yield
        except (Exception, asyncio.CancelledError):
            if waiting is kept and not kept.store.lost:
                kept.ticket = ticket
                self._pending[kept.incident.id] = kept
            raise

    def _fails_alone(self, kept: KeptIncident, error: ClusterError) -> bool:
        """Whether the server fails for this incident only: because of an admission webhook that answers 500, for example."""
        kept.failures += 1
        return isinstance(error, ApiError) and kept.failures >= _FAILURES_ALONE and self._counts.written > kept.written_before

    def _lose(self, kept: KeptIncident, error: ClaimLost) -> None:
        """The object is not ours any more: nothing is written to it before the journal is read anew."""
        if self._pending.get(kept.incident.id) is kept:
            del self._pending[kept.incident.id]
        if kept.reported_lost:
            return
        kept.reported_lost = True
        self._counts.lost += 1
        self._log.warning("incident lost", incident=kept.incident.id, reason=str(error))
        if kept.store.loss is Loss.NO_NAMESPACE:
            self._counts.refused += 1
        if kept.store.loss is not None:
            self._on_lost(kept.incident.id, kept.store.lost, kept.store.loss)

    def _refuse(self, kept: KeptIncident, error: Exception) -> None:
        self._counts.refused += 1
        kept.not_before = asyncio.get_running_loop().time() + _RETRY_REFUSED
        text = str(journal_error(error))
        if text != kept.refused:
            self._log.error("the server refuses an incident: it is not journaled", incident=kept.incident.id, error=text)
        kept.refused = text


async def _incident_of(raw: bytes) -> Incident:
    return await off_loop(codec.decode, raw, len(raw))


def _attempt(incident: Incident) -> tuple[object, ...]:
    return incident.state, incident.step, incident.attempt


def _is_temporary(error: ClusterError) -> bool:
    """Whether the same request may succeed later. A missing permission may be granted."""
    return not isinstance(error, ApiError | Unreadable) or (
        isinstance(error, ApiError) and (error.status in (401, 429) or error.status >= 500 or error.is_missing_permission)
    )
