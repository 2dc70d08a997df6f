"""InferenceService of KServe: `spec.predictor.canaryTrafficPercent`, from which KServe makes the traffic of its revisions.

Source: serving.kserve.io/v1beta1, ksvc_reconciler.go and PropagateStatus. Knative splits the traffic between the newest revision
and the one that was rolled out before; without the field the newest gets all. The mode Standard (RawDeployment) ignores it.
The sides are the Deployments of the two revisions. Knative makes their names (kmeta.ChildName), and they change with each
revision: a rule that names the Deployments of other revisions says nothing of the two between which the field splits.
"""

from collections.abc import Iterable
from hashlib import md5

import msgspec

from healer.cluster.api import Api
from healer.model.action import permissions
from healer.routes.route import BackendMissing, CanaryRoute, Edit, Metadata, ReadRoute, Router, RouteUnreadable, Weights, fetched
from healer.rules.named_workload import NamedWorkload
from healer.rules.vocabulary import RouterSpec

GROUP = "serving.kserve.io"
_MODE = "serving.kserve.io/deploymentMode"
_SPLITS = ("", "Serverless", "Knative")
"""The modes in which Knative splits the traffic; the first is the default."""
_LONGEST_NAME = 63
_DIGEST = 32


class _RevisionTraffic(msgspec.Struct, rename="camel"):
    revision_name: str = ""
    percent: int | None = None
    latest_revision: bool = False


class _Predictor(msgspec.Struct, rename="camel"):
    canary_traffic_percent: int | None = None


class _PredictorStatus(msgspec.Struct, rename="camel"):
    latest_ready_revision: str = ""
    latest_rolledout_revision: str = ""
    previous_rolledout_revision: str = ""
    traffic: list[_RevisionTraffic] = []

    @property
    def earlier(self) -> str:
        """The revision that gets what the newest does not; "" for none."""
        same = self.latest_rolledout_revision == self.latest_ready_revision
        return self.previous_rolledout_revision if same else self.latest_rolledout_revision


class _Components(msgspec.Struct):
    predictor: _PredictorStatus = msgspec.field(default_factory=_PredictorStatus)


class _InferenceSpec(msgspec.Struct):
    predictor: _Predictor


class _InferenceStatus(msgspec.Struct, rename="camel"):
    components: _Components = msgspec.field(default_factory=_Components)
    deployment_mode: str = ""


class _InferenceService(msgspec.Struct):
    metadata: Metadata
    spec: _InferenceSpec
    status: _InferenceStatus = msgspec.field(default_factory=_InferenceStatus)


async def find(api: Api, route: CanaryRoute) -> ReadRoute:
    """See `Find`."""
    path = f"/apis/{GROUP}/v1beta1/namespaces/{route.home}/inferenceservices/{route.name}"
    found = await fetched(api, path, _InferenceService, route, GROUP)
    mode = found.status.deployment_mode or (found.metadata.get("annotations") or {}).get(_MODE, "")
    if mode not in _SPLITS:
        raise RouteUnreadable(f"{route} is of the mode {mode}, in which KServe does not split traffic between its revisions")
    status, percent = found.status.components.predictor, found.spec.predictor.canary_traffic_percent
    if not status.earlier:
        raise BackendMissing(f"{route} has no earlier revision that could serve in place of {status.latest_ready_revision}")
    _check_sides(route, status)
    percent = 100 if percent is None else percent

    def edits(weights: Weights) -> Iterable[Edit]:
        ((_, canary),) = weights.pairs
        yield {"op": "add", "path": "/spec/predictor/canaryTrafficPercent", "value": canary}

    weights = Weights(((100 - percent, percent),), _besides(status, percent))
    version, part = str(found.metadata.get("resourceVersion", "")), ("f:spec", "f:predictor", "f:canaryTrafficPercent")
    return ReadRoute(path, version, weights, edits, found.metadata, part, of_owner=True)


def _check_sides(route: CanaryRoute, status: _PredictorStatus) -> None:
    """Raises BackendMissing where a side of the rule is not the Deployment of the revision that has its place now."""
    revisions = {"stable": status.earlier, "canary": status.latest_ready_revision}
    for (side, revision), workload in zip(revisions.items(), route.counted_by, strict=True):
        if workload != (expected := NamedWorkload(child_name(revision, "-deployment"))):
            named = workload or "no workload"
            text = f"the {side} side of {route} is {expected} now (revision {revision}), and the rule names {named}"
            raise BackendMissing(f"{text}: its traffic is left alone; write deployment: {expected.name} in {side}")


def child_name(parent: str, suffix: str) -> str:
    """The name that Knative and KServe give what they make of `parent` (kmeta.ChildName): a long one ends in its digest."""
    if len(parent) > _LONGEST_NAME - len(suffix):
        parent = parent[: _LONGEST_NAME - _DIGEST - len(suffix)] + md5(parent.encode(), usedforsecurity=False).hexdigest()
    return parent + suffix


def _besides(status: _PredictorStatus, percent: int) -> tuple[str, ...]:
    """What KServe has not carried out yet: the traffic in its status is another than the spec asks for."""
    newest = [each for each in status.traffic if each.latest_revision or each.revision_name == status.latest_ready_revision]
    sent = sum(each.percent or 0 for each in newest)
    if sent <= percent:
        return ()
    return (f"{sent} % of the requests by status.components.predictor.traffic, which KServe sets a little later",)


ROUTER = Router(
    RouterSpec(
        "InferenceService",
        "of KServe with Knative: `spec.predictor.canaryTrafficPercent`",
        other_namespace=False,
        of_owner=True,
    ),
    find,
    reads=permissions(GROUP, "inferenceservices", "get"),
    writes=permissions(GROUP, "inferenceservices", "patch"),
)
