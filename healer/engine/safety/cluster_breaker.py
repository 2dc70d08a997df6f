"""The breaker of the whole cluster: too many incidents at once are not their workloads' fault."""

from collections import deque
from collections.abc import Callable, Iterable

from healer.engine.safety.wide import BREAKER, close_wide, open_wide, telling, wide_incident
from healer.engine.tuning import Tuning
from healer.engine.turn import Turn
from healer.model.annotations import APPROVED_BY
from healer.model.duration import about
from healer.model.incident import Incident, Reason
from healer.model.target import Target
from healer.model.view import View
from healer.rules.schema import Mode


def counts(incident: Incident, view: View) -> bool:
    """Whether the opening of an incident counts for the cluster-wide breaker: healer may act on it, or it is of a node."""
    return incident.workload.kind == "Node" or (incident.mode != Mode.OBSERVE and incident.workload.kind in view.supported_kinds)


class ClusterBreaker:
    """Times in seconds since the epoch. `number` numbers incidents."""

    def __init__(self, tuning: Tuning, number: Callable[[], int]) -> None:
        self._tuning = tuning
        self._number = number
        self._openings: deque[float] = deque(maxlen=tuning.limits.breaker_incidents + 1)
        self._incident: Incident | None = None
        self._prolonged: set[str] = set()  # the namespaces whose own rules have kept it open for longer

    @property
    def incident(self) -> Incident | None:
        """The incident that says that it is open; None when it is closed."""
        return self._incident

    @property
    def resumes_at(self) -> float | None:
        """When it closes by itself; None when it is closed already."""
        if self._incident is None:
            return None
        return max(self._incident.opened_at, self._openings[-1] if self._openings else 0.0) + self._tuning.limits.breaker_quiet

    def openings_since(self, since: float) -> int:
        """How many incidents opened after `since`, of those that count."""
        return sum(at > since for at in self._openings)

    def count_opening(self, turn: Turn, namespace: str = "") -> None:
        """An incident has opened: open the breaker when that was one too many.

        `namespace` is that of its RuleSet, if its rule is of one in the cluster: such incidents keep an open breaker open
        for longer once, or one namespace could do so for ever.
        """
        if namespace and self._incident is not None:
            if namespace in self._prolonged:
                return
            self._prolonged.add(namespace)
        self._openings.append(turn.now)
        full = len(self._openings) == self._openings.maxlen
        if self._incident is None and full and self._openings[0] > turn.now - self._tuning.limits.breaker_window:
            self._incident = _opened(self._tuning, turn.now, self._number())
            open_wide(self._incident, turn)

    def close(self, reason: Reason, turn: Turn) -> bool:
        """Close it: what opened before does not count again. Returns whether it was open."""
        incident, self._incident = self._incident, None
        if incident is None:
            return False
        self._openings.clear()
        self._prolonged.clear()
        close_wide(incident, reason, turn)
        return True

    def learn(self, openings: Iterable[tuple[float, str]], resumed_at: float) -> None:
        """Take in when incidents opened, and by which namespace's own rules, as a journal has it, after `restore` and after the
        breaker closed for the last time."""
        for at, namespace in sorted(openings):
            if at <= resumed_at:
                continue
            if namespace and self._incident is not None and at > self._incident.opened_at:
                if namespace in self._prolonged:
                    continue
                self._prolonged.add(namespace)
            self._openings.append(at)

    def restore(self, incident: Incident) -> None:
        """A journal says that it is open."""
        self._incident = incident


def _opened(tuning: Tuning, now: float, number: int) -> Incident:
    """The incident that says that healer acts nowhere."""
    incident = wide_incident(BREAKER, Target("Cluster", tuning.home, "cluster", "cluster"), (), now, number)
    limits = tuning.limits
    text = (
        f"more than {limits.breaker_incidents} incidents opened within {about(limits.breaker_window)}: healer acts nowhere until "
        f"{about(limits.breaker_quiet)} have passed without another one, or until somebody lets it go on: kubectl annotate "
        f"incident {incident.id} -n {tuning.home} {APPROVED_BY}=YOU"
    )
    return telling(incident, Reason("ClusterBreaker", text), now)
