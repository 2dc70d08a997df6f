"""The engine: takes an input, returns effects. Every shell (daemon, tests, benchmarks) drives this one object.

It reads the cluster only through a `View`, and the time only from its arguments. The way of an input is in `pipeline`.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from healer.engine.incidents.ended_alerts import EndedAlerts
from healer.engine.incidents.restoring import Restoring, slices
from healer.engine.incidents.resumption import CASES_AT_ONCE, SIGNALS_AT_ONCE
from healer.engine.incidents.trust import Sifted, sift
from healer.engine.incidents.validity import Reread
from healer.engine.parts import assemble
from healer.engine.pipeline import Pipeline
from healer.engine.safety.gauges import LimitGauge, gauges
from healer.engine.safety.guards.question import Guards
from healer.engine.safety.guards.registry import GUARDS
from healer.engine.safety.guards.stops import pause
from healer.engine.safety.set_aside import SetAsideIncident
from healer.engine.tuning import Tuning
from healer.engine.turn import Turn
from healer.engine.waiting_signals import WaitingSignals
from healer.model.action import ActionSpec
from healer.model.effects import Act, Effect, Input
from healer.model.incident import Incident, Reason
from healer.model.signal import Answered, Signal
from healer.model.view import View
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from healer.rules.triggers import TRIGGERS


class Engine:
    """The pure decision maker. Not safe for concurrent use; times are seconds since the epoch."""

    def __init__(self, rulebook: Rulebook, actions: Mapping[str, ActionSpec], tuning: Tuning, guards: Guards = GUARDS) -> None:
        self._tuning = tuning
        self._parts = parts = assemble(rulebook, actions, self._tuning, guards)
        self._matcher, self._cases, self._progress = parts.matcher, parts.cases, parts.progress
        self._ended_alerts = EndedAlerts(parts)
        self._set_aside = SetAsideIncident(self._tuning.home, parts.number)
        self._restoring = Restoring(parts, self._set_aside, self._ended_alerts)
        self._waiting = WaitingSignals(parts)
        self._pipeline = Pipeline(parts, self._waiting, self._ended_alerts, self.incident)

    # what a shell asks

    def incidents(self) -> list[Incident]:
        """The incidents that are not closed."""
        state = self._parts.guard_state
        wide = [each for each in (state.cluster_breaker.incident, self._set_aside.incident) if each is not None]
        return [case.incident for case in self._cases.all()] + state.node_storms.all() + state.tenant_breakers.incidents() + wide

    def incident(self, incident_id: str) -> Incident | None:
        """An incident that is not closed, by id."""
        if (case := self._cases.get(incident_id)) is not None:
            return case.incident
        return next((incident for incident in self.incidents() if incident.id == incident_id), None)

    def incidents_of(self, key: str) -> list[str]:
        """The incidents that a signal is part of, by its key: while it fires, and when its end is kept for later."""
        firing = self._matcher.get(key)
        return list(firing.incidents) if firing is not None else self._ended_alerts.incidents_of(key)

    def looks_for(self, signal: Signal) -> bool:
        """Whether some rule in force looks for signals of that name."""
        return (signal.source, signal.name) in self._matcher.rulebook.names

    def alerts(self) -> list[Signal]:
        """The alerts that fire and that some rule is about."""
        return [firing.signal for firing in self._matcher.all() if TRIGGERS[firing.signal.source].fades and firing.verdicts]

    def concerns(self, workload: str) -> bool:
        """Whether a change of that workload (by uid) can matter to any decision."""
        return self._cases.concerns(workload) or self._matcher.concerns(workload)

    def unwanted(self, act: Act, view: View, now: float, fresh: Reread | None = None) -> Reason | None:
        """Why an attempt is not to be made any more; None when it is. `fresh` is its target as it was just read."""
        case = self._cases.acting(act.incident.id, act.step, act.attempt)
        if case is None:
            return Reason("Overtaken", "the incident went on meanwhile: nothing was done")
        return self._parts.validity.unwanted(case, act.target, Turn(view, now), fresh)

    def stopped(self, incident: Incident, view: View, now: float) -> Reason | None:
        """Why healer changes nothing for an incident, nor takes anything back: a pause, or the breaker of the cluster or of
        a namespace."""
        workload = view.workload(incident.workload.uid)
        veto = pause(view, incident.workload.namespace, [] if workload is None else [workload], now)
        if veto is None and (opened := self._parts.guard_state.cluster_breaker.incident) is not None:
            return Reason("ClusterBreaker", f"healer acts nowhere for now: see {opened.id}")
        if veto is None and (objection := self._parts.guard_state.tenant_breakers.objection(incident)) is not None:
            return objection
        return None if veto is None else veto.reason

    def beside(self, incident: Incident) -> list[Incident]:
        """The other incidents on its workload that may act, and for which something is sick."""
        others = [case.incident for case in self._cases.on(incident.workload.uid) if case.incident.id != incident.id]
        return [each for each in others if each.any_sick and each.mode != Mode.OBSERVE]

    def ends(self, answer: Answered) -> Iterator[Signal]:
        """The ends of the signals that a whole answer does not have. A shell may feed many in parts, before the answer."""
        return self._matcher.ends(answer.rule, answer.keys)

    def gauges(self, view: View, now: float) -> list[LimitGauge]:
        """How much of the limits is used up."""
        return list(gauges(self._parts.guard_state, self._matcher.rulebook.by_name, view, now))

    @property
    def goes_on(self) -> bool:
        """Whether not all that waited has gone on yet: each Tick lets a part of it go on."""
        return self._pipeline.resumption.goes_on

    def next_wake(self) -> float | None:
        """When the next Tick is due, if time alone can change something."""
        return self._pipeline.next_wake()

    # what comes in

    def handle(self, event: Input, view: View, now: float) -> list[Effect]:
        """Decide what follows from one input. The effects are to be carried out in their order."""
        turn = Turn(view, now)
        self._pipeline.handle(event, turn)
        return turn.effects

    def use(self, rulebook: Rulebook, view: View, now: float) -> list[Effect]:
        """Take other rules. An incident whose rule is unchanged goes on; another acts no further and is closed."""
        turn, paused = Turn(view, now), self._progress.paused
        self._progress.pause()
        self._matcher.use(rulebook, turn)
        for case in self._cases.all():
            self._pipeline.advance(case.incident.id, turn)
        self._pipeline.resumption.ask(self._matcher.all(), turn)
        self._progress.take_outdated()  # what still fires of theirs has just been asked about
        if not paused:
            self._pipeline.resumption.go_on(turn)
            self._pipeline.follow_up(turn)
        return turn.effects

    def suppose_made_good(self, workload: str) -> None:
        """Take it that what was taken down of a workload (by uid) is replaced: in a record of other deeds nobody replaces it."""
        self._parts.guard_state.ledger.suppose_made_good(workload)

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
        known, turn = list(incidents), Turn(view, now)
        yield from self._restoring.learn(known, turn)
        yield from self._restoring.go_on(known, sick_now, turn)
        self._set_aside.tell(aside, turn)
        for workloads in slices(sorted(each.metadata.uid for each in view.workloads()), SIGNALS_AT_ONCE):
            for workload in workloads:
                self._parts.healthy.observe(workload, turn)
            yield []
        self._pipeline.resumption.restored(now)
        yield turn.effects
        for firings in slices(self._matcher.all(), SIGNALS_AT_ONCE):
            self._pipeline.release(firings, turn := Turn(view, now))
            yield turn.effects
        for cases in slices(self._cases.all(), CASES_AT_ONCE):
            turn = Turn(view, now)
            for case in cases:
                self._pipeline.advance(case.incident.id, turn)  # as soon as they may
            yield turn.effects
        self._waiting.schedule(now)
