"""The view: the state of the cluster as healer knows it. `cluster` writes it; all others read it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from healer.model.kube import KubeObject, Namespace, OwnerReference, Pod, PodDisruptionBudget, ReplicaSet, matches
from healer.model.node import Node
from healer.model.target import Target
from healer.model.workload import SupportedKind, Workload, WorkloadObject


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
        """The node of that name; None where nodes are not watched."""
        node = self._objects[Node].get(self._uid_by_name.get(("Node", "", name), ""))
        return node if isinstance(node, Node) else None

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
        """The workload that controls the ReplicaSet of that uid."""
        owner = None if (held := self._objects[ReplicaSet].get(uid)) is None else held.metadata.controller
        return None if owner is None else self._workloads.get(owner.uid)

    def namespace(self, name: str) -> Namespace | None:
        """The namespace with that name."""
        namespace = self._objects[Namespace].get(self._uid_by_name.get(("Namespace", "", name), ""))
        return namespace if isinstance(namespace, Namespace) else None

    def workload_of(self, pod: Pod) -> Target | None:
        """The top controller of a pod: the controller of its ReplicaSet if it has one, otherwise its own controller.

        None for a bare pod, and for a pod whose ReplicaSet is not known yet. None also for a pod that names an owner in another
        namespace: anybody can write such a reference, and no controller owns objects in other namespaces.
        """
        top = self._top(pod)
        return None if top is None else Target(top.kind, pod.metadata.namespace, top.name, top.uid)

    def workload_uid(self, pod: Pod) -> str:
        """The uid of `workload_of`; "" for none. It runs for every event, and so creates no Target."""
        top = self._top(pod)
        return "" if top is None else top.uid

    def _top(self, pod: Pod) -> OwnerReference | None:
        owner, namespace = pod.metadata.controller, pod.metadata.namespace
        if owner is not None and owner.kind == "ReplicaSet":
            replica_set = self._objects[ReplicaSet].get(owner.uid)
            if replica_set is None or replica_set.metadata.namespace != namespace:
                return None
            owner = replica_set.metadata.controller or owner
        workload = None if owner is None else self._workloads.get(owner.uid)
        if owner is None or workload is None:
            return owner
        meta = workload.metadata  # a reference can have any kind and name; only the uid is hard to forge
        return owner if (owner.kind, owner.name, namespace) == (workload.kind, meta.name, meta.namespace) else None

    def pods_of(self, workload: Target) -> list[Pod]:
        """All pods of a workload, of every revision, including terminating and finished ones."""
        owners = [workload.uid, *(uid for uid, kind in self._owned.get(workload.uid, {}).items() if kind is ReplicaSet)]
        uids = [uid for owner in owners for uid, kind in self._owned.get(owner, {}).items() if kind is Pod]
        pods = [pod for pod in map(self.pod, uids) if pod is not None]
        return [pod for pod in pods if pod.metadata.namespace == workload.namespace and self.workload_uid(pod) == workload.uid]

    def replica_set(self, uid: str) -> ReplicaSet | None:
        """The ReplicaSet of that uid."""
        found = self._objects[ReplicaSet].get(uid)
        return found if isinstance(found, ReplicaSet) else None

    def replica_sets_of(self, workload: Target) -> list[ReplicaSet]:
        """The ReplicaSets of a workload, of every revision."""
        owned = (self._objects[ReplicaSet].get(uid) for uid in self._owned.get(workload.uid, {}))
        return [each for each in owned if isinstance(each, ReplicaSet)]

    def budgets_matching(self, pod: Pod) -> list[PodDisruptionBudget]:
        """The PodDisruptionBudgets whose selector matches the pod. More than one is a configuration error."""
        return [
            budget
            for budget in self._budgets.get(pod.metadata.namespace, {}).values()
            if budget.spec.selector is not None and matches(budget.spec.selector, pod.metadata.labels)
        ]


def _node_of(pod: Pod | None) -> str:
    return pod.spec.node_name if pod is not None and not pod.finished else ""


def target_of(obj: Pod | Workload) -> Target:
    """The target for an object."""
    meta = obj.metadata
    return Target("Pod" if isinstance(obj, Pod) else obj.kind, meta.namespace, meta.name, meta.uid)


def epoch(moment: datetime | None) -> float | None:
    """A Kubernetes timestamp in seconds since the epoch."""
    return None if moment is None else moment.timestamp()
