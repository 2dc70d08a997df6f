"""A kind of workload of the tests' own: StatefulSets, whose pods have no ReplicaSet between."""

import msgspec

from healer.cluster.api import Api
from healer.model.action import permissions
from healer.model.incident import Reason
from healer.model.kube import KubeStruct
from healer.model.workload import Roll, Workload, WorkloadObject
from healer.workloads.base import Rollable, WorkloadKind
from healer.workloads.revisions import History
from healer.workloads.template import Template


class StatefulSpec(KubeStruct, frozen=True):
    """What it is to be."""

    replicas: int = 1
    template: Template = msgspec.field(default_factory=dict)


class StatefulStatus(KubeStruct, frozen=True):
    """What its controller has seen."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    update_revision: str = ""


class StatefulSet(WorkloadObject, frozen=True):
    """As it is watched."""

    spec: StatefulSpec = StatefulSpec()
    status: StatefulStatus = StatefulStatus()

    def workload(self) -> Workload:
        """How it stands."""
        spec, status = self.spec, self.status
        observed = self.metadata.generation <= status.observed_generation
        settled = observed and status.updated_replicas >= spec.replicas
        return Workload(
            kind="StatefulSet",
            metadata=self.metadata,
            desired=spec.replicas,
            existing=status.replicas,
            updated=status.updated_replicas,
            ready=status.ready_replicas,
            revision=status.update_revision,
            paused=False,
            observed=observed,
            rollout=None if settled else Reason("RolloutInProgress", "not all replicas are of its update revision"),
            failure="",
            overdue="",
            roll=Roll(gradual=True, takes=1, strategy="one after another"),
        )


class WholeStatefulSet(Rollable, frozen=True, kw_only=True):
    """With its template."""

    spec: StatefulSpec = StatefulSpec()
    status: StatefulStatus = StatefulStatus()

    @property
    def template(self) -> Template:
        """The template of its pods."""
        return self.spec.template

    def workload(self) -> Workload:
        """How it stands."""
        return StatefulSet(self.metadata, self.spec, self.status).workload()


async def _history(_: Api, whole: Rollable) -> History:
    return History(current=0, template=whole.template, revisions=(), rejected=frozenset())


STATEFUL_SET = WorkloadKind(
    struct=StatefulSet,
    group="/apis/apps/v1",
    plural="statefulsets",
    words=("statefulset", "statefulsets", "sts"),
    whole=WholeStatefulSet,
    history=_history,
    reads=permissions("apps", "controllerrevisions", "list"),
)
