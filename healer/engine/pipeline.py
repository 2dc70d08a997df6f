"""The way of an input through the engine: match -> incident -> guards -> transition -> effects.

`handle` is where it comes in. Signals are matched (`_arrive`), and a match opens an incident or joins one (`_matched`).

An incident goes on as far as it can (`advance`): `incidents.ladder` tells its next transition, which asks the guards
(`safety.guards`) before it acts. What it did is counted (`safety.counting`); its effects are gathered in the `Turn`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from healer.engine.incidents.cases import Case
from healer.engine.incidents.ended_alerts import EndedAlerts
from healer.engine.incidents.nodes import Nodes
from healer.engine.incidents.opening import has, join, leave, opened
from healer.engine.incidents.people import People
from healer.engine.incidents.resumption import CASES_AT_ONCE, SIGNALS_AT_ONCE, Resumption
from healer.engine.matching.firing import Firing
from healer.engine.matching.fit import FOREIGN
from healer.engine.matching.matcher import Match
from healer.engine.parts import Parts
from healer.engine.turn import Turn
from healer.engine.waiting_signals import WaitingSignals
from healer.model.duration import about
from healer.model.effects import Acted, Approval, Dropped, Input, TakenBack, Tick, Together, Undone, Verb, WorkloadChanged
from healer.model.incident import Incident, Reason
from healer.model.signal import Answered, Signal, Unanswered
from healer.model.target import Target


class Pipeline:
    """`find` finds an incident that is not closed, by id. Times in seconds since the epoch."""

    def __init__(
        self, parts: Parts, waiting: WaitingSignals, ended_alerts: EndedAlerts, find: Callable[[str], Incident | None]
    ) -> None:
        self._parts = parts
        self._tuning = parts.tuning
        self._matcher = parts.matcher
        self._cases = parts.cases
        self._progress = parts.progress
        self._ended_alerts = ended_alerts
        self._find = find
        self._people = People(parts, find, self.advance)
        self._nodes = Nodes(parts, self.ask_again)
        self.resumption = Resumption(parts, self._nodes, self.ask_again)
        self._waiting = waiting

    def next_wake(self) -> float | None:
        """When the next Tick is due, if time alone can change something."""
        state = self._parts.guard_state
        resumes_at, tenant = state.cluster_breaker.resumes_at, state.tenant_breakers.next_end()
        due = [self.resumption.due, self._cases.next_wake(), self._waiting.due, self._matcher.next_fade(), resumes_at]
        due.append(None if tenant is None else tenant[0])
        return min((at for at in due if at is not None), default=None)

    def handle(self, event: Input, turn: Turn) -> None:
        """Decide what follows from one input."""
        self._matcher.fade(turn)
        match event:
            case Signal():
                self._arrive((event,), turn)
            case Together(signals, whole):
                self._arrive(signals, turn, whole=whole)
            case Answered(rule, keys):
                self._matcher.answered(rule)
                self._arrive(list(self._matcher.ends(rule, keys)), turn)
                self._advance_of(rule, turn)
            case Unanswered(rule, why, keys):
                self.resumption.ask(self._matcher.unanswered(rule, why, keys), turn)
                self._advance_of(rule, turn)
            case WorkloadChanged(uid, pod):
                self._workload_changed(uid, pod, turn)
            case Acted():
                self._acted(event, turn)
            case Approval():
                self._people.approved(event, turn)
            case Undone():
                self._people.undone(event, turn)
            case TakenBack():
                self._people.taken_back(event, turn)
            case Dropped():
                self._dropped(event, turn)
            case Tick():
                self._tick(turn)
        self.follow_up(turn)

    # match

    def _arrive(self, signals: Sequence[Signal], turn: Turn, *, whole: bool | None = None) -> None:
        """Take in signals that arrive together: all are known before any incident goes on."""
        resolved: dict[str, set[str]] = {}  # incident -> keys
        matches: list[Match] = []
        confirmed: dict[str, None] = {}  # incidents that waited for a word of an alert
        alone: dict[str, float] = {}  # key -> when that ended which no incident has
        for signal in signals:
            if (reason := self._matcher.outdated(signal)) is not None:
                turn.decide(Verb.IGNORE, reason, signal.target)
                continue
            known = self._matcher.get(signal.key)
            if signal.firing and known is not None and known.doubt(turn.now, self._tuning.alert_freshness) is not None:
                confirmed |= known.incidents
            if not signal.firing or self._matcher.supersedes(signal):
                alone |= self._resolves(signal, known, resolved, turn)
            if signal.firing:
                matches += self._fires(signal, turn)
        self.resumption.arriving(whole=not self.resumption.parts_to_come if whole is None else whole)
        self._ended_alerts.keep(alone, turn)
        self._update(resolved, matches, turn)
        for incident_id in confirmed:
            self.advance(incident_id, turn)
        self.resumption.arrived(turn)

    def _resolves(self, signal: Signal, known: Firing | None, resolved: dict[str, set[str]], turn: Turn) -> Mapping[str, float]:
        """Note in `resolved` the incidents that it was part of; returns when it ended, where there are none."""
        target, workload = (signal.target, "") if known is None else (known.signal.target, known.workload)
        self._matcher.resolved(signal.key)
        incidents = [each for each in (() if known is None else known.incidents) if self._cases.get(each) is not None]
        for incident_id in incidents:
            resolved.setdefault(incident_id, set()).add(signal.key)
        return {} if incidents or signal.firing else self._ended_alerts.alone(signal, target, workload, turn)

    def _fires(self, signal: Signal, turn: Turn) -> list[Match]:
        firing = self._matcher.firing(signal)
        self.release([firing], turn)
        self._waiting.schedule(turn.now)
        matches = list(self._matcher.ask(firing, turn))
        if not matches:
            reason = Reason("NoRule", f"no rule is about {signal.source} {signal.name} in {signal.target.namespace}")
            turn.decide(Verb.IGNORE, reason, signal.target)
            if (lost := self._matcher.keep_unmatched(firing)) is not None:
                reason = Reason("Forgotten", f"{lost.name}: too many alerts fire that no rule is about, it is forgotten")
                turn.decide(Verb.IGNORE, reason, lost.target)
        return matches

    def ask_again(self, firings: Iterable[Firing], turn: Turn) -> None:
        """Ask the rules that have not matched these signals yet."""
        asked = (self._matcher.ask(firing, turn, again=True) for firing in firings)
        self._update({}, [match for matches in asked for match in matches if match.news], turn)

    # incident

    def _update(self, resolved: Mapping[str, set[str]], matches: Sequence[Match], turn: Turn) -> None:
        """What becomes of incidents whose signals are resolved, and of what rules make of others; then all of these go on."""
        alone = not self._progress.in_batch
        with self._progress.batch(turn):
            self._nodes.check_changed(turn)  # before more incidents open
            for incident_id, keys in resolved.items():
                if (case := self._cases.get(incident_id)) is not None:
                    self._record(case, leave(case.incident, keys, turn.now, ends=self._matcher.ended.of(keys)), turn)
                    if alone and _nothing_left(case.incident):  # what fires from now on is a case of its own
                        self._progress.end(case, turn)
            joining: dict[str, dict[str, Signal]] = {}  # incident -> key -> signal
            for match in matches:
                if self._matcher.get(match.firing.signal.key) is match.firing:  # it has not ended meanwhile
                    self._matched(match, joining, turn)
            for incident_id, signals in joining.items():
                if (case := self._cases.get(incident_id)) is not None:
                    self._record(case, join(case.incident, list(signals.values()), turn.now), turn)

    def _matched(self, match: Match, joining: dict[str, dict[str, Signal]], turn: Turn) -> None:
        """Open an incident for a match, or note in `joining` that it is part of one."""
        signal, rule = match.firing.signal, match.rule
        if match.reason is not None or match.workload is None:
            self._not_matched(match, turn)
            return
        case = self._cases.of_rule(rule.name, match.workload.uid)
        if self._nodes.takes(match, None if case is None else case.incident, turn):
            return
        if case is None and (why := self._cases.why_unstorable(rule.name, match.workload.uid)):
            text = f"{why}: no further incident of {match.workload} is opened"
            turn.decide(Verb.IGNORE, Reason("NotKept", text), signal.target, rule.name)
            return
        reason = Reason(signal.name, f"{signal.target}: {signal.message or signal.name}")
        if case is None:
            self._open(match, match.workload, reason, turn)
            return
        incident = case.incident
        match.firing.join(incident.id)
        self._parts.count_opening(case, match.firing, turn)
        coming = joining.setdefault(incident.id, {})
        if signal.key not in coming and not has(incident, signal):
            coming[signal.key] = signal
            turn.decide(Verb.JOIN, reason, signal.target, rule.name, incident.id)

    def _not_matched(self, match: Match, turn: Turn) -> None:
        signal = match.firing.signal
        self._waiting.await_match(match)
        if match.news and match.reason is not None:
            turn.decide(Verb.PEND if match.pending else Verb.IGNORE, match.reason, signal.target, match.rule.name)
        self._waiting.schedule(turn.now)

    def _open(self, match: Match, workload: Target, reason: Reason, turn: Turn) -> None:
        signal, rule, there = match.firing.signal, match.rule, turn.view.workload(workload.uid)
        revision, healthy = "" if there is None else there.revision, self._parts.healthy.revision(workload.uid, turn.now)
        incident = opened(rule, workload, signal, turn.now, self._parts.number(), revision, healthy)
        self._cases.admit(case := Case(incident, rule))
        match.firing.join(incident.id)
        turn.decide(Verb.OPEN, reason, signal.target, rule.name, incident.id)
        turn.record(incident)
        self._parts.count_opening(case, match.firing, turn)
        self.advance(incident.id, turn)

    def release(self, firings: Iterable[Firing], turn: Turn) -> None:
        """Take the signals out of the incidents whose rules do not cover their targets any more."""
        with self._progress.batch(turn):
            for firing in firings:
                for case in filter(None, map(self._cases.get, list(firing.incidents))):
                    reason = self._parts.validity.misfit(case, firing, turn)
                    if reason is not None and reason.code in FOREIGN:
                        self._matcher.drop(firing, case.rule.name, case.incident.id, turn)
                        self._record(case, leave(case.incident, {firing.signal.key}, turn.now, reason), turn)

    def _record(self, case: Case, after: Incident, turn: Turn) -> None:
        if after is not case.incident:
            self._progress.record(case, after, turn)
            self.advance(after.id, turn)

    # guards, transition, effects

    def advance(self, incident_id: str, turn: Turn) -> None:
        """Let an incident go as far as it can now."""
        self._progress.advance(incident_id, turn)
        self._waiting.schedule(turn.now)  # what this leaves in the ledger is to be forgotten some time

    def _advance_of(self, rule: str, turn: Turn) -> None:
        """Let the incidents of a rule go on, of which it is known now whether its source answers."""
        self.resumption.advance([case for case in self._cases.all() if case.incident.rule == rule], turn)
        self._waiting.schedule(turn.now)

    def follow_up(self, turn: Turn) -> None:
        """What the input has changed for others than those that it is about."""
        if self._progress.paused:
            return
        self._nodes.check_changed(turn)
        neighbours = self._parts.neighbours
        for workload in self._matcher.sick_counts.changed_workloads():
            if neighbours.due_takers(workload, turn.view) != neighbours.takers(workload):
                for case in self._cases.on(workload):
                    self.advance(case.incident.id, turn)
        while outdated := self._progress.take_outdated():
            for closed in outdated:
                # what still fires is for the rule as it is now
                left = [each for each in self._matcher.of_workload(closed.workload.uid) if closed.id in each.incidents]
                for firing in left:
                    firing.ask_anew(closed.rule)
                self.ask_again(left, turn)

    # other inputs

    def _workload_changed(self, uid: str, pod: str, turn: Turn) -> None:
        if not pod:
            self._parts.healthy.observe(uid, turn)
        # Asking about all its pods at each event of one would make a storm's cost quadratic.
        firings = self._matcher.of_workload(uid, pod)
        self.release(firings, turn)
        self.ask_again(firings, turn)
        for case in self._cases.on(uid):
            self.advance(case.incident.id, turn)

    def _acted(self, event: Acted, turn: Turn) -> None:
        case = self._cases.acting(event.incident, event.step, event.attempt)
        if case is None:
            reason = Reason("StaleOutcome", f"an outcome that no incident waits for: {event.outcome.text}")
            turn.answer(Verb.IGNORE, reason, event.incident, self._find(event.incident))
            return
        self._progress.acted(case, event.outcome, turn)
        self._waiting.schedule(turn.now)

    def _dropped(self, event: Dropped, turn: Turn) -> None:
        self._cases.lose(event.incident, event.why, event.how)
        self._ended_alerts.begin_anew(event.incident, event.how, turn)
        self.advance(event.incident, turn)

    def _tick(self, turn: Turn) -> None:
        self.resumption.tick(turn)
        if (resumes := self._parts.guard_state.cluster_breaker.resumes_at) is not None and turn.now >= resumes:
            text = f"no further incident has opened for {about(self._tuning.limits.breaker_quiet)}: healer goes on"
            self._people.resume(Reason("Quiet", text), turn)
        while (tenant := self._parts.guard_state.tenant_breakers.next_end()) is not None and turn.now >= tenant[0]:
            text = (
                f"no incident of a further workload has opened for {about(self._tuning.limits.breaker_quiet)}: its RuleSets go on"
            )
            self._people.resume_tenant(tenant[1], Reason("Quiet", text), turn)
        self._wake(turn)
        if self._waiting.take_all(turn.now):
            expired = self._matcher.expired(turn.now, self._tuning)
            self._arrive([replace(firing.signal, firing=False) for firing in expired[:SIGNALS_AT_ONCE]], turn)
            if len(expired) > SIGNALS_AT_ONCE:
                self._waiting.take_all_again(turn.now)
                return
            self.resumption.ask(self._matcher.unmatched(), turn)
            self._waiting.forget(turn)

    def _wake(self, turn: Turn) -> None:
        """Look at what wanted to be looked at by now, in the order of the times asked for: a part at each Tick."""
        for _ in range(CASES_AT_ONCE):
            match, incident = self._waiting.match_due, self._cases.next_wake()
            if match is not None and match <= turn.now and (incident is None or match <= incident):
                firing = self._matcher.get(self._waiting.take_match())
                self.ask_again([firing] if firing is not None else [], turn)
            elif (incident_id := self._cases.take_due(turn.now)) is not None:
                self.advance(incident_id, turn)
            else:
                return


def _nothing_left(incident: Incident) -> bool:
    """Whether healer has done nothing for an incident, and nothing is left to do."""
    return not (incident.any_sick or incident.acted_at or incident.failures or incident.treated) and incident.acting_on is None
