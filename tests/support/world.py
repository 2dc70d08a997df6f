"""A small world for the engine: one Deployment with its pods, and a driver that plays inputs at given times. No clock, no tasks.

`World` is the cluster: helpers change it as kubelet and controllers would, and it tells whoever listens. `Drill` feeds an engine
from it as the daemon does: pod conditions through the pod source, changes, ticks when they are due, outcomes when a test says so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from typing import Any

import msgspec
import yaml
from pydantic import BaseModel

from healer.actions.base import specs
from healer.actions.registry import ACTIONS as REGISTRY
from healer.daemon.rulefiles import vocabulary
from healer.engine.engine import Engine
from healer.engine.safety.guards.question import Guards
from healer.engine.safety.guards.registry import GUARDS
from healer.engine.tuning import EngineSettings, LimitSettings, Tuning
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.effects import Act, Acted, Decided, Decision, Effect, Input, Record, Tick, Together, Verb, WorkloadChanged
from healer.model.incident import Entry, Incident, State
from healer.model.kube import (
    BudgetSpec,
    Condition,
    ContainerState,
    ContainerStatus,
    KubeObject,
    LabelSelector,
    Meta,
    Namespace,
    OwnerReference,
    Pod,
    PodDisruptionBudget,
    PodSpec,
    PodStatus,
    ReplicaSet,
    Running,
    Terminated,
    Waiting,
)
from healer.model.signal import Signal
from healer.model.target import ActsOn, Target
from healer.model.view import View, target_of
from healer.model.workload import WorkloadObject
from healer.rules.form import Model
from healer.rules.loading import load
from healer.rules.pod_detectors import PodsSettings
from healer.rules.probe import Side
from healer.rules.rulebook import Rulebook
from healer.rules.schema import When
from healer.rules.triggers import CANARY
from healer.sources.pods import PodSource
from healer.workloads.deployment import Deployment, DeploymentSpec, DeploymentStatus
from healer.workloads.registry import WORKLOADS

START = 1_800_000_000.0
"""When every drill begins, in seconds since the epoch."""
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


def moment(at: float) -> datetime:
    """Seconds since the epoch as Kubernetes has it."""
    return datetime.fromtimestamp(at, UTC)


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


class World:
    """A namespace with one Deployment of `replicas` ready pods named serving-1, serving-2, ... with uids pod-1, pod-2, ..."""

    def __init__(self, replicas: int = 3, *, owner: str = "Deployment") -> None:
        self.view = View(WORKLOADS)
        self.listeners: list[Callable[[KubeObject, KubeObject | None, bool], None]] = []
        """Called with an object, what it was before, and whether it is still there."""
        self.now = START
        self._born = 0
        self._owner = OwnerReference("ReplicaSet", f"{APP}-rs", "rs-1", controller=True)
        self.view.put(Namespace(Meta(NAMESPACE, "ns-1")))
        self.deployment = Deployment(
            Meta(APP, "deploy-1", NAMESPACE, generation=1, labels={"app": APP}), DeploymentSpec(replicas), DeploymentStatus(1)
        )
        if owner == "Deployment":
            self.view.put(self.deployment)
            self.view.put(
                ReplicaSet(
                    Meta(
                        f"{APP}-rs",
                        "rs-1",
                        NAMESPACE,
                        owner_references=(OwnerReference(owner, APP, "deploy-1", controller=True),),
                    )
                )
            )
        else:
            self._owner = OwnerReference(owner, APP, "owner-1", controller=True)
        self._supported = owner == "Deployment"
        for _ in range(replicas):
            self.add()

    # looking

    @property
    def pods(self) -> list[Pod]:
        """The Deployment's pods, oldest first."""
        mine = (pod for pod in self.view.pods() if pod.metadata.controller == self._owner)
        return sorted(mine, key=lambda pod: int(pod.metadata.uid.removeprefix("pod-")))

    @property
    def workload(self) -> Target:
        """The Deployment as a target."""
        return self.deployment.workload().target

    def pod(self, name: str) -> Pod:
        """The pod of that name."""
        pod = self.view.pod_named(NAMESPACE, name)
        assert pod is not None, f"there is no pod {name}"
        return pod

    def target(self, name: str) -> Target:
        """The pod of that name as a target."""
        return target_of(self.pod(name))

    # pods

    def add(self, name: str = "", *, ready: bool = True, node: str = "node-1") -> str:
        """A further pod; returns its name."""
        self._born += 1
        meta = Meta(
            name or f"{APP}-{self._born}",
            f"pod-{self._born}",
            NAMESPACE,
            creation_timestamp=moment(self.now),
            labels={"app": APP},
            owner_references=(self._owner,),
        )
        self._put(Pod(meta, PodSpec(node), status_of(self.now, ready=ready)))
        return meta.name

    def crash(self, name: str, restarts: int = 5) -> None:
        """It waits in CrashLoopBackOff."""
        state = ContainerState(waiting=Waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container"))
        last = ContainerState(terminated=Terminated(1, "Error", moment(self.now)))
        self._status(name, status_of(self.now, ready=False, state=state, last=last, restarts=restarts))

    def unready(self, name: str) -> None:
        """It runs, and its probe fails."""
        self._status(name, status_of(self.now, ready=False, restarts=self.pod(name).restarts))

    def show(self, name: str, status: PodStatus) -> None:
        """It has this status."""
        self._status(name, status)

    def mend(self, name: str) -> None:
        """It runs and is ready (again)."""
        self._status(name, status_of(self.now, ready=True, restarts=self.pod(name).restarts))

    def relabel(self, name: str, **labels: str) -> None:
        """It has these labels, and no others."""
        pod = self.pod(name)
        self._put(msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, labels=labels)))

    def own(self, name: str, owner: OwnerReference | None = None) -> None:
        """It has another controller; None: it was released, as by `kubectl label` off its ReplicaSet's selector."""
        pod = self.pod(name)
        owners = () if owner is None else (owner,)
        labels = pod.metadata.labels | {"pod-template-hash": "rs"}  # which the ReplicaSet has given it
        meta = msgspec.structs.replace(pod.metadata, owner_references=owners, labels=labels)
        self._put(msgspec.structs.replace(pod, metadata=meta))

    def terminate(self, name: str) -> None:
        """Its deletion was accepted."""
        pod = self.pod(name)
        meta = msgspec.structs.replace(pod.metadata, deletion_timestamp=moment(self.now + 30))
        self._put(msgspec.structs.replace(pod, metadata=meta))

    def remove(self, name: str) -> None:
        """It is gone."""
        pod = self.pod(name)
        self.view.drop(Pod, pod.metadata.uid)
        was = self.deployment
        self._sync()
        self._tell(pod, pod, held=False)
        self._tell_deployment(pod, was)

    def replace(self, name: str, successor: str = "") -> str:
        """It goes, and its ReplicaSet makes another, which gets ready; returns the new one's name."""
        self.terminate(name)
        new = self.add(successor, ready=False) if successor != name else ""
        self.remove(name)
        new = new or self.add(successor, ready=False)
        self.mend(new)
        return new

    def finish(self, name: str, reason: str = "Evicted", phase: str = "Failed") -> str:
        """It ends for good, and its record stays as the kubelet left it, a Ready that is True among it; returns its successor."""
        status = msgspec.structs.replace(self.pod(name).status, phase=phase, reason=reason)
        self._status(name, status)
        return self.add()

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
        annotations = msgspec.structs.replace(
            obj.metadata.annotations, paused=paused, paused_by=by, paused_reason=reason, paused_until=until
        )
        meta = msgspec.structs.replace(obj.metadata, annotations=annotations)
        self._put(msgspec.structs.replace(obj, metadata=meta))

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

    # the Deployment

    def rollout(self, **status: Any) -> None:
        """Override fields of the Deployment's status as they are in a rollout; none: it is over."""
        self._sync(**status)
        self._tell(self.deployment, self.deployment, held=True)

    def respecify(self, *, generation: int = 0, **spec: Any) -> None:
        """Change the Deployment's spec (and generation) with no controller looking."""
        meta = msgspec.structs.replace(self.deployment.metadata, generation=generation or self.deployment.metadata.generation)
        spec_ = msgspec.structs.replace(self.deployment.spec, **spec)
        self._put(msgspec.structs.replace(self.deployment, metadata=meta, spec=spec_))

    def revise(self, revision: str) -> None:
        """It is of another revision: nothing else of it changes, as if all had been rolled out at once."""
        annotations = msgspec.structs.replace(self.deployment.metadata.annotations, revision=revision)
        meta = msgspec.structs.replace(self.deployment.metadata, annotations=annotations)
        self._put(msgspec.structs.replace(self.deployment, metadata=meta))

    def delete_deployment(self) -> None:
        """It is gone, its pods not yet."""
        self.view.drop(Deployment, self.deployment.metadata.uid)
        self._supported = False
        self._tell(self.deployment, self.deployment, held=False)

    def protect(self, name: str = APP) -> None:
        """A PodDisruptionBudget over all pods."""
        self._put(PodDisruptionBudget(Meta(name, f"pdb-{name}", NAMESPACE), BudgetSpec(LabelSelector({"app": APP}))))

    def forget_owner(self) -> Callable[[], None]:
        """The view does not know the ReplicaSet (yet); call what is returned when it does."""
        replica_set = self.view.drop(ReplicaSet, "rs-1")
        assert replica_set is not None
        return lambda: self._put(replica_set)

    def _status(self, name: str, status: PodStatus) -> None:
        self._put(msgspec.structs.replace(self.pod(name), status=status))

    def _put(self, obj: KubeObject) -> None:
        before, was = self.view.put(obj), self.deployment
        if isinstance(obj, Deployment):
            self.deployment = obj
        elif isinstance(obj, Pod):
            self._sync()
        self._tell(obj, before, held=True)
        self._tell_deployment(obj, was)

    def _sync(self, **override: Any) -> None:
        """The Deployment's status, as its controller would write it."""
        if not self._supported:
            return
        pods = [pod for pod in self.pods if not pod.terminating and not pod.finished]
        ready = sum(pod.ready for pod in pods)
        counts = {"replicas": len(pods), "updated_replicas": len(pods), "ready_replicas": ready}
        counts["observed_generation"] = self.deployment.metadata.generation
        status = msgspec.structs.replace(DeploymentStatus(), **(counts | override))
        self.deployment = msgspec.structs.replace(self.deployment, status=status)
        self.view.put(self.deployment)

    def _tell_deployment(self, obj: KubeObject, was: Deployment) -> None:
        """What a change of a pod has changed of the Deployment is an event of its own."""
        if isinstance(obj, Pod) and self.deployment != was:
            self._tell(self.deployment, was, held=True)

    def _tell(self, obj: KubeObject, before: KubeObject | None, *, held: bool) -> None:
        for listener in self.listeners:
            listener(obj, before, held)


def status_of(
    now: float,
    *,
    ready: bool,
    state: ContainerState | None = None,
    last: ContainerState | None = None,
    restarts: int = 0,
) -> PodStatus:
    running = ContainerState(running=Running(moment(now)))
    container = ContainerStatus(APP, ready, restarts, state or running, last or ContainerState())
    condition = Condition("Ready", "True" if ready else "False", "" if ready else "ContainersNotReady", "", moment(now))
    return PodStatus("Running", conditions=(condition,), container_statuses=(container,))


# driving


@dataclass
class Drill:
    """An engine in a world. Whatever happens is fed to it at `now`; what it answers is collected.

    `every` is None: it is woken when it asked to be; else it gets a tick each so many seconds.
    """

    rules: Rulebook
    world: World = field(default_factory=World)
    tuning: Tuning = field(default_factory=lambda: tuned())
    settings: PodsSettings = field(default_factory=lambda: PodsSettings(settle=0.0))
    every: float | None = None
    guards: Guards = GUARDS
    now: float = START
    effects: list[Effect] = field(default_factory=list)
    waiting: list[Act] = field(default_factory=list)
    """The acts whose outcome is not told yet."""
    checks: list[Callable[["Drill", Input, list[Effect]], None]] = field(default_factory=list)
    """Called after each input."""

    def __post_init__(self) -> None:
        self.engine = Engine(self.rules, ACTIONS, self.tuning, self.guards)
        self.source = PodSource(self.settings)
        self.world.listeners.append(self._changed)

    # what comes in

    def feed(self, event: Input) -> list[Effect]:
        """One input, now."""
        return self._collect(event, self.engine.handle(event, self.world.view, self.now))

    def use(self, rules: Rulebook) -> list[Effect]:
        """Other rules, now; what goes on in parts goes on to its end, as the daemon lets it."""
        effects = self._collect(Tick(), self.engine.use(rules, self.world.view, self.now))
        while self.engine.goes_on:
            effects = [*effects, *self.feed(Tick())]
        return effects

    def restore(self, incidents: list[Incident], sick_now: set[str], aside: Sequence[str] = ()) -> list[Effect]:
        """What a journal holds, now; `aside` is not believed."""
        steps = self.engine.restore(incidents, sick_now, self.world.view, self.now, aside)
        return self._collect(Tick(), [effect for effects in steps for effect in effects])

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

    def together(self, *signals: Signal, whole: bool = True) -> list[Effect]:
        """Signals that arrive together."""
        return self.feed(Together(signals, whole))

    def judged(self, name: str, target: Target, *, rule: str = "test/bad-canary", firing: bool = True) -> list[Effect]:
        """What the canary source says: BadCanary or UnknownVerdict."""
        key = f"canary/{rule}/{target.uid}/{name}"
        return self.feed(Signal("canary", name, target, firing, self.now, key, "1/20", f"{name}: in figures", rule=rule))

    def answer(
        self, kind: OutcomeKind = OutcomeKind.DONE, reason: str = "", retry_after: float | None = None, *, denied: bool = False
    ) -> list[Effect]:
        """The outcome of the oldest act that is under way."""
        act = self.waiting.pop(0)
        outcome = Outcome(kind, reason or kind.value.capitalize(), f"{act.action} {act.target}: {kind}", retry_after, denied)
        return self.feed(Acted(act.incident.id, act.step, act.attempt, outcome))

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, with the ticks that fall due."""
        end, seen = self.now + seconds, len(self.effects)
        while (due := self._due()) is not None and due <= end:
            self.now = self.world.now = max(self.now, due)
            for signal in self.source.due(self.now):
                self.feed(signal)
            self.feed(Tick())
        self.now = self.world.now = end
        return self.effects[seen:]

    def _due(self) -> float | None:
        if self.every is not None:
            return self.now + self.every
        return min((at for at in (self.engine.next_wake(), self.source.next_due()) if at is not None), default=None)

    def _changed(self, obj: KubeObject, before: KubeObject | None, held: bool) -> None:
        if isinstance(obj, Pod):
            was = before if isinstance(before, Pod) else None
            for signal in self.source.put(obj, was, self.now) if held else self.source.drop(obj, self.now):
                self.feed(signal)
            owners = [self.world.view.workload_uid(pod) for pod in (was, obj) if pod is not None]
            for workload in dict.fromkeys(owners):
                if workload and self.engine.concerns(workload):
                    self.feed(WorkloadChanged(workload, obj.metadata.uid))
        elif isinstance(obj, WorkloadObject):
            self.feed(WorkloadChanged(obj.metadata.uid))

    def _collect(self, event: Input, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        self.waiting += [effect for effect in effects if isinstance(effect, Act)]
        for check in self.checks:
            check(self, event, effects)
        return effects

    # what came out

    @property
    def incidents(self) -> dict[str, Incident]:
        """The newest snapshot of every incident there was, in the order they opened."""
        return {effect.incident.id: effect.incident for effect in self.effects if isinstance(effect, Record)}

    @property
    def incident(self) -> Incident:
        """The only incident there was: as the engine holds it, or as it was when it closed."""
        (known,) = self.incidents.values()
        return self.engine.incident(known.id) or known

    @property
    def acts(self) -> list[Act]:
        """All that was to be done."""
        return [effect for effect in self.effects if isinstance(effect, Act)]

    @property
    def acted_on(self) -> list[str]:
        """The names of what was acted on, in order."""
        return [act.target.name for act in self.acts]

    @property
    def decisions(self) -> list[Decision]:
        """All decisions."""
        return decisions(self.effects)

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
