"""Goes on from the incidents of a journal that are believed, a part of them at each step."""

from collections.abc import Container, Iterator, Sequence
from typing import TypeVar

from healer.engine.incidents.approval import rule_changed
from healer.engine.incidents.cases import Case
from healer.engine.incidents.ended_alerts import EndedAlerts
from healer.engine.incidents.restore import (
    as_it_was,
    closed_for,
    not_for,
    rule_of,
    ruled_by,
    signals_of,
    to_be_tried_again,
    took_effect,
)
from healer.engine.incidents.trust import counts_for, openings
from healer.engine.matching.firing import UNNAMED
from healer.engine.parts import Parts
from healer.engine.safety.set_aside import SetAsideIncident
from healer.engine.safety.wide import BREAKER, ENDED_ALERTS, NODE_STORM, SET_ASIDE
from healer.engine.turn import Turn
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Effect
from healer.model.incident import Incident, State

T = TypeVar("T")

SIGNALS_AT_ONCE = 100
"""What one step takes up of them: about 10 ms of work."""


class Restoring:
    """Each of its steps is some milliseconds of work, and gives its effects."""

    def __init__(self, parts: Parts, set_aside: SetAsideIncident, ended_alerts: EndedAlerts) -> None:
        self._parts = parts
        self._matcher = parts.matcher
        self._state = parts.guard_state
        self._progress = parts.progress
        self._set_aside = set_aside
        self._ended_alerts = ended_alerts

    def learn(self, known: Sequence[Incident], turn: Turn) -> Iterator[list[Effect]]:
        """Take in what was done, and which alerts ended."""
        counted = {i.id: i for i in known if counts_for(i, self._matcher.rulebook.by_name, turn.view)}
        yield []
        self._state.rules.learn(counted.values())
        resumed_at = max((i.ended_at for i in known if i.rule == BREAKER and i.ended_at is not None), default=0.0)
        opened_at = openings(i for i in known if self._parts.counts(i, turn.view) and (i.rule == NODE_STORM or i.id in counted))
        self._state.cluster.learn(opened_at, resumed_at)
        yield []
        for incident in known:
            if incident.id in counted:
                self._state.ledger.learn(incident, turn.view)
            alone = incident.rule == ENDED_ALERTS
            self._matcher.ended.learn(incident.ended, "" if alone else incident.workload.namespace, turn.now)
            if alone:
                self._ended_alerts.restore(incident)
            yield []

    def go_on(self, known: Sequence[Incident], sick_now: Container[str], turn: Turn) -> Iterator[list[Effect]]:
        """Admit those that are open; a claimed action is resolved by looking at the cluster."""
        for incident in known:
            if incident.state is not State.CLOSED:
                yield from self._go_on(as_it_was(incident, sick_now, turn.now), Turn(turn.view, turn.now))

    def _go_on(self, incident: Incident, turn: Turn) -> Iterator[list[Effect]]:
        if incident.rule == BREAKER:
            self._state.cluster.restore(incident)
        elif incident.rule == SET_ASIDE:
            self._set_aside.restore(incident)
        elif incident.rule == NODE_STORM:
            self._state.nodes.put(incident)
            yield from self._resume_signals(incident, UNNAMED, turn)
        else:
            yield from self._admit(incident, turn)

    def _admit(self, incident: Incident, turn: Turn) -> Iterator[list[Effect]]:
        rule = rule_of(incident, self._matcher.rulebook.by_name)
        why = None if rule is None else not_for(incident, rule, turn.view)
        if rule is None or why is not None:
            turn.record(closed_for(incident, why or rule_changed(incident, " while healer was away"), turn.now))
            yield turn.effects
            return
        kept, incident = incident, ruled_by(incident, rule, turn.now)
        if incident.history is not kept.history:
            turn.record(incident)
        case = Case(incident, rule, counted=True)
        self._parts.cases.admit(case)
        self._state.ledger.saw(incident)
        yield from self._resume_signals(incident, rule.name, turn)
        if incident.state is State.ACTING:
            if took_effect(incident, turn.view):
                text = f"healer was away; {incident.acting_on} is gone or going: the action took effect"
                self._progress.acted(case, Outcome(OutcomeKind.DONE, "FoundDone", text), turn)
            else:
                self._progress.change(case, to_be_tried_again(incident, turn.now), turn)
        yield turn.effects

    def _resume_signals(self, incident: Incident, rule: str, turn: Turn) -> Iterator[list[Effect]]:
        for number, signal in enumerate(signals_of(incident), 1):
            self._matcher.resume(signal, rule, incident.id, turn.view, turn.now)
            if number % SIGNALS_AT_ONCE == 0:
                yield []


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    return (items[begin : begin + size] for begin in range(0, len(items), size))
