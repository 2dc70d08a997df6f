"""What a kind of workload is to the rest of healer: where it is served, how it is read, how its revisions are found."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from healer.cluster.api import Api
from healer.cluster.managed import ManagerMarks, WrittenMeta
from healer.cluster.resources import Resource
from healer.model.action import Permissions
from healer.model.annotations import ROLLED_BACK_BY, ROLLED_BACK_FROM
from healer.model.workload import WorkloadObject
from healer.workloads.revisions import History
from healer.workloads.template import Template


class RolloutMarks(ManagerMarks, frozen=True):
    """Annotations of a workload, or of what keeps its revisions, that matter to a change of its template."""

    history: str = msgspec.field(default="", name="deployment.kubernetes.io/revision-history")
    change_cause: str = msgspec.field(default="", name="kubernetes.io/change-cause")
    rolled_back_from: str = msgspec.field(default="", name=ROLLED_BACK_FROM)
    rolled_back_by: str = msgspec.field(default="", name=ROLLED_BACK_BY)


class WholeMeta(WrittenMeta, frozen=True):
    """Metadata with who wrote what."""

    annotations: RolloutMarks = RolloutMarks()


class Rollable(WorkloadObject, frozen=True):
    """A workload as it was read, whole enough to change its template, which stands at `spec.template`."""

    metadata: WholeMeta

    @property
    def template(self) -> Template:
        """The template of its pods."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """One kind of workload.

    `history` reads the earlier revisions of a workload, and raises ClusterError; `reads` is what that asks RBAC for.
    """

    struct: type[WorkloadObject]
    """As what it is watched."""
    group: str
    """The path of its API group."""
    plural: str
    words: tuple[str, ...]
    """The names by which people call it on the command line, as kubectl takes them; the first is used in messages."""
    whole: type[Rollable]
    """As what it is read before its template is changed."""
    history: Callable[[Api, Rollable], Awaitable[History]]
    reads: Permissions

    @property
    def name(self) -> str:
        """The kind as the API spells it."""
        return self.struct.__name__

    @property
    def resource(self) -> Resource:
        """Where the API server serves it."""
        return Resource(self.struct, self.group, self.plural)
