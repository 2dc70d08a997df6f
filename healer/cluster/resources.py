"""The kinds that healer watches, and where the API server serves them: a new kind is one new row."""

from dataclasses import dataclass

from healer.model.kube import Deployment, KubeObject, Namespace, Pod, PodDisruptionBudget, ReplicaSet


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind: its struct, the path of its API group, its plural."""

    kind: type[KubeObject]
    group: str
    plural: str
    namespaced: bool = True

    @property
    def name(self) -> str:
        """The kind as the API spells it."""
        return self.kind.__name__

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of the collection (of one namespace, when given), or of one object."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.group}{scope}/{self.plural}" + (f"/{name}" if name else "")


RESOURCES: dict[type[KubeObject], Resource] = {
    resource.kind: resource
    for resource in (
        Resource(Namespace, "/api/v1", "namespaces", namespaced=False),
        Resource(Deployment, "/apis/apps/v1", "deployments"),
        Resource(ReplicaSet, "/apis/apps/v1", "replicasets"),
        Resource(PodDisruptionBudget, "/apis/policy/v1", "poddisruptionbudgets"),
        Resource(Pod, "/api/v1", "pods"),
    )
}
