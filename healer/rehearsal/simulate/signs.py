"""What a fault leaves in the cluster besides the state of pods: conditions of nodes, and Events."""

from collections.abc import Iterable

from healer.cluster.object_event import object_event
from healer.lab.objects import CLOCK, Object, new_uid
from healer.model.target import Target
from healer.rehearsal.simulate.played import PlayedCluster
from healer.rehearsal.simulate.scenario import EventSign, NodeSign


def mark_nodes(cluster: PlayedCluster, sign: NodeSign | None, nodes: Iterable[str], *, begins: bool) -> None:
    """Write what an agent says of nodes when a fault begins, or takes back when it ends. `Ready` loses and recovers them."""
    if sign is None:
        return
    for node in nodes:
        if sign.type == "Ready" and begins:
            cluster.lab.lose_node(node)
        elif sign.type == "Ready":
            cluster.lab.recover_node(node)
        else:
            cluster.lab.node_condition(node, sign.type, sign.status if begins else "False", sign.reason, sign.message)


def post_event(cluster: PlayedCluster, sign: EventSign, pod: Object) -> None:
    """Post an Event about a pod, as the kubelet does."""
    metadata = pod["metadata"]
    target = Target("Pod", metadata["namespace"], metadata["name"], metadata["uid"])
    body = object_event(
        target, "v1", sign.note, reason=sign.reason, action=sign.reason, now=CLOCK.get()(), instance="kubelet", kind=sign.type
    )
    body["reportingController"] = "kubelet"
    body["metadata"]["name"] = f"{target.name}.{new_uid()[:16]}"
    kind = cluster.lab.api.kinds.of(body["apiVersion"], body["kind"])
    if kind is None:
        raise ValueError("the lab serves no Events")
    cluster.lab.api.create(kind, target.namespace, body)
