"""The custom kinds whose operators the lab stands in for: their definitions, and a serving workload of each kind.

A test applies a definition before the workload. Without it the lab serves no such kind, as a cluster without the operator.
"""

from __future__ import annotations

from typing import Any

from healer.lab.kinds import Kind
from healer.lab.objects import Object, clone


def _custom(group: str, version: str, kind: str, *short_names: str, scales: bool = False) -> Kind:
    return Kind(
        group=group,
        version=version,
        plural=f"{kind.lower()}s",
        kind=kind,
        short_names=short_names,
        subresources=("status", "scale") if scales else ("status",),
        counts_generation=True,
        unconditional=False,
        custom=True,
    )


ROLLOUT = _custom("argoproj.io", "v1alpha1", "Rollout", "ro", scales=True)
CLONESET = _custom("apps.kruise.io", "v1alpha1", "CloneSet", "clone", scales=True)
INFERENCE_SERVICE = _custom("serving.kserve.io", "v1beta1", "InferenceService", "isvc")
LLM_INFERENCE_SERVICE = _custom("serving.kserve.io", "v1alpha1", "LLMInferenceService", "llmisvc")
REVISION = _custom("serving.knative.dev", "v1", "Revision", "rev")
RAY_SERVICE = _custom("ray.io", "v1", "RayService")
RAY_CLUSTER = _custom("ray.io", "v1", "RayCluster")
HTTP_ROUTE = _custom("gateway.networking.k8s.io", "v1", "HTTPRoute")
VIRTUAL_SERVICE = _custom("networking.istio.io", "v1", "VirtualService", "vs")


def definition(kind: Kind) -> Object:
    """The CustomResourceDefinition of a kind. Its schema is open: the lab checks none of the operator's own fields."""
    subresources: Object = {name: {} for name in kind.subresources}
    if "scale" in subresources:
        subresources["scale"] = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "subresources": subresources,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"kind": kind.kind, "listKind": f"{kind.kind}List", "plural": kind.plural, "singular": kind.kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.resource},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": names | {"shortNames": list(kind.short_names)},
            "versions": [version],
        },
    }


def as_rollout(deployment: Object, *, steps: list[Object] | None = None, **canary: Any) -> Object:
    """A Rollout with the pods of a Deployment. `canary`: further fields of its strategy."""
    strategy = {"canary": {"steps": steps or [], "maxUnavailable": 1, "maxSurge": 1} | canary}
    return _as(ROLLOUT, deployment, strategy=strategy)


def as_cloneset(deployment: Object, **strategy: Any) -> Object:
    """A CloneSet with the pods of a Deployment. `strategy`: fields of its updateStrategy."""
    return _as(CLONESET, deployment, updateStrategy={"type": "ReCreate", "maxUnavailable": 1} | strategy)


def _as(kind: Kind, deployment: Object, **more: Any) -> Object:
    spec = {key: clone(deployment["spec"][key]) for key in ("replicas", "selector", "template")}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": clone(deployment["metadata"]), "spec": spec | more}
