"""Which revision of each Deployment was last seen well for a while: what a rollback may go back to."""

from dataclasses import dataclass

from healer.engine.incidents.verification import unhealthy
from healer.model.view import View, target_of


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

    def look(self, workload: str, view: View, now: float) -> None:
        """A Deployment (by uid) may have changed."""
        deployment = view.deployment(workload)
        if deployment is None:
            self._seen.pop(workload, None)
            return
        seen = self._seen.setdefault(workload, _SeenRevision())
        self._prove(seen, now)
        revision = deployment.metadata.annotations.revision
        well = deployment.spec.replicas > 0 and unhealthy(view, target_of(deployment)) is None
        if not well:
            seen.revision = ""
        elif seen.revision != revision:
            seen.revision, seen.since = revision, now

    def revision(self, workload: str, now: float) -> str:
        """The last revision of a Deployment (by uid) that was well for long enough; "" when none was seen."""
        seen = self._seen.get(workload)
        if seen is None:
            return ""
        self._prove(seen, now)
        return seen.proven

    def _prove(self, seen: _SeenRevision, now: float) -> None:
        if seen.revision and now >= seen.since + self._after:
            seen.proven = seen.revision
