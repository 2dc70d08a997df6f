"""Lets incidents go on: each as far as it can, then those that may have waited for it; in a batch, all of them at its end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from healer.engine.incidents.cases import Case, Cases
from healer.engine.incidents.facts import IncidentFacts, Transition
from healer.engine.incidents.ladder import abandon, absorb, following
from healer.engine.incidents.neighbours import Neighbours
from healer.engine.incidents.outcomes import acted
from healer.engine.incidents.validity import Validity
from healer.engine.safety.counting import count
from healer.engine.safety.guards.question import Guards, GuardState
from healer.engine.turn import Turn
from healer.model.action import ActionSpec, Outcome
from healer.model.effects import Loss
from healer.model.incident import Incident, State
from healer.rules.schema import Mode


class Progress:
    """While it is paused or in a batch, only incidents go on whose rule is not in force any more."""

    def __init__(
        self,
        cases: Cases,
        validity: Validity,
        neighbours: Neighbours,
        actions: Mapping[str, ActionSpec],
        guards: Guards,
        guard_state: GuardState,
    ) -> None:
        self._cases = cases
        self._validity = validity
        self._neighbours = neighbours
        self._actions = actions
        self._guards = guards
        self._guard_state = guard_state
        self._paused = False
        self._in_batch = False
        self._to_go_on: dict[str, Incident] = {}  # those that wait, as they were when they wanted to go on
        self._outdated: list[Incident] = []

    # when

    @property
    def paused(self) -> bool:
        """Whether not all that fires is known (again) yet."""
        return self._paused

    @property
    def in_batch(self) -> bool:
        """Whether incidents wait for the end of a batch, or of the pause."""
        return self._paused or self._in_batch

    def pause(self) -> None:
        """Let incidents wait until `resume`."""
        self._paused = True

    def resume(self, turn: Turn, *, most: int | None = None) -> bool:
        """All that fires is known: those that wait go on, at most so many at this call; returns whether all did."""
        self._paused = False
        for incident_id in list(self._to_go_on)[:most]:
            if (before := self._to_go_on.pop(incident_id, None)) is not None:
                self.advance(incident_id, turn, before)
        self._paused = bool(self._to_go_on)
        return not self._paused

    @contextmanager
    def batch(self, turn: Turn) -> Iterator[None]:
        """Whoever wants to go on within it goes on at its end, when all is known. One within another ends with that one."""
        waits, outer = self.in_batch, self._in_batch
        self._in_batch = True
        try:
            yield
        finally:
            self._in_batch = outer
        if not waits:
            self.resume(turn)

    # how

    def advance(self, incident_id: str, turn: Turn, before: Incident | None = None) -> None:
        """Let an incident go as far as it can now, then those that may have waited for it; `before` is what it was."""
        case = self._cases.get(incident_id)
        if case is None:
            return
        before = before or case.incident
        if self.in_batch and self._validity.in_force(case):
            self._to_go_on.setdefault(incident_id, before)
            return
        facts = self._facts(case, turn)
        if case.lost is not None and case.incident.state is not State.ACTING:
            human = case.loss is Loss.EDITED
            after = self._carry_out(case, abandon(case.incident, case.lost, facts, human=human), facts, turn)
            self._settle(case, before, after, facts, turn)
            if case.loss is Loss.DELETED:
                self._outdated.append(after)  # what still fires of it opens another one
            return
        self._follow_transitions(case, before, facts, turn)

    def acted(self, case: Case, outcome: Outcome, turn: Turn) -> None:
        """An action came back."""
        before, facts = case.incident, self._facts(case, turn)
        self._carry_out(case, acted(before, outcome, facts), facts, turn)
        self.advance(before.id, turn, before)

    def record(self, case: Case, after: Incident, turn: Turn) -> None:
        """Signals, or a human, have made another incident of it, by a line in its history."""
        self._cases.note(case, after)
        turn.record(after)

    def end(self, case: Case, turn: Turn) -> None:
        """Close a case that has done nothing, and that has nothing sick left, in a batch too."""
        self._follow_transitions(case, case.incident, self._facts(case, turn), turn)

    def absorb(self, case: Case, into: Incident, turn: Turn) -> None:
        """Close a case that has done nothing, because a wider incident is about its pods as well."""
        before, facts = case.incident, self._facts(case, turn)
        after = self._carry_out(case, absorb(before, into, facts), facts, turn)
        self._settle(case, before, after, facts, turn)

    def take_outdated(self) -> list[Incident]:
        """The incidents closed since the last call because their rule changed or their object is gone."""
        outdated, self._outdated = self._outdated, []
        return outdated

    def _follow_transitions(self, case: Case, before: Incident, facts: IncidentFacts, turn: Turn) -> None:
        while True:
            incident = case.incident
            after = self._carry_out(case, following(incident, facts), facts, turn)
            if after is incident or after.state is State.ACTING:
                break
        self._settle(case, before, after, facts, turn)

    def _carry_out(self, case: Case, transition: Transition, facts: IncidentFacts, turn: Turn) -> Incident:
        """Take over what a transition has made, and count it."""
        before, (after, effects) = case.incident, transition
        if after is not before:
            turn.effects.extend(effects)
            count(before, after, facts.action(before), self._guard_state)
            self._cases.note(case, after)
        return after

    def _settle(self, case: Case, before: Incident, after: Incident, facts: IncidentFacts, turn: Turn) -> None:
        """The incident has gone as far as it can."""
        self._cases.put(case, after)
        if after.state is State.CLOSED and not facts.in_force:
            self._outdated.append(after)
        competes = self._neighbours.competes
        gives_way = competes(case, before, turn.view) and not competes(case, after, turn.view)
        if gives_way or before.storm != after.storm:
            for other in self._cases.on(after.workload.uid):
                if other is not case:
                    self.advance(other.incident.id, turn)

    def _facts(self, case: Case, turn: Turn) -> IncidentFacts:
        observing, workload = case.incident.mode == Mode.OBSERVE, case.incident.workload.uid
        # a storm is of pods: what the workload itself shows (a rollout that is stuck) may be its cause, and is treated meanwhile
        aside = case.rule.rule.when.trigger.of_workload_itself
        return IncidentFacts(
            rule=case.rule,
            in_force=self._validity.in_force(case),
            view=turn.view,
            now=turn.now,
            actions=self._actions,
            guards=self._guards,
            guard_state=self._guard_state,
            competing=self._neighbours.competing(case, turn.view),
            storm=None if aside else self._neighbours.storm(workload, turn.view, observing=observing),
            unfit=lambda target: self._validity.unwanted(case, target, turn),
            unknown=self._validity.unknown(case.incident),
        )
