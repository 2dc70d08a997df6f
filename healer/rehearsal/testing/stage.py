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
from healer.rehearsal.driver import Driver
from healer.rehearsal.kinds import KEPT_KINDS
from healer.rehearsal.statuses import starting
from healer.rehearsal.world import Kept, World
from healer.rules.rulebook import BoundRule, Rulebook
from healer.sources.alertmanager.alert import Alert
from healer.sources.targets import TargetLabels

_GRACE = 30.0
"""Seconds after which a pod is gone that was deleted."""


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
        raise CaseError(f"there is no pod {name!r} at that time", f"there are {', '.join(known)}")

    def kept(self, name: str) -> Kept:
        """The workload of that name, or NAMESPACE/NAME. Raises CaseError."""
        space, _, own = name.rpartition("/")
        for kept in self.world.kept.values():
            if kept.obj.metadata.name == own and kept.obj.metadata.namespace == (space or self.world.namespace):
                return kept
        known = sorted(kept.obj.metadata.name for kept in self.world.kept.values())
        raise CaseError(f"there is no workload {name!r}", f"there are {', '.join(known)}")

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
        """A pod is deleted, and its controller makes another, which is ready after so many seconds, or has the same ailments."""
        target = self.target(name)
        kept = self.world.keeper(self.world.pod(name))
        self.world.terminate(name)
        ailments = dict(self._ailments.get(target.uid, {}))
        named: list[str] = []

        def come() -> None:
            if kept is not None and kept.controlled:
                name = target.name if ordinal else ""
                named.append(self.world.add_pod(kept, name, status=starting(self.driver.now)))

        def go() -> None:
            with self.driver.at_once():
                if self.world.view.pod(target.uid) is not None:
                    self.world.drop(self.world.pod(name))
                if ordinal:
                    come()
                self.recover(target)
            self.flush()

        def be_ready() -> None:
            with self.driver.at_once():
                for new in named:
                    self.world.mend(new)
                    for ailment in ailments.values() if sick else ():
                        ailment.begin(new)
            self.flush()

        ordinal = kept is not None and KEPT_KINDS[type(kept.obj)].ordinal
        if not ordinal:
            come()
        self.driver.plan(min(_GRACE, takes / 2), go)
        self.driver.plan(takes, be_ready)

    def grow(self, kept: Kept, replicas: int, takes: float) -> None:
        """A workload is scaled up to so many replicas; the new pods are ready after so many seconds. Raises CaseError."""
        spec = kept.obj.spec  # type: ignore[attr-defined]  # of the kinds that can be scaled
        pods, more = self.world.view.count(Pod), replicas - spec.replicas
        if pods + more > MAX_PODS:
            name = kept.obj.metadata.name
            message = f"{name} is scaled to {replicas} replicas: the cluster of a test has at most {MAX_PODS} pods"
            raise CaseError(message, f"there are {pods} pods: begin with fewer, or lower the rule's `max`")
        self.world.put(msgspec.structs.replace(kept.obj, spec=msgspec.structs.replace(spec, replicas=replicas)))
        self.world.write_status(kept)
        for new in [self.world.add_pod(kept, status=starting(self.driver.now)) for _ in range(more)]:
            self.driver.plan(takes, partial(self.world.mend, new))

    def roll(self, kept: Kept, revision: str, takes: float, *, sick: bool = False) -> None:
        """A rollout to another revision, which replaces the pods one after the other and takes so many seconds in all."""
        self.world.roll_out(kept, revision)
        pods = [pod.metadata for pod in kept.pods.values() if not pod.terminating and not pod.finished]
        each = takes / max(len(pods), 1)
        for number, meta in enumerate(pods):
            name = f"{meta.namespace}/{meta.name}"
            self.driver.plan(number * each, self._replacement(meta.uid, name, each, sick=sick))

    def _replacement(self, uid: str, name: str, takes: float, *, sick: bool) -> Callable[[], None]:
        def replace() -> None:
            pod = self.world.view.pod(uid)
            if pod is not None and not pod.terminating:  # else it is replaced already
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
