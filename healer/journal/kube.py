"""Incidents as custom resources: they survive a restart and a change of leader."""

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

import structlog

from healer.cluster.api import Api
from healer.cluster.decode import ListPage
from healer.cluster.errors import Backoff, ClusterError
from healer.journal.base import ClaimLost, JournalCounts, NotLeading, Unkept, outworn
from healer.journal.reading import CLOSED_LINES, IncidentReader, ReadIncident
from healer.journal.stored import INCIDENTS, IncidentStore, journal_error
from healer.journal.writing import IncidentWriter, KeptIncident
from healer.model.effects import Loss
from healer.model.incident import Incident, State


class KubeJournal:
    """See `Journal`. What waits to be written is bounded by the number of incidents: one newest snapshot of each.

    keep, keep_for: how many closed incidents stay, and for how many seconds; namespaces: where incidents are looked for, empty
    for everywhere; is_leader: whether this replica leads, asked right before each write; home: the namespace for incidents of
    workloads that have none; healer: the Lease of this healer (NAMESPACE/NAME), which each incident names that it writes;
    at_once, on_lost: see `IncidentWriter`.
    """

    def __init__(
        self,
        api: Api,
        *,
        keep: int = 1000,
        keep_for: float = math.inf,
        namespaces: tuple[str, ...] = (),
        is_leader: Callable[[], bool] = lambda: True,
        home: str = "healer",
        healer: str = "",
        on_lost: Callable[[str, str, Loss], None] = lambda *_: None,
        at_once: int = 8,
        backoff: Backoff | None = None,
        counts: JournalCounts | None = None,
    ) -> None:
        self._api = api
        self._keep = keep
        self._keep_for = keep_for
        self._namespaces = namespaces or ("",)
        self._is_leader = is_leader
        self._home = home
        self._healer = healer
        self._kept: dict[str, KeptIncident] = {}
        self._log = structlog.get_logger("healer.journal")
        self.counts = counts or JournalCounts()
        self._reader = IncidentReader(api, self._namespaces, home, self.counts)
        self._writer = IncidentWriter(
            at_once=at_once,
            backoff=backoff or Backoff(0.2, 15.0, 60.0, api.clock.steady, random.random),
            counts=self.counts,
            on_lost=on_lost,
        )

    # reading

    async def load(self) -> list[Incident]:
        """See `Journal`. An object without a status is an incident whose opening was not finished: nothing was decided yet."""
        for old in self._kept.values():
            async with old.store.lock:  # a write under way ends first
                old.store.lose("the journal was read anew")
        found: dict[str, KeptIncident] = {}
        async for read in self._reader.read():
            self._add(self._kept_from(read), found)
        self._kept = found
        self._drop_shared_threads()
        self._writer.clear()
        return self.incidents()

    @property
    def unread(self) -> Mapping[tuple[str, str], str]:
        """The objects (namespace, name) that were left alone when the journal was read last, and why."""
        return self._reader.unread

    async def check(self) -> None:
        """See `Journal`."""
        try:
            await self._api.get(INCIDENTS.path(self._namespaces[0]), ListPage, {"limit": "1"})
        except ClusterError as error:
            raise journal_error(error) from error

    def _kept_from(self, read: ReadIncident) -> KeptIncident:
        incident = read.incident
        complete = incident.state is not State.CLOSED or len(incident.history) < CLOSED_LINES
        kept = KeptIncident(incident, self._store_of(incident), notices=read.notices, complete=complete)
        kept.store.learn(read.found)
        return kept

    def _add(self, kept: KeptIncident, found: dict[str, KeptIncident]) -> None:
        """Add what was read. Of two with one name healer made the older: a name is copied after it is made."""
        other = found.get(kept.incident.id)
        if other is None:
            found[kept.incident.id] = kept
            return
        older, younger = sorted((other, kept), key=lambda each: each.store.created)
        found[kept.incident.id] = older
        why = f"an older incident in {older.store.namespace} has its name"
        self._reader.leave_alone(younger.store.namespace, younger.incident.id, why)

    def _drop_shared_threads(self) -> None:
        """Of two incidents that name the same thread of a sink, believe the older: the other would write into that thread."""
        threads: set[tuple[str, str, str]] = set()
        for kept in sorted(self._kept.values(), key=lambda kept: kept.store.created):
            for sink, state in list(kept.notices.items()):
                thread = sink.partition(" ")[0], state.get("channel", ""), state.get("ts", "")
                if thread[2] and thread in threads:
                    del kept.notices[sink]
                    self._log.error(
                        "an older incident has that thread: another is begun",
                        namespace=kept.store.namespace,
                        incident=kept.incident.id,
                        sink=sink,
                    )
                threads.add(thread)

    def incidents(self) -> list[Incident]:
        """See `Journal`."""
        return sorted((kept.incident for kept in self._kept.values()), key=lambda incident: (incident.opened_at, incident.id))

    def incident(self, incident_id: str) -> Incident | None:
        """See `Journal`."""
        kept = self._kept.get(incident_id)
        return None if kept is None else kept.incident

    def uid_of(self, incident_id: str) -> str | None:
        """See `Journal`. Another object of its name is not it."""
        kept = self._kept.get(incident_id)
        return None if kept is None or kept.store.lost else kept.store.uid or None

    def made_as(self, incident_id: str) -> str | None:
        """The uid of the object if healer made it itself, else None. What people write on any other object approves nothing."""
        kept = self._kept.get(incident_id)
        return self.uid_of(incident_id) if kept is not None and kept.store.signed else None

    def set_aside(self, ids: Iterable[str]) -> None:
        """See `Journal`."""
        for incident_id in ids:
            if (kept := self._kept.pop(incident_id, None)) is not None:
                kept.store.lose("it is not believed to be healer's")

    # noting

    def note(self, incident: Incident) -> None:
        """See `Journal`. Nothing more is written of an incident that is lost."""
        kept = self._kept_of(incident)
        kept.incident, kept.complete = incident, True
        self._writer.enqueue(kept)

    def remember(self, incident_id: str, sink: str, state: Mapping[str, str]) -> None:
        """See `Journal`. Written together with the snapshot."""
        kept = self._kept.get(incident_id)
        if kept is not None and kept.notices.get(sink) != state:
            kept.notices[sink] = dict(state)
            self._writer.enqueue(kept)

    def recall(self, incident_id: str) -> Mapping[str, Mapping[str, str]]:
        """See `Journal`."""
        kept = self._kept.get(incident_id)
        return {} if kept is None else kept.notices

    async def remembered(self, incident_id: str) -> None:
        """See `Journal`."""
        await self.durable([incident_id])

    async def durable(self, ids: Iterable[str]) -> None:
        """See `Journal`. It waits while the API server is unavailable."""
        refused: dict[str, str] = {}
        aside: dict[str, str] = {}
        for kept, goal in [(kept, kept.noted) for kept in map(self._kept.get, ids) if kept is not None]:
            while kept.written < goal:
                if kept.store.loss is not None:
                    aside[kept.incident.id] = f"incident {kept.incident.id}: {kept.store.lost}"
                    break
                if kept.store.lost:
                    raise ClaimLost(f"incident {kept.incident.id}: {kept.store.lost}")
                if kept.refused:
                    refused[kept.incident.id] = kept.refused
                    break
                if not self._is_leader():
                    raise NotLeading("another healer leads: nothing was written")
                await self._writer.progress()
        if refused or aside:
            raise Unkept(refused, aside)

    def _kept_of(self, incident: Incident) -> KeptIncident:
        kept = self._kept.get(incident.id)
        if kept is None:
            kept = self._kept[incident.id] = KeptIncident(incident, self._store_of(incident))
        return kept

    def _store_of(self, incident: Incident) -> IncidentStore:
        return IncidentStore(self._api, self._is_leader, incident.workload.namespace or self._home, incident.id, self._healer)

    # writing

    async def claim(self, incident: Incident) -> None:
        """See `Journal`. A write whose answer is lost is looked up; only what the cluster certainly has is claimed."""
        await self._writer.claim(self._kept_of(incident), incident)

    async def run(self) -> NoReturn:
        """See `Journal`."""
        await self._writer.run()

    async def flush(self, within: float) -> bool:
        """See `Journal`."""
        try:
            async with asyncio.timeout(within):
                while any(not kept.refused for kept in self._unwritten()):
                    await self._writer.progress()
        except TimeoutError:
            return False
        return not self._unwritten()

    async def prune(self, now: float) -> None:
        """See `Journal`. What cannot be deleted now stays for the next time."""
        for incident in outworn(self.incidents(), self._keep, self._keep_for, now, self.recall):
            kept = self._kept[incident.id]
            if kept.unwritten:
                continue
            try:
                async with kept.store.lock:
                    if not kept.store.lost:
                        await kept.store.remove()
            except (ClusterError, NotLeading) as error:
                self._log.warning("old incidents cannot be deleted", incident=incident.id, error=str(error))
                return
            self._kept.pop(incident.id, None)

    def _unwritten(self) -> list[KeptIncident]:
        return [kept for kept in self._kept.values() if kept.unwritten]
