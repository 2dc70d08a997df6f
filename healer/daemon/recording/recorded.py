"""The engine and the watched sources of a daemon that records: the same ones, and what passes through them is written down.

All of it is a call that puts a line into a queue: about two microseconds on the event loop.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from uuid import uuid4

from healer.cluster.watch import ObjectChange
from healer.daemon.recording.lines import (
    VERSION,
    ActLine,
    AnsweredLine,
    ChangedLine,
    DecisionLine,
    DroppedLine,
    EndLine,
    FedLine,
    HeadLine,
    OutcomeLine,
    PausedLine,
    PersonLine,
    RulesLine,
    SignalsLine,
    TakenBackLine,
    TickLine,
    UnansweredLine,
    Why,
)
from healer.daemon.recording.marks import kinds, marks, sections
from healer.daemon.recording.writer import Beginning, RecordWriter
from healer.engine.engine import Engine
from healer.engine.tuning import Tuning
from healer.model.action import ActionSpec
from healer.model.effects import (
    Act,
    Acted,
    Approval,
    Decided,
    Dropped,
    Effect,
    Input,
    TakenBack,
    Tick,
    Together,
    Undone,
    Verb,
    WorkloadChanged,
)
from healer.model.incident import Incident
from healer.model.kube import KubeObject
from healer.model.ruleset import RuleSet
from healer.model.signal import Answered, Signal, Unanswered
from healer.model.target import Target
from healer.model.view import View
from healer.rules.rulebook import Rulebook
from healer.rules.triggers import TRIGGERS
from healer.settings import Settings
from healer.sources.watched import WatchedSources

_QUIET = frozenset({Verb.IGNORE, Verb.PEND})
"""Decisions that are left out: there are many, and other rules make others."""


class Recording:
    """The record of one leadership: writes what happens as lines, and begins files with the whole state. On the event loop."""

    def __init__(
        self, writer: RecordWriter, settings: Settings, home: str, view: View, kept: Callable[[], Sequence[Incident]]
    ) -> None:
        """`kept` gives the incidents of the journal, oldest first."""
        self.kept = kept
        self._writer = writer
        self._settings = settings
        self._home = home
        self._view = view
        self._run = uuid4().hex[:8]
        self._number = 0
        self._lost = writer.counts.lost
        self._paused = ""
        self._unfed = False  # whether the engine is still to be told of a change
        self._known: Callable[[], tuple[Rulebook, Sequence[Signal]]] | None = None  # while it is recorded
        self.latest = 0.0
        """The time of the last input or change: what was restored meanwhile is not before it."""

    def start(self, known: Callable[[], tuple[Rulebook, Sequence[Signal]]], incidents: Sequence[Incident], now: float) -> None:
        """Begin the first file. `known` gives the rules in force, and what fires and is not read off an object."""
        self._known, self.latest = known, now
        self._begin("started", known()[0], now, firing=[], incidents=incidents)

    def _begin(self, why: Why, rules: Rulebook, now: float, *, firing: Sequence[Signal], incidents: Sequence[Incident]) -> None:
        """Begin a file with the whole state."""
        lost, self._lost = self._writer.counts.lost - self._lost, self._writer.counts.lost
        head = HeadLine(
            at=now,
            version=VERSION,
            healer=version("healer"),
            run=self._run,
            number=self._number,
            why=why,
            home=self._home,
            mode=self._settings.mode,
            rules=marks(rules),
            kinds=kinds(rules, self._settings),
            namespaces=self._settings.cluster.namespaces,
            settings=sections(self._settings),
            lost=lost,
        )
        self._number += 1
        self._paused = self._view.paused_everywhere
        read = [each for each in self._view.objects(KubeObject) if not isinstance(each, RuleSet)]  # the engine reads no RuleSets
        self._writer.begin(Beginning(head, read, firing, incidents, self._paused))

    def go_on(self, now: float) -> None:
        """Before each input and each change: begin a new file where that is due, and note a pause of everything."""
        self.latest = now
        if self._known is not None and (why := self._writer.wants) is not None:
            rules, firing = self._known()
            self._begin(why, rules, now, firing=firing, incidents=self.kept())
        if self._view.paused_everywhere != self._paused:
            self._paused = self._view.paused_everywhere
            self._writer.put(PausedLine(now, self._paused))

    def changed(self, change: ObjectChange, now: float) -> None:
        """An object has changed. The engine is not told of most: a file must not grow until it is."""
        if self._known is None:
            return
        self.go_on(now)
        self._unfed = True
        kind = type(change.obj).__name__
        if change.verb == "put":
            self._writer.put(ChangedLine(now, kind, change.obj))
        else:
            self._writer.put(ChangedLine(now, kind, dropped=change.obj.metadata.uid))

    def input(self, event: Input, incident: Incident | None, now: float) -> None:
        """What the engine is told; `incident` is that which an outcome or a person's word is about."""
        put = self._writer.put
        rule, workload = ("", _NOBODY) if incident is None else (incident.rule, incident.workload)
        match event:
            case Together(signals, whole):
                self._signals(signals, whole, now)
            case Signal():
                self._signals((event,), True, now)
            case WorkloadChanged():
                self._fed(now)
            case Tick():
                put(TickLine(now))
            case Answered(name, keys):
                put(AnsweredLine(now, name, tuple(sorted(keys))))
            case Unanswered(name, why, keys):
                put(UnansweredLine(now, name, why, None if keys is None else tuple(sorted(keys))))
            case Acted(of, step, _, outcome):
                action = "" if incident is None or step >= len(incident.steps) else incident.steps[step]
                put(OutcomeLine(now, of, rule, workload, step, action, outcome))
            case Approval(of, by):
                put(PersonLine(now, "approved", of, rule, workload, by))
            case Undone(of, by):
                put(PersonLine(now, "undone", of, rule, workload, by))
            case TakenBack(of, reason):
                put(TakenBackLine(now, of, rule, workload, reason))
            case Dropped(of, why, how):
                put(DroppedLine(now, of, rule, workload, why, how))

    def _signals(self, signals: tuple[Signal, ...], whole: bool, now: float) -> None:
        """Signals that were read off objects follow from the changes: a reader finds them again."""
        if not signals or any(map(_from_outside, signals)):
            self._writer.put(SignalsLine(now, signals, whole))
        else:
            self._fed(now)

    def _fed(self, now: float) -> None:
        if self._unfed:
            self._unfed = False
            self._writer.put(FedLine(now))

    def effects(self, effects: Iterable[Effect], now: float) -> None:
        """What follows from it."""
        for effect in effects:
            match effect:
                case Act(incident=incident):
                    self._writer.put(
                        ActLine(
                            at=now,
                            incident=incident.id,
                            rule=incident.rule,
                            workload=incident.workload,
                            step=effect.step,
                            action=effect.action,
                            target=effect.target,
                            dry_run=effect.dry_run,
                            reason=incident.reason,
                        )
                    )
                case Decided(decision, again) if not again and decision.verb not in _QUIET:
                    self._writer.put(DecisionLine(now, decision))

    def rules(self, rulebook: Rulebook, now: float) -> None:
        """Other rules are in force."""
        self._writer.put(RulesLine(now, marks(rulebook), kinds(rulebook, self._settings)))

    def end(self, now: float) -> None:
        """The leadership has ended."""
        self._known = None
        self._writer.put(EndLine(now))


_NOBODY = Target("", "", "", "")


def _from_outside(signal: Signal) -> bool:
    """Whether a signal is not read off watched objects: a reader has to be told of it."""
    trigger = TRIGGERS[signal.source]
    return trigger.pushed or trigger.asked


class RecordedEngine(Engine):
    """An engine whose inputs and effects are recorded."""

    def __init__(self, rulebook: Rulebook, actions: Mapping[str, ActionSpec], tuning: Tuning, recording: Recording) -> None:
        super().__init__(rulebook, actions, tuning)
        self._recording = recording

    def handle(self, event: Input, view: View, now: float) -> list[Effect]:
        self._recording.go_on(now)
        about = self.incident(event.incident) if isinstance(event, Acted | Approval | Undone | TakenBack | Dropped) else None
        self._recording.input(event, about, now)
        effects = super().handle(event, view, now)
        self._recording.effects(effects, now)
        return effects

    def use(self, rulebook: Rulebook, view: View, now: float) -> list[Effect]:
        self._recording.rules(rulebook, now)
        effects = super().use(rulebook, view, now)
        self._recording.effects(effects, now)
        return effects

    def restore(
        self, incidents: Iterable[Incident], sick_now: Container[str], view: View, now: float, aside: Sequence[str] = ()
    ) -> Iterator[list[Effect]]:
        believed = list(incidents)
        self._recording.start(lambda: (self._matcher.rulebook, self._firing()), believed, now)
        for effects in super().restore(believed, sick_now, view, now, aside):
            self._recording.effects(effects, self._recording.latest)
            yield effects

    def _firing(self) -> list[Signal]:
        """What fires and is not read off an object."""
        return [each.signal for each in self._matcher.all() if _from_outside(each.signal)]


class RecordedSources(WatchedSources):
    """Watched sources whose changes are recorded."""

    def __init__(self, sources: WatchedSources, recording: Recording) -> None:
        super().__init__(sources._watched)
        self._recording = recording

    def changed(self, change: ObjectChange, now: float) -> list[Signal]:
        self._recording.changed(change, now)
        return super().changed(change, now)
