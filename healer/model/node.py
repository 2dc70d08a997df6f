"""The fields of a Node that healer watches, and no others: conditions, taints, and the marks of whoever else treats nodes."""

import msgspec

from healer.model.annotations import CORDONED_BY
from healer.model.kube import Annotations, Condition, KubeObject, KubeStruct, Meta, Pod, Toleration


class NodeLabels(KubeStruct, frozen=True):
    """The labels that say that somebody is at work on the node; the others, dozens, are not kept."""

    nvsentinel: str = msgspec.field(default="", name="dgxc.nvidia.com/nvsentinel-state")
    driver_upgrade: str = msgspec.field(default="", name="nvidia.com/gpu-driver-upgrade-state")
    mig: str = msgspec.field(default="", name="nvidia.com/mig.config.state")
    gke_maintenance: str = msgspec.field(default="", name="cloud.google.com/active-node-maintenance")


class NodeAnnotations(Annotations, frozen=True):
    """The annotations that say so."""

    cordoned_by: str = msgspec.field(default="", name=CORDONED_BY)
    quarantined: str = msgspec.field(default="", name="quarantineHealthEvent")
    rebooting: str = msgspec.field(default="", name="weave.works/kured-reboot-in-progress")
    rebooting_now: str = msgspec.field(default="", name="kured.dev/reboot-in-progress")


class WatchedNodeMeta(Meta, frozen=True):
    """The metadata of a node. Its labels are read into `marks`."""

    labels: dict[str, str] = msgspec.field(default_factory=dict, name="-")
    annotations: NodeAnnotations = NodeAnnotations()
    marks: NodeLabels = msgspec.field(default=NodeLabels(), name="labels")


class Taint(KubeStruct, frozen=True):
    """core/v1 Taint."""

    key: str = ""
    effect: str = ""
    value: str = ""

    def tolerated_by(self, toleration: Toleration) -> bool:
        """Whether a pod with that toleration may come all the same. One of an operator that is not known here tolerates."""
        if toleration.effect not in ("", self.effect) or toleration.key not in ("", self.key):
            return False
        return toleration.operator != "Equal" or toleration.value == self.value


class WatchedNodeSpec(KubeStruct, frozen=True):
    """Whether it takes pods."""

    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class WatchedNodeStatus(KubeStruct, frozen=True):
    """What the kubelet, the node controller and other agents say of it."""

    conditions: tuple[Condition, ...] = ()


_CORDONED = Taint("node.kubernetes.io/unschedulable", "NoSchedule")
_REPELLING = ("NoSchedule", "NoExecute")


class Node(KubeObject, frozen=True):
    """A node as it is watched."""

    metadata: WatchedNodeMeta
    spec: WatchedNodeSpec = WatchedNodeSpec()
    status: WatchedNodeStatus = WatchedNodeStatus()

    def repels(self, pod: Pod) -> bool:
        """Whether no pod like this one is placed here: the node is cordoned, or has a taint that such a pod does not tolerate."""
        taints = [taint for taint in self.spec.taints if taint.effect in _REPELLING] + [_CORDONED] * self.spec.unschedulable
        return not all(any(taint.tolerated_by(each) for each in pod.spec.tolerations) for taint in taints)
