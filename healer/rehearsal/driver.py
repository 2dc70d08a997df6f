"""Drives the engine in virtual time over a world: its changes by the sources of the daemon, ticks when they are due, plans.

Nothing waits: time jumps to what is due next, so that hours take milliseconds. What is to be done (`Act`) is not done: somebody
reports the outcome, at once or by a plan.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.cluster.watch import ObjectChange
from healer.daemon.changes import ClusterChanges
from healer.daemon.leader import tuning_of
from healer.engine.engine import Engine
from healer.engine.safety.guards.question import Guards
from healer.engine.safety.guards.registry import GUARDS
from healer.engine.tuning import Tuning
from healer.model.action import ActionSpec, Outcome
from healer.model.effects import Act, Acted, Approval, Decided, Decision, Effect, Input, Record, Tick, Together, WorkloadChanged
from healer.model.incident import Incident
from healer.model.signal import Signal
from healer.rehearsal.world import World
from healer.rules.rulebook import Rulebook
from healer.settings import Isolated, Settings
from healer.sources.base import WatchContext
from healer.sources.watched import WatchedSources

HOME = "healer"
"""The namespace that healer runs in, unless told otherwise."""


class Driver:
    """An engine in a world. Whatever happens is fed to it at the world's time; what it answers is collected."""

    def __init__(
        self,
        rules: Rulebook,
        world: World,
        *,
        settings: Settings | None = None,
        tuning: Tuning | None = None,
        sources: WatchedSources | None = None,
        actions: Mapping[str, ActionSpec] | None = None,
        guards: Guards = GUARDS,
    ) -> None:
        """`settings` are the defaults unless given: nothing of the environment is read. `tuning` and `sources` are those of the
        settings, `actions` those that healer has, unless given."""
        settings = settings or Isolated()
        self.rules = rules
        self.world = world
        self.effects: list[Effect] = []
        """All that came out."""
        self.waiting: list[Act] = []
        """The acts whose outcome is not reported yet."""
        self.watchers: list[Callable[[Input, list[Effect]], None]] = []
        """Called after each input, with what came out."""
        self.engine = Engine(rules, actions or specs(ACTIONS), tuning or tuning_of(settings, HOME), guards)
        sources = sources or WatchedSources.of(WatchContext(settings, world.view, lambda: self.rules))
        self.changes = ClusterChanges(world.view, sources, lambda: self.now)
        self._plans: list[tuple[float, int, Callable[[], object]]] = []  # a heap
        self._number = count()
        self._collects = False
        world.listeners.append(self.changed)

    @property
    def now(self) -> float:
        """The world's time, in seconds since the epoch."""
        return self.world.now

    @now.setter
    def now(self, at: float) -> None:
        self.world.now = at

    # what comes in

    def feed(self, event: Input) -> list[Effect]:
        """One input, now."""
        return self._collect(event, self.engine.handle(event, self.world.view, self.now))

    def together(self, *signals: Signal, whole: bool = True) -> list[Effect]:
        """Signals that arrive together."""
        return self.feed(Together(signals, whole))

    def changed(self, change: ObjectChange) -> None:
        """The world changed: what it means is fed at once, or with all that happens at the same moment (`at_once`)."""
        self.changes.add(change)
        if not self._collects:
            self._feed_changes()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Changes of the world at one moment, which the engine sees together."""
        self._collects = True
        try:
            yield
        finally:
            self._collects = False
        self._feed_changes()

    def use(self, rules: Rulebook) -> list[Effect]:
        """Other rules, now; what goes on in parts goes on to its end, as the daemon lets it."""
        self.rules = rules
        effects = self._collect(Tick(), self.engine.use(rules, self.world.view, self.now))
        while self.engine.goes_on:
            effects = [*effects, *self.feed(Tick())]
        return effects

    def restore(self, incidents: list[Incident], sick_now: set[str], aside: Sequence[str] = ()) -> list[Effect]:
        """What a journal holds, now; `aside` is not believed."""
        steps = self.engine.restore(incidents, sick_now, self.world.view, self.now, aside)
        return self._collect(Tick(), [effect for effects in steps for effect in effects])

    def approve(self, incident: str, by: str) -> list[Effect]:
        """A human approves the next step of an incident."""
        return self.feed(Approval(incident, by))

    def report(self, act: Act, outcome: Outcome) -> list[Effect]:
        """The outcome of an act that is under way."""
        self.waiting.remove(act)
        return self.feed(Acted(act.incident.id, act.step, act.attempt, outcome))

    # time

    def plan(self, after: float, what: Callable[[], object]) -> None:
        """Do something in so many seconds; what is planned for one moment is done in the order in which it was planned."""
        heapq.heappush(self._plans, (self.now + after, next(self._number), what))

    def next_due(self) -> float | None:
        """When something is due by itself next: of the engine, or of what is read off objects. Seconds since the epoch."""
        return min((at for at in (self.engine.next_wake(), self.changes.next_due()) if at is not None), default=None)

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, with the plans and the ticks that fall due."""
        end, seen = self.now + seconds, len(self.effects)
        while (at := self._next()) is not None and at <= end:
            planned = bool(self._plans) and self._plans[0][0] <= at
            self.now = max(self.now, at)
            if planned:
                heapq.heappop(self._plans)[2]()
            else:
                self.tick()
        self.now = end
        return self.effects[seen:]

    def _next(self) -> float | None:
        planned = self._plans[0][0] if self._plans else None
        return min((at for at in (planned, self.next_due()) if at is not None), default=None)

    def tick(self) -> None:
        """Time has passed."""
        self._feed_together(self.changes.due())
        self.feed(Tick())

    def _feed_changes(self) -> None:
        signals, changes = self.changes.take()
        self._feed_together(signals)
        for workload, pod in changes:
            if not pod or self.engine.concerns(workload):
                self.feed(WorkloadChanged(workload, pod))

    def _feed_together(self, signals: Sequence[Signal]) -> None:
        if signals:
            self.together(*signals)

    def _collect(self, event: Input, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        self.waiting += [effect for effect in effects if isinstance(effect, Act)]
        for watcher in self.watchers:
            watcher(event, effects)
        return effects

    # what came out

    @property
    def incidents(self) -> dict[str, Incident]:
        """The newest snapshot of every incident there was, in the order they opened."""
        return {effect.incident.id: effect.incident for effect in self.effects if isinstance(effect, Record)}

    @property
    def acts(self) -> list[Act]:
        """All that was to be done."""
        return [effect for effect in self.effects if isinstance(effect, Act)]

    @property
    def decisions(self) -> list[Decision]:
        """All decisions."""
        return decisions(self.effects)


def decisions(effects: Iterable[Effect]) -> list[Decision]:
    """The decisions among effects."""
    return [effect.decision for effect in effects if isinstance(effect, Decided)]
