"""The stage of one test of rules: the world, the driver, and what was made wrong there, so that it can end or come again."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec

from healer.model.kube import Pod
from healer.model.signal import Answered, Report, Signal, Unanswered
from healer.model.target import Target
from healer.model.view import target_of
from healer.rehearsal.driver import Driver
from healer.rehearsal.kinds import KEPT_KINDS
from healer.rehearsal.statuses import starting
from healer.rehearsal.world import Kept, World
from healer.rules.rulebook import BoundRule, Rulebook
from healer.sources.alertmanager.alert import Alert
from healer.sources.targets import TargetLabels

_GRACE = 30.0
"""Seconds after which a pod is gone that was deleted."""


_NAMED = 20
"""Pods that a hint names."""
MAX_PODS = 2000
"""The pods that the cluster of a test can have."""


class CaseError(Exception):
    """A test cannot be played: it names something that is not there, or grows too large. `hint` says what to do; `path` leads to
    what is wrong, from the test on."""

    def __init__(self, message: str, hint: str = "", path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.path = path


@dataclass(frozen=True, slots=True)
class Ailment:
    """What is wrong with a pod or a workload. `begin` makes the same of another pod, by its name; `end` ends it."""

    begin: Callable[[str], None]
    end: Callable[[], None]


class CaseStage:
    """What the events of a test act on. Signals of one moment are told together."""

    def __init__(self, driver: Driver, labels: TargetLabels) -> None:
        self.driver = driver
        self.labels = labels
        self.alerts: dict[str, Alert] = {}
        """Those that fire, by key."""
        self.answers: dict[str, dict[str, Signal]] = defaultdict(dict)
        """What the last answer for a rule has: its signals by key."""
        self.notes: Callable[[str], None] = lambda text: None
        """Is given what was played, in words."""
        self._ailments: dict[str, dict[str, Ailment]] = defaultdict(dict)  # by the uid of the target, and what it is
        self._told: list[Report] = []

    @property
    def world(self) -> World:
        """The cluster."""
        return self.driver.world

    @property
    def rules(self) -> Rulebook:
        """The rules in force."""
        return self.driver.rules

    # names

    def target(self, name: str) -> Target:
        """The pod of that name. Raises CaseError."""
        with suppress(KeyError):
            return self.world.target(name)
        known = sorted(pod.metadata.name for pod in self.world.view.pods() if not pod.terminating)
        shown = [*known[:_NAMED], f"and {len(known) - _NAMED} more"] if len(known) > _NAMED else known
        raise CaseError(f"there is no pod {name!r} at that time", f"there are {', '.join(shown)}" if known else "there is none")

    def kept(self, name: str) -> Kept:
        """The workload of that name, or NAMESPACE/NAME. Raises CaseError."""
        space, _, own = name.rpartition("/")
        for kept in self.world.kept.values():
            if kept.obj.metadata.name == own and kept.obj.metadata.namespace == (space or self.world.namespace):
                return kept
        known = sorted(kept.obj.metadata.name for kept in self.world.kept.values())
        there = f"the cluster of the test has {', '.join(known)}" if known else "the cluster of the test has none"
        raise CaseError(f"there is no workload {name!r}", f"{there}: name one, or add it to its `workloads`")

    def rule(self, name: str) -> BoundRule:
        """The rule of that name, or RULESET/NAME. Raises CaseError."""
        return rule_named(name, self.rules)

    # signals

    def tell(self, *reports: Report) -> None:
        """To be told with all else of this moment."""
        self._told += reports

    def flush(self) -> None:
        """Tell what was to be told: signals together, then what else sources say."""
        told, self._told = self._told, []
        signals = [each for each in told if isinstance(each, Signal)]
        if signals:
            self.driver.together(*signals)
        whole = {each.rule: each for each in told if isinstance(each, Answered)}  # the last answer for a rule has all
        for silent in [each for each in told if isinstance(each, Unanswered)]:
            self.driver.feed(silent)
        for answer in whole.values():
            self.driver.feed(answer)

    def answer(self, rule: str) -> None:
        """The source of a rule answers: all that is still so fires, and nothing else."""
        held = self.answers[rule]
        for key in [key for key, signal in held.items() if self.world.view.find(signal.target) is None]:
            del held[key]
        self.tell(*held.values(), Answered(rule, frozenset(held)))

    # what is wrong

    def ail(self, target: Target, what: str, ailment: Ailment) -> None:
        """Something is wrong with a target from now on."""
        self._ailments[target.uid][what] = ailment

    def recover(self, target: Target, what: str = "") -> None:
        """Nothing of a target is wrong any more, or not that."""
        ailments = self._ailments.get(target.uid, {})
        for name in [name for name in ailments if what in ("", name)]:
            ailments.pop(name).end()

    def forget(self, target: Target, what: str) -> None:
        """It has ended by itself."""
        self._ailments[target.uid].pop(what, None)

    # what Kubernetes does

    def replace(self, name: str, takes: float, *, sick: bool) -> None:
        """A pod is deleted, and its controller makes another, which is ready after so many seconds, or has the same ailments. A
        group goes with each of its pods, and a new one comes, also with the ailments of each. Raises CaseError."""
        self.target(name)
        pod = self.world.pod(name)
        kept = self.world.keeper(pod)
        going = self.world.view.unit_of(pod).replaced_with(pod.metadata.uid)
        targets = [target_of(each) for each in going]
        for target in targets:
            self.world.terminate(f"{target.namespace}/{target.name}")
        ailments = [dict(self._ailments.get(target.uid, {})) for target in targets]
        named: list[str] = []

        def come() -> None:
            if kept is not None and kept.controlled:
                named.extend(self.world.add_unit(kept, targets[0].name if ordinal else "", status=starting(self.driver.now)))

        def go() -> None:
            with self.driver.at_once():
                for target in targets:
                    if (left := self.world.view.pod(target.uid)) is not None:
                        self.world.drop(left)
                if ordinal:
                    come()
                for target in targets:
                    self.recover(target)
            self.flush()

        def be_ready() -> None:
            with self.driver.at_once():
                for number, new in enumerate(named):
                    self.world.mend(new)
                    for ailment in ailments[number].values() if sick else ():
                        ailment.begin(new)
            self.flush()

        ordinal = kept is not None and KEPT_KINDS[type(kept.obj)].ordinal
        if not ordinal:
            come()
        self.driver.plan(min(_GRACE, takes / 2), go)
        self.driver.plan(takes, be_ready)

    def scale(self, kept: Kept, replicas: int, takes: float) -> None:
        """A workload is scaled to so many replicas: new ones are ready after so many seconds, those that are too many go, the
        youngest first, and those before them that are not ready. Raises CaseError."""
        name, spec = kept.obj.metadata.name, kept.obj.spec  # type: ignore[attr-defined]  # each kind has a struct of its own
        if not hasattr(spec, "replicas"):
            raise CaseError(f"{name} is a {type(kept.obj).__name__}, which is not scaled", "its pods are as many as its nodes")
        pods, more = self.world.view.count(Pod), replicas - spec.replicas
        if pods + more * kept.size > MAX_PODS:
            message = f"{name} is scaled to {replicas} replicas: the cluster of a test has at most {MAX_PODS} pods"
            raise CaseError(message, f"there are {pods} pods: begin with fewer, or lower the rule's `max`")
        self.world.put(msgspec.structs.replace(kept.obj, spec=msgspec.structs.replace(spec, replicas=replicas)))
        self.world.write_status(kept)
        for _ in range(more):
            for new in self.world.add_unit(kept, status=starting(self.driver.now)):
                self.driver.plan(takes, partial(self._be_ready, new))
        if more < 0:
            for unit in self._units(kept)[more:]:
                for pod in unit:
                    self._end(pod)

    def _be_ready(self, name: str) -> None:
        with suppress(KeyError):  # it has gone meanwhile
            if not self.world.pod(name).terminating:
                self.world.mend(name)

    def _units(self, kept: Kept) -> list[tuple[Pod, ...]]:
        """The replicas of a workload that are there, in the order in which a controller keeps them."""
        units = self.world.view.units_of(kept.obj.workload().target)
        there = [unit for unit in units if not unit.pods[0].terminating and not unit.pods[0].finished]
        born = list(kept.pods)
        ordinal = KEPT_KINDS[type(kept.obj)].ordinal
        there.sort(key=lambda unit: (not ordinal and not unit.ready, born.index(unit.pods[0].metadata.uid)))
        return [unit.pods for unit in there]

    def _end(self, pod: Pod) -> None:
        """A pod goes, and no other comes."""
        target = target_of(pod)

        def go() -> None:
            with self.driver.at_once():
                if (left := self.world.view.pod(target.uid)) is not None:
                    self.world.drop(left)
                self.recover(target)
            self.flush()

        self.world.terminate(f"{target.namespace}/{target.name}")
        self.driver.plan(_GRACE, go)

    def roll(self, kept: Kept, takes: float, *, sick: bool = False) -> None:
        """The pods of earlier revisions are replaced one after the other, which takes so many seconds in all."""
        old = [unit[0].metadata for unit in self._units(kept) if unit[0].metadata.uid in kept.outdated]
        each = takes / max(len(old), 1)
        for number, meta in enumerate(old):
            name = f"{meta.namespace}/{meta.name}"
            self.driver.plan(number * each, self._replacement(kept, meta.uid, name, each, sick=sick))

    def _replacement(self, kept: Kept, uid: str, name: str, takes: float, *, sick: bool) -> Callable[[], None]:
        def replace() -> None:
            pod = self.world.view.pod(uid)
            if pod is not None and not pod.terminating and not kept.obj.workload().paused:  # else it is replaced, or waits
                with self.driver.at_once():
                    self.replace(name, takes, sick=sick)
                self.flush()

        return replace


def rule_named(name: str, rules: Rulebook) -> BoundRule:
    """The rule of that full name, or of that name where one rule set alone has it. Raises CaseError."""
    found: Sequence[BoundRule] = [bound for bound in rules.rules if name in (bound.name, bound.rule.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CaseError(f"{name!r} names {len(found)} rules", f"write {' or '.join(bound.name for bound in found)}")
    known = sorted(bound.rule.name for bound in rules.rules)
    raise CaseError(f"there is no rule {name!r}", f"there are {', '.join(known)}")
