"""The kinds of workloads that healer heals: a new one is a new file and one line here."""

from healer.cluster.api import Api
from healer.cluster.resources import RESOURCES, Resource
from healer.model.action import Permissions, permissions, union
from healer.model.target import Target
from healer.model.workload import Workload
from healer.workloads.base import WorkloadKind
from healer.workloads.deployment import DEPLOYMENT

WORKLOADS: dict[str, WorkloadKind] = {kind.name: kind for kind in (DEPLOYMENT,)}


def core_resources() -> list[Resource]:
    """All that healer watches, owners before what they own."""
    namespaces, *further = RESOURCES.values()
    return [namespaces, *(kind.resource for kind in WORKLOADS.values()), *further]


def allowed(verbs: str) -> Permissions:
    """These verbs on workloads of every kind."""
    return union(permissions(kind.resource.api_group, kind.resource.plural, verbs) for kind in WORKLOADS.values())


async def read_workload(api: Api, target: Target) -> Workload:
    """A workload read afresh by its kind, namespace and name; its uid may be another one. Raises ClusterError."""
    kind = WORKLOADS[target.kind]
    found = await api.get(kind.resource.path(target.namespace, target.name), kind.struct)
    return found.workload()
