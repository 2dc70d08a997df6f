"""Who else sets the weights of a route, by design or by restoring the whole object, and what to do about it.

A controller that sets them by design would raise the weight again at once, or at its next step: people must use its own commands.
It is recognised by these marks, according to its source:

- Flagger: an owner reference to its Canary (pkg/router/{gateway_api,ingress,istio}.go), which may be switched off (setOwnerRefs);
  then the writer of the weights in managedFields, which is the name of Flagger's program.
- Argo Rollouts: an owner reference to the Rollout on the Ingress that it makes (rollout/trafficrouting/nginx); the annotation
  managed-by-rollouts on objects that it does not own (ManagedByRolloutsKey); "rollouts-controller" in managedFields of a
  VirtualService, which has no other mark (argo-rollouts #3854). Its plugin for the Gateway API labels an HTTPRoute while a canary
  is in progress (internal/defaults), and lists the Rollouts in an annotation (from pkg/plugin/annotations.go on).
- KServe: an owner reference to the InferenceService or the LLMInferenceService (pkg/controller, SetControllerReference and
  NewControllerRef), whose spec it compares the route with.

A GitOps controller restores the committed weights at some time. healer takes the traffic off a sick canary all the same.
"""

from dataclasses import dataclass

import msgspec

from healer.cluster.managed import ManagerMarks, WrittenMeta, gitops_of, operator_of, writers_of
from healer.routes.route import CanaryRoute, ReadRoute

_ROLLOUTS = "rollouts-controller"
_FLAGGER = "flagger"
_HEALER = "healer"
_IN_PROGRESS = "rollouts.argoproj.io/gatewayapi-canary"


@dataclass(frozen=True, slots=True)
class WeightOwner:
    """A controller that sets the weights of a route. `by_design`: they are its own business, and a patch of healer's would not
    last."""

    name: str
    does: str
    """What it does to them."""
    way: str = ""
    """What people can do, in the imperative."""
    by_design: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.does}" + (f": {self.way}" if self.way else "")


class _OwnerStatus(ManagerMarks, frozen=True):
    rollouts: str = msgspec.field(default="", name="argo-rollouts.argoproj.io/managed-by-rollouts")
    active: str = msgspec.field(default="", name="rollouts.argoproj.io/gatewayapi-active-rollouts")


class _OwnerMeta(WrittenMeta, frozen=True):
    annotations: _OwnerStatus = _OwnerStatus()


def keeper_of(route: CanaryRoute, found: ReadRoute) -> WeightOwner | None:
    """Who else sets the weights of a route; None when nobody is known to."""
    metadata = _metadata(found)
    if metadata is None:
        return None
    for by_design in () if found.of_owner else (_flagger, _argo_rollouts, _kserve):
        if (keeper := by_design(metadata, found)) is not None:
            return keeper
    if gitops := gitops_of(metadata, route.kind, found.weighed):
        return WeightOwner(gitops, f"manages {route} and puts its own weights back", "pause its sync, or commit the weights")
    if operator := operator_of(metadata):
        return WeightOwner(operator.name, "may put its own weights back", "set the weights at their source")
    return None


def writer_of(found: ReadRoute) -> str:
    """Who has set the weights last, by managedFields; "" when that is not known, or it was healer."""
    metadata = _metadata(found)
    writers = set() if metadata is None else writers_of(metadata, found.weighed) - {_HEALER, ""}
    return " and ".join(sorted(writers))


def _metadata(found: ReadRoute) -> _OwnerMeta | None:
    try:
        return msgspec.convert(found.metadata, _OwnerMeta)
    except msgspec.ValidationError:
        return None  # marks in another form than the API has them mark nothing


def _owner(metadata: _OwnerMeta, kind: str, group: str) -> str | None:
    """The name of the owner of that kind; None without one."""
    return next((owner.name for owner in metadata.owner_references if owner.is_a(kind, group)), None)


def _flagger(metadata: _OwnerMeta, found: ReadRoute) -> WeightOwner | None:
    canary = _owner(metadata, "Canary", "flagger.app")
    labelled = metadata.labels.get("app.kubernetes.io/managed-by") == _FLAGGER
    if canary is None and not labelled and _FLAGGER not in writers_of(metadata, found.weighed):
        return None
    name = f"Flagger (Canary {canary})" if canary else "Flagger"
    way = "have it roll back by its webhook of type rollback, or put the earlier version into the Deployment that it targets"
    return WeightOwner(name, "sets the weights by design", way, by_design=True)


def _argo_rollouts(metadata: _OwnerMeta, found: ReadRoute) -> WeightOwner | None:
    marks = metadata.annotations
    named = _owner(metadata, "Rollout", "argoproj.io") or marks.rollouts or marks.active.partition(",")[0].rpartition("/")[2]
    if not named and _IN_PROGRESS not in metadata.labels and _ROLLOUTS not in writers_of(metadata, found.weighed):
        return None
    name = f"Argo Rollouts (Rollout {named})" if named else "Argo Rollouts"
    way = f"kubectl argo rollouts abort {named or 'NAME'} -n {metadata.namespace}"
    return WeightOwner(name, "sets the weights by design", way, by_design=True)


def _kserve(metadata: _OwnerMeta, _: ReadRoute) -> WeightOwner | None:
    for kind, way in (
        ("InferenceService", "set canaryTrafficPercent: 0 in its predictor"),
        ("LLMInferenceService", "set the weights in its spec.router.route.http.spec"),
    ):
        if name := _owner(metadata, kind, "serving.kserve.io"):
            return WeightOwner(f"KServe ({kind} {name})", "sets the weights by design", way, by_design=True)
    return None
