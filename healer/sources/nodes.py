"""Turns the conditions and taints of nodes into signals about the pods on them: each pod of its workload's own incident."""

from healer.cluster.resources import NODES, RESOURCES
from healer.model.kube import KubeObject, Pod
from healer.model.node import Node
from healer.model.signal import Signal
from healer.model.view import View, target_of
from healer.rules.node_conditions import node_finding
from healer.rules.pod_detectors import Finding
from healer.rules.rulebook import Rulebook
from healer.rules.triggers import NODE
from healer.sources.base import WatchContext, Watched


class NodeSource:
    """Remembers only nodes that show what a rule looks for, and the pods on them. Times in seconds since the epoch."""

    def __init__(self, context: WatchContext) -> None:
        self._view: View = context.view
        self._rulebook = context.rulebook
        self._read_for: Rulebook | None = None
        self._names: tuple[str, ...] = ()
        self._sick: dict[str, dict[str, Finding]] = {}  # by the name of the node, which its pods have
        self._patients: dict[str, dict[str, Finding]] = {}  # by the uid of the pod

    def put(self, obj: KubeObject, before: KubeObject | None, now: float) -> list[Signal]:
        """The signals of a change of a node, or of a pod that comes to a sick one."""
        if isinstance(obj, Node):
            return self._look(obj, now)
        if not isinstance(obj, Pod) or not (self._sick or self._patients):
            return []  # nearly always
        return self._update(obj, now)

    def resume(self, obj: KubeObject, had: set[str], now: float) -> list[Signal]:
        """As `put`: a node shows all that it has."""
        return self.put(obj, None, now)

    def drop(self, obj: KubeObject, now: float) -> list[Signal]:
        """The ends of the signals of a pod that is gone, or of the pods of a node that is gone."""
        if isinstance(obj, Pod):
            had = self._patients.pop(obj.metadata.uid, {})
            return [_signal(obj, name, finding, now, firing=False) for name, finding in had.items()]
        self._sick.pop(obj.metadata.name, None)
        return self._update_all(obj.metadata.name, now)

    def due(self, now: float) -> list[Signal]:
        """What begins and ends because other rules are in force."""
        if self._read_for is self._rulebook():
            return []
        return [signal for node in list(self._view.objects(Node)) if isinstance(node, Node) for signal in self._look(node, now)]

    def next_due(self) -> float | None:
        """At once, where other rules are in force than when nodes were read last."""
        return None if self._read_for is None or self._read_for is self._rulebook() else 0.0

    def still(self, pod: object, name: str, now: float) -> bool:
        """Whether the node of a freshly read pod still shows it, as it is watched."""
        node = self._view.node(pod.spec.node_name) if isinstance(pod, Pod) else None
        return not isinstance(pod, Pod) or (node is not None and node_finding(node, name) is not None)

    def says(self, pod: object, name: str, now: float) -> str:
        """What a node says is watched, and told at once; it cannot be read off a pod."""
        return ""

    def _look(self, node: Node, now: float) -> list[Signal]:
        rulebook = self._rulebook()
        if self._read_for is not rulebook:
            self._read_for = rulebook
            self._names = tuple(sorted(name for source, name in rulebook.names if source == NODE.name))
        shown = {name: finding for name in self._names if (finding := node_finding(node, name)) is not None}
        name = node.metadata.name
        if shown == self._sick.get(name, {}):
            return []
        self._sick[name] = shown
        if not shown:
            del self._sick[name]
        return self._update_all(name, now)

    def _update_all(self, node: str, now: float) -> list[Signal]:
        return [signal for pod in self._view.pods_on(node) for signal in self._update(pod, now)]

    def _update(self, pod: Pod, now: float) -> list[Signal]:
        uid, shown = pod.metadata.uid, {} if pod.finished else self._sick.get(pod.spec.node_name, {})
        had = self._patients.get(uid, {})
        if shown == had:
            return []
        rulebook, namespace = self._rulebook(), pod.metadata.namespace
        has = {name: each for name, each in shown.items() if rulebook.concerned(NODE.name, name, namespace)}
        self._patients[uid] = has
        if not has:
            del self._patients[uid]
        began = [_signal(pod, name, each, now, firing=True) for name, each in has.items() if had.get(name) != each]
        return began + [_signal(pod, name, each, now, firing=False) for name, each in had.items() if name not in has]


def _signal(pod: Pod, name: str, finding: Finding, now: float, *, firing: bool) -> Signal:
    key = f"{pod.metadata.uid}/{NODE.name}/{name}"
    return Signal(
        source=NODE.name,
        name=name,
        target=target_of(pod),
        firing=firing,
        at=now,
        key=key,
        occurrence=f"{key}/{finding.occurrence}",
        message=finding.message,
    )


SOURCE = Watched((Node, Pod), lambda names: (NODES, RESOURCES[Pod]), NodeSource)
