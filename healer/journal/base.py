"""The interface of a journal."""

from typing import Protocol

from healer.model.incident import Incident


class Journal(Protocol):
    """Keeps the newest snapshot of each incident."""

    def note(self, incident: Incident) -> None:
        """Keep a snapshot; never blocks."""

    async def claim(self, incident: Incident) -> None:
        """Keep the intent to act; returns once it is kept. To be awaited before the action is sent."""

    def incidents(self) -> list[Incident]:
        """All that is kept, oldest first."""
