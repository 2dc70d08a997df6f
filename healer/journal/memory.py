"""Incidents in memory: forgotten at a restart."""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import NoReturn

from healer.journal.base import outworn
from healer.model.incident import Incident, State


class MemoryJournal:
    """The newest snapshot of each incident. At most `keep` closed ones stay, for at most `keep_for` seconds."""

    def __init__(self, keep: int = 1000, keep_for: float = math.inf) -> None:
        self._keep = keep
        self._keep_for = keep_for
        self._incidents: dict[str, Incident] = {}
        self._notices: dict[str, dict[str, Mapping[str, str]]] = {}

    async def check(self) -> None:
        """Memory is always there."""

    async def load(self) -> list[Incident]:
        """All that is kept, oldest first."""
        return self.incidents()

    def set_aside(self, ids: Iterable[str]) -> None:
        """Forget incidents."""
        for incident_id in ids:
            self._incidents.pop(incident_id, None)
            self._notices.pop(incident_id, None)

    def uid_of(self, incident_id: str) -> str | None:
        """Its id: nobody else writes here."""
        return incident_id if incident_id in self._incidents else None

    def made_as(self, incident_id: str) -> str | None:
        """The same."""
        return self.uid_of(incident_id)

    def note(self, incident: Incident) -> None:
        """Keep a snapshot."""
        self._incidents[incident.id] = incident
        if incident.state is State.CLOSED:
            self._drop(outworn(self._incidents.values(), self._keep, math.inf, incident.changed_at, self.recall))

    async def claim(self, incident: Incident) -> None:
        """Keep the intent to act."""
        self.note(incident)

    async def durable(self, ids: Iterable[str]) -> None:
        """Return at once: nothing waits to be written."""

    async def run(self) -> NoReturn:
        """Wait until cancelled: nothing waits to be written."""
        while True:
            await asyncio.Event().wait()

    async def flush(self, within: float) -> bool:
        """Everything is kept already."""
        return True

    def incidents(self) -> list[Incident]:
        """All that is kept, oldest first."""
        return sorted(self._incidents.values(), key=lambda incident: incident.opened_at)

    def incident(self, incident_id: str) -> Incident | None:
        """The newest snapshot of one."""
        return self._incidents.get(incident_id)

    def remember(self, incident_id: str, sink: str, state: Mapping[str, str]) -> None:
        """Keep what a sink wants to know."""
        if incident_id in self._incidents:
            self._notices.setdefault(incident_id, {})[sink] = dict(state)

    def recall(self, incident_id: str) -> Mapping[str, Mapping[str, str]]:
        """What sinks have had remembered."""
        return self._notices.get(incident_id, {})

    async def remembered(self, incident_id: str) -> None:
        """Return at once: it is kept already."""

    async def prune(self, now: float) -> None:
        """Let go of closed incidents by age and by number."""
        self._drop(outworn(self._incidents.values(), self._keep, self._keep_for, now, self.recall))

    def _drop(self, incidents: Iterable[Incident]) -> None:
        for incident in incidents:
            del self._incidents[incident.id]
            self._notices.pop(incident.id, None)
