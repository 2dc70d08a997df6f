"""The engine: takes an input, returns effects. Every shell (daemon, tests, benchmarks) drives this one object.

Its state is the signals that fire (`match`), the incidents that are open, and what was done lately (`ledger`). It reads the
cluster only through a `View`, and the time only from its arguments.
"""

import heapq
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from healer.engine.climb import Climber, Context
from healer.engine.guards import climbing
from healer.engine.ledger import Ledger
from healer.engine.match import Firing, Match, Matcher
from healer.engine.open import join, leave, opened
from healer.engine.restore import alerts_of, closed_without_rule, rule_of, symptoms_now, to_be_tried_again, took_effect
from healer.engine.rulebook import BoundRule, Rulebook
from healer.engine.tuning import Tuning
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.decision import Decision, Verb
from healer.model.effects import Acted, Decided, Effect, Input, Record, Tick, WorkloadChanged
from healer.model.incident import Incident, Reason, State
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View


@dataclass(slots=True)
class _Case:
    """An open incident and the rule as it was when the incident opened."""

    incident: Incident
    rule: BoundRule
    queued_wake: float | None = field(default=None)


class Engine:
    """The pure decision maker. Not safe for concurrent use; times are seconds since the epoch."""

    def __init__(self, rulebook: Rulebook, actions: Mapping[str, ActionSpec], tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        self._matcher = Matcher(rulebook)
        self._ledger = Ledger()
        self._climber = Climber(actions, self._ledger, self._tuning)
        self._cases: dict[str, _Case] = {}
        self._open: dict[tuple[str, str], str] = {}  # (rule, workload's uid) -> incident
        self._by_workload: dict[str, dict[str, None]] = {}  # workload's uid -> incidents, oldest first
        self._wakes: list[tuple[float, str]] = []  # when, incident or signal key
        self._next_recheck: float | None = None
        self._opened = 0

    # what a shell asks

    def incidents(self) -> list[Incident]:
        """The incidents that are not closed."""
        return [case.incident for case in self._cases.values()]

    def incident(self, incident_id: str) -> Incident | None:
        """An incident that is not closed, by id."""
        case = self._cases.get(incident_id)
        return None if case is None else case.incident

    def incidents_of(self, key: str) -> list[str]:
        """The incidents that a firing signal is part of, by the signal's key."""
        firing = self._matcher.get(key)
        return [] if firing is None else list(firing.incidents)

    def concerns(self, workload: str) -> bool:
        """Whether a change of that workload (by uid) can matter to any decision."""
        return workload in self._by_workload or self._matcher.concerns(workload)

    def next_wake(self) -> float | None:
        """When the next Tick is due, if time alone can change something."""
        due = [self._wakes[0][0]] if self._wakes else []
        if self._next_recheck is not None:
            due.append(self._next_recheck)
        return min(due, default=None)

    def handle(self, event: Input, view: View, now: float) -> list[Effect]:
        """Decide what follows from one input. The effects are to be carried out in their order."""
        effects: list[Effect] = []
        match event:
            case Signal(firing=True):
                self._fires(event, view, now, effects)
            case Signal():
                self._resolved(event.key, view, now, effects)
            case WorkloadChanged(uid):
                self._ask_again(self._matcher.of_workload(uid), view, now, effects)
                for incident_id in list(self._by_workload.get(uid, ())):
                    self._advance(incident_id, view, now, effects)
            case Acted():
                self._acted(event, view, now, effects)
            case Tick():
                self._tick(view, now, effects)
        return effects

    def use(self, rulebook: Rulebook, view: View, now: float) -> list[Effect]:
        """Take other rules. An incident whose rule is unchanged goes on; another acts no further and is closed."""
        effects: list[Effect] = []
        self._matcher.use(rulebook)
        for incident_id in list(self._cases):
            self._advance(incident_id, view, now, effects)
        self._ask_again(self._matcher.all(), view, now, effects)
        return effects

    def restore(self, incidents: Iterable[Incident], sick_now: Container[str], view: View, now: float) -> list[Effect]:
        """Go on from a journal, oldest incident first; to be called once, before any other input.

        `sick_now` holds the keys of the pods' signals that fire now. A claimed action is resolved by looking at the cluster: it
        took effect, or it is tried again, which looks first.
        """
        effects: list[Effect] = []
        for incident in incidents:
            self._ledger.learn(incident, view)
            if incident.state is State.CLOSED:
                continue
            rule = rule_of(incident, self._matcher.rulebook.by_name)
            if rule is None:
                closed = closed_without_rule(incident, now)
                effects.append(Record(closed, closed.history[-1]))
                continue
            self._admit(_Case(symptoms_now(incident, sick_now, now), rule))
            for alert in alerts_of(incident):
                firing = self._matcher.firing(alert)
                firing.incidents[incident.id] = None
                firing.verdicts[rule.name] = ""
        for case in list(self._cases.values()):
            if case.incident.state is State.ACTING:
                self._resume(case, view, now, effects)
            self._advance(case.incident.id, view, now, effects)
        self._schedule_recheck(now)
        return effects

    def _resume(self, case: _Case, view: View, now: float, effects: list[Effect]) -> None:
        if took_effect(case.incident, view):
            text = f"healer was away; {case.incident.acting_on} is gone or going: the action took effect"
            outcome = Outcome(OutcomeKind.DONE, "FoundDone", text)
            case.incident = self._climber.acted(case.incident, outcome, self._context(case, view, now, effects))
        else:
            case.incident = to_be_tried_again(case.incident, now)
            effects.append(Record(case.incident, case.incident.history[-1]))

    def _admit(self, case: _Case) -> None:
        incident = case.incident
        self._cases[incident.id] = case
        if not incident.state.settled:
            self._open[incident.rule, incident.workload.uid] = incident.id
        self._by_workload.setdefault(incident.workload.uid, {})[incident.id] = None
        if incident.wake_at is not None:
            case.queued_wake = incident.wake_at
            heapq.heappush(self._wakes, (incident.wake_at, incident.id))

    # signals

    def _fires(self, signal: Signal, view: View, now: float, effects: list[Effect]) -> None:
        if self._matcher.supersedes(signal):
            self._resolved(signal.key, view, now, effects)
        firing = self._matcher.firing(signal)
        self._schedule_recheck(now)
        asked = False
        for match in self._matcher.ask(firing, view, now):
            asked = True
            self._matched(match, view, now, effects)
        if not asked:
            reason = Reason("NoRule", f"no rule is about {signal.source} {signal.name} in {signal.target.namespace}")
            effects.append(Decided(Decision(now, Verb.IGNORE, reason, signal.target)))

    def _ask_again(self, firings: list[Firing], view: View, now: float, effects: list[Effect]) -> None:
        for firing in firings:
            for match in self._matcher.ask(firing, view, now, again=True):
                if match.news:
                    self._matched(match, view, now, effects)

    def _matched(self, match: Match, view: View, now: float, effects: list[Effect]) -> None:
        signal, rule = match.firing.signal, match.rule
        if match.reason is not None or match.workload is None:
            if match.news and match.wake_at is not None:
                heapq.heappush(self._wakes, (match.wake_at, signal.key))
            if match.news and match.reason is not None:
                verb = Verb.PEND if match.pending else Verb.IGNORE
                effects.append(Decided(Decision(now, verb, match.reason, signal.target, rule.name)))
            self._schedule_recheck(now)
            return
        incident_id = self._open.get((rule.name, match.workload.uid))
        if incident_id is None:
            self._opened += 1
            incident = opened(rule, match.workload, signal, now, self._opened)
            self._admit(_Case(incident, rule))
            verb = Verb.OPEN
        else:
            incident, verb = join(self._cases[incident_id].incident, signal, now), Verb.JOIN
            match.firing.incidents[incident.id] = None
            if incident is self._cases[incident_id].incident:
                return
            self._cases[incident_id].incident = incident
        match.firing.incidents[incident.id] = None
        reason = Reason(signal.name, f"{signal.target}: {signal.message or signal.name}")
        effects.append(Decided(Decision(now, verb, reason, signal.target, rule.name, incident.id)))
        effects.append(Record(incident, incident.history[-1]))
        self._advance(incident.id, view, now, effects)

    def _resolved(self, key: str, view: View, now: float, effects: list[Effect]) -> None:
        firing = self._matcher.resolved(key)
        if firing is None:
            return
        for incident_id in firing.incidents:
            case = self._cases.get(incident_id)
            if case is not None and any(key in sick.signals for sick in case.incident.targets.values()):
                case.incident = leave(case.incident, key, now)
                effects.append(Record(case.incident, case.incident.history[-1]))
                self._advance(incident_id, view, now, effects)

    # actions and time

    def _acted(self, event: Acted, view: View, now: float, effects: list[Effect]) -> None:
        case = self._cases.get(event.incident)
        if case is None or (case.incident.state, case.incident.step, case.incident.attempt) != (
            State.ACTING,
            event.step,
            event.attempt,
        ):
            target = Target("Incident", "", event.incident, "")
            reason = Reason("StaleOutcome", f"an outcome that no incident waits for: {event.outcome.text}")
            effects.append(Decided(Decision(now, Verb.IGNORE, reason, target, incident=event.incident)))
            return
        context = self._context(case, view, now, effects)
        was = case.incident
        case.incident = self._climber.acted(was, event.outcome, context)
        self._advance(event.incident, view, now, effects, was)

    def _tick(self, view: View, now: float, effects: list[Effect]) -> None:
        while self._wakes and self._wakes[0][0] <= now:
            _, key = heapq.heappop(self._wakes)
            if key in self._cases:
                self._cases[key].queued_wake = None
                self._advance(key, view, now, effects)
            elif (firing := self._matcher.get(key)) is not None:
                self._ask_again([firing], view, now, effects)
        if self._next_recheck is not None and now >= self._next_recheck:
            self._next_recheck = None
            for firing in self._matcher.expired(now - self._tuning.alert_expiry):
                self._resolved(firing.signal.key, view, now, effects)
            self._ask_again(self._matcher.unmatched(), view, now, effects)
            self._matcher.forget(now)
            self._ledger.forget(now - self._looks_back(), view)
            if self._matcher.waits() or self._ledger.remembers():
                self._schedule_recheck(now)

    def _schedule_recheck(self, now: float) -> None:
        if self._next_recheck is None:
            self._next_recheck = now + self._tuning.recheck

    def _looks_back(self) -> float:
        """How far any limit looks back, in seconds."""
        limits = [rule.rule.limits for rule in self._matcher.rulebook.rules]
        return max((max(each.cooldown, each.budget.per) for each in limits), default=0.0)

    # incidents

    def _context(self, case: _Case, view: View, now: float, effects: list[Effect]) -> Context:
        others = [
            self._cases[other].incident
            for other in self._by_workload.get(case.incident.workload.uid, ())
            if other != case.incident.id
        ]
        in_force = self._matcher.rulebook.get(case.rule.name)
        return Context(case.rule, in_force is not None and in_force.rule == case.rule.rule, view, others, now, effects)

    def _advance(self, incident_id: str, view: View, now: float, effects: list[Effect], was: Incident | None = None) -> None:
        """Let an incident go as far as it can now, then those that may have waited for it; `was` is what it was before."""
        case = self._cases.get(incident_id)
        if case is None:
            return
        was = was or case.incident
        context = self._context(case, view, now, effects)
        case.incident = after = self._climber.advance(case.incident, context)
        self._schedule_recheck(now)  # what this leaves in the ledger is to be forgotten some time
        if after.state.settled and self._open.get((after.rule, after.workload.uid)) == after.id:
            del self._open[after.rule, after.workload.uid]  # a successor may have opened meanwhile: it stays
        if after.state is State.CLOSED:
            self._close(after)
            if not context.in_force:
                self._hand_over(after, view, now, effects)
        elif after.wake_at is not None and after.wake_at != case.queued_wake:
            case.queued_wake = after.wake_at
            heapq.heappush(self._wakes, (after.wake_at, after.id))
        if climbing(was) and not climbing(after):
            for other in list(self._by_workload.get(after.workload.uid, ())):
                if other != incident_id:
                    self._advance(other, view, now, effects)

    def _hand_over(self, closed: Incident, view: View, now: float, effects: list[Effect]) -> None:
        """What still fires of an incident that was closed because its rule changed is for the rule as it is now."""
        left = [firing for firing in self._matcher.of_workload(closed.workload.uid) if closed.id in firing.incidents]
        for firing in left:
            firing.verdicts.pop(closed.rule, None)
        self._ask_again(left, view, now, effects)

    def _close(self, incident: Incident) -> None:
        del self._cases[incident.id]
        neighbours = self._by_workload.get(incident.workload.uid, {})
        neighbours.pop(incident.id, None)
        if not neighbours:
            self._by_workload.pop(incident.workload.uid, None)
