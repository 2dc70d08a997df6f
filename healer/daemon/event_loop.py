"""Feeds the engine with what the sources see, and hands its effects to the executor and the recorder.

All of it runs on the asyncio loop and is synchronous between two awaits, so the engine is never entered twice.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from healer.cluster.watch import ObjectChange
from healer.daemon.changes import ClusterChanges
from healer.daemon.executor import Executor
from healer.daemon.metrics import Metrics
from healer.daemon.recorder import Recorder
from healer.engine.engine import Engine
from healer.engine.incidents.approval import is_undone, undone
from healer.engine.incidents.opening import noted
from healer.engine.incidents.trust import Sifted
from healer.engine.incidents.validity import Reread
from healer.engine.safety.wide import ENDED_ALERTS
from healer.journal.base import Journal, JournalError, Unkept
from healer.model.action import Outcome
from healer.model.effects import (
    Act,
    Acted,
    Approval,
    Decided,
    Dropped,
    Effect,
    Input,
    Loss,
    Record,
    Remember,
    TakenBack,
    Tick,
    Together,
    Undone,
    WorkloadChanged,
)
from healer.model.incident import Incident, Reason, State
from healer.model.kube import Pod
from healer.model.signal import PERHAPS, Answered, QueueFull, Report, Signal, Unanswered
from healer.model.view import View
from healer.model.workload import Workload
from healer.rules.rulebook import Rulebook
from healer.sources.watched import WatchedSources
from healer.turns import in_turns

_SIGNALS_A_TURN = 25
"""Signals that the engine takes in one turn: about 10 ms, so that a large delivery does not block the loop."""

_LOOKED_UP_A_TURN = 1000
"""Signals whose incidents are looked up in one turn: about a millisecond."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """The signals of one delivery or answer, and its other reports. `decided` gets the incidents concerned."""

    signals: list[Signal]
    then: Sequence[Answered | Unanswered]
    decided: asyncio.Future[set[str]]


class EventLoop:
    """Feeds the engine and carries out its effects. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        *,
        engine: Engine,
        view: View,
        sources: WatchedSources,
        recorder: Recorder,
        journal: Journal,
        metrics: Metrics,
        clock: Callable[[], float],
        queue: int,
    ) -> None:
        self._engine = engine
        self._view = view
        self._changes = ClusterChanges(view, sources, clock)
        self._recorder = recorder
        self._journal = journal
        self._metrics = metrics
        self._clock = clock
        self._capacity = queue
        self._queued = 0
        self._inbox: asyncio.Queue[_Batch] = asyncio.Queue()  # bounded by `_capacity`, and by the number of rules that ask
        self._in_parts = False
        """Whether further parts of a delivery follow: an input that comes between two parts is a part too."""
        self._postponed: list[Callable[[], None]] | None = None
        """Calls that wait until the engine has restored the incidents of the journal; None when they need not wait."""
        self._executor: Executor | None = None
        self._group: asyncio.TaskGroup | None = None
        self._rescheduled = asyncio.Event()
        self._next_wake: float | None = None
        self.stopping = False
        self.accepting = asyncio.Event()
        """Set when signals are taken."""
        metrics.queue(lambda: self._queued)

    # what the sources call

    def changed(self, change: ObjectChange) -> None:
        """Take a change of the view (the reflectors call this). Before `run` the view is not complete: nothing is decided."""
        if self.stopping or self._executor is None:
            return
        self._changes.add(change)
        if len(self._changes) >= _SIGNALS_A_TURN:  # the watch gets no further ahead of the engine than that
            self._feed_changes()

    async def intake(self, signals: list[Signal]) -> None:
        """Take signals from outside; returns when they are decided and the decisions are journaled.

        Raises QueueFull when there is no room for all of them, or the journal cannot be written: the sender sends them again.
        """
        if self.stopping:
            raise QueueFull("healer is stopping")
        if self._executor is None:
            raise QueueFull("healer does not know the cluster yet")
        if self._queued and self._queued + len(signals) > self._capacity:
            raise QueueFull(f"{self._queued} signals wait to be decided, there is room for {self._capacity}")
        concerned = await self._enqueue(signals)
        try:
            await self._journal.durable(concerned)
        except Unkept:
            pass  # the journal has logged it, and the engine knows which incident is lost: the signals are taken all the same
        except JournalError as error:
            raise QueueFull(f"what was decided cannot be journaled: {error}", hint=PERHAPS) from error

    def observed(self, reports: Sequence[Report]) -> asyncio.Future[set[str]]:
        """Take reports of healer's own sources. The future is done when they are decided."""
        if self.stopping:
            decided: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
            decided.set_result(set())
            return decided
        signals = [report for report in reports if isinstance(report, Signal)]
        return self._enqueue(signals, [report for report in reports if not isinstance(report, Signal)])

    def _enqueue(self, signals: list[Signal], then: Sequence[Answered | Unanswered] = ()) -> asyncio.Future[set[str]]:
        decided: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        self._queued += len(signals)
        self._inbox.put_nowait(_Batch(signals, then, decided))
        return decided

    def approved(self, incident_id: str, by: str) -> None:
        """A human has approved the action that an incident waits with."""
        self._feed(Approval(incident_id, by))

    def lost(self, incident_id: str, why: str, how: Loss) -> None:
        """The object that an incident is kept in is not ours any more."""
        self._feed(Dropped(incident_id, why, how))

    async def sift(self, incidents: list[Incident]) -> Sifted:
        """Which incidents of a journal are believed: `run` restores those."""
        believed: list[Incident] = []
        doubted: list[tuple[Incident, Reason]] = []
        for begin in range(0, len(incidents), _SIGNALS_A_TURN):
            found = self._engine.sift(incidents[begin : begin + _SIGNALS_A_TURN], self._view, self._clock())
            believed += found.believed
            doubted += found.doubted
            await asyncio.sleep(0)
        return Sifted(tuple(believed), tuple(doubted))

    def undone(self, incident_id: str, by: str) -> None:
        """A human has undone what healer did for an incident. A closed incident gets the entry as well."""
        if self._engine.incident(incident_id) is not None:
            self._feed(Undone(incident_id, by))
            return
        kept = self._journal.incident(incident_id)
        if kept is not None and (after := undone(kept, by, self._clock())) is not kept:
            self._recorder.record(Record(after, after.history[-1]))

    def taken_back(self, incident: Incident, reason: Reason) -> None:
        """A temporary change of an incident has ended. A closed incident gets the line as well."""
        if self._engine.incident(incident.id) is not None:
            self._feed(TakenBack(incident.id, reason))
            return
        after = noted(incident, reason, self._clock())
        self._recorder.record(Record(after, after.history[-1]))

    def stopped(self, incident: Incident) -> Reason | None:
        """Why nothing is changed for an incident now (`Engine.stopped`)."""
        return self._engine.stopped(incident, self._view, self._clock())

    def beside(self, incident: Incident) -> list[Incident]:
        """See `Engine.beside`."""
        return self._engine.beside(incident)

    def incident(self, incident_id: str) -> Incident | None:
        """An incident that is not closed, by id."""
        return self._engine.incident(incident_id)

    def occurrence(self, key: str) -> str:
        """The occurrence that the latest open incident has of a firing signal (by key); "" when the signal is part of none."""
        found = self._incidents_of(key)
        known = [sick.signals[key].occurrence for each in found for sick in each.targets.values() if key in sick.signals]
        return known[-1] if known else ""

    def accepted(self, key: str, action: str) -> Mapping[str, str] | None:
        """What an action has kept beside the open incident of a firing signal (by key); None when the signal is part of none.

        Empty unless an action was accepted, is being verified, and was not undone by `healer undo`.
        """
        found = self._incidents_of(key)
        if not found:
            return None
        states = (State.VERIFYING, State.ESCALATED)
        watched = [each for each in found if each.acted_at and each.state in states and not is_undone(each)]
        return self._journal.recall(watched[-1].id).get(action, {}) if watched else {}

    def _incidents_of(self, key: str) -> list[Incident]:
        """The open incidents of a firing signal."""
        return [incident for each in self._engine.incidents_of(key) if (incident := self._engine.incident(each)) is not None]

    def alerts(self) -> list[Signal]:
        """The firing alerts that some rule looks for."""
        return self._engine.alerts()

    def use(self, rulebook: Rulebook) -> None:
        """Take other rules."""
        if self._postponed is not None:
            self._postponed.append(partial(self.use, rulebook))
            return
        self._carry_out(self._engine.use(rulebook, self._view, self._clock()))

    # what the executor asks

    def still_sick(self, pod: Pod, act: Act) -> bool:
        """Whether a freshly read pod still has a symptom of the incident."""
        incident = self._engine.incident(act.incident.id)
        sick = None if incident is None else incident.targets.get(act.target.uid)
        if sick is None:
            return False
        return any(self._changes.still(pod, symptom) for symptom in sick.signals.values())

    def still_wanted(self, act: Act, fresh: Pod | Workload | None) -> Reason | None:
        """Why the attempt is not wanted any more; None when it is. `fresh` is its target as just read, if it was read."""
        if self.stopping:
            return Reason("Stopping", "healer is stopping: nothing was done")
        read = None if fresh is None else Reread(fresh, partial(self._changes.says, fresh))
        unwanted = self._engine.unwanted(act, self._view, self._clock(), read)
        return unwanted or (self._recovered(fresh, act) if isinstance(fresh, Workload) else None)

    def _recovered(self, fresh: Workload, act: Act) -> Reason | None:
        """Why nothing is done to a freshly read workload: it no longer shows what it was sick of, and nothing else is sick."""
        incident = self._engine.incident(act.incident.id)
        sick = [] if incident is None else incident.sick
        itself = [symptom for each in sick if each.target == fresh.target for symptom in each.signals.values()]
        if len(sick) != 1 or not itself or any(self._changes.still(fresh, symptom) for symptom in itself):
            return None
        return Reason("Recovered", f"{fresh.target} was read afresh and is no longer sick: nothing was done")

    # running

    async def run(self, executor: Executor, incidents: list[Incident], aside: Sequence[str] = ()) -> None:
        """Decide what comes in and what falls due, until cancelled. The view must be synced.

        `incidents` are those of the journal that are believed, oldest first; `aside` names the others (`Engine.restore`).
        """
        async with asyncio.TaskGroup() as group:
            self._executor, self._group = executor, group
            await self._restore(incidents, aside)
            self.accepting.set()
            group.create_task(self._process_inbox(), name="intake")
            group.create_task(self._process_changes(), name="changes")
            group.create_task(self._process_time(), name="time")

    async def _restore(self, incidents: list[Incident], aside: Sequence[str]) -> None:
        """Restore the incidents of the journal, then take the pods as they are now. What comes in meanwhile is postponed."""
        self._postponed = []
        signals, now = self._changes.current(incidents), self._clock()
        for incident in incidents:
            if incident.rule != ENDED_ALERTS:
                self._metrics.incident(incident)
        for effects in self._engine.restore(incidents, {signal.key for signal in signals}, self._view, now, aside):
            self._carry_out(effects)
            await asyncio.sleep(0)
        for begin in range(0, len(signals), _SIGNALS_A_TURN):
            self._feed_together(signals[begin : begin + _SIGNALS_A_TURN], whole=False)
            await asyncio.sleep(0)
        postponed, self._postponed = self._postponed, None
        self._feed_changes()
        self._handle(Together((), whole=True))
        for call in postponed:
            call()
        self._feed(Tick())  # the engine knows all that fires: it may act

    async def _process_inbox(self) -> None:
        while True:
            batch = await self._inbox.get()
            concerned = await self._concerned(batch.signals)  # a resolved signal is no part of an incident afterwards
            signals = [*batch.signals, *await self._ends(batch)]
            for begin in range(0, len(signals), _SIGNALS_A_TURN):
                self._in_parts = begin + _SIGNALS_A_TURN < len(signals)
                self._feed_signals(signals[begin : begin + _SIGNALS_A_TURN])
                await asyncio.sleep(0)
            for report in batch.then:
                self._feed(report)
                await asyncio.sleep(0)
            while self._engine.goes_on:
                await asyncio.sleep(0)
                self._feed(Tick())
            concerned |= await self._concerned(batch.signals)
            self._queued -= len(batch.signals)
            if not batch.decided.done():  # its sender may have given up
                batch.decided.set_result(concerned)

    async def _process_changes(self) -> None:
        """Feed the engine with changes of the cluster: all that the watches report in one turn of the loop at once."""
        while True:
            await self._changes.pending.wait()
            self._feed_changes()

    async def _process_time(self) -> None:
        """Tick whenever the engine or the conditions of pods need it."""
        while True:
            self._rescheduled.clear()
            self._next_wake = self._next_due()
            try:
                async with asyncio.timeout(None if self._next_wake is None else max(0.0, self._next_wake - self._clock())):
                    await self._rescheduled.wait()
            except TimeoutError:
                self._feed_signals(self._changes.due())
                self._feed(Tick())

    def _next_due(self) -> float | None:
        return min((at for at in (self._engine.next_wake(), self._changes.next_due()) if at is not None), default=None)

    def _feed_signals(self, signals: list[Signal]) -> None:
        self._feed_changes()  # they happened before
        self._feed_together(signals, whole=not self._in_parts)

    def _feed_together(self, signals: list[Signal], *, whole: bool) -> None:
        for signal in signals:
            self._metrics.signal(signal, self._engine.looks_for(signal))
        if signals:
            self._handle(Together(tuple(signals), whole))

    async def _ends(self, batch: _Batch) -> list[Signal]:
        """The ends of what an answer does not have, and does not report itself: of what healer knows from its journal alone."""
        ends: list[Signal] = []
        said = {signal.key for signal in batch.signals}
        for report in batch.then:
            if isinstance(report, Answered):
                left_out = self._engine.ends(replace(report, keys=report.keys | said))
                ends += [end async for end in in_turns(left_out, _SIGNALS_A_TURN)]
        return ends

    async def _concerned(self, signals: list[Signal]) -> set[str]:
        """The ids of the incidents that these signals are part of."""
        return {each async for signal in in_turns(signals, _LOOKED_UP_A_TURN) for each in self._engine.incidents_of(signal.key)}

    def _feed(self, event: Input) -> None:
        if self._postponed is not None:
            self._postponed.append(partial(self._feed, event))
            return
        self._feed_changes()  # they happened before
        self._handle(event)

    def _feed_changes(self) -> None:
        """Feed the engine with the changes that were collected."""
        if self._postponed is not None:
            return
        signals, changes = self._changes.take()
        self._feed_together(signals, whole=not self._in_parts)
        for workload, pod in changes:
            if not pod or self._engine.concerns(workload):
                self._handle(WorkloadChanged(workload, pod))

    def _handle(self, event: Input) -> None:
        self._carry_out(self._engine.handle(event, self._view, self._clock()))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Record():
                    self._recorder.record(effect)
                case Remember(incident):
                    self._journal.note(incident)
                case Decided(decision, again):
                    self._recorder.decided(decision, again=again)
                case Act():
                    self._act(effect)
        due = self._next_due()
        if due is not None and (self._next_wake is None or due < self._next_wake):
            self._rescheduled.set()

    def _act(self, act: Act) -> None:
        if self._executor is None or self._group is None:
            raise RuntimeError("the engine wants to act before the view is synced")
        self._executor.start(act, self._acted, self._group)

    def _acted(self, act: Act, outcome: Outcome) -> None:
        self._feed(Acted(act.incident.id, act.step, act.attempt, outcome))
