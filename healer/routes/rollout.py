"""Rollout of Argo Rollouts: its own abort takes all traffic off the canary, and its controller does the rest.

Source: `kubectl argo rollouts abort` patches `status.abort` by the status subresource. The weights of the router are the
controller's: with a router its status has them, without one the pods split the traffic by their numbers. Both sides are revisions
of one Rollout. An aborted canary begins anew from its first step (`kubectl argo rollouts retry rollout`), so that healer cannot
put its weights back.
"""

from collections.abc import Iterable

import msgspec

from healer.cluster.api import Api
from healer.model.action import permissions
from healer.routes.route import CanaryRoute, Edit, Metadata, ReadRoute, RouteContended, Router, RouteUnreadable, Weights, fetched
from healer.rules.vocabulary import RouterSpec
from healer.workloads.rollout import observed

GROUP = "argoproj.io"


class _WeightOf(msgspec.Struct):
    weight: int = 0


class _SplitWeights(msgspec.Struct):
    canary: _WeightOf
    stable: _WeightOf


class _CanaryStatus(msgspec.Struct):
    weights: _SplitWeights | None = None


class _AbortStatus(msgspec.Struct, rename="camel"):
    observed_generation: str = ""
    abort: bool = False
    current_pod_hash: str = ""
    stable_hash: str = msgspec.field(default="", name="stableRS")
    replicas: int = 0
    updated_replicas: int = 0
    canary: _CanaryStatus = msgspec.field(default_factory=_CanaryStatus)

    @property
    def percent(self) -> int:
        """The canary's share in percent: none where no new revision is tried."""
        if self.abort or self.stable_hash in ("", self.current_pod_hash):
            return 0
        if (weights := self.canary.weights) is not None:
            whole = weights.canary.weight + weights.stable.weight
            return 100 * weights.canary.weight // whole if whole else 0
        return -(-100 * self.updated_replicas // self.replicas) if self.replicas else 0


class _RolloutStrategy(msgspec.Struct, rename="camel"):
    canary: dict[str, object] | None = None


class _RolloutRouteSpec(msgspec.Struct):
    strategy: _RolloutStrategy = msgspec.field(default_factory=_RolloutStrategy)


class _RolloutRoute(msgspec.Struct):
    metadata: Metadata
    spec: _RolloutRouteSpec = msgspec.field(default_factory=_RolloutRouteSpec)
    status: _AbortStatus = msgspec.field(default_factory=_AbortStatus)


async def find(api: Api, route: CanaryRoute) -> ReadRoute:
    """See `Find`."""
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{route.home}/rollouts/{route.name}"
    found = await fetched(api, path, _RolloutRoute, route, GROUP)
    if found.spec.strategy.canary is None:
        raise RouteUnreadable(f"{route} has no canary: its strategy is blue-green, which has no weights")

    def edits(weights: Weights) -> Iterable[Edit]:
        if weights.share:
            text = f"{route} has no weights that can be set: an aborted canary begins anew from its first step by"
            raise RouteUnreadable(f"{text} kubectl argo rollouts retry rollout {route.name} -n {route.home}")
        if not observed(found.metadata.get("generation", 0), found.status.observed_generation):
            raise RouteContended(
                f"the Rollout controller has not seen the newest spec of {route} yet, so its revision is not known"
            )
        yield {"op": "add", "path": "/status/abort", "value": True}

    percent = found.status.percent
    weights, version = Weights(((100 - percent, percent),)), str(found.metadata.get("resourceVersion", ""))
    part, tried = ("f:status", "f:abort"), found.status.current_pod_hash
    return ReadRoute(f"{path}/status", version, weights, edits, found.metadata, part, of_owner=True, tried=tried)


ROUTER = Router(
    RouterSpec(
        "Rollout",
        "of Argo Rollouts: `to: 0` is its own abort",
        other_namespace=False,
        of_owner=True,
        revisions=True,
        all_or_nothing=True,
    ),
    find,
    reads=permissions(GROUP, "rollouts", "get"),
    writes=permissions(GROUP, "rollouts/status", "patch"),
)
