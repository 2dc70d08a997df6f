"""The engine: takes an input, returns effects. Every shell (daemon, tests, benchmarks) drives this one object.

Its state is the signals that fire (`match`), the incidents that are open (`cases`, `wide`), and what was done lately (`ledger`).
It reads the cluster only through a `View`, and the time only from its arguments.
"""

import heapq
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from healer.engine.incidents.approval import granted, rule_changed, undone, waits
from healer.engine.incidents.ladder import Ladder
from healer.engine.incidents.life import Case, Cases
from healer.engine.incidents.opening import has, join, leave, opened, with_ends
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
from healer.engine.incidents.trust import Sifted, counts_for, openings, sift
from healer.engine.matching.fit import FOREIGN
from healer.engine.matching.matcher import UNNAMED, Firing, Match, Matcher, Weight
from healer.engine.safety.breaker import ClusterBreaker, RuleBreakers, counts
from healer.engine.safety.guards import GuardState
from healer.engine.safety.healthy import Healthy
from healer.engine.safety.ledger import Ledger
from healer.engine.safety.wide import (
    BREAKER,
    ENDED_ALERTS,
    NODE_STORM,
    SET_ASIDE,
    NodeStorms,
    breaker_open,
    ended_alerts,
    node_storm,
    over,
    set_aside,
    with_targets,
)
from healer.engine.tuning import Tuning
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.duration import about
from healer.model.effects import (
    Act,
    Acted,
    Approval,
    Decided,
    Decision,
    Dropped,
    Effect,
    Input,
    Loss,
    Record,
    Remember,
    Tick,
    Together,
    Undone,
    Verb,
    WorkloadChanged,
)
from healer.model.incident import Incident, Reason, State
from healer.model.kube import Pod
from healer.model.signal import Answered, Signal, Unanswered
from healer.model.target import Target
from healer.model.view import View
from healer.model.workload import Workload
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.triggers import TRIGGERS

T = TypeVar("T")

_MOST_HOMELESS = 1000
"""Rules and workloads of namespaces that are being deleted, that are remembered; beyond, the oldest are forgotten."""
_NODES_AT_ONCE = 10
_CASES_AT_ONCE = 25
_SIGNALS_AT_ONCE = 100
"""What one input, or one step of going on from a journal, takes up of each: about 10 ms of work."""


class Engine:
    """The pure decision maker. Not safe for concurrent use; times are seconds since the epoch."""

    def __init__(self, rulebook: Rulebook, actions: Mapping[str, ActionSpec], tuning: Tuning | None = None) -> None:
        self._tuning = tuning = tuning or Tuning()
        self._ledger = Ledger()
        self._nodes = NodeStorms()
        self._rules = RuleBreakers()
        self._healthy = Healthy(tuning.healthy_after)
        self._breaker = ClusterBreaker(tuning.breaker_incidents, tuning.breaker_window, tuning.breaker_quiet)
        watch = GuardState(tuning, self._ledger, self._nodes, self._rules, self._breaker)
        self._ladder = ladder = Ladder(actions, watch)
        self._matcher = Matcher(rulebook, self._ledger.took, ladder.ever_changes, tuning.alert_freshness)
        self._cases = Cases(ladder, self._matcher, self._ledger, tuning.alert_freshness)
        self._looks: list[tuple[float, str]] = []  # when, key of a signal that may match by then
        self._next_recheck: float | None = None
        self._restored_at: float | None = None
        self._arriving = False
        """Of signals that arrive together some are still to come."""
        self._partial = False
        """Not all that fires is known (again) yet: no storm is judged by it."""
        self._going_on: float | None = None
        """Since when what was held goes on, a part at each Tick; None when nothing does."""
        self._nodes_left: dict[str, None] = {}
        """Nodes to look at before the incidents go on."""
        self._opened = 0
        self._aside: Incident | None = None
        """The incident that says what of the journal is not believed."""
        self._homeless: dict[tuple[str, str], str] = {}
        """Rules and workloads (by uid) whose incidents cannot be kept, and why: their namespace is being deleted, or gone."""
        self._ended: Incident | None = None
        """The incident that keeps which alerts ended while no other had them."""

    # what a shell asks

    def incidents(self) -> list[Incident]:
        """The incidents that are not closed."""
        wide = [incident for incident in (self._breaker.incident, self._aside) if incident is not None]
        return [case.incident for case in self._cases.all()] + self._nodes.all() + wide

    def incident(self, incident_id: str) -> Incident | None:
        """An incident that is not closed, by id."""
        case = self._cases.get(incident_id)
        if case is not None:
            return case.incident
        return next((incident for incident in self.incidents() if incident.id == incident_id), None)

    def incidents_of(self, key: str) -> list[str]:
        """The incidents that a signal is part of, by its key: while it fires, and when its end is kept for later."""
        firing = self._matcher.get(key)
        if firing is not None:
            return list(firing.incidents)
        return [] if self._ended is None or key not in self._ended.ended else [self._ended.id]

    def looks_for(self, signal: Signal) -> bool:
        """Whether some rule in force looks for signals of that name."""
        return (signal.source, signal.name) in self._matcher.rulebook.names

    def alerts(self) -> list[Signal]:
        """The alerts that fire and that some rule is about."""
        return [firing.signal for firing in self._matcher.all() if TRIGGERS[firing.signal.source].fades and firing.verdicts]

    def concerns(self, workload: str) -> bool:
        """Whether a change of that workload (by uid) can matter to any decision."""
        return self._cases.concerns(workload) or self._matcher.concerns(workload)

    def unwanted(self, act: Act, view: View, now: float, fresh: Pod | Workload | None = None) -> Reason | None:
        """Why an attempt is not to be made any more; None when it is. `fresh` is its target as it was just read."""
        case = self._cases.get(act.incident.id)
        if case is None or (case.incident.state, case.incident.step, case.incident.attempt) != (
            State.ACTING,
            act.step,
            act.attempt,
        ):
            return Reason("Overtaken", "the incident went on meanwhile: nothing was done")
        return self._cases.unwanted(case, act.target, view, now, fresh)

    @property
    def goes_on(self) -> bool:
        """Whether what was held has not all gone on yet: each Tick lets a part of it go."""
        return self._going_on is not None

    def next_wake(self) -> float | None:
        """When the next Tick is due, if time alone can change something."""
        due = [self._restored_at, None if self._arriving else self._going_on, self._cases.next_wake(), self._next_recheck]
        due += [self._breaker.resumes_at, self._looks[0][0] if self._looks else None, self._matcher.next_fade()]
        return min((at for at in due if at is not None), default=None)

    def handle(self, event: Input, view: View, now: float) -> list[Effect]:
        """Decide what follows from one input. The effects are to be carried out in their order."""
        effects: list[Effect] = []
        self._matcher.fade(view, now)
        match event:
            case Signal():
                self._arrive((event,), view, now, effects, whole=not self._arriving)
            case Together(signals, whole):
                self._arrive(signals, view, now, effects, whole=whole)
            case Answered(rule, keys):
                self._arrive(self._matcher.answered(rule, keys), view, now, effects, whole=not self._arriving)
                self._advance_rule(rule, view, now, effects)
            case Unanswered(rule, why, keys):
                self._ask_again(self._matcher.unanswered(rule, why, keys), view, now, effects)
                self._advance_rule(rule, view, now, effects)
            case WorkloadChanged(uid, pod):
                if not pod:
                    self._healthy.look(uid, view, now)
                # Asking about all its pods at each event of one would make a storm's cost quadratic.
                firings = self._matcher.of_workload(uid, pod)
                self._release(firings, view, now, effects)
                self._ask_again(firings, view, now, effects)
                for incident_id in self._cases.on(uid):
                    self._advance(incident_id, view, now, effects)
            case Acted():
                self._acted(event, view, now, effects)
            case Approval():
                self._approved(event, view, now, effects)
            case Undone(incident_id, by):
                self._undone(incident_id, by, now, effects)
            case Dropped(incident_id, why, how):
                if how is Loss.HOMELESS and (case := self._cases.get(incident_id)) is not None:
                    self._homeless[case.rule.name, case.incident.workload.uid] = why
                    self._homeless = dict(list(self._homeless.items())[-_MOST_HOMELESS:])
                self._cases.lose(incident_id, why, how)
                self._begin_ends_anew(incident_id, how, now, effects)
                self._advance(incident_id, view, now, effects)
            case Tick():
                self._tick(view, now, effects)
        self._look_around(view, now, effects)
        return effects

    def use(self, rulebook: Rulebook, view: View, now: float) -> list[Effect]:
        """Take other rules. An incident whose rule is unchanged goes on; another acts no further and is closed."""
        effects: list[Effect] = []
        held = self._partial
        self._partial = self._cases.held = True
        self._matcher.use(rulebook, view, now)
        for case in self._cases.all():
            self._advance(case.incident.id, view, now, effects)
        self._ask_again(self._matcher.all(), view, now, effects)
        self._cases.outdated.clear()  # what still fires of theirs has just been asked about
        if not held:
            self._let_go(view, now, effects)
            self._look_around(view, now, effects)
        return effects

    def sift(self, incidents: Iterable[Incident], view: View, now: float) -> Sifted:
        """What of a journal is believed; only that is to be restored."""
        return sift(incidents, self._matcher.rulebook.by_name, view, self._tuning.home, now)

    def restore(
        self, incidents: Iterable[Incident], sick_now: Container[str], view: View, now: float, aside: Sequence[str] = ()
    ) -> Iterator[list[Effect]]:
        """Go on from the incidents of a journal that are believed, oldest first; to be called once, before any other input.

        What is returned is to be taken to its end: each step does a part, some milliseconds of work, and gives its effects.

        `sick_now` holds the keys of the pods' signals that fire now; the signals themselves are to be fed next. Nothing is acted
        on before the first Tick, which is due at once: only then it is known how much is sick. A claimed action is resolved by
        looking at the cluster: it took effect, or it is tried again, which looks first. `aside` names the incidents that are not
        believed, each as "namespace/name (code)": people hear of them by one incident.
        """
        known = list(incidents)
        counted = {i.id: i for i in known if counts_for(i, self._matcher.rulebook.by_name, view)}
        yield []
        self._rules.learn(counted.values())
        resumed_at = max((i.ended_at for i in known if i.rule == BREAKER and i.ended_at is not None), default=0.0)
        opened_at = openings(i for i in known if self._counts(i, view) and (i.rule == NODE_STORM or i.id in counted))
        self._breaker.learn(opened_at, resumed_at)
        yield []
        for incident in known:
            if incident.id in counted:
                self._ledger.learn(incident, view)
            lone = incident.rule == ENDED_ALERTS
            self._matcher.ended.learn(incident.ended, "" if lone else incident.workload.namespace, now)
            if lone:
                self._ended = incident
            yield []
        for incident in known:
            if incident.state is not State.CLOSED:
                yield from self._go_on(as_it_was(incident, sick_now, now), view, now)
        effects: list[Effect] = []
        self._say_aside(aside, now, effects)
        for workloads in _parts(sorted(each.metadata.uid for each in view.workloads()), _SIGNALS_AT_ONCE):
            for workload in workloads:
                self._healthy.look(workload, view, now)
            yield []
        self._restored_at, self._partial, self._cases.held = now, True, True
        yield effects
        for firings in _parts(self._matcher.all(), _SIGNALS_AT_ONCE):
            effects = []
            self._release(firings, view, now, effects)
            yield effects
        for cases in _parts(self._cases.all(), _CASES_AT_ONCE):
            effects = []
            for case in cases:
                self._advance(case.incident.id, view, now, effects)  # as soon as they may
            yield effects
        self._schedule_recheck(now)

    def _go_on(self, incident: Incident, view: View, now: float) -> Iterator[list[Effect]]:
        """Go on with an incident of the journal, a part of its signals at each step."""
        if incident.rule == BREAKER:
            self._breaker.incident = incident
            return
        if incident.rule == SET_ASIDE:
            self._aside = incident
            return
        if incident.rule == NODE_STORM:
            self._nodes.put(incident)
            yield from self._resume_signals(incident, UNNAMED, view, now)
            return
        effects: list[Effect] = []
        rule = rule_of(incident, self._matcher.rulebook.by_name)
        why = None if rule is None else not_for(incident, rule, view)
        if rule is None or why is not None:
            closed = closed_for(incident, why or rule_changed(incident, " while healer was away"), now)
            yield [Record(closed, closed.history[-1])]
            return
        kept, incident = incident, ruled_by(incident, rule, now)
        if incident.history is not kept.history:
            effects.append(Record(incident, incident.history[-1]))
        case = Case(incident, rule, counted=True)
        self._cases.admit(case)
        yield from self._resume_signals(incident, rule.name, view, now)
        if incident.state is State.ACTING:
            if took_effect(incident, view):
                text = f"healer was away; {incident.acting_on} is gone or going: the action took effect"
                self._cases.acted(case, Outcome(OutcomeKind.DONE, "FoundDone", text), view, now, effects)
            else:
                self._cases.take(case, to_be_tried_again(incident, now), effects)
        yield effects

    def _resume_signals(self, incident: Incident, rule: str, view: View, now: float) -> Iterator[list[Effect]]:
        for number, signal in enumerate(signals_of(incident), 1):
            self._matcher.resume(signal, rule, incident.id, view, now)
            if number % _SIGNALS_AT_ONCE == 0:
                yield []

    def _say_aside(self, aside: Sequence[str], now: float, effects: list[Effect]) -> None:
        before = self._aside
        after = set_aside(before, aside, self._tuning.home, now, self._number())
        if after is not None and after is not before:
            effects.append(Record(after, after.history[-1]))
        self._aside = None if after is None or after.state is State.CLOSED else after

    # signals

    def _arrive(self, signals: Sequence[Signal], view: View, now: float, effects: list[Effect], *, whole: bool = True) -> None:
        """Take in signals that arrive together: all are known before any incident goes on."""
        over: dict[str, set[str]] = {}  # incident -> keys
        matches: list[Match] = []
        confirmed: dict[str, None] = {}  # incidents that waited for a word of an alert
        alone: dict[str, float] = {}  # key -> when that ended which no incident has
        for signal in signals:
            if (reason := self._matcher.no_news(signal)) is not None:
                effects.append(Decided(Decision(now, Verb.IGNORE, reason, signal.target)))
                continue
            known = self._matcher.get(signal.key)
            if signal.firing and known is not None and known.doubt(now, self._tuning.alert_freshness) is not None:
                confirmed |= known.incidents
            if not signal.firing or self._matcher.supersedes(signal):
                target, workload = (signal.target, "") if known is None else (known.signal.target, known.workload)
                cases = [each for each in self._resolved(signal.key) if self._cases.get(each) is not None]
                for incident_id in cases:
                    over.setdefault(incident_id, set()).add(signal.key)
                if not (cases or signal.firing):
                    alone |= self._lone_ends(signal, target, workload, effects)
            if signal.firing:
                matches += self._fires(signal, view, now, effects)
        self._arriving = not whole
        if self._arriving:
            self._partial = self._cases.held = True
        self._keep_ends(alone, now, effects)
        self._decide(over, matches, view, now, effects)
        for incident_id in confirmed:
            self._advance(incident_id, view, now, effects)
        if whole and self._partial and self._restored_at is None:
            self._let_go(view, now, effects)

    def _lone_ends(self, signal: Signal, target: Target, workload: str, effects: list[Effect]) -> Mapping[str, float]:
        """The ends of an alert that no incident has, by key; none where the open incident keeps them that let go of its target.

        So it does when healer took the pod.
        """
        ends = self._matcher.ended.of({signal.key, signal.trouble or signal.key})
        for incident_id in self._cases.on(workload) if ends else ():
            case = self._cases.get(incident_id)
            if case is not None and target.uid in case.incident.targets:
                case.incident = with_ends(case.incident, ends)
                effects.append(Record(case.incident, None))
                return {}
        return ends

    def _keep_ends(self, ends: Mapping[str, float], now: float, effects: list[Effect]) -> None:
        since = now - self._tuning.alert_expiry
        after = ended_alerts(self._ended, ends, since, self._tuning.home, now, self._number()) if ends else self._ended
        if after is not None and after is not self._ended:
            self._ended = after
            effects.append(Remember(after))

    def _begin_ends_anew(self, lost: str, how: Loss, now: float, effects: list[Effect]) -> None:
        """Keep ends in another incident when somebody deleted or edited the one that has them."""
        if self._ended is not None and self._ended.id == lost:
            ends, self._ended = self._ended.ended, None
            if how is not Loss.HOMELESS:
                self._keep_ends(ends, now, effects)

    def _fires(self, signal: Signal, view: View, now: float, effects: list[Effect]) -> list[Match]:
        firing = self._matcher.firing(signal)
        self._release([firing], view, now, effects)
        self._schedule_recheck(now)
        matches = list(self._matcher.ask(firing, view, now))
        if not matches:
            reason = Reason("NoRule", f"no rule is about {signal.source} {signal.name} in {signal.target.namespace}")
            effects.append(Decided(Decision(now, Verb.IGNORE, reason, signal.target)))
            if (lost := self._matcher.neglect(firing)) is not None:
                reason = Reason("Forgotten", f"{lost.name}: too many alerts fire that no rule is about, it is forgotten")
                effects.append(Decided(Decision(now, Verb.IGNORE, reason, lost.target)))
        return matches

    def _release(self, firings: Iterable[Firing], view: View, now: float, effects: list[Effect]) -> None:
        """Take the signals out of the incidents whose rules do not cover their targets any more."""
        held, self._cases.held = self._cases.held, True
        for firing in firings:
            for incident_id in list(firing.incidents):
                case = self._cases.get(incident_id)
                reason = None if case is None else self._cases.misfit(case, firing, view, now)
                if case is None or reason is None or reason.code not in FOREIGN:
                    continue
                self._matcher.disown(firing, case.rule.name, incident_id, view, now)
                self._change(case, leave(case.incident, {firing.signal.key}, now, reason), view, now, effects)
        if not held:
            self._cases.let_go(view, now, effects)

    def _resolved(self, key: str) -> Iterable[str]:
        """Note that a signal is over; returns the incidents that it was part of."""
        firing = self._matcher.resolved(key)
        return () if firing is None else firing.incidents

    def _ask_again(self, firings: Iterable[Firing], view: View, now: float, effects: list[Effect]) -> None:
        matches = [match for firing in firings for match in self._matcher.ask(firing, view, now, again=True) if match.news]
        self._decide({}, matches, view, now, effects)

    def _decide(
        self, over: Mapping[str, set[str]], matches: Sequence[Match], view: View, now: float, effects: list[Effect]
    ) -> None:
        """What becomes of incidents whose signals are over, and of what rules make of others; then all of these go on."""
        held, self._cases.held = self._cases.held, True
        self._look_at_nodes(view, now, effects)  # before more incidents open
        for incident_id, keys in over.items():
            if (case := self._cases.get(incident_id)) is not None:
                self._change(case, leave(case.incident, keys, now, ends=self._matcher.ended.of(keys)), view, now, effects)
                if not held and _is_over(case.incident):  # what fires from now on is a case of its own
                    self._cases.end(case, view, now, effects)
        joining: dict[str, dict[str, Signal]] = {}  # incident -> key -> signal
        for match in matches:
            if self._matcher.get(match.firing.signal.key) is match.firing:  # it has not ended meanwhile
                self._matched(match, joining, view, now, effects)
        for incident_id, signals in joining.items():
            if (case := self._cases.get(incident_id)) is not None:
                self._change(case, join(case.incident, list(signals.values()), now), view, now, effects)
        if not held:
            self._cases.let_go(view, now, effects)

    def _change(self, case: Case, incident: Incident, view: View, now: float, effects: list[Effect]) -> None:
        if incident is not case.incident:
            self._cases.take(case, incident, effects)
            self._advance(incident.id, view, now, effects)

    def _matched(
        self, match: Match, joining: dict[str, dict[str, Signal]], view: View, now: float, effects: list[Effect]
    ) -> None:
        """Open an incident for a match, or note in `joining` that it is part of one."""
        signal, rule = match.firing.signal, match.rule
        if match.reason is not None or match.workload is None:
            if match.news and match.wake_at is not None:
                heapq.heappush(self._looks, (match.wake_at, signal.key))
            if match.news and match.reason is not None:
                verb = Verb.PEND if match.pending else Verb.IGNORE
                effects.append(Decided(Decision(now, verb, match.reason, signal.target, rule.name)))
            self._schedule_recheck(now)
            return
        case = self._cases.of_rule(rule.name, match.workload.uid)
        if self._left_to_its_node(match, case, view, now, effects):
            return
        if case is None and (why := self._homeless.get((rule.name, match.workload.uid))) is not None:
            text = f"{why}: no further incident of {match.workload} is opened"
            effects.append(Decided(Decision(now, Verb.IGNORE, Reason("NotKept", text), signal.target, rule.name)))
            return
        reason = Reason(signal.name, f"{signal.target}: {signal.message or signal.name}")
        if case is None:
            incident = self._open(rule, match.workload, signal, view, now)
            match.firing.incidents[incident.id] = None
            effects.append(Decided(Decision(now, Verb.OPEN, reason, signal.target, rule.name, incident.id)))
            effects.append(Record(incident, incident.history[-1]))
            self._count_opened(self._cases.get(incident.id), match.firing, view, now, effects)
            self._advance(incident.id, view, now, effects)
            return
        incident = case.incident
        match.firing.incidents[incident.id] = None
        self._count_opened(case, match.firing, view, now, effects)
        coming = joining.setdefault(incident.id, {})
        if signal.key not in coming and not has(incident, signal):
            coming[signal.key] = signal
            effects.append(Decided(Decision(now, Verb.JOIN, reason, signal.target, rule.name, incident.id)))

    def _open(self, rule: BoundRule, workload: Target, signal: Signal, view: View, now: float) -> Incident:
        now_there = view.workload(workload.uid)
        revision = "" if now_there is None else now_there.revision
        healthy = self._healthy.revision(workload.uid, now)
        incident = opened(rule, workload, signal, now, self._number(), revision, healthy)
        self._cases.admit(Case(incident, rule))
        return incident

    def _left_to_its_node(self, match: Match, case: Case | None, view: View, now: float, effects: list[Effect]) -> bool:
        """Whether the pod is on a node with a storm: that incident has it, unless one of its rule has it already.

        A rule that only tells people goes on: it takes none of the pods.
        """
        signal = match.firing.signal
        storm = self._nodes.over(signal.target.uid, view) if self._ladder.ever_changes(match.rule.rule) else None
        if storm is None or (case is not None and signal.target.uid in case.incident.targets):
            return False
        if storm.id not in match.firing.incidents:
            match.firing.incidents[storm.id] = None
            reason = Reason("NodeStorm", f"{signal.target} is on {storm.workload}: one of many sick pods there")
            effects.append(Decided(Decision(now, Verb.JOIN, reason, signal.target, match.rule.name, storm.id)))
        return True

    def _advance_rule(self, rule: str, view: View, now: float, effects: list[Effect]) -> None:
        """Let the incidents of a rule go on, of which it is known now whether its source answers."""
        for case in self._cases.all():
            if case.incident.rule == rule:
                self._advance(case.incident.id, view, now, effects)

    # actions, approvals and time

    def _acted(self, event: Acted, view: View, now: float, effects: list[Effect]) -> None:
        case = self._cases.get(event.incident)
        if case is None or (case.incident.state, case.incident.step, case.incident.attempt) != (
            State.ACTING,
            event.step,
            event.attempt,
        ):
            text = f"an outcome that no incident waits for: {event.outcome.text}"
            self._answer(event.incident, Verb.IGNORE, Reason("StaleOutcome", text), now, effects)
            return
        self._cases.acted(case, event.outcome, view, now, effects)
        self._schedule_recheck(now)

    def _approved(self, event: Approval, view: View, now: float, effects: list[Effect]) -> None:
        case, breaker = self._cases.get(event.incident), self._breaker.incident
        if breaker is not None and breaker.id == event.incident:
            reason = Reason("Approved", f"{event.by} has healer go on")
            self._answer(event.incident, Verb.APPROVE, reason, now, effects)
            self._resume(reason, view, now, effects)
        elif case is not None and waits(case.incident):
            reason = Reason("Approved", f"approved by {event.by}")
            self._answer(event.incident, Verb.APPROVE, reason, now, effects)
            self._cases.take(case, granted(case.incident, event.by, now), effects)
            self._advance(event.incident, view, now, effects)
        else:
            incident = self.incident(event.incident)
            stands = "it is not open" if incident is None else f"it is {incident.state}: {incident.reason.text}"
            text = f"{event.by} approved an incident that does not wait for approval: {stands}"
            self._answer(event.incident, Verb.REFUSE, Reason("NotAwaited", text), now, effects)

    def _undone(self, incident_id: str, by: str, now: float, effects: list[Effect]) -> None:
        case = self._cases.get(incident_id)
        if case is not None and (after := undone(case.incident, by, now)) is not case.incident:
            self._cases.take(case, after, effects)

    def _answer(self, incident_id: str, verb: Verb, reason: Reason, now: float, effects: list[Effect]) -> None:
        """A decision about an incident by its id."""
        incident = self.incident(incident_id)
        target = Target("Incident", "", incident_id, "") if incident is None else incident.workload
        rule = "" if incident is None else incident.rule
        effects.append(Decided(Decision(now, verb, reason, target, rule, incident_id)))

    def _tick(self, view: View, now: float, effects: list[Effect]) -> None:
        if self._restored_at is not None:
            self._restored_at = None
            if not self._arriving:
                self._let_go(view, now, effects)
        elif self._going_on is not None and not self._arriving:
            self._let_go(view, now, effects)
        if (resumes := self._breaker.resumes_at) is not None and now >= resumes:
            text = f"no further incident has opened for {about(self._tuning.breaker_quiet)}: healer goes on"
            self._resume(Reason("Quiet", text), view, now, effects)
        self._wake(view, now, effects)
        if self._next_recheck is not None and now >= self._next_recheck:
            self._next_recheck = None
            ended = [replace(f.signal, firing=False) for f in self._matcher.expired(now - self._tuning.alert_expiry)]
            self._arrive(ended, view, now, effects, whole=not self._arriving)
            self._ask_again(self._matcher.unmatched(), view, now, effects)
            self._matcher.forget(now)
            self._ledger.forget(now - self._looks_back(), view)
            if self._matcher.waits() or self._ledger.remembers():
                self._schedule_recheck(now)

    def _wake(self, view: View, now: float, effects: list[Effect]) -> None:
        """Look at what wanted to be looked at by now, in the order of the times asked for."""
        while True:
            look, wake = self._looks[0][0] if self._looks else None, self._cases.next_wake()
            if look is not None and look <= now and (wake is None or look <= wake):
                firing = self._matcher.get(heapq.heappop(self._looks)[1])
                self._ask_again([firing] if firing is not None else [], view, now, effects)
            elif (incident_id := self._cases.due(now)) is not None:
                self._advance(incident_id, view, now, effects)
            else:
                return

    def _schedule_recheck(self, now: float) -> None:
        if self._next_recheck is None:
            self._next_recheck = now + self._tuning.recheck

    def _looks_back(self) -> float:
        """How far any limit looks back, in seconds."""
        limits = [rule.rule.limits for rule in self._matcher.rulebook.rules]
        return max((max(each.cooldown, each.budget.per) for each in limits), default=0.0) + self._tuning.budget_per

    # incidents

    def _advance(self, incident_id: str, view: View, now: float, effects: list[Effect]) -> None:
        """Let an incident go as far as it can now."""
        self._cases.advance(incident_id, view, now, effects)
        self._schedule_recheck(now)  # what this leaves in the ledger is to be forgotten some time

    def _let_go(self, view: View, now: float, effects: list[Effect]) -> None:
        """All that fires is known: what was held goes on, a part at a time, the nodes first."""
        if self._going_on is None:
            self._going_on = now
            self._nodes_left = dict.fromkeys(storm.workload.name for storm in self._nodes.all())
        self._nodes_left |= dict.fromkeys(self._matcher.sick_counts.changed_nodes())
        part = list(self._nodes_left)[:_NODES_AT_ONCE]
        for node in part:
            del self._nodes_left[node]
        self._look_at(part, view, now, effects)
        if not self._nodes_left and self._cases.let_go(view, now, effects, most=_CASES_AT_ONCE):
            self._partial, self._going_on = False, None

    def _look_around(self, view: View, now: float, effects: list[Effect]) -> None:
        """What the input has changed for others than those that it is about."""
        if self._partial:
            return
        self._look_at_nodes(view, now, effects)
        for workload in self._matcher.sick_counts.changed_workloads():
            if self._cases.due_takers(workload, view) != self._cases.takers(workload):
                for incident_id in self._cases.on(workload):
                    self._advance(incident_id, view, now, effects)
        while self._cases.outdated:
            closed = self._cases.outdated.pop(0)
            # what still fires is for the rule as it is now
            left = [firing for firing in self._matcher.of_workload(closed.workload.uid) if closed.id in firing.incidents]
            for firing in left:
                firing.verdicts.pop(closed.rule, None)
            self._ask_again(left, view, now, effects)

    # more than one workload

    def _number(self) -> int:
        """Of an incident: it tells those apart that open at the same moment."""
        self._opened += 1
        return self._opened

    def _counts(self, incident: Incident, view: View) -> bool:
        """Whether its opening counts for the cluster-wide breaker: that of a rule that only tells people does not."""
        rule = self._matcher.rulebook.get(incident.rule)
        return counts(incident, view) and (rule is None or self._ladder.ever_changes(rule.rule))

    def _count_opened(self, case: Case | None, firing: Firing, view: View, now: float, effects: list[Effect]) -> None:
        """Have the breaker count a case once, as soon as healer may act on what fires for it."""
        if case is not None and not case.counted and firing.weight is Weight.FULL and self._counts(case.incident, view):
            case.counted = True
            self._count_opening(view, now, effects)

    def _count_opening(self, view: View, now: float, effects: list[Effect]) -> None:
        if self._breaker.opened(now):
            incident = self._breaker.incident = breaker_open(self._tuning, now, self._number())
            effects.append(Decided(Decision(now, Verb.OPEN, incident.reason, incident.workload, BREAKER, incident.id)))
            effects.append(Record(incident, incident.history[-1]))

    def _resume(self, reason: Reason, view: View, now: float, effects: list[Effect]) -> None:
        """The cluster-wide breaker closes: all that waited for it goes on."""
        incident = self._breaker.incident
        if incident is None:
            return
        self._breaker.closed()
        self._end(incident, reason, now, effects)
        for case in self._cases.all():
            self._advance(case.incident.id, view, now, effects)

    def _look_at_nodes(self, view: View, now: float, effects: list[Effect]) -> None:
        if not self._partial:
            self._look_at(self._matcher.sick_counts.changed_nodes(), view, now, effects)

    def _look_at(self, nodes: Iterable[str], view: View, now: float, effects: list[Effect]) -> None:
        """Look at nodes; an incident is left to its nodes when all of them are known, for its pods may be on many."""
        storms: dict[str, Incident] = {}  # incident -> the storm that has the last of its pods
        for node in nodes:
            self._look_at_node(node, storms, view, now, effects)
        for incident_id, storm in storms.items():
            case = self._cases.get(incident_id)
            # a rule that only tells people goes on
            if case is not None and self._ladder.ever_changes(case.rule.rule) and self._nodes.absorbs(case.incident, view):
                self._cases.absorb(case, storm, view, now, effects)

    def _look_at_node(self, node: str, storms: dict[str, Incident], view: View, now: float, effects: list[Effect]) -> None:
        """Whether there is a storm on a node now; one that is over leaves its pods to the rules again.

        `storms` takes the incidents that have pods in a new one.
        """
        sick, incident = self._matcher.sick_counts.sick_on(node), self._nodes.on(node)
        firings = [firing for key in self._matcher.sick_counts.keys_on(node) if (firing := self._matcher.get(key)) is not None]
        if incident is None:
            if sick >= self._tuning.node_storm_pods and 2 * sick >= view.count_on(node):
                storm = self._storm_on_node(node, firings, view, now, effects)
                storms |= {
                    incident_id: storm for firing in firings for incident_id in firing.incidents if incident_id != storm.id
                }
        elif sick >= self._tuning.node_storm_pods:
            if (after := with_targets(incident, firings, now)) is not incident:
                self._nodes.put(after)
                effects.append(Record(after, None))
        else:
            self._nodes.drop(node)
            text = f"{sick} pods on {incident.workload} count as sick, fewer than {self._tuning.node_storm_pods}"
            self._end(incident, Reason("Recovered", text), now, effects)
            for firing in firings:
                firing.verdicts = {rule: verdict for rule, verdict in firing.verdicts.items() if verdict}
            self._ask_again(firings, view, now, effects)

    def _storm_on_node(self, node: str, firings: list[Firing], view: View, now: float, effects: list[Effect]) -> Incident:
        storm = node_storm(node, firings, self._matcher.rulebook, view, self._tuning.home, now, self._number())
        self._nodes.put(storm)
        effects.append(Decided(Decision(now, Verb.OPEN, storm.reason, storm.workload, NODE_STORM, storm.id)))
        effects.append(Record(storm, storm.history[-1]))
        self._count_opening(view, now, effects)
        for firing in firings:
            firing.incidents[storm.id] = None
        return storm

    def _end(self, incident: Incident, reason: Reason, now: float, effects: list[Effect]) -> None:
        """Close an incident that has no ladder."""
        closed = over(incident, reason, now)
        effects.append(Decided(Decision(now, Verb.CLOSE, reason, incident.workload, incident.rule, incident.id)))
        effects.append(Record(closed, closed.history[-1]))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[begin : begin + size] for begin in range(0, len(items), size))


def _is_over(incident: Incident) -> bool:
    """Whether healer has done nothing for an incident, and nothing is left to do."""
    return not (incident.any_sick or incident.acted_at or incident.failures or incident.treated) and incident.acting_on is None
