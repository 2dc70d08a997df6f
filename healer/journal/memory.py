"""Incidents in memory: forgotten at a restart."""

from collections import OrderedDict

from healer.model.incident import Incident, State


class MemoryJournal:
    """The newest snapshot of each incident. At most `keep` closed ones stay, the oldest go first."""

    def __init__(self, keep: int = 1000) -> None:
        self._keep = keep
        self._open: OrderedDict[str, Incident] = OrderedDict()
        self._closed: OrderedDict[str, Incident] = OrderedDict()

    def note(self, incident: Incident) -> None:
        """Keep a snapshot."""
        if incident.state is not State.CLOSED:
            self._open[incident.id] = incident
            return
        self._open.pop(incident.id, None)
        self._closed[incident.id] = incident
        while len(self._closed) > self._keep:
            self._closed.popitem(last=False)

    async def claim(self, incident: Incident) -> None:
        """Keep the intent to act."""
        self.note(incident)

    def incidents(self) -> list[Incident]:
        """All that is kept, oldest first."""
        return sorted([*self._closed.values(), *self._open.values()], key=lambda incident: incident.opened_at)
