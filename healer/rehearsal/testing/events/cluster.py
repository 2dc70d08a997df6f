"""What happens to the objects of the cluster: pods, nodes, workloads, Events."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from healer.model.autoscaler import (
    HorizontalPodAutoscaler,
    Level,
    Metric,
    MetricSource,
    ScaleTarget,
    ScalingSpec,
    ScalingStatus,
)
from healer.model.duration import Duration
from healer.model.event import Event, Regarding
from healer.model.kube import Condition, Meta
from healer.model.node import Node, Taint, WatchedNodeMeta, WatchedNodeSpec, WatchedNodeStatus
from healer.model.target import Target
from healer.rehearsal.kinds import KEPT_KINDS
from healer.rehearsal.statuses import SHOWN, Seen, moment
from healer.rehearsal.testing.events.base import WELL, OfTarget, Played
from healer.rehearsal.testing.stage import Ailment, CaseError, CaseStage
from healer.rehearsal.world import Kept, World
from healer.rules.form import Names, Text, Whole, fault
from healer.rules.node_conditions import NodeConditionText, meant
from healer.rules.pod_conditions import POD_CONDITIONS
from healer.rules.vocabulary import KnownNames, one_of
from healer.rules.workload_conditions import WORKLOAD_CONDITIONS

READY, GONE = "Ready", "Gone"
_AGAIN = 60.0
"""Seconds in which the successor of a pod that somebody deleted gets ready."""

PodShown = Annotated[str, BeforeValidator(lambda name: one_of(name, _pod_shown())), KnownNames(lambda _: _pod_shown())]
WorkloadShown = Annotated[
    str,
    BeforeValidator(lambda name: one_of(name, [*WORKLOAD_CONDITIONS, WELL, GONE])),
    KnownNames(lambda _: [*WORKLOAD_CONDITIONS, WELL, GONE]),
]


def _pod_shown() -> list[str]:
    return [*POD_CONDITIONS, READY, GONE]


class PodEvent(Played):
    """A pod begins to show a condition, or is well again."""

    name: Names
    """The pod, or a list of pods, that show it at the same moment."""
    shows: PodShown
    """A [condition of pods](rules.md#conditions-of-pods); or `Ready`: it is well again; or `Gone`: somebody deletes it,
    and with a pod of a group its group is replaced."""
    times: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    """How often it happens: the restarts of CrashLoopBackOff (by default 5) and Restarting (3), the kills of OOMKilled (1)."""
    every: Annotated[Duration, Field(gt=0)] = 60.0
    """The time between two of them, for Restarting and OOMKilled."""
    reason: Text | None = None
    """The kubelet's reason, for NotStarting (`CreateContainerError`; with `PodInitializing` an init container runs on, which has
    begun `times` times, and was killed out of memory in between) and Failed."""
    was_ready: bool = True
    """For NotReady: whether the pod was ready before in the processes that run now."""

    @property
    def _looks(self) -> int:
        """How many looks show it: a condition that shows a count needs one."""
        shown = SHOWN.get(self.shows)
        return 1 if shown is None or shown.counts else self.times or shown.times

    @property
    def span(self) -> float:
        """Seconds from its first time to its last."""
        return (self._looks - 1) * self.every

    @property
    def parts(self) -> int:
        """One for each time and pod."""
        return self._looks * len(self.name)

    def play(self, stage: CaseStage) -> str:
        """Begin with each of the pods."""
        for name in self.name:
            stage.target(name)
            self._begin(stage, name)
        return f"{', '.join(self.name)}: {self.shows}"

    def _begin(self, stage: CaseStage, name: str) -> None:
        if (change := _CHANGES.get(self.shows)) is not None:
            change(stage, name, self.reason)
            return
        target = stage.target(name)
        stage.ail(target, self.shows, Ailment(partial(self._begin, stage), partial(self._end, stage, target)))
        self._show(stage, target, name)

    def _show(self, stage: CaseStage, target: Target, name: str) -> None:
        shown = SHOWN[self.shows]
        times = self.times or shown.times
        looks = [times] if shown.counts else range(1, times + 1)
        for after, number in enumerate(looks):
            show = partial(self._look, stage, target, name, number)
            if after:
                stage.driver.plan(after * self.every, show)
            else:
                show()

    def _look(self, stage: CaseStage, target: Target, name: str, number: int) -> None:
        if stage.world.view.pod(target.uid) is not None:  # else it is gone, and so is what was wrong with it
            seen = Seen(stage.driver.now, number, self.reason or "", self.was_ready)
            stage.world.show(name, SHOWN[self.shows].status(seen))

    def _end(self, stage: CaseStage, target: Target) -> None:
        pod = stage.world.view.pod(target.uid)
        if pod is not None and not pod.terminating:
            stage.world.mend(f"{target.namespace}/{target.name}")


def _ready(stage: CaseStage, name: str, reason: str | None) -> None:
    stage.recover(stage.target(name))
    stage.world.mend(name)


def _gone(stage: CaseStage, name: str, reason: str | None) -> None:
    stage.replace(name, _AGAIN, sick=False)


def _terminating(stage: CaseStage, name: str, reason: str | None) -> None:
    kept = stage.world.keeper(stage.world.pod(name))
    stage.world.terminate(name)
    if kept is not None:
        stage.world.add_pod(kept)


def _finished(usual: str, stage: CaseStage, name: str, reason: str | None) -> None:
    stage.world.finish(name, reason or usual)


_CHANGES: Mapping[str, Callable[[CaseStage, str, str | None], None]] = {
    READY: _ready,
    GONE: _gone,
    "StuckTerminating": _terminating,
    "Evicted": partial(_finished, "Evicted"),
    "Failed": partial(_finished, "Error"),
}
"""By what a pod shows: the changes that are more than a status."""


class KubeEvent(OfTarget):
    """An Event of Kubernetes about a pod or a workload."""

    reason: Text
    """Its reason."""
    type: Literal["Warning", "Normal"] = "Warning"
    """Its type."""
    message: Text | None = None
    """Its note."""
    times: Annotated[Whole, Field(ge=1, le=1000)] = 1
    """How often it is reported."""
    every: Annotated[Duration, Field(gt=0)] = 60.0
    """The time between two reports."""

    @property
    def span(self) -> float:
        """Seconds from the first report to the last."""
        return (self.times - 1) * self.every

    @property
    def parts(self) -> int:
        """One for each report of each target."""
        return self.times * super().parts

    def play(self, stage: CaseStage) -> str:
        """Report it of each target."""
        for target in self.targets(stage):
            first = stage.driver.now
            for number in range(self.times):
                report = partial(self._report, stage, target, first, number + 1)
                if number:
                    stage.driver.plan(number * self.every, report)
                else:
                    report()
        return f"event {self.reason} of {self.about}" + (f", {self.times} times" if self.times > 1 else "")

    def _report(self, stage: CaseStage, target: Target, first: float, count: int) -> None:
        name = f"{target.name}.{self.reason.lower()}.{first:.0f}"
        meta = Meta(name, f"event/{target.uid}/{name}", target.namespace, creation_timestamp=moment(first))
        regarding = Regarding(target.kind, target.namespace, target.name, target.uid)
        note = self.message or f"{self.reason} of {target}"
        stage.world.put(Event(meta, self.reason, self.type, note, regarding, deprecated_count=count))


class NodeEvent(Played):
    """A node shows a condition or a taint, or does no more."""

    name: Names
    """The node, or a list of nodes."""
    shows: NodeConditionText
    """A condition or taint as rules write it: `NotReady`, `KernelDeadlock`, `TYPE=False`, `taint:KEY`."""
    ends: bool = False
    """Whether it shows it no more."""

    @property
    def parts(self) -> int:
        """One for each node."""
        return len(self.name)

    def play(self, stage: CaseStage) -> str:
        """Change each node."""
        for name in self.name:
            node = stage.world.view.node(name) or Node(WatchedNodeMeta(name, f"node/{name}"))
            stage.world.put(self._changed(node, stage))
        return f"{', '.join(self.name)}: {self.shows}{' no more' if self.ends else ''}"

    def _changed(self, node: Node, stage: CaseStage) -> Node:
        kind, _, key = self.shows.rpartition("taint:")
        if kind or key == self.shows:
            kind, statuses = meant(self.shows)
            others = tuple(each for each in node.status.conditions if each.type != kind)
            shown = Condition(kind, statuses[0], "Rehearsed", "", moment(stage.driver.now))
            return msgspec.structs.replace(node, status=WatchedNodeStatus(others if self.ends else (*others, shown)))
        taints = tuple(each for each in node.spec.taints if each.key != key)
        taints = taints if self.ends else (*taints, Taint(key, "NoSchedule"))
        return msgspec.structs.replace(node, spec=WatchedNodeSpec(node.spec.unschedulable, taints))


class WorkloadEvent(Played):
    """The controller of a workload, or its autoscaler, reports a condition, or none any more."""

    name: Text
    """The workload."""
    shows: WorkloadShown
    """A [condition of workloads](rules.md#conditions-of-workloads); or `Well`: none of them any more; or `Gone`: somebody
    deletes it, and its pods stay (`kubectl delete --cascade=orphan`)."""

    def play(self, stage: CaseStage) -> str:
        """Begin with it, or end all."""
        kept = stage.kept(self.name)
        target = kept.obj.workload().target
        if self.shows == GONE:
            stage.world.abandon(kept)
        elif self.shows == WELL:
            stage.recover(target)
        else:
            stage.ail(target, self.shows, Ailment(lambda _: None, partial(self._set, stage, kept, on=False)))
            self._set(stage, kept, on=True)
        return f"{self.name}: {self.shows}"

    def _set(self, stage: CaseStage, kept: Kept, *, on: bool) -> None:
        if WORKLOAD_CONDITIONS[self.shows].of_autoscaler:
            self._set_scaler(stage, kept, on=on)
            return
        shown = KEPT_KINDS[type(kept.obj)].conditions.get(self.shows)
        if shown is None:
            able = ", ".join(kind.__name__ for kind, each in KEPT_KINDS.items() if self.shows in each.conditions)
            raise CaseError(
                f"the controller of a {type(kept.obj).__name__} reports no {self.shows}", f"that of one of {able} does"
            )
        stage.world.write_status(kept, conditions=(shown,) if on else ())

    def _set_scaler(self, stage: CaseStage, kept: Kept, *, on: bool) -> None:
        """Its autoscaler has the condition or has none; one at its maximum has scaled it as far as it may."""
        replicas = kept.obj.workload().desired
        scaler = autoscaler_of(stage.world, kept) or autoscale(stage.world, kept, replicas)
        most = scaler.spec.max_replicas
        if on and self.shows == "HpaAtMaximum" and replicas < most:
            raise CaseError(f"{self.name} has {replicas} replicas, and the `max` of its autoscaler is {most}", "scale it before")
        metric = Metric("Resource", resource=MetricSource("cpu", target=Level(80), current=Level(95 if on else 60)))
        status = ScalingStatus(replicas, (metric,), (_SCALING[self.shows],) if on else ())
        spec = msgspec.structs.replace(scaler.spec, metrics=(metric,))
        stage.world.put(msgspec.structs.replace(scaler, spec=spec, status=status))


_SCALING: Mapping[str, Condition] = {
    "HpaAtMaximum": Condition("ScalingLimited", "True", "TooManyReplicas", "the desired replica count is more than the maximum"),
    "HpaUnableToScale": Condition("ScalingActive", "False", "FailedGetResourceMetric", "unable to get metrics"),
}


def autoscaler_of(world: World, kept: Kept) -> HorizontalPodAutoscaler | None:
    """The autoscaler of a workload, if it has one."""
    meta = kept.obj.metadata
    known = [each for each in world.view.objects(HorizontalPodAutoscaler) if isinstance(each, HorizontalPodAutoscaler)]
    ref = ScaleTarget(type(kept.obj).__name__, meta.name)
    return next((each for each in known if (each.spec.scale_target_ref, each.metadata.namespace) == (ref, meta.namespace)), None)


def autoscale(world: World, kept: Kept, most: int) -> HorizontalPodAutoscaler:
    """A workload has an autoscaler, which gives it so many replicas at most, and sees nothing amiss."""
    meta, scales = kept.obj.metadata, ScaleTarget(type(kept.obj).__name__, kept.obj.metadata.name)
    calm = Metric("Resource", resource=MetricSource("cpu", target=Level(80), current=Level(60)))
    status = ScalingStatus(kept.obj.workload().desired, (calm,), ())
    spec = ScalingSpec(scales, most, (calm,))
    scaler = HorizontalPodAutoscaler(Meta(meta.name, f"hpa/{meta.uid}", meta.namespace), spec, status)
    world.put(scaler)
    return scaler


class RolloutEvent(Played):
    """Somebody rolls a new revision of a workload out, or lets a rollout go on."""

    workload: Text
    """The workload."""
    takes: Annotated[Duration, Field(gt=0)] = 300.0
    """How long it takes until all pods, or groups, are replaced by such that are ready."""
    halts: bool = False
    """Whether it replaces no pod: it is under way until one `continues`."""
    paused: bool = False
    """Whether somebody pauses it at once: of a Deployment, a Rollout or a CloneSet."""
    continues: bool = False
    """Whether it is no new one: one that halts or is paused goes on."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("halts", "paused", "continues") if getattr(self, name)]
        if len(given) > 1:
            raise fault(f"{' and '.join(given)} are given", "give one of them, and the other in a later event")
        return self

    def play(self, stage: CaseStage) -> str:
        """Begin it, or let it go on."""
        kept = stage.kept(self.workload)
        if self.continues:
            if not kept.outdated & kept.pods.keys():
                raise CaseError(f"no rollout of {self.workload} is under way at that time", "begin one before")
            self._pause(stage, kept, paused=False)
            stage.roll(kept, self.takes)
            return f"{self.workload}: the rollout to revision {kept.revision} goes on"
        revision = next_revision(kept)
        self._pause(stage, kept, paused=self.paused)
        stage.world.roll_out(kept, revision)
        if not self.halts and not self.paused:
            stage.roll(kept, self.takes)
        how = " and halts" if self.halts else " and is paused" if self.paused else ""
        return f"{self.workload}: a rollout to revision {revision} begins{how}"

    def _pause(self, stage: CaseStage, kept: Kept, *, paused: bool) -> None:
        pause = KEPT_KINDS[type(kept.obj)].pause
        if pause is not None:
            stage.world.put(pause(kept.obj, paused))
        elif paused:
            able = ", ".join(kind.__name__ for kind, each in KEPT_KINDS.items() if each.pause)
            raise CaseError(f"{self.workload} is a {type(kept.obj).__name__}, whose rollouts cannot be paused", f"one of {able}")


class ScaleEvent(Played):
    """An autoscaler, or somebody, changes the number of replicas of a workload."""

    workload: Text
    """The workload."""
    replicas: Annotated[Whole, Field(ge=0, le=1000)]
    """The replicas that it wants from now on; at most the maximum of its autoscaler, if it has one."""
    takes: Annotated[Duration, Field(gt=0)] = 60.0
    """How long it takes until new ones are ready."""

    def play(self, stage: CaseStage) -> str:
        """Scale it."""
        kept = stage.kept(self.workload)
        before, scaler = kept.obj.workload().desired, autoscaler_of(stage.world, kept)
        if scaler is not None and self.replicas > scaler.spec.max_replicas:
            message = f"{self.replicas} replicas are more than the autoscaler of {self.workload} gives it"
            raise CaseError(message, f"its `max` is {scaler.spec.max_replicas}")
        stage.scale(kept, self.replicas, self.takes)
        if scaler is not None:  # one that scales sees its metrics, and they are what it wants
            for shown in _SCALING:
                stage.forget(kept.obj.workload().target, shown)
            autoscale(stage.world, kept, scaler.spec.max_replicas)
        return f"{self.workload} is scaled from {before} to {self.replicas} replicas"


def next_revision(kept: Kept) -> str:
    """The revision after that of a workload."""
    return str(int(kept.revision) + 1) if kept.revision.isdecimal() else f"{kept.revision}-next"
