"""The breakers of namespaces, for the rules of their own RuleSets: too much at once in one namespace stops these rules alone.

While a namespace's breaker is open, its incidents do not count for the breaker of the cluster: whoever may write RuleSets in one
namespace cannot stop healer for all others. As the breaker of the cluster, it has an incident of its own, in healer's namespace:
people are told once, may let the rules go on, and a healer that starts finds it in the journal.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from healer.engine.safety.wide import NAMESPACE_BREAKER, close_wide, open_wide, telling, wide_incident
from healer.engine.tuning import Tuning
from healer.engine.turn import Turn
from healer.model.annotations import APPROVED_BY
from healer.model.duration import about
from healer.model.incident import Incident, Reason
from healer.model.target import Target


@dataclass(slots=True)
class _Open:
    """An open breaker: since when no further workload has become sick, and the workloads (uids) that keep it open no longer."""

    incident: Incident
    last: float
    workloads: set[str] = field(default_factory=set)


class TenantBreakers:
    """One a namespace: closed; or open, until no further workload has an incident for a while, or somebody approves.

    Times in seconds since the epoch. `number` numbers incidents.
    """

    def __init__(self, tuning: Tuning, number: Callable[[], int]) -> None:
        self._home = tuning.home
        self._limits = tuning.limits
        self._number = number
        self.most = max(1, tuning.limits.breaker_incidents // 2)
        """More incidents than that open it: half of what opens that of the cluster, so that one namespace never does."""
        self._openings: dict[str, deque[tuple[float, str]]] = {}  # namespace -> when, on which workload
        self._open: dict[str, _Open] = {}

    def incidents(self) -> list[Incident]:
        """The incidents that say which are open."""
        return [each.incident for each in self._open.values()]

    def of_incident(self, incident: str) -> str | None:
        """The namespace whose open breaker has that incident (by id)."""
        return next((namespace for namespace, each in self._open.items() if each.incident.id == incident), None)

    def count_opening(self, incident: Incident, turn: Turn) -> bool:
        """An incident has opened by a rule of its namespace's own; returns whether it counts for the breaker of the cluster.

        A workload keeps an open breaker open for longer once: one that is sick again and again does not do so for ever.
        """
        self._forget(turn.now)
        namespace, uid = incident.tenant, incident.workload.uid
        full = self._note(namespace, turn.now, uid)
        if (breaker := self._open.get(namespace)) is None:
            if full:
                self._begin(namespace, turn)
            return not full
        if uid not in breaker.workloads:
            breaker.workloads.add(uid)
            breaker.last = turn.now
        return False

    def close(self, namespace: str, reason: Reason, turn: Turn) -> None:
        """Close an open one: what opened before does not count again."""
        breaker = self._open.pop(namespace)
        self._openings.pop(namespace, None)
        close_wide(breaker.incident, reason, turn)

    def restore(self, incident: Incident, now: float) -> None:
        """A journal says that it is open. The quiet time begins anew: what happened meanwhile may not be in the journal."""
        self._open[incident.workload.name] = _Open(incident, now)

    def learn(
        self, openings: Iterable[tuple[float, str, str]], was_open: Sequence[Incident], turn: Turn
    ) -> list[tuple[float, str]]:
        """Take in what a journal has, after `restore`: when incidents opened, of which namespace's own rules ("": of a file), and
        on which workload; and the closed incidents of these breakers.

        Returns those that count for the breaker of the cluster. Opens a breaker of which the journal has all but its incident.
        """
        counting: list[tuple[float, str]] = []
        for at, namespace, uid in sorted(openings):
            spans = [(each.opened_at, each.ended_at or 0.0) for each in was_open if namespace and each.workload.name == namespace]
            full = False
            if namespace and not any(at <= ended for _, ended in spans):
                full = self._note(namespace, at, uid)
            breaker = self._open.get(namespace)
            if breaker is not None:
                breaker.workloads.add(uid)
                full |= at >= breaker.incident.opened_at
            if not full and not any(begun <= at <= ended for begun, ended in spans):
                counting.append((at, namespace))
        for namespace, times in list(self._openings.items()):
            if namespace not in self._open and self._full(times) and times[-1][0] > turn.now - self._limits.breaker_quiet:
                self._begin(namespace, turn)
        return counting

    def next_end(self) -> tuple[float, str] | None:
        """When the next one closes by itself, and that of which namespace."""
        return min(((each.last + self._limits.breaker_quiet, namespace) for namespace, each in self._open.items()), default=None)

    def objection(self, incident: Incident) -> Reason | None:
        """Why an incident may not act now; None when it may."""
        breaker = self._open.get(incident.tenant)
        if breaker is None:
            return None
        return Reason("NamespaceBreaker", f"{self._why(incident.tenant)} for now: see {breaker.incident.id}")

    def rows(self, now: float) -> Iterable[tuple[str, int, float | None]]:
        """The namespaces whose own rules opened incidents lately: how many, and when their breaker closes if it is open."""
        since = now - self._limits.breaker_window
        for namespace in dict.fromkeys((*self._openings, *self._open)):
            breaker, times = self._open.get(namespace), self._openings.get(namespace, ())
            used = sum(at > since for at, _ in times)
            if used or breaker is not None:
                yield namespace, used, None if breaker is None else breaker.last + self._limits.breaker_quiet

    def _note(self, namespace: str, at: float, uid: str) -> bool:
        """Note an opening; returns whether it is one too many."""
        times = self._openings.setdefault(namespace, deque(maxlen=self.most + 1))
        times.append((at, uid))
        return self._full(times)

    def _full(self, times: deque[tuple[float, str]]) -> bool:
        return len(times) == times.maxlen and times[0][0] > times[-1][0] - self._limits.breaker_window

    def _begin(self, namespace: str, turn: Turn) -> None:
        target = Target("Namespace", self._home, namespace, f"namespace/{namespace}")
        incident = wide_incident(NAMESPACE_BREAKER, target, (), turn.now, self._number())
        text = (
            f"{self._why(namespace)} until {about(self._limits.breaker_quiet)} have passed without an incident of a "
            f"further workload, or until somebody lets them go on: kubectl annotate incident {incident.id} -n {self._home} "
            f"{APPROVED_BY}=YOU"
        )
        incident = telling(incident, Reason("NamespaceBreaker", text), turn.now)
        self._open[namespace] = _Open(incident, turn.now, {uid for _, uid in self._openings[namespace]})
        open_wide(incident, turn)

    def _why(self, namespace: str) -> str:
        window = about(self._limits.breaker_window)
        return (
            f"more than {self.most} incidents of the RuleSets in {namespace} opened within {window}: these RuleSets act no more"
        )

    def _forget(self, now: float) -> None:
        """What no window holds any more."""
        since = now - self._limits.breaker_window
        self._openings = {each: times for each, times in self._openings.items() if times[-1][0] > since}
