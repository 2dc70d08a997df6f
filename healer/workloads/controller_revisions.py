"""The revisions of a StatefulSet or a DaemonSet, which ControllerRevisions keep.

Source: pkg/controller/history of Kubernetes 1.36, and kubectl's rollback.go. When an old template comes back, its
ControllerRevision gets the newest number: the earlier number is lost, so that a note names the object and not the number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from healer.cluster.api import Api
from healer.model.action import Permissions, permissions
from healer.model.kube import KubeObject, KubeStruct, LabelSelector
from healer.workloads.base import Rollable, WholeMeta
from healer.workloads.revisions import History, Revision
from healer.workloads.template import Template

READS: Permissions = permissions("apps", "controllerrevisions", "list")
"""What reading the revisions asks RBAC for."""


class KeptSpec(KubeStruct, frozen=True):
    """Of what a ControllerRevision keeps, the template."""

    template: Template


class KeptData(KubeStruct, frozen=True):
    """What a ControllerRevision keeps: a patch of the workload."""

    spec: KeptSpec


class ControllerRevision(KubeObject, frozen=True, kw_only=True):
    """apps/v1 ControllerRevision."""

    metadata: WholeMeta
    data: KeptData
    revision: int = 0


class ControllerRevisions(msgspec.Struct):
    """A list of them."""

    items: list[ControllerRevision] = []


async def owned_revisions(api: Api, workload: Rollable, selector: LabelSelector) -> list[ControllerRevision]:
    """Those of this very workload. Raises ClusterError."""
    labels = ",".join(f"{key}={value}" for key, value in sorted(selector.match_labels.items()))
    path = f"/apis/apps/v1/namespaces/{workload.metadata.namespace}/controllerrevisions"
    found = await api.get(path, ControllerRevisions, {"labelSelector": labels} if labels else None)
    uid = workload.metadata.uid
    return [r for r in found.items if r.metadata.controller is not None and r.metadata.controller.uid == uid]


def history_of(
    workload: Rollable, kept: Sequence[ControllerRevision], current: str, id_of: Callable[[ControllerRevision], str]
) -> History:
    """The history of a workload. `current`: what its status calls its newest revision. `id_of`: what it calls each."""
    ids = {name: each.revision for each in kept if (name := id_of(each))}
    newest = max((each.revision for each in kept), default=0)
    if current:  # a template that came back has a new name in the status, and its object has the old one
        ids.setdefault(current, newest)
    marks = [workload.metadata.annotations, *(each.metadata.annotations for each in kept)]
    rejected = (next((r.revision for r in kept if r.metadata.name == mark.rolled_back_from), 0) for mark in marks)
    return History(
        current=ids.get(current, newest),
        template=workload.template,
        revisions=tuple(map(_revision, kept)),
        rejected=frozenset(filter(None, rejected)),
        ids=ids,
        noted_by_holder=True,
    )


def _revision(kept: ControllerRevision) -> Revision:
    template: dict[str, Any] = {key: value for key, value in kept.data.spec.template.items() if key != "$patch"}
    return Revision(kept.revision, frozenset(), kept.metadata.name, template, kept.metadata.annotations.change_cause)
