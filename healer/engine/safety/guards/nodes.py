"""The guards that wait for whoever else is at work on a node, and until a replacement cannot come to the same one."""

from healer.engine.safety.guards.question import Question, Veto
from healer.model.incident import Reason
from healer.model.kube import Pod
from healer.model.node import Node
from healer.model.target import Target
from healer.rules.node_remediators import remediation_of


def no_node_remediation(q: Question) -> Veto | None:
    """A pod on a node that somebody else drains, mends or removes is theirs: two who evict take more than either counts.

    An action on the workload waits while all its sick pods are on such nodes. Known only where nodes are watched; there, a node
    that is not seen is not one that nobody treats. The wait counts as any other, so that a human is asked in the end.
    """
    targets = [q.target] if q.target.is_pod else [sick.target for sick in q.incident.sick if sick.target.is_pod]
    found = [_remediation(q, target) for target in targets]
    works = [each for each in found if each is not None]
    if not works or len(works) < len(found):
        return None
    return Veto(next((each for each in works if each.code == "NodeRemediated"), works[0]), of_target=q.target.is_pod)


def placed_elsewhere(q: Question) -> Veto | None:
    """What is broken on a node is there for the replacement as well, as long as the node takes such pods.

    It waits for a cordon or a taint, which whoever mends nodes sets. A node that is gone takes no pod. The action reads the node
    once more.
    """
    pod = q.view.pod(q.target.uid) if q.elsewhere else None
    if pod is None:
        return None
    if not q.view.count(Node):
        text = (
            f"healer does not see the node of {q.target}, so that a replacement might come to the same one: set "
            "HEALER_CLUSTER__NODES to have nodes watched"
        )
        return Veto(Reason("NodeUnseen", text), refused=True, of_target=True)
    if (unseen := _unseen(q, q.target, pod)) is not None:
        return Veto(unseen, of_target=True)
    node = q.view.node(pod.spec.node_name)
    reason = None if node is None else same_node(q.target, pod, node)
    return None if reason is None else Veto(reason, of_target=True)


def same_node(target: Target, pod: Pod, node: Node) -> Reason | None:
    """Why a replacement of the pod may come to its node; None where it cannot."""
    if node.repels(pod):
        return None
    text = f"node/{node.metadata.name} takes a replacement of {target} as well: healer waits until it is cordoned or tainted"
    return Reason("SameNode", text)


def treated(target: Target, node: Node) -> Reason | None:
    """Who is at work on the node of the target; None where nobody is."""
    if (works := remediation_of(node)) is None:
        return None
    remediator, mark = works
    text = f"{target} is on node/{node.metadata.name}, where {remediator.name} is at work ({mark}): {remediator.meaning}; "
    return Reason("NodeRemediated", f"{text}healer waits for it")


def _remediation(q: Question, target: Target) -> Reason | None:
    pod = q.view.pod(target.uid)
    if not isinstance(pod, Pod):
        return None
    node = q.view.node(pod.spec.node_name)
    return _unseen(q, target, pod) if node is None else treated(target, node)


def _unseen(q: Question, target: Target, pod: Pod) -> Reason | None:
    """That nodes are watched, and that of the pod is neither seen nor known to be gone: the watch fails, or is behind."""
    name = pod.spec.node_name
    if not name or not q.view.count(Node) or q.view.node(name) is not None or q.view.node_gone(name):
        return None
    text = (
        f"healer watches nodes, and does not see node/{name} of {target}, nor whether somebody treats it: it waits until it does "
        "(/readyz and `healer status` say whether the watch of nodes fails)"
    )
    return Reason("NodeUnseen", text)
