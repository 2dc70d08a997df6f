"""The operators that own workloads and pods, and what people change in place of what they own. A new one is one line here.

What an operator owns it makes again from its own object, so that healer does not change it: it names the owner's own field or
command. The pods of a workload that it owns are healed as usual. Owners are recognised by the controller's owner reference. One
that is not listed is named by its kind.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operator:
    """One kind of owner. `instead`: what to do to it, in the imperative, where {} is its name."""

    kind: str
    group: str
    product: str
    instead: str


OPERATORS = (
    Operator("InferenceService", "serving.kserve.io", "KServe", "change spec.predictor of inferenceservice/{}"),
    Operator("LLMInferenceService", "serving.kserve.io", "KServe", "change spec.template of llminferenceservice/{}"),
    Operator("Revision", "serving.knative.dev", "Knative", "change the Knative Service that made revision/{}"),
    Operator("RayService", "ray.io", "KubeRay", "change spec.rayClusterConfig of rayservice/{}, which makes a new cluster"),
    Operator("RayCluster", "ray.io", "KubeRay", "change raycluster/{}, or the RayService that owns it"),
    Operator("Rollout", "argoproj.io", "Argo Rollouts", "change spec.template of rollout/{}"),
    Operator("CloneSet", "apps.kruise.io", "OpenKruise", "change spec.template of cloneset/{}"),
    Operator("SeldonDeployment", "machinelearning.seldon.io", "Seldon", "change spec.predictors of seldondeployment/{}"),
    Operator("Server", "mlops.seldon.io", "Seldon", "change server/{}"),
    Operator("BentoDeployment", "serving.yatai.ai", "Yatai", "change bentodeployment/{}"),
    Operator("NIMService", "apps.nvidia.com", "NVIDIA's NIM operator", "change nimservice/{}"),
)


@dataclass(frozen=True, slots=True)
class OwningOperator:
    """The operator that owns an object, in words for people."""

    name: str
    """KServe (InferenceService ranker)"""
    instead: str
    """What to do to its own object, in the imperative."""

    def __str__(self) -> str:
        return self.name


def owning(kind: str, name: str, group: str = "") -> OwningOperator:
    """The owner of that kind and name. An empty group is not known, and is not compared."""
    for each in OPERATORS:
        if each.kind == kind and group in ("", each.group):
            return OwningOperator(f"{each.product} ({kind} {name})", each.instead.format(name))
    known = f"{kind.lower()}/{name}"
    return OwningOperator(f"the controller of {known}, which owns it", f"change {known}")


def is_known(kind: str) -> bool:
    """Whether an operator of that kind is listed."""
    return any(each.kind == kind for each in OPERATORS)
