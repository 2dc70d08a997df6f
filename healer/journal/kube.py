"""Incidents as custom resources: they survive a restart and a change of leader."""

import asyncio
import itertools
import math
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec
import structlog

from healer.cluster.api import Api, pages
from healer.cluster.decode import ListPage
from healer.cluster.errors import ApiError, Backoff, ClusterError, Unreadable
from healer.journal import codec
from healer.journal.base import ClaimLost, JournalError, JournalMissing, NotLeading, Unkept, outworn
from healer.journal.reading import CLOSED_LINES, Odd, ReadIncident, off_loop, read
from healer.journal.stored import INCIDENTS, MISSING, PAGE, IncidentStore
from healer.model.effects import Loss
from healer.model.incident import Incident, State

_TRIES = 5
"""Times that a list is begun anew when its continue token expires."""
_ALONE = 5
"""Attempts in a row that fail, until an incident waits by itself, where others have been written meanwhile."""
_RESTS = 60.0
"""Seconds until what the server refused is tried again; nothing else waits for it."""
_TARGET_BYTES = 500
"""Of a target with a signal or two, as JSON, about."""


@dataclass(slots=True)
class JournalCounts:
    """What a journal has done since it was made; a daemon's journals, of one term after the other, may share one."""

    written: int = 0
    refused: int = 0
    lost: int = 0
    undecodable: int = 0


@dataclass(slots=True, eq=False)
class _KeptIncident:
    """An incident, its object, and how much of it is written: `noted` counts what was to be written, `written` what was."""

    incident: Incident
    stored: IncidentStore
    notices: dict[str, Mapping[str, str]] = field(default_factory=dict)
    whole: bool = True
    """Whether `incident` has all lines of its history; one without is read again before it is written."""
    claim: str = ""
    """Of the last claim, and different in each: that makes every claim a write that only one can win."""
    noted: int = 0
    written: int = 0
    ticket: int = 0
    """The lower, the longer it waits to be written."""
    failures: int = 0
    """Attempts in a row that met a trouble of the server's."""
    others: int = 0
    """How many incidents had been written when this one began to wait."""
    refused: str = ""
    not_before: float = 0.0
    mourned: bool = False
    """Whether it was said that the incident is lost: a claim and a note may both find out."""


class KubeJournal:
    """See `Journal`. What waits to be written is bounded by the number of incidents: one newest snapshot of each.

    keep, keep_for: how many closed incidents stay, and for how many seconds; namespaces: where incidents are looked for, empty
    for everywhere; held: whether this healer leads, asked right before each write; home: the namespace for incidents of
    workloads that have none; at_once: writes under way at a time, never two for the same workload; lost: called with the id of an
    incident that is not ours any more, with why, and with what became of its object.
    """

    def __init__(
        self,
        api: Api,
        *,
        keep: int = 1000,
        keep_for: float = math.inf,
        namespaces: tuple[str, ...] = (),
        held: Callable[[], bool] = lambda: True,
        home: str = "healer",
        lost: Callable[[str, str, Loss], None] = lambda *_: None,
        at_once: int = 8,
        backoff: Backoff | None = None,
        counts: JournalCounts | None = None,
    ) -> None:
        self._api = api
        self._keep = keep
        self._keep_for = keep_for
        self._namespaces = namespaces or ("",)
        self._held = held
        self._home = home
        self._lost = lost
        self._at_once = at_once
        self._backoff = backoff or Backoff(0.2, 15.0, 60.0, api.clock.steady, random.random)
        self._kept: dict[str, _KeptIncident] = {}
        self._pending: dict[str, _KeptIncident] = {}
        self._tickets = itertools.count()
        self._news = asyncio.Event()
        self._turned = asyncio.Event()
        self._log = structlog.get_logger("healer.journal")
        self.counts = counts or JournalCounts()
        self.unread: dict[tuple[str, str], str] = {}
        """The objects (namespace, name) that were left alone when the journal was read last, and why."""
        self._complaints: dict[tuple[str, str], str] = {}

    # reading

    async def load(self) -> list[Incident]:
        """See `Journal`. An object without a status is an incident whose opening was not finished: nothing was decided yet."""
        for old in self._kept.values():
            async with old.stored.lock:  # a write under way ends first
                old.stored.lose("the journal was read anew")
        self._complaints, self.unread = self.unread, {}
        found: dict[str, _KeptIncident] = {}
        for namespace in self._namespaces:
            async for raw in self._listed(namespace):
                if (kept := self._kept_from(await off_loop(read, bytes(raw), len(raw)))) is not None:
                    self._take(kept, found)
                await asyncio.sleep(0)  # each costs milliseconds, and the lease is renewed meanwhile
        self._kept = found
        self._part_notices()
        self._pending.clear()
        self._turned.set()
        return self.incidents()

    async def check(self) -> None:
        """See `Journal`."""
        try:
            await self._api.get(INCIDENTS.path(self._namespaces[0]), ListPage, {"limit": "1"})
        except ClusterError as error:
            raise _said(error) from error

    async def _listed(self, namespace: str) -> AsyncIterator[msgspec.Raw]:
        """The incidents of a namespace, or of all; a continue token that expired starts the list over."""
        for attempt in range(_TRIES):
            try:
                async for page in pages(self._api, INCIDENTS.path(namespace), page=PAGE):
                    for raw in page.items or ():
                        yield raw
                return
            except ClusterError as error:
                if not (isinstance(error, ApiError) and error.is_expired and attempt + 1 < _TRIES):
                    raise _said(error) from error

    def _kept_from(self, found: ReadIncident | Odd) -> _KeptIncident | None:
        """An object of the list; None for one that is no incident, which is said and left alone."""
        if isinstance(found, Odd):
            self._leave(found.namespace, found.name, found.why)
            return None
        incident = found.incident
        if found.namespace != self._home_of(incident):
            why = f"is in namespace {found.namespace!r}, but about one in {incident.workload.namespace!r}"
            self._leave(found.namespace, incident.id, why)
            return None
        whole = incident.state is not State.CLOSED or len(incident.history) < CLOSED_LINES
        kept = _KeptIncident(incident, self._stored(incident), notices=found.notices, whole=whole)
        kept.stored.learn(found.found)
        return kept

    def _take(self, kept: _KeptIncident, found: dict[str, _KeptIncident]) -> None:
        """Note what was read. Of two with one name the older is the one that healer made: a name is copied after it is made."""
        other = found.get(kept.incident.id)
        if other is None:
            found[kept.incident.id] = kept
            return
        older, younger = sorted((other, kept), key=lambda each: each.stored.created)
        found[kept.incident.id] = older
        self._leave(younger.stored.namespace, younger.incident.id, f"an older incident in {older.stored.namespace} has its name")

    def _part_notices(self) -> None:
        """Believe of two incidents that say the same of a sink's thread the older one only: the other would write into it."""
        threads: set[tuple[str, str, str]] = set()
        for kept in sorted(self._kept.values(), key=lambda kept: kept.stored.created):
            for sink, state in list(kept.notices.items()):
                thread = sink.partition(" ")[0], state.get("channel", ""), state.get("ts", "")
                if thread[2] and thread in threads:
                    del kept.notices[sink]
                    self._log.error(
                        "an older incident has that thread: another is begun",
                        namespace=kept.stored.namespace,
                        incident=kept.incident.id,
                        sink=sink,
                    )
                threads.add(thread)

    def _leave(self, namespace: str, name: str, error: str) -> None:
        """Leave an object alone. What is wrong with it is said once."""
        self.counts.undecodable += 1
        self.unread[namespace, name] = error
        if self._complaints.get((namespace, name)) != error:
            self._log.error("incident cannot be read: left alone", namespace=namespace, name=name, error=error)

    def incidents(self) -> list[Incident]:
        """See `Journal`."""
        return sorted((kept.incident for kept in self._kept.values()), key=lambda incident: (incident.opened_at, incident.id))

    def uid_of(self, incident_id: str) -> str | None:
        """The uid of the object that an incident is kept in; None when it is in none. Another of its name is not it."""
        kept = self._kept.get(incident_id)
        return None if kept is None or kept.stored.lost else kept.stored.uid or None

    def made_as(self, incident_id: str) -> str | None:
        """The uid of the object, where healer made it itself; else None. What people write on any other approves nothing."""
        kept = self._kept.get(incident_id)
        return self.uid_of(incident_id) if kept is not None and kept.stored.signed else None

    def set_aside(self, ids: Iterable[str]) -> None:
        """See `Journal`."""
        for incident_id in ids:
            if (kept := self._kept.pop(incident_id, None)) is not None:
                kept.stored.lose("it is not believed to be healer's")

    # noting

    def note(self, incident: Incident) -> None:
        """See `Journal`. Of one that is lost, nothing is written any more."""
        kept = self._kept_of(incident)
        kept.incident, kept.whole = incident, True
        self._owe(kept)

    def remember(self, incident_id: str, sink: str, state: Mapping[str, str]) -> None:
        """See `Journal`. Written together with the snapshot."""
        kept = self._kept.get(incident_id)
        if kept is not None and kept.notices.get(sink) != state:
            kept.notices[sink] = dict(state)
            self._owe(kept)

    def recall(self, incident_id: str) -> Mapping[str, Mapping[str, str]]:
        """See `Journal`."""
        kept = self._kept.get(incident_id)
        return {} if kept is None else kept.notices

    async def remembered(self, incident_id: str) -> None:
        """See `Journal`."""
        await self.durable([incident_id])

    async def durable(self, ids: Iterable[str]) -> None:
        """See `Journal`. While the API server is away it waits."""
        refused: dict[str, str] = {}
        aside: dict[str, str] = {}
        for kept, goal in [(kept, kept.noted) for kept in map(self._kept.get, ids) if kept is not None]:
            while kept.written < goal:
                if kept.stored.loss is not None:
                    aside[kept.incident.id] = f"incident {kept.incident.id}: {kept.stored.lost}"
                    break
                if kept.stored.lost:
                    raise ClaimLost(f"incident {kept.incident.id}: {kept.stored.lost}")
                if kept.refused:
                    refused[kept.incident.id] = kept.refused
                    break
                if not self._held():
                    raise NotLeading("another healer leads: nothing was written")
                self._turned.clear()
                await self._turned.wait()
        if refused or aside:
            raise Unkept(refused, aside)

    def _kept_of(self, incident: Incident) -> _KeptIncident:
        kept = self._kept.get(incident.id)
        if kept is None:
            kept = self._kept[incident.id] = _KeptIncident(incident, self._stored(incident))
        return kept

    def _stored(self, incident: Incident) -> IncidentStore:
        return IncidentStore(self._api, self._held, self._home_of(incident), incident.id)

    def _home_of(self, incident: Incident) -> str:
        return incident.workload.namespace or self._home

    def _owe(self, kept: _KeptIncident) -> None:
        kept.noted += 1
        if not kept.stored.lost and kept.incident.id not in self._pending:
            kept.ticket = next(self._tickets)
            kept.others = kept.others if kept.failures else self.counts.written
            self._pending[kept.incident.id] = kept
            self._news.set()

    # writing

    async def claim(self, incident: Incident) -> None:
        """See `Journal`. A write whose answer is lost is looked up; only what the cluster certainly has is claimed."""
        kept = self._kept_of(incident)
        try:
            async with kept.stored.lock:
                kept.claim = uuid.uuid4().hex
                await self._write(kept, incident)
        except NotLeading:
            raise
        except ClaimLost as error:
            self._mourn(kept, error)
            raise
        except (ClusterError, ValueError) as error:
            raise _said(error) from error
        finally:
            self._turned.set()

    async def run(self) -> NoReturn:
        """See `Journal`. The API server being away delays all; what it refuses delays only itself."""
        troubled = False
        while True:
            batch = await self._due()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._bring(kept), name=f"journal {kept.incident.id}") for kept in batch]
            troubles = [trouble for task in tasks if (trouble := task.result()) is not None]
            self._turned.set()
            if troubles:
                if not troubled:
                    self._log.warning(
                        "the journal cannot be written: retrying", error=str(troubles[0]), pending=len(self._pending)
                    )
                after = max((t.retry_after or 0.0 for t in troubles if isinstance(t, ApiError)), default=0.0)
                await asyncio.sleep(max(self._backoff.next(), min(after, _RESTS)))
            elif troubled:
                self._log.info("the journal can be written again", pending=len(self._pending))
            troubled = bool(troubles)

    async def flush(self, within: float) -> bool:
        """See `Journal`."""
        try:
            async with asyncio.timeout(within):
                while any(not kept.refused for kept in self._unwritten()):
                    self._turned.clear()
                    await self._turned.wait()
        except TimeoutError:
            return False
        return not self._unwritten()

    async def prune(self, now: float) -> None:
        """See `Journal`. What cannot be deleted now stays for the next time."""
        for incident in outworn(self.incidents(), self._keep, self._keep_for, now):
            kept = self._kept[incident.id]
            if kept.written < kept.noted and not kept.stored.lost:
                continue
            try:
                async with kept.stored.lock:
                    if not kept.stored.lost:
                        await kept.stored.remove()
            except (ClusterError, NotLeading) as error:
                self._log.warning("old incidents cannot be deleted", incident=incident.id, error=str(error))
                return
            self._kept.pop(incident.id, None)

    async def _due(self) -> list[_KeptIncident]:
        """The next to be written, of each workload the one that waits longest; waits until there is one."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            batch: dict[str, _KeptIncident] = {}
            for kept in sorted(self._pending.values(), key=lambda kept: kept.ticket):
                if kept.not_before <= now and len(batch) < self._at_once:
                    batch.setdefault(kept.incident.workload.uid, kept)
            if batch:
                return list(batch.values())
            self._news.clear()
            try:
                async with asyncio.timeout_at(min((kept.not_before for kept in self._pending.values()), default=None)):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _bring(self, kept: _KeptIncident) -> Exception | None:
        """Write what is noted of an incident; returns what is in the way of all writes, if something is."""
        try:
            async with kept.stored.lock:
                await self._write(kept)
        except (NotLeading, JournalMissing) as error:
            return error
        except ClaimLost as error:
            self._mourn(kept, error)
            return None
        except (ClusterError, ValueError) as error:
            if isinstance(error, ClusterError) and _passes(error) and not self._alone(kept, error):
                return error
            self._refused(kept, error)
        return None

    async def _write(self, kept: _KeptIncident, claimed: Incident | None = None) -> None:
        """Write the newest snapshot, or the claimed one when that is another attempt's. The object's lock must be held.

        A claim that was overtaken is written all the same, for it may be acted upon, and then what overtook it.
        """
        if not kept.whole:
            kept.incident, kept.whole = await kept.stored.read(_incident_of), True
        newest, noted = kept.incident, kept.noted
        same = claimed is None or _attempt(claimed) == _attempt(newest)
        snapshot = newest if claimed is None or (same and claimed.changed_at <= newest.changed_at) else claimed
        async with self._taken(kept):
            spec, status = await off_loop(codec.encode, snapshot, len(snapshot.targets) * _TARGET_BYTES)
            await kept.stored.write(spec, status | codec.extras(kept.notices, kept.claim))
        self.counts.written += 1
        kept.refused, kept.not_before, kept.failures = "", 0.0, 0
        if not same and snapshot.changed_at < newest.changed_at:
            self._owe(kept)
            return
        kept.written = noted
        if kept.incident is newest:
            kept.incident = snapshot

    @asynccontextmanager
    async def _taken(self, kept: _KeptIncident) -> AsyncIterator[None]:
        """Off what is pending while it is written, so that news since then wait at the end; back in its place when that fails."""
        waited, ticket = self._pending.pop(kept.incident.id, None), kept.ticket
        try:
            yield
        except (Exception, asyncio.CancelledError):
            if waited is kept and not kept.stored.lost:
                kept.ticket = ticket
                self._pending[kept.incident.id] = kept
            raise

    def _alone(self, kept: _KeptIncident, error: ClusterError) -> bool:
        """Whether a trouble of the server's is with this incident alone: an admission webhook that answers 500, say."""
        kept.failures += 1
        return isinstance(error, ApiError) and kept.failures >= _ALONE and self.counts.written > kept.others

    def _unwritten(self) -> list[_KeptIncident]:
        return [kept for kept in self._kept.values() if kept.written < kept.noted and not kept.stored.lost]

    def _mourn(self, kept: _KeptIncident, error: ClaimLost) -> None:
        """An incident is not ours any more: nothing of it is written again before the journal is read anew."""
        if self._pending.get(kept.incident.id) is kept:
            del self._pending[kept.incident.id]
        if kept.mourned:
            return
        kept.mourned = True
        self.counts.lost += 1
        self._log.warning("incident lost", incident=kept.incident.id, reason=str(error))
        if kept.stored.loss is Loss.HOMELESS:
            self.counts.refused += 1
        if kept.stored.loss is not None:
            self._lost(kept.incident.id, kept.stored.lost, kept.stored.loss)

    def _refused(self, kept: _KeptIncident, error: Exception) -> None:
        self.counts.refused += 1
        kept.not_before = asyncio.get_running_loop().time() + _RESTS
        words = str(_said(error))
        if words != kept.refused:
            self._log.error("the server refuses an incident: it is not journaled", incident=kept.incident.id, error=words)
        kept.refused = words


async def _incident_of(raw: bytes) -> Incident:
    return await off_loop(codec.decode, raw, len(raw))


def _attempt(incident: Incident) -> tuple[object, ...]:
    return incident.state, incident.step, incident.attempt


def _passes(error: ClusterError) -> bool:
    """Whether it may be otherwise the next time, and is no fault of what was sent; a missing right may be granted."""
    return not isinstance(error, ApiError | Unreadable) or (
        isinstance(error, ApiError) and (error.status in (401, 429) or error.status >= 500 or error.is_missing_permission)
    )


def _said(error: Exception) -> JournalError:
    """The error in the words of the journal, with what to do where that is known."""
    if isinstance(error, ApiError):
        if error.is_not_found:
            return JournalMissing(MISSING)
        if error.is_forbidden:
            return JournalError(f"{error}: the permissions for incidents are in deploy/healer/rbac.yaml")
        if "strict decoding error" in error.message:
            return JournalError(f"{error}: the definition is older than this healer: kubectl apply -f deploy/healer/crd.yaml")
    return JournalError(f"the journal cannot be asked: {error}")
