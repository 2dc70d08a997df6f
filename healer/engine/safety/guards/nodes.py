"""The guard that waits for whoever else is at work on a node."""

from healer.engine.safety.guards.question import Question, Veto
from healer.model.incident import Reason
from healer.model.kube import Pod
from healer.model.node import Node
from healer.model.target import Target
from healer.rules.node_remediators import Remediator, remediation_of


def no_node_remediation(q: Question) -> Veto | None:
    """A pod on a node that somebody else drains, mends or removes is theirs: two who evict take more than either counts.

    An action on the workload waits while all its sick pods are on such nodes. Known only where nodes are watched. The wait counts
    as any other, so that a human is asked in the end.
    """
    targets = [q.target] if q.target.is_pod else [sick.target for sick in q.incident.sick if sick.target.is_pod]
    found = [_remediation(q, target) for target in targets]
    works = [each for each in found if each is not None]
    if not works or len(works) < len(found):
        return None
    target, node, remediator, mark = works[0]
    text = (
        f"{target} is on node/{node.metadata.name}, where {remediator.name} is at work ({mark}): {remediator.meaning}; "
        "healer waits for it"
    )
    return Veto(Reason("NodeRemediated", text), of_target=q.target.is_pod)


def placed_elsewhere(q: Question) -> Veto | None:
    """What is broken on a node is there for the replacement as well, as long as the node takes such pods.

    It waits for a cordon or a taint, which whoever mends nodes sets. A node that is gone takes no pod.
    """
    pod = q.view.pod(q.target.uid) if q.elsewhere else None
    if pod is None:
        return None
    node = q.view.node(pod.spec.node_name)
    if node is None:
        if any(True for _ in q.view.objects(Node)):
            return None
        text = (
            f"healer does not see the node of {q.target}, so that a replacement might come to the same one: set "
            "HEALER_CLUSTER__NODES to have nodes watched"
        )
        return Veto(Reason("NodeUnseen", text), refused=True, of_target=True)
    if node.repels(pod):
        return None
    text = f"node/{node.metadata.name} takes a replacement of {q.target} as well: healer waits until it is cordoned or tainted"
    return Veto(Reason("SameNode", text), of_target=True)


def _remediation(q: Question, target: Target) -> tuple[Target, Node, Remediator, str] | None:
    pod = q.view.pod(target.uid)
    node = q.view.node(pod.spec.node_name) if isinstance(pod, Pod) else None
    works = None if node is None else remediation_of(node)
    return None if node is None or works is None else (target, node, *works)
