"""The view: the state of the cluster as healer knows it. `cluster` writes it; all others read it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from healer.model.kube import KubeObject, Namespace, OwnerReference, Pod, PodDisruptionBudget, ReplicaSet, matches
from healer.model.node import Node
from healer.model.target import Target
from healer.model.unit import Unit
from healer.model.workload import SupportedKind, Workload, WorkloadObject

_MOST_OWNERS = 8
"""The most owners between a pod and its workload. References can be written in a circle."""


class View:
    """The objects by kind and uid, with indices by name, controller and node.

    All lookups are O(1) or proportional to the result. Owners are found by uid, never by parsing names.

    `supported_kinds` are the kinds of workloads whose health healer can judge, and on which it acts.
    """

    def __init__(self, supported_kinds: Mapping[str, SupportedKind]) -> None:
        self.supported_kinds = supported_kinds
        self._objects: dict[type[KubeObject], dict[str, KubeObject]] = defaultdict(dict)
        self._workloads: dict[str, Workload] = {}  # by uid
        self._uid_by_name: dict[tuple[str, str, str], str] = {}  # kind, namespace, name
        self._owned: dict[str, dict[str, type[KubeObject]]] = defaultdict(dict)  # controller's uid -> its objects' uids and kinds
        self._budgets: dict[str, dict[str, PodDisruptionBudget]] = defaultdict(dict)  # namespace -> budgets by uid
        self._by_node: dict[str, set[str]] = defaultdict(set)  # node's name -> uids of the living pods on it
        self._gone_nodes: set[str] = set()  # names of the nodes that were deleted while pods were on them
        self.paused_everywhere = ""
        """Who has paused healer everywhere, and why; "" when nobody has. The daemon writes it, from the Lease's annotations."""

    # writing: by `cluster` only

    def put(self, obj: KubeObject) -> KubeObject | None:
        """Add or replace an object. Returns its earlier state."""
        meta = obj.metadata
        uid = meta.uid
        objects = self._objects[type(obj)]
        before = objects.get(uid)
        objects[uid] = obj
        if before is None:  # a name never changes; later a successor may have it
            self._uid_by_name[type(obj).__name__, meta.namespace, meta.name] = uid
        if before is None or before.metadata.owner_references != meta.owner_references:
            self._index_owner(obj, before)
        if isinstance(obj, Pod):
            self._index_node(uid, obj, before if isinstance(before, Pod) else None)
        elif isinstance(obj, PodDisruptionBudget):
            self._budgets[meta.namespace][uid] = obj
        elif isinstance(obj, Node):
            self._gone_nodes.discard(meta.name)
        elif isinstance(obj, WorkloadObject):
            self._workloads[uid] = obj.workload()
        return before

    def drop(self, kind: type[KubeObject], uid: str) -> KubeObject | None:
        """Remove an object. Returns its last state."""
        obj = self._objects[kind].pop(uid, None)
        if obj is None:
            return None
        meta = obj.metadata
        name = (kind.__name__, meta.namespace, meta.name)
        if self._uid_by_name.get(name) == uid:  # a successor may already have the name
            del self._uid_by_name[name]
        if (controller := meta.controller) is not None:
            self._unindex_owner(controller.uid, uid)
        if isinstance(obj, Pod):
            self._index_node(uid, None, obj)
        elif isinstance(obj, PodDisruptionBudget):
            self._budgets[meta.namespace].pop(uid, None)
        elif isinstance(obj, Node) and meta.name in self._by_node and self.node(meta.name) is None:
            self._gone_nodes.add(meta.name)
        self._workloads.pop(uid, None)
        return obj

    def _index_node(self, uid: str, pod: Pod | None, before: Pod | None) -> None:
        """Update the index by node for a pod. A pod that is not scheduled or has finished is on no node."""
        node, old = _node_of(pod), _node_of(before)
        if node == old:
            return
        if old:
            pods = self._by_node[old]
            pods.discard(uid)
            if not pods:
                del self._by_node[old]
                self._gone_nodes.discard(old)
        if node:
            self._by_node[node].add(uid)

    def _index_owner(self, obj: KubeObject, before: KubeObject | None) -> None:
        """Update the index by controller for an object."""
        uid, controller = obj.metadata.uid, obj.metadata.controller
        old = None if before is None else before.metadata.controller
        if old is not None and (controller is None or controller.uid != old.uid):
            self._unindex_owner(old.uid, uid)
        if controller is not None:
            self._owned[controller.uid][uid] = type(obj)

    def _unindex_owner(self, owner: str, uid: str) -> None:
        owned = self._owned.get(owner)
        if owned is not None:
            owned.pop(uid, None)
            if not owned:
                del self._owned[owner]

    def uids(self, kind: type[KubeObject], namespace: str = "") -> set[str]:
        """The uids of a kind, in one namespace when given."""
        return {uid for uid, obj in self._objects[kind].items() if not namespace or obj.metadata.namespace == namespace}

    # reading

    def count(self, kind: type[KubeObject]) -> int:
        """The number of objects of a kind."""
        return len(self._objects[kind])

    def pod(self, uid: str) -> Pod | None:
        """The pod with that uid."""
        pod = self._objects[Pod].get(uid)
        return pod if isinstance(pod, Pod) else None

    def pod_named(self, namespace: str, name: str) -> Pod | None:
        """The pod that has that name now, if any."""
        return self.pod(self._uid_by_name.get(("Pod", namespace, name), ""))

    def living(self, uid: str) -> Pod | None:
        """The pod with that uid, unless it has finished. Only such pods are counted."""
        pod = self.pod(uid)
        return None if pod is None or pod.finished else pod

    def finished(self, uid: str) -> bool:
        """Whether the pod with that uid has finished. False for an unknown pod."""
        pod = self.pod(uid)
        return pod is not None and pod.finished

    def pods(self) -> Iterable[Pod]:
        """Every pod."""
        return (pod for pod in self._objects[Pod].values() if isinstance(pod, Pod))

    def objects(self, kind: type[KubeObject]) -> Iterable[KubeObject]:
        """Every object of a kind, or of all kinds with that base class, as decoded."""
        return (obj for held, objects in self._objects.items() if issubclass(held, kind) for obj in objects.values())

    def workloads(self) -> Iterable[Workload]:
        """Every workload of the watched kinds."""
        return self._workloads.values()

    def names(self, kind: type[KubeObject]) -> set[str]:
        """The names of the objects of a kind."""
        return {obj.metadata.name for obj in self._objects[kind].values()}

    def count_on(self, node: str) -> int:
        """The number of pods on a node that have not finished."""
        return len(self._by_node.get(node, ()))

    def node(self, name: str) -> Node | None:
        """The node of that name; None where it is not seen, or nodes are not watched."""
        node = self._objects[Node].get(self._uid_by_name.get(("Node", "", name), ""))
        return node if isinstance(node, Node) else None

    def node_gone(self, name: str) -> bool:
        """Whether that node was seen, and then its deletion, while pods were on it. A node that was never seen may be there."""
        return name in self._gone_nodes

    def pods_on(self, node: str) -> list[Pod]:
        """The pods on a node, the records of finished ones left out."""
        return [pod for uid in sorted(self._by_node.get(node, ())) if (pod := self.pod(uid)) is not None]

    def workload(self, uid: str) -> Workload | None:
        """The workload with that uid."""
        return self._workloads.get(uid)

    def workload_named(self, kind: str, namespace: str, name: str) -> Workload | None:
        """The workload that has that kind and name now, if any."""
        return self._workloads.get(self._uid_by_name.get((kind, namespace, name), ""))

    def find(self, target: Target) -> Pod | Workload | None:
        """The object of a target, by its uid; None when it is unknown."""
        return self.pod(target.uid) if target.kind == "Pod" else self.workload(target.uid)

    def find_by_name(self, kind: str, namespace: str, name: str) -> Pod | Workload | None:
        """The pod or the workload that has that name now, if any."""
        return self.pod_named(namespace, name) if kind == "Pod" else self.workload_named(kind, namespace, name)

    def workload_of_replica_set(self, uid: str) -> Workload | None:
        """The workload that controls the ReplicaSet of that uid. No workload controls one in another namespace."""
        held = self._objects[ReplicaSet].get(uid)
        owner = None if held is None else held.metadata.controller
        workload = None if owner is None else self._workloads.get(owner.uid)
        if held is None or owner is None or workload is None:
            return None
        return workload if _refers(owner, held.metadata.namespace, workload) else None

    def namespace(self, name: str) -> Namespace | None:
        """The namespace with that name."""
        namespace = self._objects[Namespace].get(self._uid_by_name.get(("Namespace", "", name), ""))
        return namespace if isinstance(namespace, Namespace) else None

    def workload_of(self, obj: Pod | Workload) -> Target | None:
        """The top controller of a pod, or of a workload that another workload owns; a workload that none owns is its own.

        From owner to owner by uid: a pod's ReplicaSet or StatefulSet, the leader pod that owns that StatefulSet, and so on. None
        for a bare pod, and where an owner between is not known yet. None also where an owner is in another namespace: anybody can
        write such a reference, and no controller owns objects in other namespaces.
        """
        top = self._top(obj) if isinstance(obj, Pod) else self._above(_reference(obj), obj)
        return None if top is None else Target(top.kind, obj.metadata.namespace, top.name, top.uid)

    def workload_uid(self, pod: Pod) -> str:
        """The uid of `workload_of`; "" for none. It runs for every event, and so creates no Target."""
        top = self._top(pod)
        return "" if top is None else top.uid

    def _top(self, pod: Pod, most: int = _MOST_OWNERS) -> OwnerReference | None:
        owner, namespace = pod.metadata.controller, pod.metadata.namespace
        if owner is not None and owner.kind == "ReplicaSet":
            replica_set = self._objects[ReplicaSet].get(owner.uid)
            if replica_set is None or replica_set.metadata.namespace != namespace:
                return None
            owner = replica_set.metadata.controller or owner
        workload = None if owner is None else self._workloads.get(owner.uid)
        if owner is None or workload is None:
            return owner
        return self._above(owner, workload, most) if _refers(owner, namespace, workload) else None

    def _above(self, owner: OwnerReference, workload: Workload, most: int = _MOST_OWNERS) -> OwnerReference | None:
        """The top controller above a workload that `owner` names: the workload itself unless healer knows what owns it."""
        higher, namespace = workload.metadata.controller, workload.metadata.namespace
        if higher is None or (higher.kind != "Pod" and higher.kind not in self.supported_kinds):
            return owner
        if not most:
            return None
        if higher.kind == "Pod":
            leader = self.pod(higher.uid)
            if leader is None or (leader.metadata.namespace, leader.metadata.name) != (namespace, higher.name):
                return None
            top = self._top(leader, most - 1)
            return top if top is None or self._is_grouped(top.uid) else owner
        above = self._workloads.get(higher.uid)
        return self._above(higher, above, most - 1) if above is not None and _refers(higher, namespace, above) else None

    def _is_grouped(self, workload: str) -> bool:
        known = self._workloads.get(workload)
        return known is not None and known.group is not None

    def pods_of(self, workload: Target) -> list[Pod]:
        """All pods of a workload, of every revision, including terminating and finished ones."""
        below: dict[str, type[KubeObject]] = {}
        owners = [workload.uid]
        while owners:
            owned = [each for owner in owners for each in self._owned.get(owner, {}).items() if each[0] not in below]
            below |= owned
            owners = [uid for uid, _ in owned]
        known = [pod for pod in map(self.pod, below) if pod is not None]
        return [pod for pod in known if pod.metadata.namespace == workload.namespace and self.workload_uid(pod) == workload.uid]

    def units_of(self, workload: Target) -> list[Unit]:
        """The units of a workload, of every revision, with all pods that `pods_of` has."""
        pods = self.pods_of(workload)
        if not self._is_grouped(workload.uid):
            return [Unit(pod.metadata.uid, (pod,)) for pod in pods]
        members: dict[str, list[Pod]] = {}
        for pod in pods:
            members.setdefault(self.unit_uid(pod), []).append(pod)
        return [self._unit(uid, each, workload.uid) for uid, each in members.items()]

    def unit_of(self, pod: Pod) -> Unit:
        """The unit of a pod; the pod alone while its workload is not known."""
        uid = self.workload_uid(pod)
        if not self._is_grouped(uid):
            return Unit(pod.metadata.uid, (pod,))
        leader = self.unit_uid(pod)
        owned = [leader, *(each for owned in self._owned.get(leader, {}) for each in self._owned.get(owned, {}))]
        pods = [found for found in map(self.pod, owned) if found is not None and self.workload_uid(found) == uid]
        return self._unit(leader, pods, uid)

    def _unit(self, leader: str, pods: list[Pod], workload: str) -> Unit:
        """A group, with the size that it has: while a workload is rolled out, its groups may differ."""
        group = self._workloads[workload].group
        workers = [each.desired for each in map(self._workloads.get, self._owned.get(leader, {})) if each is not None]
        if group is not None and workers:
            group = replace(group, size=1 + sum(workers))
        return Unit(leader, tuple(sorted(pods, key=lambda pod: pod.metadata.uid != leader)), group)

    def replaced_with(self, target: Target) -> tuple[str, ...]:
        """The uids of the pods that are replaced when a pod is deleted, that pod first; of another target, its own uid."""
        pod = self.pod(target.uid)
        others = () if pod is None else self.unit_of(pod).replaced_with(target.uid)
        return (target.uid, *(each.metadata.uid for each in others if each.metadata.uid != target.uid))

    def going_along(self, target: Target) -> str:
        """What else goes when a pod is deleted, for people; "" for nothing, and for a target that is no pod."""
        pod = self.pod(target.uid)
        return "" if pod is None else self.unit_of(pod).going_along(target.uid)

    def unit_uid(self, pod: Pod) -> str:
        """The uid of the unit of a pod: the pod's own, or that of the leader of its group, also of a leader that is gone."""
        owner = pod.metadata.controller
        workers = None if owner is None else self._workloads.get(owner.uid)
        higher = None if workers is None else workers.metadata.controller
        if higher is None or higher.kind != "Pod":
            return pod.metadata.uid
        leader = self.pod(higher.uid)
        return higher.uid if leader is None or self._is_grouped(self.workload_uid(leader)) else pod.metadata.uid

    def replica_set(self, uid: str) -> ReplicaSet | None:
        """The ReplicaSet of that uid."""
        found = self._objects[ReplicaSet].get(uid)
        return found if isinstance(found, ReplicaSet) else None

    def replica_sets_of(self, workload: Target) -> list[ReplicaSet]:
        """The ReplicaSets of a workload, of every revision."""
        owned = (self._objects[ReplicaSet].get(uid) for uid in self._owned.get(workload.uid, {}))
        return [each for each in owned if isinstance(each, ReplicaSet) and each.metadata.namespace == workload.namespace]

    def budgets_matching(self, pod: Pod) -> list[PodDisruptionBudget]:
        """The PodDisruptionBudgets whose selector matches the pod. More than one is a configuration error."""
        return [
            budget
            for budget in self._budgets.get(pod.metadata.namespace, {}).values()
            if budget.spec.selector is not None and matches(budget.spec.selector, pod.metadata.labels)
        ]


def _reference(workload: Workload) -> OwnerReference:
    return OwnerReference(workload.kind, workload.metadata.name, workload.metadata.uid, controller=True)


def _refers(owner: OwnerReference, namespace: str, workload: Workload) -> bool:
    """Whether the reference is to that workload: it can have any kind and name; only the uid is hard to forge."""
    meta = workload.metadata
    return (owner.kind, owner.name, namespace) == (workload.kind, meta.name, meta.namespace)


def _node_of(pod: Pod | None) -> str:
    return pod.spec.node_name if pod is not None and not pod.finished else ""


def target_of(obj: Pod | Workload) -> Target:
    """The target for an object."""
    meta = obj.metadata
    return Target("Pod" if isinstance(obj, Pod) else obj.kind, meta.namespace, meta.name, meta.uid)


def epoch(moment: datetime | None) -> float | None:
    """A Kubernetes timestamp in seconds since the epoch."""
    return None if moment is None else moment.timestamp()
