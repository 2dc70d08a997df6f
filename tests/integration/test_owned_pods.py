"""Pods that operators own, the real process against the lab: healed, changed by the owner's own field, or left to it and said."""

from typing import Any

import pytest

from healer.lab import Lab
from healer.lab.canary import CANARY, STABLE, http_route, versions
from healer.lab.custom import LLM_INFERENCE_SERVICE, RAY_CLUSTER, RAY_SERVICE
from healer.lab.kubelet.behaviour import ANNOTATION
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.test_custom_kinds import heal, one, says
from tests.integration.test_groups import groups_rules
from tests.integration.world import CHANNEL, CRASH_LOOP, NAMESPACE, evictions, pods, rule, serves, told, uid
from tests.support.healer import alert
from tests.support.operators import language_model, own
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

ERRORS = {"alert": ["HighErrors"]}
ROUTE = {"kind": "LLMInferenceService", "name": "chat"}
SIDES = {"stable": {"deployment": STABLE}, "canary": {"deployment": CANARY}}


async def split(lab: Lab, weight: int) -> Object:
    """An LLMInferenceService that gives so many percent to a canary; returns its spec."""
    rules = http_route(NAMESPACE, weight=weight)["spec"]["rules"]
    spec: Object = {"model": {"uri": "hf://m"}, "router": {"route": {"http": {"spec": {"rules": rules}}}}}
    await lab.apply(versions(NAMESPACE, replicas=(1, 1)))
    await lab.wait_for(serves(2), PATIENCE)
    await language_model(lab, spec=spec)
    await lab.wait_for(serves(5), PATIENCE)
    return spec


def weights(lab: Lab) -> list[int]:
    """Those that its owner has, of stable and of the canary."""
    spec = one(lab, LLM_INFERENCE_SERVICE)["spec"]
    return [backend["weight"] for backend in spec["router"]["route"]["http"]["spec"]["rules"][0]["backendRefs"]]


async def test_a_pod_of_an_llm_service_is_evicted_and_nothing_of_its_owner_is_changed(
    lab: Lab, run: Run, slack: FakeSlack
) -> None:
    await language_model(lab)
    await lab.wait_for(serves(3), PATIENCE)
    before = [lab.objects(kind, NAMESPACE)[0]["spec"] for kind in ("llminferenceservices", "deployments")]
    await run(groups_rules(CRASH_LOOP))
    sick, *_ = pods(lab)
    was = uid(lab, sick)
    await lab.behave(NAMESPACE, sick, "crash")
    await lab.wait_for(serves(3, without=was), PATIENCE)
    await slack.wait_for(told("healed"), PATIENCE)
    assert evictions(lab) == [sick]
    assert [lab.objects(kind, NAMESPACE)[0]["spec"] for kind in ("llminferenceservices", "deployments")] == before


@pytest.mark.parametrize("action", ["rollback", "rolloutRestart", "scale"])
async def test_the_deployment_of_an_llm_service_is_left_to_its_owner(lab: Lab, run: Run, slack: FakeSlack, action: str) -> None:
    """The refusal names the field that people change."""
    deployment = await language_model(lab)
    await lab.wait_for(serves(3), PATIENCE)
    (before,) = lab.objects("deployments", NAMESPACE)
    params = {"max": 5} if action == "scale" else {}
    healer = await run(groups_rules(rule("errors", when=ERRORS, heal=heal(action, **params))))
    await healer.post(alert("HighErrors", deployment=deployment))
    await slack.wait_for(says("KServe (LLMInferenceService chat)"), PATIENCE)
    assert says("change spec.template of llminferenceservice/chat")(slack)
    (after,) = lab.objects("deployments", NAMESPACE)
    assert (after["spec"], after["metadata"]["generation"]) == (before["spec"], before["metadata"]["generation"])


async def test_the_canary_of_an_llm_service_loses_its_traffic_by_the_owners_field(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """By the weights in spec.router.route, and by nothing else."""
    spec = await split(lab, weight=20)
    healer = await run(groups_rules(rule("errors", when=ERRORS, heal=heal("shiftTraffic", to=0, route=ROUTE, **SIDES))))
    bad = alert("HighErrors", deployment=CANARY)
    await healer.post(bad)
    await lab.wait_for(lambda lab: weights(lab) == [100, 0], PATIENCE)
    await healer.post(bad | {"status": "resolved", "endsAt": bad["startsAt"]})
    await slack.wait_for(told("healed"), PATIENCE)
    assert says("traffic of llminferenceservice/chat: canary 20 % -&gt; 0 %")(slack)
    after = one(lab, LLM_INFERENCE_SERVICE)["spec"]
    for side, weight in zip(after["router"]["route"]["http"]["spec"]["rules"][0]["backendRefs"], (80, 20), strict=True):
        side["weight"] = weight
    assert after == spec
    assert evictions(lab) == []


async def test_traffic_is_not_given_to_a_stable_side_that_serves_nobody(lab: Lab, run: Run) -> None:
    """The canary is bad, and all that there is. When stable serves again, it gets all."""
    spec = await split(lab, weight=20)
    (stable,) = [name for name in pods(lab) if name.startswith(STABLE)]
    await lab.behave(NAMESPACE, stable, "hang")
    await lab.wait_for(lambda lab: not serves(5)(lab), PATIENCE)
    healer = await run(groups_rules(rule("errors", when=ERRORS, heal=heal("shiftTraffic", to=0, route=ROUTE, **SIDES))))
    await healer.post(alert("HighErrors", deployment=CANARY))
    waits = await healer.says("incident waiting", rule="test/errors", reason="NoReadyEndpoints")
    assert "has no ready pods: llminferenceservice/chat sends it no more traffic" in waits["text"]
    assert one(lab, LLM_INFERENCE_SERVICE)["spec"] == spec
    await lab.behave(NAMESPACE, stable, "ok")
    await lab.wait_for(lambda lab: weights(lab) == [100, 0], PATIENCE)


def ray_pod(name: str, owner: Object, node: str, *, behaviour: str = "ok") -> Object:
    """A pod as KubeRay makes it for a cluster, which owns it directly."""
    labels = {"ray.io/cluster": owner["name"], "ray.io/node-type": node, "ray.io/serve": "true"}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "ownerReferences": [owner]}
    container: dict[str, Any] = {
        "name": "ray",
        "image": "rayproject/ray:2.60.0",
        "readinessProbe": {"exec": {"command": ["true"]}},
    }
    annotations = {ANNOTATION: behaviour}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | {"annotations": annotations},
        "spec": {"containers": [container]},
    }


async def test_pods_of_a_ray_service_are_told_and_never_fought(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """KubeRay makes clusters anew by itself. A worker without a replica of Ray Serve is unready by design, and no case at all."""
    service = await own(lab, RAY_SERVICE, "llm")
    cluster = await own(lab, RAY_CLUSTER, "llm-raycluster-x7", ownerReferences=[service])
    idle = ray_pod("idle", cluster, "worker", behaviour="hang")
    await lab.apply([ray_pod("head", cluster, "head"), ray_pod("busy", cluster, "worker"), idle])
    await lab.wait_for(lambda lab: sum(pod["status"].get("phase") == "Running" for pod in pods(lab).values()) == 3, PATIENCE)
    ready = rule("not-ready", when={"pod": ["NotReady"], "for": "300ms"})
    healer = await run(groups_rules(CRASH_LOOP, ready, rule("slow", when={"alert": ["HighLatency"]})))
    await lab.behave(NAMESPACE, "busy", "crash")
    left = await healer.says("incident escalated", rule="test/crash-loop")
    assert left["workload"] == "raycluster/llm-raycluster-x7"
    assert "change raycluster/llm-raycluster-x7, or the RayService that owns it" in left["text"]
    await healer.post(alert("HighLatency", pod="head"))
    await healer.says("incident escalated", rule="test/slow")
    await slack.wait_for(lambda slack: len(slack.threads(CHANNEL)) == 2, PATIENCE)
    assert healer.find("open", rule="test/not-ready", target="pod/idle") == []
    theirs = [seen for seen in lab.requests if seen.resource in ("pods", "rayclusters", "rayservices")]
    assert {seen.verb for seen in theirs} <= {"get", "list", "watch"}
    assert evictions(lab) == []
