"""The kinds of workloads that healer heals. A new kind is a new file and one line here."""

from collections.abc import Iterable

from healer.cluster.api import Api
from healer.cluster.resources import RESOURCES, Resource
from healer.model.action import Permissions, permissions, union
from healer.model.target import Target
from healer.model.workload import Workload
from healer.workloads.base import WorkloadKind
from healer.workloads.cloneset import CLONE_SET
from healer.workloads.daemonset import DAEMON_SET
from healer.workloads.deployment import DEPLOYMENT
from healer.workloads.leaderworkerset import LEADER_WORKER_SET
from healer.workloads.rollout import ROLLOUT
from healer.workloads.statefulset import STATEFUL_SET

WORKLOADS: dict[str, WorkloadKind] = {
    kind.name: kind for kind in (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, ROLLOUT, CLONE_SET, LEADER_WORKER_SET)
}


def core_resources() -> list[Resource]:
    """The resources that every rule needs, owners before the objects that they own."""
    namespaces, *further = RESOURCES.values()
    return [namespaces, *(kind.resource for kind in WORKLOADS.values()), *further]


def allowed(verbs: str, kinds: Iterable[WorkloadKind] = WORKLOADS.values()) -> Permissions:
    """The permissions for these verbs on workloads of these kinds, by default of every kind."""
    return union(permissions(kind.resource.api_group, kind.resource.plural, verbs) for kind in kinds)


async def read_workload(api: Api, target: Target) -> Workload:
    """Read a workload by its kind, namespace and name. Its uid may differ from the target's. Raises ClusterError."""
    kind = WORKLOADS[target.kind]
    found = await api.get(kind.resource.path(target.namespace, target.name), kind.struct)
    return found.workload()
