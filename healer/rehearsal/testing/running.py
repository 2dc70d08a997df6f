"""Plays one test of rules, and finds the first difference from what it expects."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

from healer.clock import SYSTEM, Clock
from healer.engine.incidents.needed import STORM
from healer.engine.safety.guards.question import Guard, Guards, Question, Veto
from healer.engine.safety.guards.registry import GUARDS
from healer.engine.safety.guards.replicas import InNumbers
from healer.engine.safety.guards.stops import no_storm, tenant_breaker
from healer.model.effects import Act, Decided, Effect, Input, Record
from healer.model.node import Node, WatchedNodeMeta, WatchedNodeSpec
from healer.rehearsal.driver import Driver
from healer.rehearsal.testing.comparing import HOLDS, FirstDifference, Outcomes
from healer.rehearsal.testing.events.cluster import autoscale
from healer.rehearsal.testing.loading import LoadedTest
from healer.rehearsal.testing.reactions import Reactions
from healer.rehearsal.testing.schema import CaseCluster, TimedEvent
from healer.rehearsal.testing.stage import CaseError, CaseStage
from healer.rehearsal.timeline import EVENT, TimelineLine, clock, entries
from healer.rehearsal.world import START, World
from healer.rules.positions import Problem
from healer.sources.targets import TargetLabels

MAX_STEPS = 200_000
"""The inputs that a test gives to the engine: twenty seconds of a small cluster, a month of one incident that waits."""
ON_STORM = "onStorm"


@dataclass
class Reached:
    """What tests have reached: rules that opened an incident, and by which of their names; steps that were taken, rules that were
    held back, guards that objected."""

    rules: set[str] = field(default_factory=set)
    steps: set[tuple[str, int | str]] = field(default_factory=set)
    """The full name of a rule, and the index of a step; or "onStorm"."""
    names: set[tuple[str, str]] = field(default_factory=set)
    """The full name of a rule, and a condition, an alert or a reason that it looks for."""
    held: set[str] = field(default_factory=set)
    guards: set[str] = field(default_factory=set)

    def add(self, other: "Reached") -> None:
        """What others have reached as well."""
        self.rules |= other.rules
        self.steps |= other.steps
        self.names |= other.names
        self.held |= other.held
        self.guards |= other.guards


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one test. `problem` is why it could not be played to its end."""

    name: str
    where: str
    file: str
    timeline: tuple[TimelineLine, ...]
    difference: FirstDifference | None
    """The first difference from what is expected; None: there is none."""
    reached: Reached
    expected: str = ""
    """Where the file says what differs: "rules/vllm.test.yaml:14"."""
    problem: Problem | None = None
    seconds: float = 0.0
    """How long it took, in real time."""

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return self.difference is None and self.problem is None


def guard_name(guard: Guard) -> str:
    """The name of a guard."""
    inner: object = guard.guard if isinstance(guard, InNumbers) else guard
    return str(getattr(inner, "__name__", type(inner).__name__))


def _guards() -> Iterator[tuple[str, str]]:
    for guard in (*GUARDS.acting, *GUARDS.telling):
        if guard is tenant_breaker:  # it is about RuleSets of the cluster, and tests are about rules in files
            continue
        inner: object = guard.guard if isinstance(guard, InNumbers) else guard
        yield guard_name(guard), (inner.__doc__ or "").partition("\n")[0].strip()


GUARD_NAMES: Mapping[str, str] = dict(_guards())
"""All guards that rules in files can meet, in their order, each with its sentence."""


def play(test: LoadedTest, clock: Clock = SYSTEM, guards: Guards = GUARDS) -> CaseResult:
    """Play a test. `clock` measures how long that takes."""
    began = clock.steady()
    return replace(_Playing(test, guards).result(), seconds=clock.steady() - began)


class _Playing:
    def __init__(self, test: LoadedTest, guards: Guards) -> None:
        self._test = test
        self._reached = Reached()
        self._lines: list[TimelineLine] = []
        self._steps = 0
        world, floors = _world(test.cluster)
        driver = Driver(test.rules, world, settings=test.settings, guards=_recording(guards, self._reached.guards))
        self._driver = driver
        self._stage = CaseStage(driver, TargetLabels.of(test.settings.alerts))
        driver.watchers += [self._note, Reactions(self._stage, test.case.after, floors).watch]

    def result(self) -> CaseResult:
        """Play it until the first difference."""
        test, difference, problem = self._test, None, None
        ordered = sorted(enumerate(test.case.events), key=lambda each: each[1].at)
        for at, group in groupby(ordered, key=lambda each: each[1].at):
            self._driver.plan(at, partial(self._happen, list(group)))
        try:
            difference = self._first_difference()
        except CaseError as error:
            problem = test.problem(error.path, str(error), error.hint)
        expected = "" if difference is None else test.place(difference.path)
        return CaseResult(test.case.name, test.where, test.file, tuple(self._lines), difference, self._reached, expected, problem)

    def _first_difference(self) -> FirstDifference | None:
        test = self._test
        ends = test.case.length
        checks = [(ends if check.at is None else check.at, index, check) for index, check in enumerate(test.case.expect)]
        for at, index, check in sorted(checks, key=lambda each: each[0]):
            self._driver.wait(START + at - self._driver.now)
            outcomes = Outcomes(self._lines, at, test.rules)
            for each in outcomes.differences(check):
                return FirstDifference(each.at, each.text, ("expect", index, *each.path), each.entry)
        self._driver.wait(START + ends - self._driver.now)
        return None

    def _happen(self, events: list[tuple[int, TimedEvent]]) -> None:
        """All that happens at one moment."""
        with self._driver.at_once():
            for index, event in events:
                place = len(self._lines)  # what follows from an event stands below it
                try:
                    self._lines.insert(place, TimelineLine(self._at, EVENT, event.played.play(self._stage)))
                except CaseError as error:
                    raise CaseError(str(error), error.hint, ("events", index, event.key)) from error
        self._stage.flush()

    @property
    def _at(self) -> float:
        return self._driver.now - START

    def _note(self, _: Input, effects: list[Effect]) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            message = f"healer has taken {MAX_STEPS} steps by {clock(self._at)}, which is as far as a test goes"
            raise CaseError(message, "let it end earlier (lasts), or take fewer pods and events")
        self._lines += entries(effects, self._at)
        for effect in effects:
            match effect:
                case Act():
                    step = ON_STORM if effect.incident.storming else effect.step
                    self._reached.steps.add((effect.incident.rule, step))
                case Record(incident, _):
                    self._reached.rules.add(incident.rule)
                    shown = (symptom.name for sick in incident.targets.values() for symptom in sick.signals.values())
                    self._reached.names.update((incident.rule, name) for name in shown)
                case Decided(decision, _) if decision.verb in HOLDS and decision.rule:
                    self._reached.held.add(decision.rule)
                    if decision.reason.code == STORM:  # often it holds before any guard is asked
                        self._reached.guards.add(guard_name(no_storm))


def _world(cluster: CaseCluster) -> tuple[World, Mapping[str, int]]:
    """The cluster at the start, and the ready pods that each budget wants, by the budget's uid."""
    world = World(cluster.namespace)
    for node in cluster.nodes:
        world.put(Node(WatchedNodeMeta(node.name, f"node/{node.name}"), WatchedNodeSpec(node.cordoned)))
    scaled = {(each.namespace or cluster.namespace, each.workload): each.max for each in cluster.autoscalers}
    for each in cluster.served:
        kept = world.serve(
            each.name,
            each.replicas,
            kind=each.kind,
            namespace=each.namespace or "",
            labels=each.labels,
            nodes=each.nodes,
            revision=each.revision,
            size=each.pods,
        )
        if (most := scaled.get((kept.obj.metadata.namespace, each.name))) is not None:
            autoscale(world, kept, most)
    floors: dict[str, int] = {}
    for budget in cluster.budgets:
        floors[world.budget(budget.name, budget.labels)] = budget.min_available
    return world, floors


def _recording(guards: Guards, objected: set[str]) -> Guards:
    """The guards, each of which leaves its name when it objects."""

    def recorded(guard: Guard) -> Callable[[Question], Veto | None]:
        name = guard_name(guard)

        def ask(question: Question) -> Veto | None:
            veto = guard(question)
            if veto is not None:
                objected.add(name)
            return veto

        return ask

    return Guards(tuple(map(recorded, guards.acting)), tuple(map(recorded, guards.telling)))
