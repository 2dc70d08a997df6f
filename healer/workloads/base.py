"""The interface of a kind of workload: where the API server serves it, how it is read, and how its revisions are found."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from healer.cluster.api import Api
from healer.cluster.managed import ManagerMarks, WrittenMeta
from healer.cluster.resources import Resource
from healer.model.action import Permissions
from healer.model.annotations import RESTARTED_BY, ROLLED_BACK_BY, ROLLED_BACK_FROM
from healer.model.incident import Reason
from healer.model.kube import Pod
from healer.model.view import View
from healer.model.workload import WorkloadObject
from healer.rules.vocabulary import WorkloadSpec
from healer.workloads.pod_names import GENERATED, PodNames
from healer.workloads.revisions import History
from healer.workloads.template import RESTARTED_AT, Template


class RolloutMarks(ManagerMarks, frozen=True):
    """Annotations, of a workload or of the objects that store its revisions, that a change of its template needs."""

    history: str = msgspec.field(default="", name="deployment.kubernetes.io/revision-history")
    change_cause: str = msgspec.field(default="", name="kubernetes.io/change-cause")
    rolled_back_from: str = msgspec.field(default="", name=ROLLED_BACK_FROM)
    rolled_back_by: str = msgspec.field(default="", name=ROLLED_BACK_BY)
    restarted_by: str = msgspec.field(default="", name=RESTARTED_BY)


class WholeMeta(WrittenMeta, frozen=True):
    """Metadata with managedFields and the annotations of rollouts."""

    annotations: RolloutMarks = RolloutMarks()

    @property
    def annotated(self) -> bool:
        """Whether the object has annotations at all: a JSON patch can add one only to annotations that are there."""
        return not any(self.annotations is default for default in self.__struct_defaults__)


class HasTemplate(Protocol):
    """A spec with the template of the pods."""

    @property
    def template(self) -> Template:
        """The template."""


class Rollable(WorkloadObject, frozen=True):
    """A workload with all fields that a change of its template needs. The template is at `spec.template`.

    A kind adds it to its struct for watches, as in `class WholeDeployment(Deployment, Rollable)`, with the whole spec.
    """

    metadata: WholeMeta

    @property
    def spec(self) -> HasTemplate:
        """The spec, with the template."""
        raise NotImplementedError

    @property
    def template(self) -> Template:
        """The template of its pods."""
        return self.spec.template


def by_revision_label(view: View, pod: Pod) -> str:
    """The name of the ControllerRevision that a pod was made of, as the label that its controller gives it says."""
    return pod.metadata.labels.get("controller-revision-hash", "")


@dataclass(frozen=True, slots=True)
class RestartMark:
    """How a kind is told to make all of its pods anew: by a time, and by whom."""

    patch: Callable[[str, str], dict[str, Any]]
    """The merge patch for a time (RFC 3339) and an incident, without a resourceVersion."""
    found: Callable[[Rollable], tuple[str, str]]
    """The time and the incident that the object has; empty without them."""
    idle: Callable[[Rollable], str] = lambda _: ""
    """Why such a mark would restart no pod; "" when it restarts them."""
    timespec: str = "microseconds"
    """To which part of a second the time is written."""
    takes: int = 0
    """How many pods a restart takes at once at least, whatever the workload's rollouts take."""


def _mark_template(at: str, by: str) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at, RESTARTED_BY: by}}}}}


def _template_mark(whole: Rollable) -> tuple[str, str]:
    noted = (whole.template.get("metadata") or {}).get("annotations") or {}
    return noted.get(RESTARTED_AT, ""), noted.get(RESTARTED_BY, "")


BY_TEMPLATE = RestartMark(_mark_template, _template_mark)
"""By annotations of the template, as `kubectl rollout restart` does."""


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """One kind of workload.

    `history` reads the earlier revisions of a workload, and raises ClusterError. `reads` are the permissions that it needs.
    """

    struct: type[WorkloadObject]
    """The struct for watches."""
    group: str
    """The path of its API group."""
    plural: str
    words: tuple[str, ...]
    """The names of the kind on the command line, as for kubectl. Messages use the first."""
    whole: type[Rollable]
    """The struct for reads before a change of the template."""
    history: Callable[[Api, Rollable], Awaitable[History]]
    reads: Permissions
    meaning: str = ""
    """What it is, for docs/rules.md."""
    restart: RestartMark = BY_TEMPLATE
    """How its pods are made anew."""
    instead: Callable[[Rollable], Reason | None] = lambda _: None
    """Why a rollback is not to change its template now, with what to do instead; None when it may."""
    rolls_back: bool = True
    """Whether its earlier revisions are kept, so that a rollback can ever change its template."""
    optional: bool = False
    """Whether a cluster may not have the kind: see `Resource.optional`."""
    scales: bool = True
    """Whether it has a scale subresource."""
    by_ordinal: bool = False
    """Whether fewer replicas take the units with the highest numbers, ready or not."""
    only_named: bool = False
    """Whether healer acts on it only by rules whose scope names the kind."""
    name_label: str = ""
    """The label with which its pods and what owns them name it, for a kind without a selector."""
    pods: PodNames = GENERATED
    """How its pods are named."""
    pod_revision: Callable[[View, Pod], str] = by_revision_label
    """The revision of a pod, as `Workload.revision` has it; "" where it is not known."""

    @property
    def name(self) -> str:
        """The kind as the API spells it."""
        return self.struct.__name__

    @property
    def spec(self) -> WorkloadSpec:
        """Its declaration, which rules are checked against."""
        return WorkloadSpec(self.name, self.word, self.only_named, self.meaning)

    @property
    def word(self) -> str:
        """Its name in rules and as the label of alerts and series (kube-state-metrics): "deployment"."""
        return self.words[0]

    @property
    def resource(self) -> Resource:
        """Where the API server serves it."""
        return Resource(self.struct, self.group, self.plural, optional=self.optional)
