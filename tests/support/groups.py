"""A LeaderWorkerSet for drills of the engine: groups of a leader and its workers, as their controllers make and replace them."""

from typing import Literal

import msgspec

import healer.rehearsal.world
from healer.cluster.watch import ObjectChange
from healer.model.kube import KubeObject, Meta, Namespace, OwnerReference, Pod, PodSpec
from healer.model.target import Target
from healer.workloads.leaderworkerset import (
    GroupTemplate,
    LeaderWorkerSet,
    LeaderWorkerSetSpec,
    LeaderWorkerSetStatus,
)
from healer.workloads.statefulset import StatefulSet, StatefulSetSpec, StatefulSetStatus
from tests.support.world import NAMESPACE, World, moment, status_of

NAME = "vllm"


def reference(obj: KubeObject) -> OwnerReference:
    """What an object that this one controls says of it."""
    return OwnerReference(type(obj).__name__, obj.metadata.name, obj.metadata.uid, controller=True)


class Groups(World):
    """A namespace with one LeaderWorkerSet of so many ready groups: vllm-0 leads vllm-0-1, vllm-0-2 and so on."""

    def __init__(self, groups: int = 4, size: int = 3, restart_policy: str = "RecreateGroupOnPodRestart") -> None:
        healer.rehearsal.world.World.__init__(self, NAMESPACE)
        self.view.put(Namespace(Meta(NAMESPACE, "ns-1")))
        template = GroupTemplate(size, restart_policy)
        self.lws = LeaderWorkerSet(
            Meta(NAME, "lws-1", NAMESPACE, generation=1), LeaderWorkerSetSpec(groups, template), LeaderWorkerSetStatus(1)
        )
        self.view.put(self.lws)
        self._leaders = StatefulSet(
            Meta(NAME, "leaders", NAMESPACE, owner_references=(reference(self.lws),)), StatefulSetSpec(groups)
        )
        self.view.put(self._leaders)
        for index in range(groups):
            self.begin(index, ready=True)

    @property
    def workload(self) -> Target:
        return self.lws.workload().target

    @property
    def pods(self) -> list[Pod]:
        return sorted(self.view.pods(), key=lambda pod: int(pod.metadata.uid.removeprefix("pod-")))

    def members(self, index: int) -> list[str]:
        """The names of the pods of a group, the leader first."""
        leader = f"{NAME}-{index}"
        size = self.lws.spec.leader_worker_template.size
        return [leader, *(f"{leader}-{worker}" for worker in range(1, size))]

    def begin(self, index: int, *, ready: bool = False) -> None:
        """The controllers make a group."""
        leader, *workers = self.members(index)
        leading = self._pod(leader, reference(self._leaders), ready=ready)
        owned = StatefulSet(
            Meta(leader, f"workers-{self._born}", NAMESPACE, owner_references=(reference(leading),)),
            StatefulSetSpec(len(workers)),
            StatefulSetStatus(),
        )
        self.view.put(owned)
        for worker in workers:
            self._pod(worker, reference(owned), ready=ready)

    def replace_worker(self, name: str) -> None:
        """The StatefulSet of a group makes one of its workers anew."""
        owner = self.pod(name).metadata.controller
        if not self.pod(name).terminating:
            self.terminate(name)
        self.remove(name)
        assert owner is not None
        self._pod(name, owner, ready=True)

    def end(self, index: int) -> None:
        """The controllers take a group away: its leader, then the StatefulSet of the leader, then the workers."""
        self.go(index)
        self.orphan(index)
        for worker in self.members(index)[1:]:
            self.remove(worker)

    def orphan(self, index: int) -> None:
        """The leader of a group is gone, and so is the StatefulSet of its workers, which are not gone yet."""
        owned = self.view.workload_named("StatefulSet", NAMESPACE, self.members(index)[0])
        assert owned is not None
        self.remove(self.members(index)[0])
        self.view.drop(StatefulSet, owned.metadata.uid)

    def go(self, index: int) -> None:
        """The deletion of all pods of a group was accepted."""
        for name in reversed(self.members(index)):
            if not self.pod(name).terminating:
                self.terminate(name)

    def restart(self, index: int) -> None:
        """A group is replaced as a whole, and the new one gets ready, the leader first."""
        self.end(index)
        self.begin(index)
        for name in self.members(index):
            self.mend(name)

    def _pod(self, name: str, owner: OwnerReference, *, ready: bool) -> Pod:
        self._born += 1
        meta = Meta(
            name,
            f"pod-{self._born}",
            NAMESPACE,
            creation_timestamp=moment(self.now),
            labels={"app": NAME},
            owner_references=(owner,),
        )
        pod = Pod(meta, PodSpec(f"node-{self._born}"), status_of(self.now, ready=ready))
        self.put(pod)
        return pod

    def put(self, obj: KubeObject) -> None:
        self._changed("put", obj, self.view.put(obj))

    def drop(self, obj: KubeObject) -> None:
        self.view.drop(type(obj), obj.metadata.uid)
        self._changed("drop", obj, obj)

    def _changed(self, verb: Literal["put", "drop"], obj: KubeObject, before: KubeObject | None) -> None:
        was = self.lws
        self._sync()
        self._tell([ObjectChange(type(obj), verb, obj, before)])
        if self.lws != was:
            self._tell([ObjectChange(LeaderWorkerSet, "put", self.lws, was)])

    def _sync(self) -> None:
        ready = sum(unit.ready for unit in self.view.units_of(self.workload))
        wanted = self.lws.spec.replicas
        status = LeaderWorkerSetStatus(1, wanted, wanted, ready)
        self.lws = msgspec.structs.replace(self.lws, status=status)
        self.view.put(self.lws)
