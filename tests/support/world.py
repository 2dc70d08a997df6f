"""A small world for the engine, and a driver of it: those of `healer.rehearsal` with one Deployment, and with short words."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

import msgspec
import yaml
from pydantic import BaseModel

import healer.rehearsal.world
from healer.actions.base import specs
from healer.actions.registry import ACTIONS as REGISTRY
from healer.daemon.rulefiles import vocabulary
from healer.engine.safety.guards.question import Guards
from healer.engine.safety.guards.registry import GUARDS
from healer.engine.tuning import EngineSettings, LimitSettings, Tuning
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.effects import Decided, Decision, Effect, Input, Verb
from healer.model.incident import Entry, Incident, State
from healer.model.kube import (
    KubeObject,
    Meta,
    Namespace,
    OwnerReference,
    Pod,
    PodSpec,
    ReplicaSet,
)
from healer.model.signal import Signal
from healer.model.target import ActsOn, Target
from healer.model.view import target_of
from healer.rehearsal.driver import Driver
from healer.rehearsal.statuses import moment, status_of
from healer.rehearsal.world import START, Kept
from healer.rules.form import Model
from healer.rules.loading import load
from healer.rules.pod_detectors import PodsSettings
from healer.rules.probe import Side
from healer.rules.rulebook import Rulebook
from healer.rules.schema import When
from healer.rules.triggers import CANARY, POD
from healer.sources.pods import PodSource
from healer.sources.watched import WatchedSources
from healer.workloads.deployment import Deployment, DeploymentSpec, DeploymentStatus

__all__ = [
    "ACTIONS",
    "APP",
    "DIVERT",
    "NAMESPACE",
    "NUDGE",
    "START",
    "VOCABULARY",
    "Diverting",
    "Drill",
    "Nothing",
    "World",
    "Yaml",
    "codes",
    "decisions",
    "moment",
    "rule",
    "rulebook",
    "state",
    "status_of",
    "tuned",
]

NAMESPACE = "production"
APP = "serving"


def tuned(**changed: Any) -> Tuning:
    """The engine's settings, with these changes by their names. What an alert said holds until it ends, unless told otherwise."""
    engine = {name: value for name, value in changed.items() if name in EngineSettings.model_fields}
    limits = {name: value for name, value in changed.items() if name in LimitSettings.model_fields}
    others: dict[str, Any] = {"alert_expiry": 43_200.0, "alert_freshness": inf, "home": "default"}
    others |= {name: value for name, value in changed.items() if name not in {**engine, **limits}}
    return Tuning(EngineSettings(**engine), LimitSettings(**limits), **others)


class Nothing(BaseModel, extra="forbid"):
    """The parameters of an action that takes none."""


NUDGE = ActionSpec(name="nudge", params=Nothing, targets=frozenset({ActsOn.POD, ActsOn.WORKLOAD}), disrupts=False, verb="nudge")
"""An action that takes no pod down, for ladders with a second kind of rung."""


class Diverting(Model):
    """The parameters of an action that takes traffic off one side for the other."""

    stable: Side | None = None


def _complete(params: Diverting, when: When) -> Diverting:
    canary = when.get(CANARY)
    stable = params.stable or (canary and canary.stable)
    if stable is None:
        raise ValueError("it needs stable, for its rule is not on a canary")
    return Diverting(stable=stable)


DIVERT = ActionSpec(
    name="divert",
    params=Diverting,
    targets=frozenset({ActsOn.WORKLOAD}),
    disrupts=False,
    verb="divert",
    in_rollout=True,
    complete=_complete,
    diverts=True,
)
"""An action that takes traffic off a workload."""
ACTIONS: Mapping[str, ActionSpec] = {**specs(REGISTRY), "nudge": NUDGE, "divert": DIVERT}
VOCABULARY = replace(vocabulary(), actions=ACTIONS)


# rules

Yaml = dict[str, Any]
"""A piece of a rule file."""


def rule(name: str = "crash-loop", **more: Any) -> Yaml:
    """A rule that evicts crash-looping pods, verified within 5 min when well for 1 min; `more` overrides its keys."""
    return {
        "name": name,
        "when": {"pod": ["CrashLoopBackOff"]},
        "heal": [{"evict": {}, "verify": {"within": "5m", "stable": "1m"}}],
        "mode": "enforce",
    } | more


def rulebook(*rules: Yaml, name: str = "test") -> Rulebook:
    """Rules as a file would hold them, through the loader. Fails the test that wrote a wrong one."""
    document = {
        "apiVersion": "healer.dev/v1alpha1",
        "kind": "RuleSet",
        "metadata": {"name": name},
        "spec": {"scope": {"namespaces": [NAMESPACE]}, "rules": list(rules)},
    }
    bound, problems = load(yaml.safe_dump(document, sort_keys=False), "test.yaml", VOCABULARY)
    assert not problems, "\n".join(map(str, problems))
    return Rulebook(bound)


# the cluster


class World(healer.rehearsal.world.World):
    """A namespace with one Deployment of `replicas` ready pods named serving-1, serving-2, ... with uids pod-1, pod-2, ..."""

    def __init__(self, replicas: int = 3, *, owner: str = "Deployment") -> None:
        super().__init__(NAMESPACE)
        self.put(Namespace(Meta(NAMESPACE, "ns-1")))
        meta = Meta(APP, "deploy-1", NAMESPACE, generation=1, labels={"app": APP})
        maker = OwnerReference("ReplicaSet", f"{APP}-rs", "rs-1", controller=True)
        self.mine = Kept(Deployment(meta, DeploymentSpec(replicas), DeploymentStatus(1)), maker, {"app": APP})
        if owner == "Deployment":
            self.keep(self.mine)
            owners = (OwnerReference(owner, APP, "deploy-1", controller=True),)
            self.put(ReplicaSet(Meta(f"{APP}-rs", "rs-1", NAMESPACE, owner_references=owners)))
        else:  # of a kind that healer does not know
            self.mine.maker = OwnerReference(owner, APP, "owner-1", controller=True)
            self.mine.controlled = False
            self.keep(self.mine)
        for _ in range(replicas):
            self.add()

    # looking

    @property
    def deployment(self) -> Deployment:
        """The Deployment as it is."""
        assert isinstance(self.mine.obj, Deployment)
        return self.mine.obj

    @property
    def pods(self) -> list[Pod]:
        """The Deployment's pods, oldest first."""
        mine = (pod for pod in self.view.pods() if pod.metadata.controller == self.mine.maker)
        return sorted(mine, key=lambda pod: int(pod.metadata.uid.removeprefix("pod-")))

    @property
    def workload(self) -> Target:
        """The Deployment as a target."""
        return self.deployment.workload().target

    # changing

    def add(self, name: str = "", *, ready: bool = True, node: str = "node-1") -> str:
        """A further pod; returns its name."""
        return self.add_pod(self.mine, name, ready=ready, node=node)

    def ready(self, count: int) -> None:
        """Exactly so many pods are ready, the oldest first."""
        for number, pod in enumerate(self.pods):
            (self.mend if number < count else self.unready)(pod.metadata.name)

    def pause(self, what: str, paused: str = "true", *, by: str = "", reason: str = "", until: str = "") -> None:
        """Set healer.dev/paused on "namespace", "deployment" or a pod, by name; "" takes it away."""
        obj: KubeObject | None
        if what == "namespace":
            obj = self.view.namespace(NAMESPACE)
        else:
            obj = self.deployment if what == "deployment" else self.pod(what)
        assert obj is not None
        self.annotate(obj, paused=paused, paused_by=by, paused_reason=reason, paused_until=until)

    def other(
        self, name: str, *, namespace: str = NAMESPACE, nodes: Iterable[str] = ("node-1", "node-1", "node-1")
    ) -> list[Target]:
        """Another Deployment, with a ready pod on each of these nodes; returns the pods. Only the view knows of it."""
        names = list(nodes)
        count = len(names)
        deployment = Deployment(
            Meta(name, f"{name}-uid", namespace, generation=1),
            DeploymentSpec(count),
            DeploymentStatus(1, count, count, count),
        )
        owner = OwnerReference("Deployment", name, f"{name}-uid", controller=True)
        self.view.put(deployment)
        self.view.put(ReplicaSet(Meta(f"{name}-rs", f"{name}-rs-uid", namespace, owner_references=(owner,))))
        owner = OwnerReference("ReplicaSet", f"{name}-rs", f"{name}-rs-uid", controller=True)
        targets: list[Target] = []
        for number, node in enumerate(names, 1):
            meta = Meta(f"{name}-{number}", f"{name}-pod-{number}", namespace, owner_references=(owner,))
            pod = Pod(meta, PodSpec(node), status_of(self.now, ready=True))
            self.view.put(pod)
            targets.append(target_of(pod))
        return targets

    def rollout(self, **status: Any) -> None:
        """Override fields of the Deployment's status as they are in a rollout; none: it is over."""
        self.write_status(self.mine, **status)

    def respecify(self, *, generation: int = 0, **spec: Any) -> None:
        """Change the Deployment's spec (and generation) with no controller looking."""
        meta = msgspec.structs.replace(self.deployment.metadata, generation=generation or self.deployment.metadata.generation)
        spec_ = msgspec.structs.replace(self.deployment.spec, **spec)
        self.put(msgspec.structs.replace(self.deployment, metadata=meta, spec=spec_))

    def revise(self, revision: str) -> None:
        """It is of another revision: nothing else of it changes, as if all had been rolled out at once."""
        self.annotate(self.deployment, revision=revision)

    def delete_deployment(self) -> None:
        """It is gone, its pods not yet."""
        self.drop(self.deployment)

    def protect(self, name: str = APP) -> None:
        """A PodDisruptionBudget over all pods."""
        self.budget(name, {"app": APP})

    def forget_owner(self) -> Callable[[], None]:
        """The view does not know the ReplicaSet (yet); call what is returned when it does."""
        replica_set = self.view.drop(ReplicaSet, "rs-1")
        assert replica_set is not None
        return lambda: self.put(replica_set)


# driving


class Drill(Driver):
    """A driver of a world with one Deployment, which sees nothing but pods unless a test feeds it.

    `every` is None: it is woken when it asked to be; else it gets a tick each so many seconds.
    """

    world: World

    def __init__(
        self,
        rules: Rulebook,
        world: World | None = None,
        tuning: Tuning | None = None,
        settings: PodsSettings | None = None,
        every: float | None = None,
        guards: Guards = GUARDS,
        now: float | None = None,
    ) -> None:
        world = world or World()
        self.tuning = tuning or tuned()
        self.every = every
        self.source = PodSource(settings or PodsSettings(settle=0.0))
        if now is not None:
            world.now = now
        sources = WatchedSources({POD.name: ((Pod,), self.source)})
        super().__init__(rules, world, tuning=self.tuning, sources=sources, actions=ACTIONS, guards=guards)
        self.checks: list[Callable[[Drill, Input, list[Effect]], None]] = []
        """Called after each input."""
        self.watchers.append(self._check)

    def _check(self, event: Input, effects: list[Effect]) -> None:
        for check in self.checks:
            check(self, event, effects)

    def next_due(self) -> float | None:
        return super().next_due() if self.every is None else self.now + self.every

    def alert(
        self,
        target: str | Target,
        name: str = "HighLatency",
        *,
        firing: bool = True,
        key: str = "",
        occurrence: str = "1",
        **labels: str,
    ) -> list[Effect]:
        """An alert about a pod, by name, or about a target."""
        return self.feed(self.alarm(target, name, firing=firing, key=key, occurrence=occurrence, **labels))

    def alarm(
        self,
        target: str | Target,
        name: str = "HighLatency",
        *,
        firing: bool = True,
        key: str = "",
        occurrence: str = "1",
        **labels: str,
    ) -> Signal:
        """What `alert` feeds."""
        target = self.world.target(target) if isinstance(target, str) else target
        key = key or f"{name}-{target.name}"
        return Signal("alert", name, target, firing, self.now, key, f"{key}@{occurrence}", f"{name} on {target.name}", labels)

    def judged(self, name: str, target: Target, *, rule: str = "test/bad-canary", firing: bool = True) -> list[Effect]:
        """What the canary source says: BadCanary or UnknownVerdict."""
        key = f"canary/{rule}/{target.uid}/{name}"
        return self.feed(Signal("canary", name, target, firing, self.now, key, "1/20", f"{name}: in figures", rule=rule))

    def answer(
        self, kind: OutcomeKind = OutcomeKind.DONE, reason: str = "", retry_after: float | None = None, *, denied: bool = False
    ) -> list[Effect]:
        """The outcome of the oldest act that is under way."""
        act = self.waiting[0]
        outcome = Outcome(kind, reason or kind.value.capitalize(), f"{act.action} {act.target}: {kind}", retry_after, denied)
        return self.report(act, outcome)

    # what came out

    @property
    def incident(self) -> Incident:
        """The only incident there was: as the engine holds it, or as it was when it closed."""
        (known,) = self.incidents.values()
        return self.engine.incident(known.id) or known

    @property
    def acted_on(self) -> list[str]:
        """The names of what was acted on, in order."""
        return [act.target.name for act in self.acts]

    @property
    def history(self) -> list[Entry]:
        """The only incident's history."""
        return list(self.incident.history)


def state(drill: Drill) -> State:
    """Where its only incident stands."""
    return drill.incident.state


def decisions(effects: Iterable[Effect], verb: Verb | None = None) -> list[Decision]:
    """The decisions among effects, of one verb when given."""
    found = [effect.decision for effect in effects if isinstance(effect, Decided)]
    return [decision for decision in found if verb in (None, decision.verb)]


def codes(effects: Iterable[Effect], verb: Verb | None = None) -> list[str]:
    """The reasons of the decisions among effects, by code."""
    return [decision.reason.code for decision in decisions(effects, verb)]
