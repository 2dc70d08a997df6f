"""What happens to the objects of the cluster: pods, nodes, workloads, Events."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

import msgspec
from pydantic import BeforeValidator, Field

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
from healer.model.kube import Condition, KubeObject, Meta
from healer.model.node import Node, Taint, WatchedNodeMeta, WatchedNodeSpec, WatchedNodeStatus
from healer.model.target import Target
from healer.rehearsal.statuses import SHOWN, Seen, moment
from healer.rehearsal.testing.events.base import WELL, OfTarget, Played
from healer.rehearsal.testing.stage import Ailment, CaseError, CaseStage
from healer.rehearsal.world import Kept
from healer.rules.form import Names, Text, Whole
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
    """A [condition of pods](rules.md#conditions-of-pods); or `Ready`: it is well again; or `Gone`: somebody deletes it."""
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
            stage.world.put(_autoscaler(stage, kept, self.shows if on else ""))
            return
        if not hasattr(kept.obj.status, "conditions"):  # type: ignore[attr-defined]
            raise CaseError(f"the controller of a {type(kept.obj).__name__} reports no {self.shows}", "a Deployment's does")
        shown = _CONDITIONS[self.shows]
        stage.world.write_status(kept, conditions=(shown,) if on else ())


_CONDITIONS: Mapping[str, Condition] = {
    "ProgressDeadlineExceeded": Condition("Progressing", "False", "ProgressDeadlineExceeded", "it has timed out progressing"),
    "Unavailable": Condition("Available", "False", "MinimumReplicasUnavailable", "it does not have minimum availability"),
    "ReplicaFailure": Condition("ReplicaFailure", "True", "FailedCreate", "pods are forbidden: exceeded quota"),
}
_SCALING: Mapping[str, Condition] = {
    "HpaAtMaximum": Condition("ScalingLimited", "True", "TooManyReplicas", "the desired replica count is more than the maximum"),
    "HpaUnableToScale": Condition("ScalingActive", "False", "FailedGetResourceMetric", "unable to get metrics"),
}


def _autoscaler(stage: CaseStage, kept: Kept, shows: str) -> KubeObject:
    """The autoscaler of a workload, with that condition or with none."""
    meta, replicas = kept.obj.metadata, kept.obj.workload().desired
    known = stage.world.view.objects(HorizontalPodAutoscaler)
    held = [each for each in known if isinstance(each, HorizontalPodAutoscaler)]
    mine = [each for each in held if each.spec.scale_target_ref.name == meta.name and each.metadata.namespace == meta.namespace]
    scales = ScaleTarget(type(kept.obj).__name__, meta.name)
    hot = Metric("Resource", resource=MetricSource("cpu", target=Level(80), current=Level(95)))
    new = HorizontalPodAutoscaler(Meta(meta.name, f"hpa/{meta.uid}", meta.namespace), ScalingSpec(scales, replicas))
    scaler = mine[0] if mine else new
    spec = msgspec.structs.replace(scaler.spec, metrics=(hot,), max_replicas=min(scaler.spec.max_replicas, replicas))
    conditions = (_SCALING[shows],) if shows else ()
    return msgspec.structs.replace(scaler, spec=spec, status=ScalingStatus(replicas, (hot,), conditions))


class RolloutEvent(Played):
    """Somebody rolls a new revision of a workload out."""

    workload: Text
    """The workload."""
    takes: Annotated[Duration, Field(gt=0)] = 300.0
    """How long it takes until all pods are replaced by pods that are ready."""
    halts: bool = False
    """Whether it replaces no pod: it is under way for ever."""

    def play(self, stage: CaseStage) -> str:
        """Begin it."""
        kept = stage.kept(self.workload)
        revision = next_revision(kept)
        if self.halts:
            stage.world.roll_out(kept, revision)
        else:
            stage.roll(kept, revision, self.takes)
        return f"{self.workload}: a rollout to revision {revision} begins{' and halts' if self.halts else ''}"


def next_revision(kept: Kept) -> str:
    """The revision after that of a workload."""
    return str(int(kept.revision) + 1) if kept.revision.isdecimal() else f"{kept.revision}-next"
