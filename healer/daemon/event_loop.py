"""The daemon's heart: what the sources see goes into the engine, what the engine wants goes out to the executor and the recorder.

All of it runs on the event loop and is synchronous between two awaits, so the engine is never entered twice.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from healer.cluster.watch import ObjectChange
from healer.daemon.executor import Executor
from healer.daemon.metrics import Metrics
from healer.daemon.recorder import Recorder
from healer.engine.engine import Engine
from healer.engine.incidents.approval import is_undone, undone
from healer.engine.incidents.trust import Sifted
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
    Tick,
    Together,
    Undone,
    WorkloadChanged,
)
from healer.model.incident import Incident, Reason, State
from healer.model.kube import KubeObject, Pod
from healer.model.signal import PERHAPS, Answered, QueueFull, Report, Signal, Unanswered
from healer.model.view import View
from healer.model.workload import Workload, WorkloadObject
from healer.rules.rulebook import Rulebook
from healer.sources.watched import WatchedSources

_PART = 25
"""Signals that the engine is told of in one turn: about 10 ms, so that a large delivery does not hold the loop."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Signals of one delivery or answer, and what it says of others; `decided` is set when all is: to the incidents concerned."""

    signals: list[Signal]
    then: Sequence[Answered | Unanswered]
    decided: asyncio.Future[set[str]]


@dataclass(slots=True)
class _SeenChanges:
    """What was seen of the cluster since the engine was last told: the pods' signals, and what changed (workload, pod or "")."""

    signals: list[Signal] = field(default_factory=list)
    changes: dict[tuple[str, str], None] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


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
        self._sources = sources
        self._recorder = recorder
        self._journal = journal
        self._metrics = metrics
        self._clock = clock
        self._room = queue
        self._waiting = 0
        self._inbox: asyncio.Queue[_Batch] = asyncio.Queue()  # bounded by `_room`, and by the number of rules that ask
        self._midway = False
        """Of a delivery some parts are still to be told: what comes between them is a part too."""
        self._seen = _SeenChanges()
        self._early: list[Callable[[], None]] | None = None
        """While the engine goes on from the journal, in steps: what it is told meanwhile, to be told when that is done."""
        self._executor: Executor | None = None
        self._group: asyncio.TaskGroup | None = None
        self._sooner = asyncio.Event()
        self._due: float | None = None
        self.stopping = False
        self.begun = asyncio.Event()
        """Set when signals are taken."""
        metrics.queue(lambda: self._waiting)

    # what the sources call

    def changed(self, change: ObjectChange) -> None:
        """A change of the view (the reflectors' listener). Before `run`, the view is not whole: nothing is decided on it."""
        if self.stopping or self._executor is None:
            return
        obj, before = change.obj, change.before
        seen = self._seen
        seen.signals += self._sources.changed(change, self._clock())
        if isinstance(obj, Pod):
            for workload in self._workloads_of(obj, before):
                seen.changes[workload, obj.metadata.uid] = None
        elif isinstance(obj, WorkloadObject):
            seen.changes[obj.metadata.uid, ""] = None
        if len(seen.signals) + len(seen.changes) >= _PART:  # the watch gets no further ahead of us than that
            self._look()
        else:
            seen.news.set()

    def _workloads_of(self, pod: Pod, before: KubeObject | None) -> list[str]:
        """The workload (by uid) that a pod belongs to, and the one that has just lost it: it may have been released."""
        workload = self._view.workload_uid(pod) if pod.metadata.controller is not None else pod.metadata.uid  # nobody's: its own
        lost = ""
        if isinstance(before, Pod) and before.metadata.owner_references != pod.metadata.owner_references:
            lost = self._view.workload_uid(before)
        return [uid for uid in dict.fromkeys((lost, workload)) if uid]

    async def intake(self, signals: list[Signal]) -> None:
        """Take signals from outside; returns when they are decided and what follows is journaled.

        Raises QueueFull when there is no room for all of them, or the journal cannot be written: they are to be sent again.
        """
        if self.stopping:
            raise QueueFull("healer is stopping")
        if self._executor is None:
            raise QueueFull("healer does not know the cluster yet")
        if self._waiting and self._waiting + len(signals) > self._room:
            raise QueueFull(f"{self._waiting} signals wait to be decided, there is room for {self._room}")
        concerned = await self._put(signals)
        try:
            await self._journal.durable(concerned)
        except Unkept:
            pass  # the journal has said so, and the engine knows of what is lost: it keeps nothing else from being taken
        except JournalError as error:
            raise QueueFull(f"what was decided cannot be journaled: {error}", hint=PERHAPS) from error

    def observed(self, reports: Sequence[Report]) -> asyncio.Future[set[str]]:
        """Take what our own sources have found out; what is returned is done when it is decided."""
        if self.stopping:
            told: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
            told.set_result(set())
            return told
        signals = [report for report in reports if isinstance(report, Signal)]
        return self._put(signals, [report for report in reports if not isinstance(report, Signal)])

    def _put(self, signals: list[Signal], then: Sequence[Answered | Unanswered] = ()) -> asyncio.Future[set[str]]:
        decided: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        self._waiting += len(signals)
        self._inbox.put_nowait(_Batch(signals, then, decided))
        return decided

    def approved(self, incident_id: str, by: str) -> None:
        """A human has approved what an incident waits with."""
        self._feed(Approval(incident_id, by))

    def lost(self, incident_id: str, why: str, how: Loss) -> None:
        """The object that an incident is kept in is not ours any more."""
        self._feed(Dropped(incident_id, why, how))

    async def sift(self, incidents: list[Incident]) -> Sifted:
        """What of a journal is believed, before `run` goes on from it."""
        believed: list[Incident] = []
        doubted: list[tuple[Incident, Reason]] = []
        for begin in range(0, len(incidents), _PART):
            found = self._engine.sift(incidents[begin : begin + _PART], self._view, self._clock())
            believed += found.believed
            doubted += found.doubted
            await asyncio.sleep(0)
        return Sifted(tuple(believed), tuple(doubted))

    def undone(self, incident_id: str, by: str) -> None:
        """A human has taken back what healer did for an incident, which may be closed by now: it is told all the same."""
        if self._engine.incident(incident_id) is not None:
            self._feed(Undone(incident_id, by))
            return
        kept = next((incident for incident in self._journal.incidents() if incident.id == incident_id), None)
        if kept is not None and (after := undone(kept, by, self._clock())) is not kept:
            self._recorder.record(Record(after, after.history[-1]))

    def incident(self, incident_id: str) -> Incident | None:
        """An incident that is not closed, by id."""
        return self._engine.incident(incident_id)

    def occurrence(self, key: str) -> str:
        """The occurrence that the latest open incident has of a firing signal (by key); "" when the signal is part of none."""
        found = self._about(key)
        known = [sick.signals[key].occurrence for each in found for sick in each.targets.values() if key in sick.signals]
        return known[-1] if known else ""

    def accepted(self, key: str, action: str) -> Mapping[str, str] | None:
        """What an action has kept beside the open incident of a firing signal (by key); None when the signal is part of none.

        Empty unless an action was accepted, what came of it is being watched, and nobody has taken it back by `healer undo`.
        """
        found = self._about(key)
        if not found:
            return None
        states = (State.VERIFYING, State.ESCALATED)
        watched = [each for each in found if each.acted_at and each.state in states and not is_undone(each)]
        return self._journal.recall(watched[-1].id).get(action, {}) if watched else {}

    def _about(self, key: str) -> list[Incident]:
        """The open incidents of a firing signal."""
        return [incident for each in self._engine.incidents_of(key) if (incident := self._engine.incident(each)) is not None]

    def alerts(self) -> list[Signal]:
        """The alerts that fire and that some rule is about."""
        return self._engine.alerts()

    def use(self, rulebook: Rulebook) -> None:
        """Take other rules."""
        if self._early is not None:
            self._early.append(partial(self.use, rulebook))
            return
        self._carry_out(self._engine.use(rulebook, self._view, self._clock()))

    # what the executor asks

    def still_sick(self, pod: Pod, act: Act) -> bool:
        """Whether a freshly read pod still has what the incident is about. What an alert says cannot be read off the pod."""
        incident = self._engine.incident(act.incident.id)
        sick = None if incident is None else incident.targets.get(act.target.uid)
        if sick is None:
            return False
        now = self._clock()
        return any(self._sources.still(pod, symptom, now) for symptom in sick.signals.values())

    def still_wanted(self, act: Act, fresh: Pod | Workload | None) -> Reason | None:
        """Why the attempt is not wanted any more; None when it is. `fresh` is its target as it was just read, where it was."""
        if self.stopping:
            return Reason("Stopping", "healer is stopping: nothing was done")
        return self._engine.unwanted(act, self._view, self._clock(), fresh)

    # running

    async def run(self, executor: Executor, incidents: list[Incident], aside: Sequence[str] = ()) -> None:
        """Decide what comes in and what falls due, until cancelled. To be started when the view is synced.

        `incidents` are those of the journal that are believed, oldest first; `aside` names the others (`Engine.restore`).
        """
        async with asyncio.TaskGroup() as group:
            self._executor, self._group = executor, group
            await self._begin(incidents, aside)
            self.begun.set()
            group.create_task(self._take(), name="intake")
            group.create_task(self._watch(), name="changes")
            group.create_task(self._time(), name="time")

    async def _begin(self, incidents: list[Incident], aside: Sequence[str]) -> None:
        """Go on from the journal, then from the pods as they are; the loop goes on meanwhile, and what comes waits (`_early`)."""
        now, self._early = self._clock(), []
        signals = self._sources.current(self._view, incidents, now)
        for incident in incidents:
            if incident.rule != ENDED_ALERTS:
                self._metrics.incident(incident)
        for effects in self._engine.restore(incidents, {signal.key for signal in signals}, self._view, now, aside):
            self._carry_out(effects)
            await asyncio.sleep(0)
        for begin in range(0, len(signals), _PART):
            self._together(signals[begin : begin + _PART], whole=False)
            await asyncio.sleep(0)
        early, self._early = self._early, None
        self._look()
        self._decide(Together((), whole=True))
        for tell in early:
            tell()
        self._feed(Tick())  # now that all that fires is told, the engine may act

    async def _take(self) -> None:
        while True:
            batch = await self._inbox.get()
            concerned = self._concerned(batch.signals)  # what is over is no part of an incident afterwards
            for begin in range(0, len(batch.signals), _PART):
                self._midway = begin + _PART < len(batch.signals)
                self._signals(batch.signals[begin : begin + _PART])
                await asyncio.sleep(0)
            for report in batch.then:
                self._feed(report)
            while self._engine.goes_on:
                await asyncio.sleep(0)
                self._feed(Tick())
            concerned |= self._concerned(batch.signals)
            self._waiting -= len(batch.signals)
            if not batch.decided.done():  # its sender may have given up
                batch.decided.set_result(concerned)

    async def _watch(self) -> None:
        """Tell the engine what was seen since it was last told: what the watches brought in one turn of theirs at once."""
        while True:
            await self._seen.news.wait()
            self._look()

    async def _time(self) -> None:
        """Tick whenever the engine or the pods asked for it."""
        while True:
            self._sooner.clear()
            self._due = self._next()
            try:
                async with asyncio.timeout(None if self._due is None else max(0.0, self._due - self._clock())):
                    await self._sooner.wait()
            except TimeoutError:
                now = self._clock()
                self._signals(self._sources.due(now))
                self._feed(Tick())

    def _next(self) -> float | None:
        return min((at for at in (self._engine.next_wake(), self._sources.next_due()) if at is not None), default=None)

    def _signals(self, signals: list[Signal]) -> None:
        self._look()  # what was seen before
        self._together(signals, whole=not self._midway)

    def _together(self, signals: list[Signal], *, whole: bool) -> None:
        for signal in signals:
            self._metrics.signal(signal, self._engine.looks_for(signal))
        if signals:
            self._decide(Together(tuple(signals), whole))

    def _concerned(self, signals: list[Signal]) -> set[str]:
        """The incidents that these signals are part of."""
        return {incident for signal in signals for incident in self._engine.incidents_of(signal.key)}

    def _feed(self, event: Input) -> None:
        if self._early is not None:
            self._early.append(partial(self._feed, event))
            return
        self._look()  # what was seen before
        self._decide(event)

    def _look(self) -> None:
        """Tell the engine of the changes that were seen."""
        if self._early is not None:
            return
        signals, changes = self._seen.signals, self._seen.changes
        self._seen.signals, self._seen.changes = [], {}
        self._seen.news.clear()
        self._together(signals, whole=not self._midway)
        for workload, pod in changes:
            if not pod or self._engine.concerns(workload):
                self._decide(WorkloadChanged(workload, pod))

    def _decide(self, event: Input) -> None:
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
        due = self._next()
        if due is not None and (self._due is None or due < self._due):
            self._sooner.set()

    def _act(self, act: Act) -> None:
        if self._executor is None or self._group is None:
            raise RuntimeError("the engine wants to act before the view is synced")
        self._executor.start(act, self._acted, self._group)

    def _acted(self, act: Act, outcome: Outcome) -> None:
        self._feed(Acted(act.incident.id, act.step, act.attempt, outcome))
