"""Plays a record to an engine with other rules, in virtual time: the same engine, the same sources, the same inputs.

The loop is open: the recorded cluster does not answer to what these rules would have done. An act that the record has too gets
the outcome of the record. Any other counts as done at once, and its incident is then verified against the record.

Ticks come when the record has them. One that these rules need besides comes when the record has gone on past it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.cluster.watch import ObjectChange
from healer.daemon.leader import tuning_of
from healer.daemon.recording.lines import (
    ActLine,
    AnsweredLine,
    AnyLine,
    ChangedLine,
    DecisionLine,
    DroppedLine,
    EndLine,
    FedLine,
    FiringLine,
    HeadLine,
    HeldLine,
    IncidentLine,
    OutcomeLine,
    PausedLine,
    PersonLine,
    RulesLine,
    SignalsLine,
    TakenBackLine,
    TickLine,
    UnansweredLine,
    WholeLine,
)
from healer.daemon.recording.reading import RecordError
from healer.journal.memory import MemoryJournal
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act, Acted, Approval, Decided, Decision, Dropped, Effect, Input, Record, TakenBack, Undone
from healer.model.incident import Incident, State
from healer.model.kube import KubeObject
from healer.model.signal import Answered, Signal, Unanswered
from healer.rehearsal.driver import Driver
from healer.rehearsal.replay.decoding import RecordedObjects, settings_of
from healer.rehearsal.replay.known import RecordKnowledge
from healer.rehearsal.replay.reasons import LastDecisions, mode_of, why_not
from healer.rehearsal.replay.story import Story, ToldAct
from healer.rehearsal.world import World
from healer.rules.rulebook import Rulebook
from healer.settings import Settings

LATE = 1.0
"""Seconds by which a daemon may be late with a tick, or with telling its engine of changes."""
_SIGNALS_AT_ONCE = 25
ASSUMED = "Assumed"
"""The reason code of the outcome of an act that the record does not have."""


@dataclass(slots=True)
class _UnderWay:
    """An act without its outcome."""

    act: Act
    deed: ToldAct
    recorded: bool = False

    def is_of(self, line: ActLine | OutcomeLine) -> bool:
        """Whether a line of the record is about the same act."""
        incident = self.act.incident
        return (incident.rule, incident.workload.uid, self.act.action) == (line.rule, line.workload.uid, line.action)


@dataclass(slots=True)
class _StateRead:
    """The state that a file begins with, while it is read."""

    head: HeadLine
    objects: list[KubeObject]
    firing: list[Signal]
    incidents: list[Incident]


class Player:
    """Plays lines in their order; `story` tells what these rules do. `settings` are those of the record unless given."""

    def __init__(self, rules: Rulebook, story: Story, known: RecordKnowledge, settings: Settings | None = None) -> None:
        self.story = story
        self._rules = rules
        self._known = known
        self._settings = settings
        self._objects = RecordedObjects()
        self._journal = MemoryJournal()
        self._driver: Driver | None = None
        self._ended = False
        self._head: HeadLine | None = None
        self._state: _StateRead | None = None  # while a state is read
        self._same_run = False  # whether the file before is of the same run
        self._skips = False  # while a state is read that is known already
        self._unfed: list[ChangedLine] = []
        self._under_way: list[_UnderWay] = []
        self._assumed: set[str] = set()  # incidents with an act that the record does not have
        self._removed: set[str] = set()  # the uids of the pods that such acts took down
        self._decisions = LastDecisions()
        self.opposed: Callable[[ToldAct], str] = lambda deed: ""
        """Says why what these rules are compared with does not do a deed at its moment."""
        self._disrupts = {name for name, spec in specs(ACTIONS).items() if spec.disrupts}

    def play(self, line: AnyLine) -> None:
        """The next line."""
        match line:
            case HeadLine():
                self._begin(line)
            case HeldLine() | FiringLine() | IncidentLine():
                self._keep(line)
            case WholeLine():
                self._begun(line)
            case ActLine():
                self._match(line)
            case DecisionLine():
                pass
            case RulesLine():
                self._known.other_rules(line)
            case EndLine():
                self.pass_until(line.at)
                self._ended = True
            case _:
                self.pass_until(line.at)
                self._input(line, self._driven())

    def finish(self) -> None:
        """The record ends here."""
        if self._driver is not None:
            self._settle(self._driver)

    def why_not(self, deed: ToldAct) -> str:
        """Why these rules do not do at this moment what others do."""
        driver = self._driver
        if driver is None or self._ended:
            return "the record has no state of that moment"
        incidents = [each for each in driver.engine.incidents() if each.workload.uid == deed.workload.uid]
        unjudged = self._known.missing(deed.rule)
        return why_not(deed, self._rules, incidents, self._decisions.about(deed.workload, deed.target), unjudged)

    # how a file begins

    def _begin(self, head: HeadLine) -> None:
        before, self._head = self._head, head
        self._known.head(head)
        self._same_run = before is not None and before.run == head.run
        follows = before is not None and self._same_run and before.number + 1 == head.number
        if follows and not self._ended:
            self.pass_until(head.at)
        self._skips = follows and head.why == "continued"
        self._state = None if self._skips else _StateRead(head, [], [], [])

    def _keep(self, line: HeldLine | FiringLine | IncidentLine) -> None:
        if (state := self._state) is None:
            return
        if isinstance(line, HeldLine):
            state.objects.append(self._objects.object(line.kind, line.object))
        elif isinstance(line, FiringLine):
            state.firing.append(line.signal)
        else:
            state.incidents.append(line.incident)

    def _begun(self, line: WholeLine) -> None:
        state, self._state = self._state, None
        if state is None:
            self._skips = False
            return
        if self._same_run and self._driver is not None and not self._ended:
            self._reread(state, self._driver)
        else:
            self._start(state)
        self._driven().world.view.paused_everywhere = line.paused

    def _start(self, state: _StateRead) -> None:
        """As the daemon does when it begins to lead: with the incidents of the record, then with those of the replay itself."""
        head, driver_before = state.head, self._driver
        self._ended, self._unfed, self._under_way = False, [], []
        settings = self._settings or settings_of(head)
        world = World("", head.at)
        for obj in state.objects:
            world.view.put(obj)
        driver = self._driver = Driver(self._rules, world, settings=settings, tuning=tuning_of(settings, head.home))
        driver.watchers.append(self._came)
        read = self._remembered(state.incidents, driver_before.now) if driver_before is not None else state.incidents
        believed = list(driver.engine.sift(read, world.view, head.at).believed)
        for incident in believed:
            self._journal.note(incident)
        signals = driver.changes.current(believed)
        driver.restore(believed, {signal.key for signal in signals})
        signals += self._known.mine(state.firing)
        for begin in range(0, len(signals), _SIGNALS_AT_ONCE):
            driver.together(*signals[begin : begin + _SIGNALS_AT_ONCE], whole=False)
        if head.why != "started":  # else the record itself says when all was known
            driver.together()
            driver.tick()

    def _remembered(self, recorded: list[Incident], ended: float) -> list[Incident]:
        """The replay's own incidents after a restart. A killed daemon has not written its last lines: the record's journal knows
        better how those went on that both have, and what has opened since `ended`."""
        found = {incident.id: incident for incident in self._journal.incidents()}
        for incident in recorded:
            rule = self._rules.get(incident.rule)
            if rule is None or rule.digest != incident.ruled or incident.id in self._assumed:
                continue
            if incident.id in found or incident.opened_at > ended:
                found[incident.id] = incident
                self.story.changed(incident)
        return sorted(found.values(), key=lambda incident: incident.opened_at)

    def _reread(self, state: _StateRead, driver: Driver) -> None:
        """After a gap: what has changed meanwhile, as after a relist."""
        self._feed(driver, driver.now)  # before the gap
        driver.now = max(driver.now, state.head.at)
        held = {obj.metadata.uid: obj for obj in state.objects}
        with driver.at_once():
            for kind in {type(obj) for obj in driver.world.view.objects(KubeObject)}:
                for uid in driver.world.view.uids(kind) - held.keys():
                    if (gone := driver.world.view.drop(kind, uid)) is not None:
                        driver.changed(ObjectChange(kind, "drop", gone, gone))
            for obj in held.values():
                driver.world.put(obj)
        driver.together(*self._known.mine(state.firing))

    # what happens

    def _input(self, line: AnyLine, driver: Driver) -> None:
        if isinstance(line, ChangedLine):
            self._unfed.append(line)
            return
        if isinstance(line, PausedLine):  # the view has it before the engine is told of anything else
            driver.world.view.paused_everywhere = line.why
            return
        self._feed(driver, line.at)
        driver.now = max(driver.now, line.at)
        match line:
            case TickLine():
                driver.tick()
            case SignalsLine():
                signals = self._known.mine(line.signals)
                if signals or not line.signals:
                    driver.together(*signals, whole=line.whole)
            case AnsweredLine():
                for rule in self._known.asking(line.rule):
                    driver.feed(Answered(rule, self._known.keys(line.rule, rule, line.keys)))
            case UnansweredLine():
                for rule in self._known.asking(line.rule):
                    keys = None if line.keys is None else self._known.keys(line.rule, rule, line.keys)
                    driver.feed(Unanswered(rule, line.why, keys))
            case OutcomeLine():
                self._outcome(line, driver)
            case PersonLine() | TakenBackLine() | DroppedLine():
                self._of_incident(line, driver)
            case FedLine():
                pass  # it is fed

    def _of_incident(self, line: PersonLine | TakenBackLine | DroppedLine, driver: Driver) -> None:
        """What is about an incident is about the replay's own of the same rule on the same workload."""
        same = [each for each in driver.engine.incidents() if (each.rule, each.workload.uid) == (line.rule, line.workload.uid)]
        for incident in sorted(same, key=lambda each: each.id == line.incident)[-1:]:
            match line:
                case PersonLine(did="approved", by=by):
                    driver.feed(Approval(incident.id, by))
                case PersonLine(by=by):
                    driver.feed(Undone(incident.id, by))
                case TakenBackLine(reason=reason):
                    driver.feed(TakenBack(incident.id, reason))
                case DroppedLine(why=why, how=how):
                    driver.feed(Dropped(incident.id, why, how))

    def _feed(self, driver: Driver, at: float) -> None:
        """Tell the engine of the changes that are not told yet, together."""
        lines, self._unfed = self._unfed, []
        if not lines:
            return
        with driver.at_once():
            for line in lines:
                driver.now = max(driver.now, line.at)
                self._change(line, driver)
            driver.now = max(driver.now, at)

    def _change(self, line: ChangedLine, driver: Driver) -> None:
        resource, view = self._objects.resource(line.kind), driver.world.view
        if line.dropped:
            if (gone := view.drop(resource.kind, line.dropped)) is not None:
                driver.changed(ObjectChange(resource.kind, "drop", gone, gone))
            return
        obj = self._objects.object(line.kind, line.object)
        if resource.kept:
            driver.world.put(obj)
        else:
            driver.changed(ObjectChange(resource.kind, "put", obj, None))

    # time

    def next_due(self) -> float | None:
        """When something happens next without a line, in seconds since the epoch."""
        driver = self._driver
        if driver is None or self._ended:
            return None
        told = [self._unfed[0].at] if self._unfed else []
        due = driver.next_due()
        return min([*told, *([due] if due is not None else [])], default=None)

    def pass_until(self, at: float) -> None:
        """What happens before the next line without one: ticks, changes, and outcomes that the record does not have."""
        driver = self._driver
        if driver is None or self._ended:
            return
        self._settle(driver)
        while (first := self.next_due()) is not None and first + LATE <= at:
            if self._unfed and self._unfed[0].at <= first:
                self._feed(driver, first)
            else:
                driver.now = max(driver.now, first)
                driver.tick()
            self._settle(driver)

    def _settle(self, driver: Driver) -> None:
        """Acts that the record does not have count as done."""
        while (under_way := next((each for each in self._under_way if not each.recorded), None)) is not None:
            self._under_way.remove(under_way)
            act = under_way.act
            if not act.dry_run:
                self._assumed.add(act.incident.id)
                if act.action in self._disrupts:
                    self._removed |= set(driver.world.view.replaced_with(act.target))
            text = f"{act.action} {act.target}: the record does not have it, so that it counts as done"
            under_way.deed.outcome = outcome = Outcome(OutcomeKind.DONE, ASSUMED, text)
            driver.feed(Acted(act.incident.id, act.step, act.attempt, outcome))

    # what these rules do

    def _came(self, _: Input, effects: list[Effect]) -> None:
        driver = self._driven()
        for effect in effects:
            match effect:
                case Record(incident):
                    self._journal.note(incident)
                    self.story.changed(incident)
                    if incident.id in self._assumed and (incident.state.settled or incident.state is State.ESCALATED):
                        driver.engine.suppose_made_good(incident.workload.uid)
                case Decided(decision, again):
                    self._decisions.note(decision, self._workload_of(decision, driver))
                    if not again:
                        self.story.decided(decision)
                case Act():
                    echo = effect.incident.id in self._assumed or self._all_removed(effect)
                    deed = self.story.acted(effect, driver.now, echo=echo)
                    deed.mode, deed.opposed = mode_of(deed, self._rules), self.opposed(deed)
                    self._under_way.append(_UnderWay(effect, deed))
        driver.effects.clear()
        driver.waiting.clear()

    def _workload_of(self, decision: Decision, driver: Driver) -> str:
        incident = driver.engine.incident(decision.incident) if decision.incident else None
        if incident is not None:
            return incident.workload.uid
        pod = driver.world.view.pod(decision.target.uid)
        return decision.target.uid if pod is None else driver.world.view.workload_uid(pod)

    def _all_removed(self, act: Act) -> bool:
        """Whether all that is sick are pods that an act which the record does not have took down."""
        sick = {each.target.uid for each in act.incident.sick}
        return bool(sick) and sick <= self._removed

    def _match(self, line: ActLine) -> None:
        for each in self._under_way:
            if not each.recorded and each.is_of(line) and each.act.target.uid == line.target.uid:
                each.recorded = each.deed.recorded = True
                return

    def _outcome(self, line: OutcomeLine, driver: Driver) -> None:
        found = next((each for each in self._under_way if each.recorded and each.is_of(line)), None)
        if found is not None:
            self._under_way.remove(found)
            found.deed.outcome = line.outcome
            act = found.act
            driver.feed(Acted(act.incident.id, act.step, act.attempt, line.outcome))

    # small parts

    def _driven(self) -> Driver:
        if self._driver is None:
            raise RecordError("the record does not begin with a state: name the file before this one as well")
        return self._driver
