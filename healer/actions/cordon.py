"""Cordon the node of a sick pod, so that no new pod is placed there: a replacement comes to another node.

Off unless the settings allow it (`limits.cordon`), and never more nodes than they say. A node that somebody else has cordoned or
treats is left as it is. The annotation healer.dev/cordoned-by names the incidents; the last of them has the node take pods again.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from pydantic import Field

from healer.actions.base import Call, Clients, Reversal
from healer.actions.shared.paused import paused
from healer.actions.shared.recheck import look
from healer.actions.shared.refusal import unread
from healer.actions.shared.rolling import rung
from healer.actions.shared.temporary import TemporaryPatch, send, standing
from healer.actions.undo_cordon import NODES, CordonedNode, name_of, path_of, reversal
from healer.cluster.api import Api, ApiError, ClusterError
from healer.cluster.decode import ListPage
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.annotations import CORDONED_BY
from healer.model.duration import Duration
from healer.model.incident import Incident, Reason
from healer.model.kube import Pod
from healer.model.target import ActsOn
from healer.model.temporary import TemporaryChange
from healer.model.view import View
from healer.rules.form import Model
from healer.rules.node_remediators import remediator_of

_MOST_NAMED = 10
"""Incidents that one node is cordoned for."""


class CordonParams(Model):
    """For how long."""

    keep_for: Annotated[Duration, Field(ge=0)] = 3600.0
    """How long the node stays cordoned after the incident is healed: that its pods are well elsewhere does not mend the node."""


class _CordonedNodes(msgspec.Struct):
    items: list[CordonedNode] = []


class Cordon:
    """The action `cordon`."""

    spec = ActionSpec(
        name="cordon",
        params=CordonParams,
        targets=frozenset({ActsOn.POD}),
        disrupts=False,
        verb="cordon the node of",
        in_rollout=True,  # it takes no pod
        one_by_one=True,
        requires="limits.cordon",
        needs=lambda _: permissions("", "pods", "get") | permissions("", "nodes", "get list patch"),
        meaning=(
            "has no new pod placed on the node of the sick pod, and takes no pod: that is for the next step. Off unless "
            "`HEALER_LIMITS__CORDON` is set; taken back some time after the incident is healed"
        ),
    )

    async def run(self, call: Call) -> Outcome:
        """Read the pod and its node, count what is cordoned, journal it, and cordon the node."""
        pod = await look(call)
        if isinstance(pod, Outcome):
            return pod
        workload = call.view.workload(call.act.incident.workload.uid)
        if (stopped := paused(call, pod, *([] if workload is None else [workload]))) is not None:
            return stopped
        if not call.limits.cordon:
            text = "healer may cordon no node: the setting HEALER_LIMITS__CORDON is off"
            return Outcome(OutcomeKind.REFUSED, "CordonOff", text)
        if not pod.spec.node_name:
            return Outcome(OutcomeKind.REFUSED, "NoNode", f"{call.act.target} is on no node")
        try:
            node = await call.api.get(path_of(f"node/{pod.spec.node_name}"), CordonedNode)
            veto = _left_alone(call, node) or await _bounded(call, node)
        except ApiError as error:
            if error.is_not_found:
                return Outcome(OutcomeKind.GONE, "NodeGone", f"node/{pod.spec.node_name} is gone: nothing was left to do")
            return unread(error, f"read node/{pod.spec.node_name}")
        except ClusterError as error:
            return unread(error, f"read node/{pod.spec.node_name}")
        return veto or await _cordon(call, pod, node)

    async def reversal(self, clients: Clients, incident: Incident, key: str, change: TemporaryChange) -> Reversal:
        """See `Temporary`."""
        return await reversal(clients.api, incident, key, change)

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """See `Undoable`."""
        return await standing(self, api, incident, kept)

    def hold(self, incident: Incident, change: TemporaryChange, view: View, beside: Sequence[Incident]) -> Reason | None:
        """See `Temporary`. To take pods again takes nothing from anybody."""
        return None


def _left_alone(call: Call, node: CordonedNode) -> Outcome | None:
    """Why a node is left as it is; None when it may be cordoned."""
    mine = name_of(call.act.incident)
    if (found := remediator_of(node.marks)) is not None:
        text = f"{node.key} is treated by {found[0].name} ({found[1]}): healer leaves it alone"
        return Outcome(OutcomeKind.REFUSED, "NodeRemediated", text)
    if not node.spec.unschedulable:
        return None
    if mine in node.cordoned_by:
        return Outcome(OutcomeKind.DONE, "FoundDone", f"{node.key} is cordoned already, by this incident")
    if not node.cordoned_by:
        text = f"{node.key} is cordoned already, by somebody else: healer leaves it as it is"
        return Outcome(OutcomeKind.REFUSED, "CordonedByOther", text)
    if len(node.cordoned_by) >= _MOST_NAMED:
        text = f"{node.key} is cordoned already, for {len(node.cordoned_by)} incidents: nothing was done"
        return Outcome(OutcomeKind.REFUSED, "AlreadyCordoned", text)
    return None


async def _bounded(call: Call, node: CordonedNode) -> Outcome | None:
    """Why no further node may be cordoned; None when one may, or the node is cordoned already. Raises ClusterError."""
    if node.spec.unschedulable:
        return None
    found = await call.api.get(NODES, _CordonedNodes, {"fieldSelector": "spec.unschedulable=true"})
    first = await call.api.get(NODES, ListPage, {"limit": "1"})
    total = len(first.items or ()) + (first.metadata.remaining_item_count or 0)
    ours = sorted(each.metadata.name for each in found.items if each.cordoned_by)
    if len(ours) >= call.limits.cordon_nodes:
        text = (
            f"healer has cordoned {', '.join(ours[:3])}, and may cordon {call.limits.cordon_nodes} (HEALER_LIMITS__CORDON_NODES)"
        )
        return Outcome(OutcomeKind.REFUSED, "CordonLimit", text)
    if (len(found.items) + 1) * 100 > call.limits.cordon_share * total:
        text = (
            f"{len(found.items)} of {total} nodes are cordoned; one more would be beyond {call.limits.cordon_share} % of them "
            "(HEALER_LIMITS__CORDON_SHARE)"
        )
        return Outcome(OutcomeKind.REFUSED, "CordonLimit", text)
    return None


async def _cordon(call: Call, pod: Pod, node: CordonedNode) -> Outcome:
    params = call.act.params
    assert isinstance(params, CordonParams)
    change = TemporaryChange("", node.metadata.uid, rung(call), lasts=params.keep_for)
    body = node.set([*node.cordoned_by, name_of(call.act.incident)], unschedulable=True)
    doing = f"cordon {node.key}"
    failed = await send(call, TemporaryPatch(path_of(node.key), body, node.key, change, doing), pod)
    if failed is not None:
        return failed
    if call.act.dry_run:
        return Outcome(OutcomeKind.DONE, "WouldCordon", f"{node.key} would be cordoned (observe: dry run, nothing was done)")
    text = f"{node.key}, on which {call.act.target} is, takes no new pods (its annotation {CORDONED_BY} says for whom)"
    return Outcome(OutcomeKind.DONE, "Cordoned", text)
