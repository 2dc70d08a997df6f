"""The sink that is always there: one structured event for each line of an incident's history."""

import asyncio
from collections import deque
from collections.abc import Collection

import structlog

from healer.model.incident import Entry, Incident, State
from healer.sinks.base import HistoryProgress, SinkMeters, SinkSettings

_LOUD = frozenset({State.ESCALATED})
_CLOSED_KEPT = 1000


class LogSettings(SinkSettings):
    """The log sink has no knobs of its own."""


class LogSink:
    """Logs at once, in `tell`: the log must work when nothing else does."""

    name = "log"

    def __init__(self, settings: LogSettings, meters: SinkMeters) -> None:
        self._sent = meters.notifications.labels(self.name, "sent")
        self._log = structlog.get_logger("healer.incident")
        self._progress: dict[str, HistoryProgress] = {}
        self._closed: deque[str] = deque()

    def tell(self, incident: Incident) -> None:
        """Log each line not logged yet; a closed incident is forgotten a thousand closed ones later."""
        progress = self._progress.setdefault(incident.id, HistoryProgress())
        for entry in progress.unseen(incident.history):
            self._say(incident, entry)
            progress.advance(entry)
        self._forget(incident)

    def resume(self, incident: Incident) -> None:
        """Take its lines as logged: each would be logged again at every start otherwise."""
        progress = self._progress.setdefault(incident.id, HistoryProgress())
        for entry in progress.unseen(incident.history):
            progress.advance(entry)
        self._forget(incident)

    def reset(self) -> None:
        """Forget how far incidents were logged; `resume` notes it anew."""
        self._progress.clear()
        self._closed.clear()

    def _forget(self, incident: Incident) -> None:
        if incident.state is State.CLOSED and incident.id not in self._closed:
            self._closed.append(incident.id)
            if len(self._closed) > _CLOSED_KEPT:
                self._progress.pop(self._closed.popleft(), None)

    def _say(self, incident: Incident, entry: Entry) -> None:
        say = self._log.warning if entry.state in _LOUD else self._log.info
        say(
            f"incident {entry.state}",
            incident=incident.id,
            rule=incident.rule,
            workload=str(incident.workload),
            namespace=incident.workload.namespace,
            state=str(entry.state),
            step=None if entry.step is None or entry.step >= len(incident.steps) else incident.steps[entry.step],
            reason=entry.reason.code,
            text=entry.reason.text,
            at=entry.at,
        )
        self._sent.inc()

    async def run(self) -> None:
        """Wait for ever: `tell` has logged all."""
        await asyncio.Event().wait()

    async def check(self, channels: Collection[str]) -> list[str]:
        """The log accepts everything."""
        return []

    async def flush(self, within: float) -> bool:
        """`tell` has logged all."""
        return True
