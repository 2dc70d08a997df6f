"""Rollouts of Argo and CloneSets of OpenKruise, the real process against the lab: healed, or left to their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from healer.cluster.api import Api
from healer.lab import Lab, serving
from healer.lab.canary import CANARY, ROUTE, STABLE, http_route, versions
from healer.lab.custom import CLONESET, INFERENCE_SERVICE, ROLLOUT, as_cloneset, as_rollout, definition
from healer.lab.kinds import Kind
from healer.lab.kubelet.behaviour import ANNOTATION
from healer.lab.objects import Object, owner_reference
from healer.operate.undo import undo
from tests.integration.conftest import ROOT, Run
from tests.integration.test_rollback import CRASHING, NAME, NEW, OLD, VERIFY
from tests.integration.world import CHANNEL, CRASH_LOOP, NAMESPACE, Floor, evictions, pods, rule, ruleset, serves, told, uid
from tests.support.healer import alert
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

BOTH = pytest.mark.parametrize("kind", [ROLLOUT, CLONESET], ids=lambda kind: kind.kind)


async def serve(lab: Lab, kind: Kind, **how: Any) -> None:
    """Have a workload of that kind serve with three pods."""
    deployment, *_ = serving(replicas=3)
    made = as_rollout(deployment, **how) if kind is ROLLOUT else as_cloneset(deployment, **how)
    await lab.apply([definition(kind), made])
    await lab.wait_for(lambda lab: serves(3)(lab) and settled(lab, kind), PATIENCE)


def one(lab: Lab, kind: Kind) -> Object:
    """The only workload of that kind."""
    (found,) = lab.objects(kind.resource, NAMESPACE)
    return found


def settled(lab: Lab, kind: Kind) -> bool:
    """Whether all of its pods are of its newest revision, which is stable."""
    found = one(lab, kind)
    status = found.get("status") or {}
    observed = str(status.get("observedGeneration")) == str(found["metadata"]["generation"])
    promoted = status.get("stableRS") == status.get("currentPodHash") and not status.get("abort")
    return observed and promoted and status.get("updatedReplicas") == 3


def ship(lab: Lab, kind: Kind, *, crashing: bool = False) -> None:
    """Somebody rolls the NEW image out."""

    def change(obj: Object) -> None:
        template = obj["spec"]["template"]
        template["spec"]["containers"][0]["image"] = NEW
        if crashing:
            template["metadata"]["annotations"] = {ANNOTATION: "crash"}

    lab.api.modify(kind, NAMESPACE, NAME, change)


def images(lab: Lab) -> set[str]:
    """Those of all pods."""
    return {pod["spec"]["containers"][0]["image"] for pod in pods(lab).values()}


def says(text: str) -> Callable[[FakeSlack], bool]:
    """Whether a thread of the channel has a line with that text."""
    return lambda slack: any(text in line for thread in slack.threads(CHANNEL) for line in thread)


def heal(action: str, **params: Any) -> list[dict[str, Any]]:
    """A ladder of one step."""
    return [{action: params, "verify": VERIFY}]


@BOTH
async def test_a_crashing_pod_is_evicted(lab: Lab, run: Run, slack: FakeSlack, kind: Kind) -> None:
    await serve(lab, kind)
    healer, (sick, *_) = await run(ruleset(CRASH_LOOP)), pods(lab)
    was = uid(lab, sick)
    await lab.behave(NAMESPACE, sick, "crash")
    await lab.wait_for(serves(3, without=was), PATIENCE)
    await slack.wait_for(told("healed"), PATIENCE)
    assert evictions(lab) == [sick]
    assert {each["workload"] for each in healer.find("incident healed")} == {f"{kind.kind.lower()}/{NAME}"}


@BOTH
async def test_a_bad_revision_is_rolled_back(lab: Lab, run: Run, slack: FakeSlack, kind: Kind) -> None:
    """By the template of the revision before. A Rollout is promoted already: its canary is over."""
    await serve(lab, kind)
    before, good = one(lab, kind)["spec"]["template"], set(pods(lab))
    ship(lab, kind)
    await lab.wait_for(lambda lab: settled(lab, kind) and serves(3)(lab) and not good & set(pods(lab)), PATIENCE)
    healer = await run(ruleset(rule("errors", when={"alert": ["HighErrors"]}, heal=heal("rollback"))))
    floor, bad = Floor(lab), alert("HighErrors", pod=next(iter(pods(lab))))
    await healer.post(bad)
    await lab.wait_for(lambda lab: settled(lab, kind) and images(lab) == {OLD}, PATIENCE)
    await healer.post(bad | {"status": "resolved", "endsAt": bad["startsAt"]})
    await slack.wait_for(told("healed"), PATIENCE)
    after = one(lab, kind)["spec"]["template"]
    assert after["spec"]["containers"][0]["image"] == before["spec"]["containers"][0]["image"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert says(f"image {NEW} -&gt; {OLD}")(slack)
    assert floor.lowest >= 2
    assert one(lab, kind)["metadata"]["annotations"]["healer.dev/rolled-back-by"]


async def test_a_canary_in_progress_is_not_rolled_back(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Its pods crash, nothing is evicted during the rollout, and the refusal names its own abort."""
    await serve(lab, ROLLOUT, steps=[{"setWeight": 34}, {"pause": {}}])
    await run(ruleset(rule("crash-loop", when=CRASHING, heal=heal("rollback"))))
    ship(lab, ROLLOUT, crashing=True)
    await slack.wait_for(says("kubectl argo rollouts abort"), PATIENCE)
    assert one(lab, ROLLOUT)["spec"]["template"]["spec"]["containers"][0]["image"] == NEW
    assert evictions(lab) == []


async def test_a_rollout_is_restarted_by_its_own_field(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """spec.restartAt: its template, and so its revision, stays; its controller evicts one pod at a time."""
    await serve(lab, ROLLOUT)
    for pod in pods(lab).values():  # the controller compares whole seconds, and these were made within this one
        pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        lab.store.put("pods", (NAMESPACE, pod["metadata"]["name"]), pod)
    before, old = one(lab, ROLLOUT), set(pods(lab))
    healer = await run(ruleset(rule("slow", when={"alert": ["Slow"]}, heal=heal("rolloutRestart"))))
    floor, slow = Floor(lab), alert("Slow", pod=min(old))
    await healer.post(slow)
    await lab.wait_for(lambda lab: not old & set(pods(lab)) and serves(3)(lab), PATIENCE)
    await healer.post(slow | {"status": "resolved", "endsAt": slow["startsAt"]})
    await slack.wait_for(told("healed"), PATIENCE)
    after = one(lab, ROLLOUT)
    assert after["spec"]["template"] == before["spec"]["template"]
    assert after["status"]["restartedAt"] == after["spec"]["restartAt"]
    assert after["metadata"]["annotations"]["healer.dev/restarted-by"]
    assert floor.lowest == 2


async def test_a_restart_that_would_restart_nothing_is_refused(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """A CloneSet that updates in place writes the annotation into running pods."""
    await serve(lab, CLONESET, type="InPlaceIfPossible")
    before = one(lab, CLONESET)["spec"]
    healer = await run(ruleset(rule("slow", when={"alert": ["Slow"]}, heal=heal("rolloutRestart"))))
    await healer.post(alert("Slow", pod=next(iter(pods(lab)))))
    await slack.wait_for(says("InPlaceIfPossible, which writes an annotation into running pods"), PATIENCE)
    assert one(lab, CLONESET)["spec"] == before


ERRORS = {"alert": ["HighErrors"]}


def argo(kind: str = "Rollout", name: str = NAME) -> list[dict[str, Any]]:
    """The ladder: its traffic is taken off by its own abort."""
    side = {"rollout": NAME}
    return heal("shiftTraffic", to=0, route={"kind": kind, "name": name}, stable=side, canary=side)


async def test_a_bad_canary_is_aborted(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """By status.abort: its controller takes the pods of the canary away, and the stable revision serves as before."""
    await serve(lab, ROLLOUT, steps=[{"setWeight": 34}, {"pause": {}}])
    healer, floor = await run(ruleset(rule("errors", when=ERRORS, heal=argo()))), Floor(lab)
    ship(lab, ROLLOUT)
    await lab.wait_for(lambda lab: one(lab, ROLLOUT)["status"].get("phase") == "Paused", PATIENCE)
    spec = one(lab, ROLLOUT)["spec"]
    canary = next(name for name, pod in pods(lab).items() if pod["spec"]["containers"][0]["image"] == NEW)
    bad = alert("HighErrors", pod=canary)
    await healer.post(bad)
    await lab.wait_for(lambda lab: images(lab) == {OLD} and serves(3)(lab), PATIENCE)
    await healer.post(bad | {"status": "resolved", "endsAt": bad["startsAt"]})
    await slack.wait_for(told("healed"), PATIENCE)
    assert one(lab, ROLLOUT)["status"]["abort"] is True
    assert one(lab, ROLLOUT)["spec"] == spec, "nothing that a GitOps controller would revert"
    assert floor.lowest >= 2
    assert says(f"traffic of rollout/{NAME}: canary 34 % -&gt; 0 %, all to {NAME}")(slack)
    assert evictions(lab) == []


async def test_a_canary_is_not_aborted_for_a_pod_of_the_stable_revision(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """What the canary tries may be the cure."""
    await serve(lab, ROLLOUT, steps=[{"setWeight": 34}, {"pause": {}}])
    healer = await run(ruleset(rule("errors", when=ERRORS, heal=argo())))
    ship(lab, ROLLOUT)
    await lab.wait_for(lambda lab: one(lab, ROLLOUT)["status"].get("phase") == "Paused", PATIENCE)
    stable = next(name for name, pod in pods(lab).items() if pod["spec"]["containers"][0]["image"] == OLD)
    await healer.post(alert("HighErrors", pod=stable))
    tried = one(lab, ROLLOUT)["status"]["currentPodHash"]
    await slack.wait_for(says(f"tries revision {tried} now, and the incident is about"), PATIENCE)
    assert not one(lab, ROLLOUT)["status"].get("abort")


async def test_a_new_revision_of_an_inference_service_keeps_its_traffic(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """The rule names the Deployment of the revision before."""
    service = {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {"name": "ranker", "namespace": NAMESPACE},
        "spec": {"predictor": {"canaryTrafficPercent": 20}},
    }
    stable, canary = names = ("ranker-1-deployment", "ranker-2-deployment")
    await lab.apply([definition(INFERENCE_SERVICE), *versions(NAMESPACE, names=names, replicas=(1, 1)), service])
    revisions = {"latestReadyRevision": "ranker-3", "latestRolledoutRevision": "ranker-1"}
    status = {"components": {"predictor": revisions}}
    lab.api.modify(INFERENCE_SERVICE, NAMESPACE, "ranker", lambda obj: obj.update(status=status), subresource="status")
    await lab.wait_for(serves(2), PATIENCE)
    sides = {"stable": {"deployment": stable}, "canary": {"deployment": canary}}
    step = heal("shiftTraffic", to=0, route={"kind": "InferenceService", "name": "ranker"}, **sides)
    healer = await run(ruleset(rule("errors", when=ERRORS, heal=step)))
    await healer.post(alert("HighErrors", deployment=canary))
    await slack.wait_for(says("is deployment/ranker-3-deployment now"), PATIENCE)
    assert one(lab, INFERENCE_SERVICE)["spec"] == service["spec"]


async def test_the_canary_of_an_inference_service_gets_no_traffic(lab: Lab, run: Run, slack: FakeSlack, tmp_path: Path) -> None:
    """By canaryTrafficPercent; `healer undo` puts the number from before back."""
    service: Object = {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {"name": "ranker", "namespace": NAMESPACE},
        "spec": {"predictor": {"canaryTrafficPercent": 20, "model": {"storageUri": "s3://models/ranker"}}},
    }
    revisions = {"latestReadyRevision": "ranker-2", "latestRolledoutRevision": "ranker-1"}
    stable, canary = names = ("ranker-1-deployment", "ranker-2-deployment")
    await lab.apply([definition(INFERENCE_SERVICE), *versions(NAMESPACE, names=names, replicas=(1, 1)), service])
    status = {"deploymentMode": "Serverless", "components": {"predictor": revisions}}
    lab.api.modify(INFERENCE_SERVICE, NAMESPACE, "ranker", lambda obj: obj.update(status=status), subresource="status")
    await lab.wait_for(serves(2), PATIENCE)
    sides = {"stable": {"deployment": stable}, "canary": {"deployment": canary}}
    step = heal("shiftTraffic", to=0, route={"kind": "InferenceService", "name": "ranker"}, **sides)
    healer, bad = await run(ruleset(rule("errors", when=ERRORS, heal=step))), alert("HighErrors", deployment=canary)

    await healer.post(bad)
    await lab.wait_for(lambda lab: one(lab, INFERENCE_SERVICE)["spec"]["predictor"]["canaryTrafficPercent"] == 0, PATIENCE)
    await healer.post(bad | {"status": "resolved", "endsAt": bad["startsAt"]})
    healed = await healer.says("incident healed", rule="test/errors")
    await slack.wait_for(says("traffic of inferenceservice/ranker: canary 20 % -&gt; 0 %"), PATIENCE)

    api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
    try:
        await undo(api, NAMESPACE, healed["incident"], "ann", lambda _: None)
    finally:
        await api.aclose()
    assert one(lab, INFERENCE_SERVICE)["spec"]["predictor"] == service["spec"]["predictor"]


async def test_a_route_that_a_rollout_sets_is_left_to_it(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Its controller would set its own weights again at once: the refusal names the abort."""
    await lab.apply_yaml((ROOT / "tests/contract/crds/httproutes.yaml").read_text("utf-8"))
    routing = {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": ROUTE, "namespace": NAMESPACE}}}
    services = {"stableService": STABLE, "canaryService": CANARY, "trafficRouting": routing}
    await lab.apply(http_route(NAMESPACE, weight=0))
    await serve(lab, ROLLOUT, steps=[{"setWeight": 20}, {"pause": {}}], **services)
    sides = {"stable": {"deployment": STABLE}, "canary": {"rollout": NAME, "service": CANARY}}
    step = heal("shiftTraffic", to=0, route={"kind": "HTTPRoute", "name": ROUTE}, **sides)
    healer = await run(ruleset(rule("errors", when=ERRORS, heal=step)))
    ship(lab, ROLLOUT)
    await lab.wait_for(lambda lab: _weights(lab) == [80, 20], PATIENCE)
    await healer.post(alert("HighErrors", pod=next(iter(pods(lab)))))
    await slack.wait_for(says("kubectl argo rollouts abort"), PATIENCE)
    assert _weights(lab) == [80, 20]
    assert ("patch", "httproutes") not in [(seen.verb, seen.resource) for seen in lab.requests]


def _weights(lab: Lab) -> list[int]:
    (found,) = lab.objects("httproutes", NAMESPACE)
    return [backend["weight"] for backend in found["spec"]["rules"][0]["backendRefs"]]


async def owned(lab: Lab) -> None:
    """A Deployment that an InferenceService owns."""
    service = {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {"name": "ranker", "namespace": NAMESPACE},
        "spec": {"predictor": {}},
    }
    await lab.apply([definition(INFERENCE_SERVICE), service])
    deployment, *_ = serving(replicas=3)
    owner = owner_reference(INFERENCE_SERVICE.api_version, INFERENCE_SERVICE.kind, one(lab, INFERENCE_SERVICE))
    deployment["metadata"]["ownerReferences"] = [owner]
    await lab.apply(deployment)
    await lab.wait_for(serves(3), PATIENCE)


async def test_pods_of_an_operators_deployment_are_evicted(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """What owns the Deployment makes no difference to its pods."""
    await owned(lab)
    await run(ruleset(CRASH_LOOP))
    sick, *_ = pods(lab)
    was = uid(lab, sick)
    await lab.behave(NAMESPACE, sick, "crash")
    await lab.wait_for(serves(3, without=was), PATIENCE)
    await slack.wait_for(told("healed"), PATIENCE)
    assert evictions(lab) == [sick]


@pytest.mark.parametrize("action", ["rollback", "rolloutRestart", "scale"])
async def test_an_operators_deployment_is_not_changed(lab: Lab, run: Run, slack: FakeSlack, action: str) -> None:
    """The refusal names the operator and its own field."""
    await owned(lab)
    (before,) = lab.objects("deployments", NAMESPACE)
    params = {"max": 5} if action == "scale" else {}
    healer = await run(ruleset(rule("errors", when=ERRORS, heal=heal(action, **params))))
    await healer.post(alert("HighErrors", deployment=NAME))
    await slack.wait_for(says("KServe (InferenceService ranker)"), PATIENCE)
    assert says("change spec.predictor of inferenceservice/ranker")(slack)
    (after,) = lab.objects("deployments", NAMESPACE)
    assert (after["spec"], after["metadata"]["generation"]) == (before["spec"], before["metadata"]["generation"])
