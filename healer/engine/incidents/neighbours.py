"""Incidents on one workload: the storm that they see together, which of them takes over, and which keep the others off it."""

from collections.abc import Mapping
from dataclasses import replace

from healer.engine.incidents.cases import Case, Cases
from healer.engine.incidents.facts import ever_changes, step_of
from healer.engine.incidents.validity import Validity
from healer.engine.matching.firing import Weight
from healer.engine.safety.guards.one_ladder import competes
from healer.engine.safety.sick_counts import SickCounts
from healer.engine.safety.storms import FEWEST, Storm, able, storm_on
from healer.model.action import ActionSpec
from healer.model.incident import Incident, State
from healer.model.view import View
from healer.model.workload import Workload
from healer.rules.schema import Mode


class Neighbours:
    """Questions only; workloads are given by uid."""

    def __init__(self, cases: Cases, validity: Validity, sick_counts: SickCounts, actions: Mapping[str, ActionSpec]) -> None:
        self._cases = cases
        self._validity = validity
        self._sick_counts = sick_counts
        self._actions = actions

    def takers(self, workload: str) -> set[str]:
        """The incidents that have taken over the workload; "" where one waits for a storm that nobody speaks for."""
        known = [case.incident for case in self._cases.on(workload) if self._validity.in_force(case)]
        waits = any(each.state is State.WAITING and each.reason.code == "Storm" for each in known)
        return {each.id for each in known if each.storm} or ({""} if waits else set())

    def due_takers(self, workload: str, view: View) -> set[str]:
        """The incidents that should have."""
        storms = (self.storm(workload, view), self.storm(workload, view, observing=True))
        return {storm.taker for storm in storms if storm is not None}

    def storm(self, workload: str, view: View, *, observing: bool = False) -> Storm | None:
        """The storm on a workload, if there is one, as those that act see it: what only observing rules heed is none for them.

        Those that observe see that one, or their own where no other is open.
        """
        sick = view.workload(workload) if self._sick_counts.sick_in(workload) >= FEWEST else None
        if sick is None:
            return None
        speaking = [case for case in self._cases.on(workload) if self._validity.in_force(case) and not _of_records(case, view)]
        for weight in (Weight.FULL, Weight.CAUTION):
            heard = [case for case in speaking if self._validity.weighs(case.incident, weight)]
            storm = self._storm(heard, sick, observing=observing, known=weight is Weight.FULL)
            if storm is not None:
                return replace(storm, units=sick.units)
        return None

    def _storm(self, speaking: list[Case], sick: Workload, *, observing: bool, known: bool) -> Storm | None:
        """The storm by what is known to be sick, or by what may be."""
        workload, desired = sick.metadata.uid, sick.desired
        acting = [(c.incident, c.rule.rule) for c in speaking if c.incident.mode != Mode.OBSERVE]
        changing = [each for each in acting if ever_changes(each[1], self._actions)]
        if any(able(incident) for incident, _ in changing):
            acting = changing  # rules that only tell people hold back nobody: neither by their limit, nor by taking over
        storm = storm_on(self._sick_counts.to_treat_in(workload, known=known), desired, acting, known=known)
        if storm is not None or not observing:
            return storm
        if any(able(incident) for incident, _ in acting):
            return None
        watching = [(c.incident, c.rule.rule) for c in speaking if c.incident.mode == Mode.OBSERVE]
        return storm_on(self._sick_counts.sick_in(workload, known=known), desired, watching, known=known)

    def competing(self, case: Case, view: View) -> list[Incident]:
        """The other incidents that keep a case off its workload: one about records does not, unless it acts on the workload."""
        others = [other for other in self._cases.on(case.incident.workload.uid) if other is not case]
        keeping = [other for other in others if self.competes(other, other.incident, view)]
        return [other.incident for other in keeping if _acts_on_workload(other.incident) or not _of_records(other, view)]

    def competes(self, case: Case, incident: Incident, view: View) -> bool:
        """Whether a case, as that incident, is on a step that changes something: one that only tells people holds up nobody."""
        return competes(incident, view) and self._actions[step_of(case.rule.rule, incident).action].changes


def _of_records(case: Case, view: View) -> bool:
    """Whether it is about records of finished pods alone: such an incident says nothing about the pods that live."""
    sick = case.incident.sick
    return case.rule.rule.when.of_records or (bool(sick) and all(view.finished(each.target.uid) for each in sick))


def _acts_on_workload(incident: Incident) -> bool:
    """Whether its present step changes the workload as a whole, or may have."""
    treated = bool(incident.acted_at) and incident.workload.uid in incident.treated
    return incident.acting_on == incident.workload or treated or incident.failures > 0
