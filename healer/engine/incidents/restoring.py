"""Goes on from the incidents of a journal that are believed, a part of them at each step."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from healer.engine.incidents.approval import rule_changed
from healer.engine.incidents.cases import Case
from healer.engine.incidents.ended_alerts import EndedAlerts
from healer.engine.incidents.opening import noted
from healer.engine.incidents.outcomes import paged
from healer.engine.incidents.resumption import SIGNALS_AT_ONCE
from healer.engine.incidents.trust import counts_for, openings
from healer.engine.matching.firing import UNNAMED
from healer.engine.parts import Parts
from healer.engine.safety.set_aside import SetAsideIncident
from healer.engine.safety.wide import BREAKER, BREAKERS, ENDED_ALERTS, NAMESPACE_BREAKER, NODE_STORM, SET_ASIDE
from healer.engine.turn import Turn
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Effect
from healer.model.incident import Incident, Reason, SickTarget, State
from healer.model.signal import Signal
from healer.model.view import View
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import TRIGGERS

T = TypeVar("T")
FOUND_DONE = "FoundDone"
"""The code of an action of before that took effect, as the cluster shows."""


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
        self._state.rule_breakers.learn(counted.values())
        self._learn_breakers(known, counted, turn)
        yield []
        for incident in known:
            if incident.id in counted:
                self._state.ledger.learn(incident, turn.view)
            alone = incident.rule == ENDED_ALERTS
            self._matcher.ended.learn(incident.ended, "" if alone else incident.workload.namespace, turn.now)
            if alone:
                self._ended_alerts.restore(incident)
            yield []

    def _learn_breakers(self, known: Sequence[Incident], counted: Container[str], turn: Turn) -> None:
        """Take in which breakers are open, before any incident goes on."""
        cluster, tenants = self._state.cluster_breaker, self._state.tenant_breakers
        for incident in known:
            if incident.rule == BREAKER and incident.state is not State.CLOSED:
                cluster.restore(incident)
            elif incident.rule == NAMESPACE_BREAKER and incident.state is not State.CLOSED:
                tenants.restore(incident, turn.now)
        resumed_at = max((i.ended_at for i in known if i.rule == BREAKER and i.ended_at is not None), default=0.0)
        opened_at = openings(i for i in known if self._parts.counts(i, turn.view) and (i.rule == NODE_STORM or i.id in counted))
        was_open = [i for i in known if i.rule == NAMESPACE_BREAKER and i.state is State.CLOSED]
        cluster.learn(tenants.learn(opened_at, was_open, turn), resumed_at)

    def go_on(self, known: Sequence[Incident], sick_now: Container[str], turn: Turn) -> Iterator[list[Effect]]:
        """Admit those that are open; a claimed action is resolved by looking at the cluster."""
        for incident in known:
            if incident.state is not State.CLOSED:
                yield from self._go_on(as_it_was(incident, sick_now, turn.now), Turn(turn.view, turn.now))

    def _go_on(self, incident: Incident, turn: Turn) -> Iterator[list[Effect]]:
        if incident.rule in BREAKERS:
            return  # `learn` has taken it in
        if incident.rule == SET_ASIDE:
            self._set_aside.restore(incident)
        elif incident.rule == NODE_STORM:
            self._state.node_storms.put(incident)
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
                self._progress.acted(case, Outcome(OutcomeKind.DONE, FOUND_DONE, text), turn)
            else:
                self._progress.record(case, to_be_tried_again(incident, turn.now), turn)
        yield turn.effects

    def _resume_signals(self, incident: Incident, rule: str, turn: Turn) -> Iterator[list[Effect]]:
        for number, signal in enumerate(signals_of(incident), 1):
            self._matcher.resume(signal, rule, incident.id, turn)
            if number % SIGNALS_AT_ONCE == 0:
                yield []


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    return (items[begin : begin + size] for begin in range(0, len(items), size))


# what a restart makes of each


def as_it_was(incident: Incident, sick_now: Container[str], now: float) -> Incident:
    """The incident without the pods' symptoms that are resolved by now; what others said holds until they take it back.

    What a page has raised is raised again: the object that an incident is kept in has only how it was opened.
    """
    if incident.paged is not None:
        incident = paged(incident, incident.paged)
    targets: dict[str, SickTarget] = {}
    for uid, sick in incident.targets.items():
        kept = {key: s for key, s in sick.signals.items() if not TRIGGERS[s.source].read_off_target or key in sick_now}
        targets[uid] = sick if len(kept) == len(sick.signals) else replace(sick, signals=kept)
    if all(targets[uid] is sick for uid, sick in incident.targets.items()):
        return incident
    text = "read from the journal: some of its signals have ended"
    return noted(replace(incident, targets=targets), Reason("Resolved", text), now)


def signals_of(incident: Incident) -> Iterator[Signal]:
    """What was firing for the incident, as signals, so that their end is understood when it comes."""
    return (
        Signal(
            s.source,
            s.name,
            sick.target,
            firing=True,
            at=s.at,
            key=key,
            occurrence=s.occurrence,
            message=sick.what,
            rule=incident.rule if TRIGGERS[s.source].asked else "",
        )
        for sick in incident.targets.values()
        for key, s in sick.signals.items()
    )


def rule_of(incident: Incident, rules: Mapping[str, BoundRule]) -> BoundRule | None:
    """The rule that the incident goes on with; None when it is gone, or its ladder is another one now."""
    rule = rules.get(incident.rule)
    if rule is None or tuple(step.action for step in rule.rule.heal) != incident.steps:
        return None
    return None if incident.storming and rule.rule.on_storm is None else rule


def ruled_by(incident: Incident, rule: BoundRule, now: float) -> Incident:
    """The incident with its rule's digest, where the healer that wrote it kept none: it goes on with the rule as it is now.

    What was approved then is not known to be what the rule says now: it is asked for again.
    """
    if incident.ruled:
        return incident
    ruled = replace(incident, ruled=rule.digest)
    if not incident.approvals:
        return ruled
    named = ", ".join(dict.fromkeys(approved.by for approved in incident.approvals))
    text = (
        f"the approval by {named} does not say which text of the rule it was for (an older healer kept it): it is asked for again"
    )
    return noted(replace(ruled, approvals=(), asked_at=None), Reason("ApprovalVoid", text), now)


def took_effect(incident: Incident, view: View) -> bool:
    """Whether the claimed action on a pod is seen to have happened: the pod is gone, or on its way."""
    if incident.acting_on is None or not incident.acting_on.is_pod:
        return False
    pod = view.pod(incident.acting_on.uid)
    return pod is None or pod.terminating


def to_be_tried_again(incident: Incident, now: float) -> Incident:
    """The incident whose claimed action was perhaps never sent: it counts as a failed try, and the next one looks first."""
    reason = Reason("Interrupted", f"healer stopped while it was acting on {incident.acting_on}: looking again")
    return noted(
        replace(incident, state=State.OPEN, reason=reason, failures=incident.failures + 1, acting_on=None),
        reason,
        now,
        step=None if incident.storming else incident.step,
    )


def not_for(incident: Incident, rule: BoundRule, view: View) -> Reason | None:
    """Why an incident is none of its rule's any more; None when it is."""
    workload = incident.workload
    if not rule.scope.covers(workload.namespace):
        text = f"the rule does not cover the namespace {workload.namespace} any more; healer acts no further on it"
        return Reason("OutOfScope", text)
    if workload.kind in view.supported_kinds and view.workload(workload.uid) is None:
        return Reason("WorkloadGone", f"{workload} is gone")
    return None


def closed_for(incident: Incident, reason: Reason, now: float) -> Incident:
    """The incident, closed because healer has nothing to do with it any more."""
    ended = now if incident.ended_at is None else incident.ended_at
    return noted(replace(incident, state=State.CLOSED, reason=reason, ended_at=ended, wake_at=None), reason, now)
