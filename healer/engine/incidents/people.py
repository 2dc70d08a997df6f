"""What people say to an incident: that its step may be taken, that healer may go on, that they have undone what it did."""

from collections.abc import Callable

from healer.engine.incidents.approval import granted, undone, waits
from healer.engine.incidents.opening import noted
from healer.engine.parts import Parts
from healer.engine.turn import Turn
from healer.model.effects import Approval, TakenBack, Undone, Verb
from healer.model.incident import Incident, Reason


class People:
    """`find` finds an incident that is not closed, by id; `advance` lets one go on, by id."""

    def __init__(self, parts: Parts, find: Callable[[str], Incident | None], advance: Callable[[str, Turn], None]) -> None:
        self._cases = parts.cases
        self._progress = parts.progress
        self._breaker = parts.guard_state.cluster_breaker
        self._tenants = parts.guard_state.tenant_breakers
        self._find = find
        self._advance = advance

    def approved(self, said: Approval, turn: Turn) -> None:
        """Take the step, or close the breaker, where that waits for an approval; else say what it is."""
        incident, case, breaker = self._find(said.incident), self._cases.get(said.incident), self._breaker.incident
        if breaker is not None and breaker.id == said.incident:
            reason = Reason("Approved", f"{said.by} lets healer continue")
            turn.answer(Verb.APPROVE, reason, said.incident, incident)
            self.resume(reason, turn)
        elif (namespace := self._tenants.of_incident(said.incident)) is not None:
            reason = Reason("Approved", f"{said.by} lets the RuleSets in {namespace} continue")
            turn.answer(Verb.APPROVE, reason, said.incident, incident)
            self.resume_tenant(namespace, reason, turn)
        elif case is not None and waits(case.incident):
            turn.answer(Verb.APPROVE, Reason("Approved", f"approved by {said.by}"), said.incident, incident)
            self._progress.record(case, granted(case.incident, said.by, turn.now), turn)
            self._advance(said.incident, turn)
        else:
            stands = "it is not open" if incident is None else f"it is {incident.state}: {incident.reason.text}"
            text = f"{said.by} approved an incident that does not wait for approval: {stands}"
            turn.answer(Verb.REFUSE, Reason("NotAwaited", text), said.incident, incident)

    def resume(self, reason: Reason, turn: Turn) -> None:
        """Close the breaker of the cluster: all that waited for it goes on."""
        if self._breaker.close(reason, turn):
            for case in self._cases.all():
                self._advance(case.incident.id, turn)

    def resume_tenant(self, namespace: str, reason: Reason, turn: Turn) -> None:
        """Close the open breaker of a namespace: what waited for it goes on."""
        self._tenants.close(namespace, reason, turn)
        for case in self._cases.all():
            if case.incident.tenant == namespace:
                self._advance(case.incident.id, turn)

    def undone(self, said: Undone, turn: Turn) -> None:
        """Note in the incident that what healer did for it was undone, once."""
        case = self._cases.get(said.incident)
        if case is not None and (after := undone(case.incident, said.by, turn.now)) is not case.incident:
            self._progress.record(case, after, turn)

    def taken_back(self, said: TakenBack, turn: Turn) -> None:
        """Note in the incident what became of a temporary change of its."""
        if (case := self._cases.get(said.incident)) is not None:
            self._progress.record(case, noted(case.incident, said.reason, turn.now), turn)
            self._advance(said.incident, turn)
