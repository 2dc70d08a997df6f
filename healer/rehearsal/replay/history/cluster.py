"""Rebuilds the objects that healer watches from the series of kube-state-metrics.

What the series do not say is left as it is of a healthy object: templates, budgets, messages. The labels of pods are known where
kube-state-metrics is started with `--metric-labels-allowlist`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from healer.model.kube import (
    Annotations,
    Condition,
    ContainerState,
    ContainerStatus,
    KubeObject,
    Meta,
    Namespace,
    OwnerReference,
    Pod,
    PodSpec,
    PodStatus,
    ReplicaSet,
    Running,
    Terminated,
    Waiting,
)
from healer.model.node import Node, WatchedNodeMeta, WatchedNodeSpec, WatchedNodeStatus
from healer.rehearsal.replay.history.asking import Point
from healer.rehearsal.statuses import moment
from healer.workloads.daemonset import DaemonSet, DaemonSetStatus
from healer.workloads.deployment import Deployment, DeploymentSpec, DeploymentStatus
from healer.workloads.statefulset import StatefulSet, StatefulSetSpec, StatefulSetStatus

Key = tuple[str, str, str]
"""Kind, namespace and name."""
_LABEL = "label_"


@dataclass(slots=True)
class _ContainerFacts:
    ready: bool = True
    restarts: int = 0
    waiting: str = ""
    ended: str = ""
    since: float = 0.0
    """When it last began to run or to wait."""
    restarted: float | None = None


@dataclass(slots=True)
class _PodFacts:
    info: Mapping[str, str]
    born: float
    labels: dict[str, str] = field(default_factory=dict)
    phase: str = "Running"
    reason: str = ""
    ready: bool = True
    turned: float = 0.0
    """When Ready turned."""
    unschedulable: bool = False
    containers: dict[str, _ContainerFacts] = field(default_factory=lambda: defaultdict(_ContainerFacts))
    init: dict[str, _ContainerFacts] = field(default_factory=lambda: defaultdict(_ContainerFacts))


@dataclass(slots=True)
class _Facts:
    """What is known of an object of another kind: values by name."""

    born: float
    values: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    owner: tuple[str, str] = ("", "")
    conditions: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By type: the status, and since when."""


_WORKLOADS: Mapping[str, tuple[str, str]] = {
    "kube_deployment_": ("Deployment", "deployment"),
    "kube_statefulset_": ("StatefulSet", "statefulset"),
    "kube_daemonset_": ("DaemonSet", "daemonset"),
}
"""The kinds by the beginnings of their metrics, and the label that names one."""


class RebuiltCluster:
    """Takes points; `take` returns the objects that are another now, and the keys of those that are gone."""

    def __init__(self) -> None:
        self._pods: dict[tuple[str, str], _PodFacts] = {}
        self._others: dict[Key, _Facts] = {}
        self._shown: dict[Key, KubeObject] = {}
        self._touched: dict[Key, None] = {}
        self.labelled = False
        """Whether labels of pods are known."""
        self.workloads_labelled = False
        """Whether labels of workloads are."""

    def point(self, point: Point) -> None:
        """Take one point."""
        metric, labels = point.metric, point.labels
        if metric.startswith("kube_pod_"):
            self._pod_point(point)
        elif metric.startswith("kube_node_"):
            self._node_point(point)
        elif metric == "kube_replicaset_owner":
            self._owner_point(point)
        else:
            for prefix, (kind, label) in _WORKLOADS.items():
                if metric.startswith(prefix) and label in labels:
                    self._workload_point(point, (kind, labels.get("namespace", ""), labels[label]), metric.removeprefix(prefix))

    def take(self) -> Iterator[KubeObject | str]:
        """The objects that have changed since, owners first; of one that is gone its uid."""
        touched, self._touched = self._touched, {}
        order = {"Namespace": 0, "Node": 1, "Deployment": 2, "StatefulSet": 2, "DaemonSet": 2, "ReplicaSet": 3, "Pod": 4}
        for key in sorted(touched, key=lambda each: order[each[0]]):
            before, now = self._shown.get(key), self._made(key)
            if before is not None and (now is None or now.metadata.uid != before.metadata.uid):
                del self._shown[key]
                yield before.metadata.uid
                before = None
            if now is not None and now != before:
                self._shown[key] = now
                yield now

    # points

    def _pod_point(self, point: Point) -> None:
        labels, value = point.labels, point.value
        name = (labels.get("namespace", ""), labels.get("pod", ""))
        key, facts = ("Pod", *name), self._pods.get(name)
        if point.metric == "kube_pod_info":
            if value is None:
                if facts is not None and facts.info.get("uid") == labels.get("uid"):
                    del self._pods[name]
                    self._touched[key] = None
            elif facts is None or facts.info.get("uid") != labels.get("uid"):
                self._pods[name] = _PodFacts(labels, point.at, turned=point.at)
                self._touch_with_owners(labels, name[0])
                self._touched[key] = None
            else:
                facts.info = labels
                self._touched[key] = None
            return
        if facts is None or facts.info.get("uid", "") != labels.get("uid", facts.info.get("uid", "")):
            return
        self._touched[key] = None
        _POD_POINTS.get(point.metric, _ignore)(self, facts, point)

    def _touch_with_owners(self, info: Mapping[str, str], namespace: str) -> None:
        self._touched["Namespace", "", namespace] = None

    def _node_point(self, point: Point) -> None:
        key = ("Node", "", point.labels.get("node", ""))
        facts = self._others.get(key)
        if point.metric == "kube_node_info":
            if point.value is None:
                self._others.pop(key, None)
            elif facts is None:
                self._others[key] = _Facts(point.at)
        elif facts is None:
            return
        elif point.metric == "kube_node_spec_unschedulable":
            facts.values["unschedulable"] = point.value or 0.0
        elif point.value == 1:
            status = {"true": "True", "false": "False"}.get(point.labels.get("status", ""), "Unknown")
            facts.conditions[point.labels.get("condition", "")] = (status, point.at)
        self._touched[key] = None

    def _owner_point(self, point: Point) -> None:
        labels = point.labels
        key = ("ReplicaSet", labels.get("namespace", ""), labels.get("replicaset", ""))
        if point.value is None:
            self._others.pop(key, None)
        else:
            self._others.setdefault(key, _Facts(point.at)).owner = (labels.get("owner_kind", ""), labels.get("owner_name", ""))
        self._touched[key] = None

    def _workload_point(self, point: Point, key: Key, name: str) -> None:
        facts = self._others.get(key)
        whole = name in ("spec_replicas", "replicas", "status_desired_number_scheduled")
        if point.value is None:
            if whole:
                self._others.pop(key, None)
                self._touched[key] = None
            return
        if facts is None:
            facts = self._others[key] = _Facts(point.at)
            self._touched["Namespace", "", key[1]] = None
        if name == "labels":
            facts.labels = _named_labels(point)
            self.workloads_labelled = self.workloads_labelled or bool(facts.labels)
        elif name == "status_condition":
            if point.value == 1:
                status = {"true": "True", "false": "False"}.get(point.labels.get("status", ""), "Unknown")
                facts.conditions[point.labels.get("condition", "")] = (status, point.at)
        else:
            facts.values[name] = point.value
        self._touched[key] = None

    # objects

    def _made(self, key: Key) -> KubeObject | None:
        kind, namespace, name = key
        if kind == "Namespace":
            return Namespace(Meta(name, f"namespace/{name}"))
        if kind == "Pod":
            found = self._pods.get((namespace, name))
            return None if found is None else _pod(found)
        facts = self._others.get(key)
        return None if facts is None else _MAKE[kind](key, facts)


def _ignore(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    """A metric that says nothing of a pod."""


def _labels(cluster: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    if point.value is not None:
        facts.labels = _named_labels(point)
        cluster.labelled = cluster.labelled or bool(facts.labels)


def _named_labels(point: Point) -> dict[str, str]:
    return {name.removeprefix(_LABEL): each for name, each in point.labels.items() if name.startswith(_LABEL)}


def _phase(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    if point.value == 1:
        facts.phase = point.labels.get("phase", facts.phase)


def _reason(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    if point.value == 1:
        facts.reason = point.labels.get("reason", "")


def _ready(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    if point.labels.get("condition") == "true" and point.value is not None and facts.ready != (point.value == 1):
        facts.ready, facts.turned = point.value == 1, point.at


def _unschedulable(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    facts.unschedulable = point.value == 1


def _restarts(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    container = facts.containers[point.labels.get("container", "")]
    if point.value is not None and int(point.value) > container.restarts:
        if point.at > facts.born:
            container.restarted = container.since = point.at
        container.restarts = int(point.value)


def _container_ready(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    facts.containers[point.labels.get("container", "")].ready = point.value == 1


def _waiting(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    _waits(facts.containers[point.labels.get("container", "")], point)


def _init_waiting(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    _waits(facts.init[point.labels.get("container", "")], point)


def _waits(container: _ContainerFacts, point: Point) -> None:
    reason = point.labels.get("reason", "")
    if point.value == 1:
        container.waiting, container.since = reason, point.at
    elif container.waiting == reason:
        container.waiting, container.since = "", point.at


def _ended(_: RebuiltCluster, facts: _PodFacts, point: Point) -> None:
    if point.value == 1:
        facts.containers[point.labels.get("container", "")].ended = point.labels.get("reason", "")


_POD_POINTS: Mapping[str, Callable[[RebuiltCluster, _PodFacts, Point], None]] = {
    "kube_pod_labels": _labels,
    "kube_pod_status_phase": _phase,
    "kube_pod_status_reason": _reason,
    "kube_pod_status_ready": _ready,
    "kube_pod_status_unschedulable": _unschedulable,
    "kube_pod_container_status_restarts_total": _restarts,
    "kube_pod_container_status_ready": _container_ready,
    "kube_pod_container_status_waiting_reason": _waiting,
    "kube_pod_init_container_status_waiting_reason": _init_waiting,
    "kube_pod_container_status_last_terminated_reason": _ended,
}


def _pod(facts: _PodFacts) -> Pod:
    info = facts.info
    namespace, name = info.get("namespace", ""), info.get("pod", "")
    kind, owner = info.get("created_by_kind", ""), info.get("created_by_name", "")
    owners = () if kind in ("", "<none>") else (OwnerReference(kind, owner, uid_of(kind, namespace, owner), controller=True),)
    meta = Meta(
        name,
        info.get("uid") or uid_of("Pod", namespace, name),
        namespace,
        creation_timestamp=moment(facts.born),
        labels=facts.labels,
        owner_references=owners,
    )
    conditions = [Condition("Ready", "True" if facts.ready else "False", "", "", moment(facts.turned))]
    if facts.unschedulable:
        conditions.append(Condition("PodScheduled", "False", "Unschedulable", "", moment(facts.born)))
    status = PodStatus(
        facts.phase,
        facts.reason,
        conditions=tuple(conditions),
        container_statuses=tuple(_container(each, of, facts) for each, of in facts.containers.items()),
        init_container_statuses=tuple(_container(each, of, facts) for each, of in facts.init.items()),
    )
    return Pod(meta, PodSpec(info.get("node", "")), status)


def _container(name: str, facts: _ContainerFacts, pod: _PodFacts) -> ContainerStatus:
    since = moment(facts.since or pod.born)
    state = ContainerState(waiting=Waiting(facts.waiting)) if facts.waiting else ContainerState(running=Running(since))
    last = ContainerState()
    if facts.restarts or facts.ended:
        last = ContainerState(terminated=Terminated(1, facts.ended or "Error", moment(facts.restarted or pod.born)))
    return ContainerStatus(name, facts.ready and not facts.waiting, facts.restarts, state, last)


def _meta(key: Key, facts: _Facts, **more: Any) -> Meta:
    _, namespace, name = key
    born = moment(facts.born)
    return Meta(name, uid_of(*key), namespace, generation=1, creation_timestamp=born, labels=facts.labels, **more)


def _replica_set(key: Key, facts: _Facts) -> KubeObject:
    kind, name = facts.owner
    owners = () if kind in ("", "<none>") else (OwnerReference(kind, name, uid_of(kind, key[1], name), controller=True),)
    return ReplicaSet(_meta(key, facts, owner_references=owners))


def _deployment(key: Key, facts: _Facts) -> KubeObject:
    value = facts.values.get
    desired = int(value("spec_replicas", 0))
    conditions = tuple(Condition(kind, status, "", "", moment(at)) for kind, (status, at) in facts.conditions.items())
    existing = int(value("status_replicas", desired))
    status = DeploymentStatus(
        1, existing, int(value("status_replicas_updated", existing)), int(value("status_replicas_ready", desired)), conditions
    )
    return Deployment(_meta(key, facts, annotations=Annotations()), DeploymentSpec(desired), status)


def _stateful_set(key: Key, facts: _Facts) -> KubeObject:
    value = facts.values.get
    desired = int(value("replicas", 0))
    existing = int(value("status_replicas", desired))
    updated, ready = int(value("status_replicas_updated", existing)), int(value("status_replicas_ready", desired))
    return StatefulSet(_meta(key, facts), StatefulSetSpec(desired), StatefulSetStatus(1, existing, updated, ready))


def _daemon_set(key: Key, facts: _Facts) -> KubeObject:
    value = facts.values.get
    desired = int(value("status_desired_number_scheduled", 0))
    existing = int(value("status_current_number_scheduled", desired))
    updated = int(value("status_updated_number_scheduled", existing))
    return DaemonSet(
        _meta(key, facts), status=DaemonSetStatus(1, desired, existing, updated, int(value("status_number_ready", desired)))
    )


def _node(key: Key, facts: _Facts) -> KubeObject:
    conditions = tuple(Condition(kind, status, "", "", moment(at)) for kind, (status, at) in facts.conditions.items())
    meta = WatchedNodeMeta(key[2], uid_of(*key), creation_timestamp=moment(facts.born))
    return Node(meta, WatchedNodeSpec(facts.values.get("unschedulable") == 1), WatchedNodeStatus(conditions))


_MAKE: Mapping[str, Callable[[Key, _Facts], KubeObject]] = {
    "ReplicaSet": _replica_set,
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Node": _node,
}


def uid_of(kind: str, namespace: str, name: str) -> str:
    """The uid that an object gets whose own is not known."""
    return f"{kind}/{namespace}/{name}"
