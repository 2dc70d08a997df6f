"""Which revision of each workload was last seen well for a while: what a rollback may go back to."""

from dataclasses import dataclass

from healer.engine.incidents.verification import unhealthy
from healer.engine.turn import Turn


@dataclass(slots=True)
class _SeenRevision:
    """A revision that is well, and since when; an empty one is not."""

    revision: str = ""
    since: float = 0.0
    proven: str = ""
    """The last revision that was well for long enough."""


class Healthy:
    """Learnt by watching, so that a new process must watch for as long first. Times in seconds since the epoch."""

    def __init__(self, after: float) -> None:
        self._after = after
        self._seen: dict[str, _SeenRevision] = {}

    def observe(self, uid: str, turn: Turn) -> None:
        """A workload (by uid) may have changed."""
        workload = turn.view.workload(uid)
        if workload is None:
            self._seen.pop(uid, None)
            return
        seen = self._seen.setdefault(uid, _SeenRevision())
        self._prove(seen, turn.now)
        well = workload.desired > 0 and unhealthy(turn.view, workload.target) is None
        if not well:
            seen.revision = ""
        elif seen.revision != workload.revision:
            seen.revision, seen.since = workload.revision, turn.now

    def revision(self, workload: str, now: float) -> str:
        """The last revision of a workload (by uid) that was well for long enough; "" when none was seen."""
        seen = self._seen.get(workload)
        if seen is None:
            return ""
        self._prove(seen, now)
        return seen.proven

    def _prove(self, seen: _SeenRevision, now: float) -> None:
        if seen.revision and now >= seen.since + self._after:
            seen.proven = seen.revision
