"""The path at which the API server serves a kind, the kinds always watched besides workloads, and those some rules need."""

from dataclasses import dataclass

from healer.model.autoscaler import HorizontalPodAutoscaler
from healer.model.event import Event
from healer.model.kube import KubeObject, Namespace, Pod, PodDisruptionBudget, ReplicaSet
from healer.model.node import Node
from healer.model.ruleset import RuleSet


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind: its struct, the path of its API group, and its plural."""

    kind: type[KubeObject]
    group: str
    plural: str
    namespaced: bool = True
    optional: bool = False
    """Whether a cluster may not have it: it comes with a CustomResourceDefinition that somebody else installs."""
    kept: bool = True
    """Whether the view holds its objects. Else each is told once, and what there was before the watch began is not told."""

    @property
    def name(self) -> str:
        """The kind as the API spells it."""
        return self.kind.__name__

    @property
    def api_group(self) -> str:
        """The API group without its version, as in RBAC rules; "" for the core group."""
        return self.group.split("/")[2] if self.group.startswith("/apis/") else ""

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of the collection, in one namespace when `namespace` is given, or of one object when `name` is given."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.group}{scope}/{self.plural}" + (f"/{name}" if name else "")


RESOURCES: dict[type[KubeObject], Resource] = {
    resource.kind: resource
    for resource in (
        Resource(Namespace, "/api/v1", "namespaces", namespaced=False),
        Resource(ReplicaSet, "/apis/apps/v1", "replicasets"),
        Resource(PodDisruptionBudget, "/apis/policy/v1", "poddisruptionbudgets"),
        Resource(Pod, "/api/v1", "pods"),
    )
}
"""Owners come before what they own."""

AUTOSCALERS = Resource(HorizontalPodAutoscaler, "/apis/autoscaling/v2", "horizontalpodautoscalers")
EVENTS = Resource(Event, "/apis/events.k8s.io/v1", "events", kept=False)
NODES = Resource(Node, "/api/v1", "nodes", namespaced=False)
RULESETS = Resource(RuleSet, "/apis/healer.dev/v1alpha1", "rulesets", optional=True)
