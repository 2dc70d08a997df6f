"""A node as far as cordoning it goes, and the way back."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from healer.actions.base import NotUndone
from healer.actions.shared.temporary import TRIES
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.model.annotations import CORDONED_BY
from healer.model.incident import Incident
from healer.model.node import Taint
from healer.model.temporary import TemporaryChange
from healer.rules.node_remediators import marks_of, remediator_of

NODES = "/api/v1/nodes"
_KEY = "node/"


class _NodeMeta(msgspec.Struct, rename="camel"):
    name: str
    uid: str
    resource_version: str
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[Taint] = []


class CordonedNode(msgspec.Struct):
    """A core/v1 Node that may be cordoned."""

    metadata: _NodeMeta
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)

    @property
    def key(self) -> str:
        """The key of its note."""
        return f"{_KEY}{self.metadata.name}"

    @property
    def marks(self) -> tuple[str, ...]:
        """What its labels, annotations and taints show: a remediator says so that it treats the node."""
        meta = self.metadata
        return (*marks_of(meta.labels), *marks_of(meta.annotations), *(taint.key for taint in self.spec.taints))

    @property
    def cordoned_by(self) -> list[str]:
        """The incidents for which healer has cordoned it, as `name_of` has them."""
        return list(filter(None, self.metadata.annotations.get(CORDONED_BY, "").split(",")))

    def set(self, cordoned_by: list[str], *, unschedulable: bool) -> dict[str, Any]:
        """The body of a merge patch, if nothing of it has changed since it was read."""
        annotations = {CORDONED_BY: ",".join(cordoned_by) or None}
        metadata = {"resourceVersion": self.metadata.resource_version, "uid": self.metadata.uid, "annotations": annotations}
        return {"metadata": metadata, "spec": {"unschedulable": unschedulable or None}}


def name_of(incident: Incident) -> str:
    """An incident, as the annotation of a node has it."""
    return f"{incident.workload.namespace}/{incident.id}"


def path_of(key: str) -> str:
    """The path of the node that a note is about. Raises ValueError for another key."""
    name = key.removeprefix(_KEY)
    if name == key or not name or "/" in name:
        raise ValueError(f"{key} is no node")
    return f"{NODES}/{name}"


@dataclass(frozen=True, slots=True)
class CordonReversal:
    """One node, as it was read. See `Reversal`."""

    node: CordonedNode
    mine: str
    """The incident that had it cordoned."""
    uid: str
    """The uid of the node that was cordoned: a new one of its name is another."""
    group: str = field(default="nodes")

    @property
    def done(self) -> bool:
        """Whether it is not cordoned (any more), and does not name the incident."""
        node = self.node
        return node.metadata.uid != self.uid or not (node.spec.unschedulable or self.mine in node.cordoned_by)

    def __str__(self) -> str:
        if self.done:
            return f"{self.node.key}: takes new pods"
        others = [each for each in self.node.cordoned_by if each != self.mine]
        if others:
            return f"{self.node.key}: stays cordoned for {', '.join(others)}"
        return f"{self.node.key}: cordoned -> takes new pods again"

    def plain(self) -> dict[str, Any]:
        """See `Reversal`."""
        return {"kind": "Node", "name": self.node.metadata.name, "cordonedBy": self.node.cordoned_by}

    def check(self, *, force: bool) -> None:
        """See `Reversal`."""
        if not self.done and not force and (found := remediator_of(self.node.marks)) is not None:
            text = f"{self.node.key} is treated by {found[0].name} ({found[1]}), and stays cordoned"
            raise NotUndone(f"nothing was undone: {text}. `healer undo` it when that has ended")
        if not self.done and not force and self.mine not in self.node.cordoned_by:
            text = f"{self.node.key} is cordoned, and its annotation {CORDONED_BY} does not name {self.mine}"
            text += ": somebody else wants it so"
            raise NotUndone(f"nothing was undone: {text}. --force has it take new pods anyway")

    async def put_back(self, api: Api, *, force: bool) -> None:
        """Take the incident from its note; of the last one it takes new pods again. Raises NotUndone, ClusterError."""
        now = self
        for left in reversed(range(TRIES)):
            now.check(force=force)
            if now.done:
                return
            others = [each for each in now.node.cordoned_by if each != self.mine]
            body = now.node.set(others, unschedulable=bool(others) and now.node.spec.unschedulable)
            path = path_of(now.node.key)
            try:
                await api.request("PATCH", path, body=body, content_type="application/merge-patch+json")
                return
            except ApiError as error:
                if not (error.is_conflict and left):
                    raise
            now = CordonReversal(await api.get(path, CordonedNode), self.mine, self.uid)


async def reversal(api: Api, incident: Incident, key: str, change: TemporaryChange) -> CordonReversal:
    """The way back of a node that was cordoned for an incident. Raises ClusterError, ValueError."""
    return CordonReversal(await api.get(path_of(key), CordonedNode), name_of(incident), change.after)
