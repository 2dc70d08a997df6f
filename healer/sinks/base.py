"""What a sink is, and how it knows which lines of a history it has not told yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter

from healer.model.incident import Entry, Incident


class Sink(Protocol):
    """A place where people are told.

    `tell` never blocks and never raises. It keeps the newest snapshot of each incident; the snapshot's history holds every line,
    so nothing is lost when a slow sink sees only the last of many.
    """

    name: str

    def tell(self, incident: Incident) -> None:
        """Note that an incident changed; `run` does the telling."""

    async def run(self) -> None:
        """Tell, for ever; cancel to stop."""

    async def flush(self, within: float) -> bool:
        """Wait until all is told, or cannot be, at most `within` seconds; returns whether all is told. `run` must be running."""


def notifications(registry: CollectorRegistry) -> Counter:
    """The counter that all sinks share; `outcome` is sent, retried, failed or dropped."""
    return Counter("healer_notifications", "Messages to people, by what became of them.", ["sink", "outcome"], registry=registry)


@dataclass(slots=True)
class Progress:
    """How far an append-only history has been told. Survives a history whose oldest lines were cut off."""

    told: int = 0
    last: Entry | None = None

    def unseen(self, history: Sequence[Entry]) -> Sequence[Entry]:
        """The lines not told yet, oldest first."""
        if self.last is None:
            return history
        if self.told <= len(history) and history[self.told - 1] == self.last:
            return history[self.told :]
        for index in range(len(history) - 1, -1, -1):
            if history[index] == self.last:
                return history[index + 1 :]
        return [entry for entry in history if entry.at > self.last.at]

    def tell(self, history: Sequence[Entry], entry: Entry) -> None:
        """Note that `entry`, the first that is unseen, was told."""
        self.told = len(history) - len(self.unseen(history)) + 1
        self.last = entry
