"""The custom kinds whose operators the lab stands in for: their definitions, and a serving workload of each kind.

A test applies a definition before the workload. Without it the lab serves no such kind, as a cluster without the operator.
"""

from __future__ import annotations

from typing import Any

from healer.lab.kinds import Kind
from healer.lab.objects import Object, clone

_SUBRESOURCES = ("status", "scale")
ROLLOUT = Kind(
    group="argoproj.io",
    version="v1alpha1",
    plural="rollouts",
    kind="Rollout",
    short_names=("ro",),
    subresources=_SUBRESOURCES,
    counts_generation=True,
    unconditional=False,
    custom=True,
)
CLONESET = Kind(
    group="apps.kruise.io",
    version="v1alpha1",
    plural="clonesets",
    kind="CloneSet",
    short_names=("clone",),
    subresources=_SUBRESOURCES,
    counts_generation=True,
    unconditional=False,
    custom=True,
)
INFERENCE_SERVICE = Kind(
    group="serving.kserve.io",
    version="v1beta1",
    plural="inferenceservices",
    kind="InferenceService",
    short_names=("isvc",),
    subresources=("status",),
    counts_generation=True,
    unconditional=False,
    custom=True,
)
LLM_INFERENCE_SERVICE = Kind(
    group="serving.kserve.io",
    version="v1alpha1",
    plural="llminferenceservices",
    kind="LLMInferenceService",
    short_names=("llmisvc",),
    subresources=("status",),
    counts_generation=True,
    unconditional=False,
    custom=True,
)
REVISION = Kind(
    group="serving.knative.dev",
    plural="revisions",
    kind="Revision",
    short_names=("rev",),
    subresources=("status",),
    counts_generation=True,
    unconditional=False,
    custom=True,
)
RAY_SERVICE = Kind(
    group="ray.io",
    plural="rayservices",
    kind="RayService",
    subresources=("status",),
    counts_generation=True,
    unconditional=False,
    custom=True,
)
RAY_CLUSTER = Kind(
    group="ray.io",
    plural="rayclusters",
    kind="RayCluster",
    subresources=("status",),
    counts_generation=True,
    unconditional=False,
    custom=True,
)


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
