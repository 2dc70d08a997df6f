"""Which pods a node takes."""

import pytest

from healer.model.kube import Meta, Pod, PodSpec, PodStatus, Toleration
from healer.model.node import Node, Taint, WatchedNodeMeta, WatchedNodeSpec

GPU = Taint("nvidia.com/gpu", "NoSchedule", "present")
BROKEN = Taint("example.com/broken", "NoExecute")
ANY = Toleration("nvidia.com/gpu", "Exists")


def repels(*taints: Taint, cordoned: bool = False, tolerations: tuple[Toleration, ...] = ()) -> bool:
    node = Node(WatchedNodeMeta("node-1", "n"), WatchedNodeSpec(cordoned, taints))
    return node.repels(Pod(Meta("a", "u", "production"), PodSpec("node-1", (), tolerations), PodStatus()))


def test_a_node_that_is_cordoned_takes_only_pods_that_tolerate_it() -> None:
    assert not repels()
    assert repels(cordoned=True)
    assert not repels(cordoned=True, tolerations=(Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule"),))


@pytest.mark.parametrize(
    ("tolerations", "repelled"),
    [
        ((), True),
        ((ANY,), False),
        ((Toleration("", "Exists"),), False),
        ((Toleration("nvidia.com/gpu", "Equal", "present", "NoSchedule"),), False),
        ((Toleration("nvidia.com/gpu", "Equal", "absent", "NoSchedule"),), True),
        ((Toleration("nvidia.com/gpu", "Exists", "", "NoExecute"),), True),
        ((Toleration("example.com/other", "Exists"),), True),
        ((Toleration("nvidia.com/gpu", "Gt", "1"),), False),
    ],
)
def test_a_taint_repels_what_does_not_tolerate_it(tolerations: tuple[Toleration, ...], repelled: bool) -> None:
    """A pod that uses GPUs tolerates the taint that keeps others off. An operator that is not known here tolerates."""
    assert repels(GPU, tolerations=tolerations) is repelled


def test_each_taint_must_be_tolerated_but_for_a_preference() -> None:
    assert repels(GPU, BROKEN, tolerations=(ANY,))
    assert not repels(GPU, Taint("example.com/slow", "PreferNoSchedule"), tolerations=(ANY,))
