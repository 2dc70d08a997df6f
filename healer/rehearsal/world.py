"""A cluster of decoded objects that can be changed, as the kubelet and the controllers would change it. No clock, no tasks.

It is a view with helpers. Workloads that it serves (`World.serve`) have a controller: with each change of their pods their status
follows. All other objects are what somebody puts in: a recorder, a test. Whoever listens is told of each change.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from healer.cluster.watch import ObjectChange
from healer.model.kube import (
    BudgetSpec,
    ContainerState,
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
    Terminated,
    Waiting,
)
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.model.workload import Workload, WorkloadObject
from healer.rehearsal.kinds import KEPT_KINDS, PodCounts, with_status
from healer.rehearsal.statuses import moment, status_of
from healer.workloads.registry import WORKLOADS
from healer.workloads.statefulset import StatefulSet, StatefulSetSpec, StatefulSetStatus

START = 1_800_000_000.0
"""When a world begins unless told otherwise, in seconds since the epoch."""


@dataclass
class Kept:
    """A workload with its pods, as its controller keeps it."""

    obj: WorkloadObject
    maker: OwnerReference
    """What its next pod has as its controller."""
    labels: Mapping[str, str]
    """Those of its pods."""
    nodes: tuple[str, ...] = ("node-1",)
    """Where its pods are placed, in turn."""
    pods: dict[str, Pod] = field(default_factory=dict)
    """Its pods by uid, the oldest first."""
    outdated: set[str] = field(default_factory=set)
    """The uids of those of an earlier revision."""
    revision: str = ""
    born: int = 0
    size: int = 1
    """The pods of a replica."""
    controlled: bool = True
    """Whether a controller writes its status."""


class World:
    """A cluster. A pod is named NAMESPACE/NAME, or NAME where it is in the world's own namespace."""

    def __init__(self, namespace: str, now: float = START) -> None:
        self.view = View(WORKLOADS)
        self.listeners: list[Callable[[ObjectChange], None]] = []
        """Called with each change."""
        self.now = now
        """Seconds since the epoch; whoever drives the world moves it on."""
        self.namespace = namespace
        self.kept: dict[str, Kept] = {}
        """The workloads that it serves, by uid."""
        self._keeper: dict[str, Kept] = {}  # by the uid of what controls pods
        self._born = 0

    # any object

    def put(self, obj: KubeObject) -> None:
        """An object is there, or is another than before."""
        before = self.view.put(obj)
        told = self._follow(obj, before)
        if isinstance(obj, WorkloadObject) and obj.metadata.uid in self.kept:
            self.kept[obj.metadata.uid].obj = obj
        self._tell([ObjectChange(type(obj), "put", obj, before), *told])

    def drop(self, obj: KubeObject) -> None:
        """An object is gone."""
        self.view.drop(type(obj), obj.metadata.uid)
        told = self._follow(None, obj)
        if obj.metadata.uid in self.kept:
            self.kept[obj.metadata.uid].controlled = False
        self._tell([ObjectChange(type(obj), "drop", obj, obj), *told])
        workers = self.view.find_by_name(StatefulSet.__name__, obj.metadata.namespace, obj.metadata.name)
        if isinstance(obj, Pod) and isinstance(workers, Workload) and workers.metadata.uid == f"{obj.metadata.uid}/pods":
            self.view.drop(StatefulSet, workers.metadata.uid)  # a leader's, which goes with it

    def annotate(self, obj: KubeObject, **annotations: str) -> None:
        """It has these annotations, by the names of the fields of its metadata."""
        changed = msgspec.structs.replace(obj.metadata.annotations, **annotations)
        self.put(msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, annotations=changed)))

    # workloads

    def serve(
        self,
        name: str,
        replicas: int,
        *,
        kind: str = "Deployment",
        namespace: str = "",
        labels: Mapping[str, str] | None = None,
        nodes: Iterable[str] = ("node-1",),
        revision: str = "",
        uid: str = "",
        size: int = 1,
    ) -> Kept:
        """A workload of that many ready pods, NAME-1, NAME-2 and so on, with these labels (app: NAME); of a kind whose replicas
        are groups, of that many groups of `size` pods. Raises KeyError for a kind that worlds do not have."""
        struct = WORKLOADS[kind].struct
        space, labels = namespace or self.namespace, {"app": name} if labels is None else labels
        if self.view.namespace(space) is None:
            self.put(Namespace(Meta(space, f"ns-{space}")))
        meta = Meta(name, uid or f"{space}/{name}", space, generation=1, labels=dict(labels))
        obj = KEPT_KINDS[struct].new(meta, replicas, size)
        kept = Kept(obj, OwnerReference(kind, name, meta.uid, controller=True), labels, tuple(nodes), size=size)
        self.keep(kept)
        if KEPT_KINDS[struct].grouped:
            kept.maker = self._own(kept, name, kept.maker, replicas)
        self.roll_out(kept, revision)
        for _ in range(replicas):
            self.add_unit(kept)
        return kept

    def _own(self, kept: Kept, name: str, owner: OwnerReference, replicas: int) -> OwnerReference:
        """A StatefulSet between a workload and its pods: that of the leaders of its groups, or of the workers of a leader."""
        space, uid = kept.obj.metadata.namespace, f"{owner.uid}/pods"
        self._keeper[uid] = kept
        self.put(StatefulSet(Meta(name, uid, space, owner_references=(owner,)), StatefulSetSpec(replicas), StatefulSetStatus()))
        return OwnerReference(StatefulSet.__name__, name, uid, controller=True)

    def keep(self, kept: Kept) -> None:
        """A workload is served from now on. Its status follows its pods; one without a controller is not even seen."""
        self.kept[kept.obj.metadata.uid] = self._keeper[kept.obj.metadata.uid] = self._keeper[kept.maker.uid] = kept
        if kept.controlled:
            self.put(kept.obj)

    def abandon(self, kept: Kept) -> None:
        """A workload is deleted, and its pods stay."""
        kept.controlled = False
        self.kept.pop(kept.obj.metadata.uid, None)
        self.drop(kept.obj)

    def roll_out(self, kept: Kept, revision: str) -> None:
        """A workload is at another revision: its pods are of the one before, until they are replaced."""
        kept.revision, kept.outdated = revision, set(kept.pods)
        meta = kept.obj.metadata
        if KEPT_KINDS[type(kept.obj)].by_replica_sets:
            name = f"{meta.name}-rs{revision and '-'}{revision}"
            owner = OwnerReference(type(kept.obj).__name__, meta.name, meta.uid, controller=True)
            replica_set = ReplicaSet(Meta(name, f"{meta.namespace}/{name}", meta.namespace, owner_references=(owner,)))
            kept.maker = OwnerReference(ReplicaSet.__name__, name, replica_set.metadata.uid, controller=True)
            self._keeper[replica_set.metadata.uid] = kept
            self.put(replica_set)
            self.annotate(replica_set, revision=revision)
        annotations = msgspec.structs.replace(meta.annotations, revision=revision, template_generation=revision)
        changed = msgspec.structs.replace(meta, annotations=annotations, generation=meta.generation + (1 if kept.pods else 0))
        self.put(self._counted(kept, msgspec.structs.replace(kept.obj, metadata=changed)))

    def write_status(self, kept: Kept, **status: Any) -> None:
        """Its controller counts the pods anew; these fields of its status are as given all the same."""
        self.put(self._counted(kept, kept.obj, status))

    def budget(self, name: str, selector: Mapping[str, str], namespace: str = "") -> str:
        """A PodDisruptionBudget over the pods with these labels; returns its uid."""
        space = namespace or self.namespace
        uid = f"pdb-{space}/{name}"
        self.put(PodDisruptionBudget(Meta(name, uid, space), BudgetSpec(LabelSelector(dict(selector)))))
        return uid

    # pods

    def pod(self, name: str) -> Pod:
        """The pod of that name. Raises KeyError."""
        namespace, _, own = name.rpartition("/")
        pod = self.view.pod_named(namespace or self.namespace, own)
        if pod is None:
            raise KeyError(name)
        return pod

    def target(self, name: str) -> Target:
        """The pod of that name as a target."""
        return target_of(self.pod(name))

    def keeper(self, pod: Pod) -> Kept | None:
        """The workload that a pod is of, where the world serves it."""
        controller = pod.metadata.controller
        return None if controller is None else self._keeper.get(controller.uid)

    def add_unit(self, kept: Kept, name: str = "", *, status: PodStatus | None = None) -> list[str]:
        """A further replica of a workload: a pod, or a leader with its workers. Returns their names, the leader first."""
        names = [self.add_pod(kept, name, status=status)]
        if kept.size > 1:
            leader = self.pod(names[0]).metadata
            owner = OwnerReference(Pod.__name__, leader.name, leader.uid, controller=True)
            workers = self._own(kept, leader.name, owner, kept.size - 1)
            for number in range(1, kept.size):
                names.append(self.add_pod(kept, f"{leader.name}-{number}", status=status, owner=workers))
        return names

    def add_pod(
        self,
        kept: Kept,
        name: str = "",
        *,
        ready: bool = True,
        node: str = "",
        status: PodStatus | None = None,
        owner: OwnerReference | None = None,
    ) -> str:
        """A further pod of a workload, which runs and is ready or not, or has that status; returns its name."""
        self._born += 1
        kept.born += 1
        label = KEPT_KINDS[type(kept.obj)].revision_label
        meta = Meta(
            name or self._next_name(kept),
            f"pod-{self._born}",
            kept.obj.metadata.namespace,
            creation_timestamp=moment(self.now),
            labels=dict(kept.labels) | ({label: kept.revision} if label and kept.revision else {}),
            owner_references=(owner or kept.maker,),
        )
        place = node or kept.nodes[(kept.born - 1) % len(kept.nodes)]
        self.put(Pod(meta, PodSpec(place), status or status_of(self.now, ready=ready)))
        return self._named(meta)

    def _next_name(self, kept: Kept) -> str:
        """The name of the next pod that a controller makes: that of the first index that is free, or a new one."""
        stem = kept.obj.metadata.name
        if not KEPT_KINDS[type(kept.obj)].ordinal:
            return f"{stem}-{kept.born}"
        taken = {pod.metadata.name for pod in kept.pods.values()}
        return next(name for name in (f"{stem}-{index}" for index in count()) if name not in taken)

    def show(self, name: str, status: PodStatus) -> None:
        """A pod has this status."""
        self.put(msgspec.structs.replace(self.pod(name), status=status))

    def crash(self, name: str, restarts: int = 5) -> None:
        """It waits in CrashLoopBackOff."""
        state = ContainerState(waiting=Waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container"))
        last = ContainerState(terminated=Terminated(1, "Error", moment(self.now)))
        self.show(name, status_of(self.now, ready=False, state=state, last=last, restarts=restarts))

    def unready(self, name: str) -> None:
        """It runs, and its probe fails."""
        self.show(name, status_of(self.now, ready=False, restarts=self.pod(name).restarts))

    def mend(self, name: str) -> None:
        """It runs and is ready (again)."""
        self.show(name, status_of(self.now, ready=True, restarts=self.pod(name).restarts))

    def relabel(self, name: str, **labels: str) -> None:
        """It has these labels, and no others."""
        pod = self.pod(name)
        self.put(msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, labels=labels)))

    def own(self, name: str, owner: OwnerReference | None = None) -> None:
        """It has another controller; None: it was released, as by `kubectl label` off its ReplicaSet's selector."""
        pod = self.pod(name)
        owners = () if owner is None else (owner,)
        labels = pod.metadata.labels | {"pod-template-hash": "rs"}  # which the ReplicaSet has given it
        meta = msgspec.structs.replace(pod.metadata, owner_references=owners, labels=labels)
        self.put(msgspec.structs.replace(pod, metadata=meta))

    def terminate(self, name: str) -> None:
        """Its deletion was accepted."""
        pod = self.pod(name)
        meta = msgspec.structs.replace(pod.metadata, deletion_timestamp=moment(self.now + 30))
        self.put(msgspec.structs.replace(pod, metadata=meta))

    def remove(self, name: str) -> None:
        """It is gone."""
        self.drop(self.pod(name))

    def replace(self, name: str, successor: str = "") -> str:
        """It goes, and its controller makes another, which gets ready; returns the new one's name. Raises KeyError for a pod of
        no workload of this world."""
        kept, own = self._keeper[self._controller(name)], self.pod(name).metadata.name
        successor = successor or (own if KEPT_KINDS[type(kept.obj)].ordinal else "")
        self.terminate(name)
        new = self.add_pod(kept, successor, ready=False) if successor != own else ""
        self.remove(name)
        new = new or self.add_pod(kept, successor, ready=False)
        self.mend(new)
        return new

    def finish(self, name: str, reason: str = "Evicted", phase: str = "Failed") -> str:
        """It ends for good, and its record stays as the kubelet left it, a Ready that is True among it; returns its successor."""
        self.show(name, msgspec.structs.replace(self.pod(name).status, phase=phase, reason=reason))
        return self.add_pod(self._keeper[self._controller(name)])

    # controllers

    def _controller(self, name: str) -> str:
        controller = self.pod(name).metadata.controller
        return "" if controller is None else controller.uid

    def _named(self, meta: Meta) -> str:
        return meta.name if meta.namespace == self.namespace else f"{meta.namespace}/{meta.name}"

    def _follow(self, obj: KubeObject | None, before: KubeObject | None) -> list[ObjectChange]:
        """What a change of a pod changes of the workloads that it is and was of."""
        is_of = self.keeper(obj) if isinstance(obj, Pod) else None
        was_of = self.keeper(before) if isinstance(before, Pod) else None
        if was_of is not None and was_of is not is_of and isinstance(before, Pod):
            was_of.pods.pop(before.metadata.uid, None)
        if is_of is not None and isinstance(obj, Pod):
            is_of.pods[obj.metadata.uid] = obj
        changes: list[ObjectChange] = []
        for kept in (is_of, None if was_of is is_of else was_of):
            if kept is None or not kept.controlled:
                continue
            was, kept.obj = kept.obj, self._counted(kept, kept.obj)
            self.view.put(kept.obj)
            if kept.obj != was:
                changes.append(ObjectChange(type(kept.obj), "put", kept.obj, was))
        return changes

    def _counted(self, kept: Kept, obj: WorkloadObject, status: Mapping[str, Any] | None = None) -> WorkloadObject:
        """The object with the status that its controller writes."""
        kind, desired = KEPT_KINDS[type(obj)], obj.workload().desired
        there = [pod for pod in kept.pods.values() if not pod.finished]
        if kind.grouped:
            there = [pod for pod in there if pod.metadata.controller == kept.maker]
            ready = sum(unit.ready for unit in self.view.units_of(obj.workload().target))
        else:
            ready = sum(pod.ready for pod in there)
        living = [pod for pod in there if not pod.terminating]
        counts = PodCounts(
            workload=obj.metadata.name,
            desired=desired,
            existing=len(living),
            updated=sum(pod.metadata.uid not in kept.outdated for pod in living),
            ready=ready,
            outdated=sum(pod.metadata.uid in kept.outdated for pod in there),
            revision=kept.revision,
            generation=obj.metadata.generation,
        )
        return with_status(obj, {**kind.status(counts), **(status or {})})

    def _tell(self, changes: Iterable[ObjectChange]) -> None:
        for change in changes:
            for listener in self.listeners:
                listener(change)
