"""Traffic that an operator splits, by its own field: Rollout, InferenceService and LLMInferenceService over the lab's API."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from healer.cluster.api import Api
from healer.lab import Lab, serving
from healer.lab.canary import CANARY, STABLE, http_route, versions
from healer.lab.custom import INFERENCE_SERVICE, LLM_INFERENCE_SERVICE, ROLLOUT, as_rollout, definition
from healer.lab.kinds import Kind
from healer.lab.objects import Object
from healer.routes.base import BackendMissing, CanaryRoute, RouteError, RouteUnreadable, Weights, read, write
from healer.routes.inferenceservice import child_name
from healer.routes.keeper import keeper_of
from healer.routes.registry import ROUTERS
from healer.rules.named_workload import NamedWorkload

pytestmark = pytest.mark.slow

NAMESPACE = "production"
NAME = "tensorflow-serving"
SIDES = (NamedWorkload(STABLE), NamedWorkload(CANARY))
REVISIONS = ("ranker-1-deployment", "ranker-2-deployment")
ISVC = CanaryRoute(
    NAMESPACE, "InferenceService", "ranker", *REVISIONS, "", (NamedWorkload(REVISIONS[0]), NamedWorkload(REVISIONS[1]))
)
LLM = CanaryRoute(NAMESPACE, "LLMInferenceService", "chat", STABLE, CANARY, "", SIDES)
ARGO = CanaryRoute(NAMESPACE, "Rollout", NAME, NAME, NAME, "", (NamedWorkload(NAME, "Rollout"),) * 2)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(start_delay=0, termination_delay=0) as lab:
        await lab.apply([definition(ROLLOUT), definition(INFERENCE_SERVICE), definition(LLM_INFERENCE_SERVICE)])
        yield lab


@pytest.fixture
async def api(lab: Lab, tmp_path: Path) -> AsyncIterator[Api]:
    lab.write_kubeconfig(tmp_path / "kubeconfig")
    api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
    yield api
    await api.aclose()


def stored(lab: Lab, kind: Kind) -> Object:
    """The only object of a kind."""
    (found,) = lab.objects(kind.resource, NAMESPACE)
    return found


async def serve(lab: Lab, kind: Kind, name: str, spec: Object, status: Object) -> None:
    """Two versions that serve, and the operator's object for them."""
    made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    names = REVISIONS if kind is INFERENCE_SERVICE else (STABLE, CANARY)
    await lab.apply([*versions(NAMESPACE, names=names, replicas=(1, 1)), made])
    lab.api.modify(kind, NAMESPACE, name, lambda obj: obj.update(status=status), subresource="status")
    await lab.wait_for(lambda lab: all(d["status"].get("readyReplicas") for d in lab.objects("deployments", NAMESPACE)))


async def serve_model(lab: Lab, percent: int | None = 20, mode: str = "Serverless", **revisions: Any) -> None:
    """An InferenceService with a canary."""
    known = {
        "latestReadyRevision": "ranker-2",
        "latestRolledoutRevision": "ranker-1",
        "previousRolledoutRevision": "",
    } | revisions
    spec = {"predictor": {"model": {"storageUri": "s3://m"}} | ({} if percent is None else {"canaryTrafficPercent": percent})}
    await serve(lab, INFERENCE_SERVICE, "ranker", spec, {"deploymentMode": mode, "components": {"predictor": known}})


async def lower(
    api: Api,
    route: CanaryRoute,
    percent: int = 0,
    *,
    dry_run: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
) -> str:
    """Lower the canary's share; returns the weights before and after. `meanwhile` happens between the read and the patch."""

    async def sending(before: Weights, after: Weights) -> None:
        meanwhile()

    change = await write(api, route, lambda now: now.at_most(percent), sending=sending, dry_run=dry_run)
    return f"{change.before} -> {change.after}"


@pytest.mark.parametrize(("percent", "said"), [(20, "80:20 -> 100:0"), (None, "0:100 -> 100:0")])
async def test_kserve_is_told_by_its_canary_traffic_percent(lab: Lab, api: Api, percent: int | None, said: str) -> None:
    """Nothing else of it changes. Without the field the newest revision has everything."""
    rolled_out = {} if percent else {"latestRolledoutRevision": "ranker-2", "previousRolledoutRevision": "ranker-1"}
    await serve_model(lab, percent, **rolled_out)
    before = stored(lab, INFERENCE_SERVICE)
    assert await lower(api, ISVC, dry_run=True) == said
    assert stored(lab, INFERENCE_SERVICE) == before
    assert await lower(api, ISVC) == said
    after = stored(lab, INFERENCE_SERVICE)
    assert after["spec"]["predictor"].pop("canaryTrafficPercent") == 0
    before["spec"]["predictor"].pop("canaryTrafficPercent", None)
    assert after["spec"] == before["spec"]


async def test_what_kserve_has_not_carried_out_is_said(lab: Lab, api: Api) -> None:
    traffic = [{"latestRevision": True, "revisionName": "ranker-2", "percent": 20}, {"revisionName": "ranker-1", "percent": 80}]
    await serve_model(lab, 0, traffic=traffic)
    (said,) = (await read(api, ISVC)).besides
    assert said.startswith("20 % of the requests by status.components.predictor.traffic")


async def test_kserve_without_an_earlier_revision_is_left_alone(lab: Lab, api: Api) -> None:
    """canaryTrafficPercent: 0 would leave nobody to serve."""
    await serve_model(lab, None, latestRolledoutRevision="ranker-2")
    with pytest.raises(BackendMissing, match="has no earlier revision"):
        await read(api, ISVC)


@pytest.mark.parametrize(
    ("side", "names", "now"),
    [
        ("stable", ("ranker-0-deployment", REVISIONS[1]), "ranker-1"),
        ("canary", (REVISIONS[0], "ranker-3-deployment"), "ranker-2"),
        ("canary", (REVISIONS[0], CANARY), "ranker-2"),
    ],
)
async def test_kserve_splits_between_the_revisions_that_it_has_now(
    lab: Lab, api: Api, side: str, names: tuple[str, str], now: str
) -> None:
    """A rule that names other Deployments is about other traffic: the refusal says what to write."""
    await serve_model(lab)
    counted = (NamedWorkload(names[0]), NamedWorkload(names[1]))
    with pytest.raises(BackendMissing) as refused:
        await lower(api, replace(ISVC, stable=names[0], canary=names[1], counted_by=counted))
    assert f"the {side} side of inferenceservice/ranker is deployment/{now}-deployment now" in str(refused.value)
    assert f"write deployment: {now}-deployment in {side}" in str(refused.value)
    assert stored(lab, INFERENCE_SERVICE)["spec"]["predictor"]["canaryTrafficPercent"] == 20


async def test_a_newer_revision_of_kserve_keeps_its_traffic(lab: Lab, api: Api) -> None:
    """It becomes ready between the read and the patch: the number would be its own."""
    await serve_model(lab)

    def newer() -> None:
        def edit(obj: Object) -> None:
            obj["status"]["components"]["predictor"]["latestReadyRevision"] = "ranker-3"

        lab.api.modify(INFERENCE_SERVICE, NAMESPACE, "ranker", edit, subresource="status")

    with pytest.raises(BackendMissing, match="revision ranker-3"):
        await lower(api, ISVC, meanwhile=newer)
    assert stored(lab, INFERENCE_SERVICE)["spec"]["predictor"]["canaryTrafficPercent"] == 20


def test_long_names_end_in_a_digest() -> None:
    """As kmeta.ChildName makes them."""
    assert child_name("r" * 52, "-deployment") == f"{'r' * 52}-deployment"
    assert child_name("r" * 53, "-deployment") == f"{'r' * 20}{md5(b'r' * 53).hexdigest()}-deployment"


async def test_kserve_without_knative_splits_nothing(lab: Lab, api: Api) -> None:
    await serve_model(lab, mode="RawDeployment")
    with pytest.raises(RouteUnreadable, match="of the mode RawDeployment"):
        await read(api, ISVC)


async def test_an_llm_service_is_told_by_the_weights_of_its_route(lab: Lab, api: Api) -> None:
    """Only they change."""
    rules = http_route(NAMESPACE, weight=20)["spec"]["rules"]
    await serve(lab, LLM_INFERENCE_SERVICE, "chat", {"router": {"route": {"http": {"spec": {"rules": rules}}}}}, {})
    assert await lower(api, LLM, 10) == "80:20 -> 90:10"
    backends = stored(lab, LLM_INFERENCE_SERVICE)["spec"]["router"]["route"]["http"]["spec"]["rules"][0]["backendRefs"]
    assert [{key: value for key, value in each.items() if key != "weight"} for each in backends] == [
        {key: value for key, value in each.items() if key != "weight"} for each in rules[0]["backendRefs"]
    ]
    assert [each["weight"] for each in backends] == [90, 10]


@pytest.mark.parametrize(
    ("backend", "workload", "fits"),
    [
        ("b-kserve-workload-svc", "b-kserve", True),
        ("InferencePool b-inference-pool", "b-kserve-mn", True),
        ("b-kserve-workload-svc", "a-kserve", False),
        ("InferencePool b-inference-pool", "b", False),
        ("of-our-own", "b-kserve", True),
    ],
)
async def test_a_backend_that_kserve_has_named_leads_to_its_workload(
    lab: Lab, api: Api, backend: str, workload: str, fits: bool
) -> None:
    """Otherwise the traffic of one service would be taken for what another one does."""
    name = backend.rpartition(" ")[2]
    pool = {"group": "inference.networking.k8s.io", "kind": "InferencePool"} if " " in backend else {}
    refs = [{"name": "a-kserve-workload-svc", "weight": 80}, {"name": name, "weight": 20} | pool]
    await serve(
        lab, LLM_INFERENCE_SERVICE, "chat", {"router": {"route": {"http": {"spec": {"rules": [{"backendRefs": refs}]}}}}}, {}
    )
    counted = (NamedWorkload("a-kserve"), NamedWorkload(workload))
    route = replace(LLM, stable="a-kserve-workload-svc", canary=backend, counted_by=counted)
    if fits:
        assert str(await read(api, route)) == "80:20"
    else:
        with pytest.raises(BackendMissing, match=f"{backend} on the canary side .* does not lead to deployment/{workload},"):
            await read(api, route)


async def rollout(lab: Lab, percent: int = 50) -> None:
    """A Rollout whose canary waits at that weight."""
    await lab.apply(as_rollout(serving(replicas=2)[0], steps=[{"setWeight": percent}, {"pause": {}}]))
    await lab.wait_for(lambda lab: stored(lab, ROLLOUT).get("status", {}).get("phase") == "Healthy")

    def ship(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = "tensorflow/serving:2.17.0"

    lab.api.modify(ROLLOUT, NAMESPACE, NAME, ship)
    await lab.wait_for(lambda lab: stored(lab, ROLLOUT)["status"].get("phase") == "Paused")


async def test_a_rollout_is_aborted_by_its_own_field(lab: Lab, api: Api) -> None:
    """Its controller takes the canary's pods away; its spec stays, so that nothing reverts it."""
    await rollout(lab)
    spec = stored(lab, ROLLOUT)["spec"]
    assert await lower(api, ARGO) == "50:50 -> 100:0"
    await lab.wait_for(lambda lab: stored(lab, ROLLOUT)["status"]["phase"] == "Degraded")
    assert stored(lab, ROLLOUT)["spec"] == spec
    assert str(await read(api, ARGO)) == "100:0"


async def test_a_rollout_cannot_be_given_a_weight(lab: Lab, api: Api) -> None:
    """An abort takes everything, and an aborted canary begins anew from its first step."""
    await rollout(lab)
    with pytest.raises(RouteUnreadable, match=f"kubectl argo rollouts retry rollout {NAME} -n {NAMESPACE}"):
        await lower(api, ARGO, 10)
    assert not stored(lab, ROLLOUT)["status"].get("abort")


async def test_a_rollout_without_a_canary_has_nothing_to_take(lab: Lab, api: Api) -> None:
    await lab.apply(as_rollout(serving(replicas=2)[0]))
    await lab.wait_for(lambda lab: stored(lab, ROLLOUT).get("status", {}).get("phase") == "Healthy")
    assert await lower(api, ARGO) == "100:0 -> 100:0"


async def test_the_weights_of_a_router_are_those_of_the_status(lab: Lab, api: Api) -> None:
    await rollout(lab)

    def routed(obj: Object) -> None:
        obj["status"]["canary"] = {"weights": {"canary": {"weight": 5}, "stable": {"weight": 95}}}

    lab.api.modify(ROLLOUT, NAMESPACE, NAME, routed, subresource="status")
    assert str(await read(api, ARGO)) == "95:5"


async def test_blue_green_has_no_weights(lab: Lab, api: Api) -> None:
    made = as_rollout(serving(replicas=2)[0])
    made["spec"]["strategy"] = {"blueGreen": {"activeService": NAME}}
    await lab.apply(made)
    with pytest.raises(RouteError, match="blue-green"):
        await read(api, ARGO)


async def test_the_owners_own_field_is_not_kept_from_healer(lab: Lab, api: Api) -> None:
    """The controller writes the status itself: that is no reason to refuse."""
    await rollout(lab)
    found = await ROUTERS["Rollout"].find(api, ARGO)
    written = {"manager": "rollouts-controller", "fieldsV1": {"f:status": {"f:abort": {}}}}
    marked = replace(found, metadata=found.metadata | {"managedFields": [written]})
    assert keeper_of(ARGO, marked) is None
    assert keeper_of(ARGO, replace(marked, of_owner=False)) is not None
