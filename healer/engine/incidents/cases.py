"""The open incidents, with lookups by id, rule and workload, and a queue of the times at which they are evaluated again."""

import heapq
from dataclasses import dataclass

from healer.model.effects import Loss
from healer.model.incident import Incident, Reason, State
from healer.rules.rulebook import BoundRule

_MAX_UNSTORABLE = 1000
"""The most pairs of rule and workload, in namespaces that are being deleted, that are remembered. The oldest are dropped."""


@dataclass(slots=True)
class Case:
    """An open incident and the rule as it was when the incident opened, or when it was read from the journal.

    Written by `Cases` only.
    """

    incident: Incident
    rule: BoundRule
    queued_wake: float | None = None
    counted: bool = False
    """Whether the cluster-wide breaker has counted its opening."""
    lost: Reason | None = None
    """Why the incident can no longer be stored in its object."""
    loss: Loss | None = None
    """What happened to that object."""


class Cases:
    """All open incidents. Times are in seconds since the epoch."""

    def __init__(self) -> None:
        self._cases: dict[str, Case] = {}
        self._open: dict[tuple[str, str], str] = {}  # (rule, workload's uid) -> incident
        self._by_workload: dict[str, dict[str, None]] = {}  # workload's uid -> incidents, oldest first
        self._unstorable: dict[tuple[str, str], str] = {}  # (rule, workload's uid) -> why its incident cannot be stored
        self._wakes: list[tuple[float, str]] = []  # when, incident

    # finding

    def all(self) -> list[Case]:
        """All cases, oldest first."""
        return list(self._cases.values())

    def get(self, incident_id: str) -> Case | None:
        """The case of an incident."""
        return self._cases.get(incident_id)

    def of_rule(self, rule: str, workload: str) -> Case | None:
        """The unsettled case of a rule on a workload (by uid)."""
        incident_id = self._open.get((rule, workload))
        return None if incident_id is None else self._cases[incident_id]

    def acting(self, incident_id: str, step: int, attempt: int) -> Case | None:
        """The case that waits for the outcome of that attempt."""
        case = self._cases.get(incident_id)
        if case is None or case.incident.state is not State.ACTING:
            return None
        return case if (case.incident.step, case.incident.attempt) == (step, attempt) else None

    def why_unstorable(self, rule: str, workload: str) -> str:
        """Why no incident of a rule on a workload (by uid) can be stored; "" when one can."""
        return self._unstorable.get((rule, workload), "")

    def on(self, workload: str) -> list[Case]:
        """The cases on a workload (by uid), oldest first."""
        return [self._cases[each] for each in self._by_workload.get(workload, ())]

    def concerns(self, workload: str) -> bool:
        """Whether there are cases on a workload (by uid)."""
        return workload in self._by_workload

    # changing

    def admit(self, case: Case) -> None:
        """Add a new case."""
        incident = case.incident
        self._cases[incident.id] = case
        if not incident.state.settled:
            self._open[incident.rule, incident.workload.uid] = incident.id
        self._by_workload.setdefault(incident.workload.uid, {})[incident.id] = None
        self._queue(case)

    def count_opening(self, case: Case) -> None:
        """Record that the cluster-wide breaker has counted the opening."""
        case.counted = True

    def lose(self, incident_id: str, why: str, how: Loss) -> None:
        """An incident can no longer be stored. An action in progress is awaited; no other action is taken."""
        if (case := self._cases.get(incident_id)) is None:
            return
        if how is Loss.NO_NAMESPACE:
            self._unstorable[case.rule.name, case.incident.workload.uid] = why
            self._unstorable = dict(list(self._unstorable.items())[-_MAX_UNSTORABLE:])
        code = "JournalLost" if how is Loss.EDITED else "NotKept"
        case.lost, case.loss = Reason(code, f"{why}: healer acts no further on it"), how

    def note(self, case: Case, after: Incident) -> None:
        """Replace an incident without a change of its state or its wake time."""
        case.incident = after

    def put(self, case: Case, after: Incident) -> None:
        """Replace an incident. A closed one is removed."""
        case.incident = after
        if after.state.settled and self._open.get((after.rule, after.workload.uid)) == after.id:
            del self._open[after.rule, after.workload.uid]  # a successor may have opened meanwhile: it stays
        if after.state is State.CLOSED:
            self._drop(after)
        else:
            self._queue(case)

    def _drop(self, incident: Incident) -> None:
        del self._cases[incident.id]
        neighbours = self._by_workload.get(incident.workload.uid, {})
        neighbours.pop(incident.id, None)
        if not neighbours:
            self._by_workload.pop(incident.workload.uid, None)

    # waking

    def next_wake(self) -> float | None:
        """The next time at which a case is to be evaluated, without any other input."""
        return self._wakes[0][0] if self._wakes else None

    def take_due(self, now: float) -> str | None:
        """Remove and return an incident that is to be evaluated by now; None when there is none."""
        if not self._wakes or self._wakes[0][0] > now:
            return None
        _, incident_id = heapq.heappop(self._wakes)
        if (case := self._cases.get(incident_id)) is not None:
            case.queued_wake = None
        return incident_id

    def _queue(self, case: Case) -> None:
        wake = case.incident.wake_at
        if wake is not None and wake != case.queued_wake:
            case.queued_wake = wake
            heapq.heappush(self._wakes, (wake, case.incident.id))
