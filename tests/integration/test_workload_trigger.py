"""The conditions of workloads, each time the real process against the lab: what is healed, and what is left and told."""

from typing import Any

import pytest

from healer.lab import Lab
from healer.lab.kinds import AUTOSCALER, DEPLOYMENT, STATEFULSET
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.test_rollback import NAME, deployment, revision, settled, ship
from tests.integration.test_workload_kinds import have
from tests.integration.world import NAMESPACE, evictions, rule, ruleset, serve
from tests.support.processes import PATIENCE

VERIFY = {"within": "30s", "stable": "300ms"}
BACK = [{"rollback": {}, "verify": VERIFY}]


def hurry(lab: Lab) -> None:
    """Its rollouts are past their deadline after less than a second."""
    lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, lambda obj: obj["spec"].update(progressDeadlineSeconds=30))


def scaler(lab: Lab, *, use: int, most: int = 3) -> None:
    """Its autoscaler wants more replicas than its maximum, as far as its last look goes; `use` is in percent of CPU."""
    scales = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    spec = {"scaleTargetRef": scales, "maxReplicas": most}
    lab.api.create(AUTOSCALER, NAMESPACE, {"metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec})
    limited = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "more than the maximum"}
    metric = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": use}}}
    status = {"currentReplicas": 3, "desiredReplicas": 3, "currentMetrics": [metric], "conditions": [limited]}
    lab.api.modify(AUTOSCALER, NAMESPACE, NAME, lambda obj: obj.update(status=status), subresource="status")


async def test_a_rollout_past_its_deadline_is_rolled_back(lab: Lab, run: Run) -> None:
    """Also where the rollout has only begun to replace pods: the old ones serve all along, and none is evicted."""
    await serve(lab, min_available=None)
    hurry(lab)
    healer = await run(ruleset(rule("stuck", when={"workload": ["ProgressDeadlineExceeded"]}, heal=BACK)))
    ship(lab, crashing=True)
    opened = await healer.says("open", rule="test/stuck")
    assert opened["target"] == f"deployment/{NAME}"
    assert "has timed out progressing" in opened["text"]
    await healer.says("incident healed", rule="test/stuck")
    assert settled("3")(lab)
    assert evictions(lab) == []


async def test_a_rollout_that_takes_its_time_is_let_go_on(lab: Lab, run: Run) -> None:
    """Its first pods crash, which is not the end of it: nobody has said yet that it makes no progress."""
    await serve(lab, min_available=None)
    healer = await run(ruleset(rule("stuck", when={"workload": ["ProgressDeadlineExceeded"]}, heal=BACK)))
    ship(lab, crashing=True)
    await lab.wait_for(lambda lab: bool(lab.objects("pods", NAMESPACE)[3:]), PATIENCE)
    lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, lambda obj: obj["spec"]["template"]["metadata"].update(annotations={}))
    await lab.wait_for(settled("3"), PATIENCE)
    assert healer.find("open") == []
    assert (await healer.metrics()).get("healer_actions_total{action=rollback,outcome=done}", 0) == 0


async def test_pods_that_a_quota_refuses_are_told_and_not_rolled_back(lab: Lab, run: Run) -> None:
    """No step of a rule without one can create room: a human is asked, in the controller's words."""
    await serve(lab, min_available=None)
    head = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "compute", "namespace": NAMESPACE}}
    await lab.apply(head | {"spec": {"hard": {"pods": "3"}}})
    await lab.wait_for(lambda lab: bool(lab.objects("resourcequotas", NAMESPACE)[0].get("status", {}).get("used")), PATIENCE)
    healer = await run(ruleset(rule("refused", when={"workload": ["ReplicaFailure"]}, heal=[{"page": {}, "verify": VERIFY}])))
    lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, lambda obj: obj["spec"].update(replicas=4))
    opened = await healer.says("open", rule="test/refused")
    assert "exceeded quota: compute" in opened["text"]
    await healer.says("incident verifying", rule="test/refused", reason="Paged")
    lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, lambda obj: obj["spec"].update(replicas=3))
    await healer.says("incident closed", rule="test/refused")
    assert revision(lab) == "1"


@pytest.mark.parametrize(("use", "told"), [(95, True), (60, False)], ids=["above its target", "at its maximum only"])
async def test_an_autoscaler_at_its_maximum_is_told_when_its_metric_is_above_the_target(
    lab: Lab, run: Run, use: int, told: bool
) -> None:
    """A workload that is merely as large as it may be is not short of replicas; none of its pods is evicted for that."""
    await serve(lab, min_available=None)
    full = rule("full", when={"workload": ["HpaAtMaximum"]}, heal=[{"page": {}, "verify": VERIFY}])
    blind = rule("blind", when={"workload": ["HpaUnableToScale"]}, heal=[{"page": {}}])
    healer = await run(ruleset(full, blind))
    scaler(lab, use=use)
    if told:
        opened = await healer.says("open", rule="test/full")
        assert f"is at its maximum of 3, and cpu is {use}%, above 80%" in opened["text"]
        lab.api.modify(AUTOSCALER, NAMESPACE, NAME, _scaled, subresource="status")
        await healer.says("incident closed", rule="test/full")
    lab.api.modify(AUTOSCALER, NAMESPACE, NAME, _blind, subresource="status")
    opened = await healer.says("open", rule="test/blind")
    assert "ScalingActive=False (FailedGetResourceMetric): no metrics returned" in opened["text"]
    assert len(healer.find("open", rule="test/full")) == told
    assert evictions(lab) == []


def _scaled(obj: Object) -> None:
    obj["status"]["conditions"][0] |= {"status": "False", "reason": "DesiredWithinRange"}


def _blind(obj: Object) -> None:
    says: dict[str, Any] = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric"}
    obj["status"]["conditions"] = [says | {"message": "no metrics returned"}]


async def test_a_rule_that_comes_later_begins_the_watch_that_it_needs(lab: Lab, run: Run, rules_folder: Any) -> None:
    """And one that goes ends it: nothing is asked for that no rule needs."""
    await serve(lab, min_available=None)
    scaler(lab, use=95)
    healer = await run(ruleset(rule("stuck", when={"workload": ["ProgressDeadlineExceeded"]}, heal=BACK)))
    assert ("autoscaling", "horizontalpodautoscalers", "list") not in lab.requests.permissions()
    full = ruleset(rule("full", when={"workload": ["HpaAtMaximum"]}, heal=[{"page": {}, "verify": VERIFY}]))
    (rules_folder / "0.yaml").write_text(full, "utf-8")
    await healer.says("the rules need a further watch: it begins", kind="HorizontalPodAutoscaler")
    await healer.says("open", rule="test/full")
    (rules_folder / "0.yaml").write_text(ruleset(rule("none", when={"pod": ["Failed"]}, heal=[{"page": {}}])), "utf-8")
    await healer.says("incident closed", rule="test/full")
    status, health = await healer.get("/healthz")
    assert status == 200
    assert "watch horizontalpodautoscalers" not in health["checks"]
    assert deployment(lab)["status"]["readyReplicas"] == 3


async def test_a_kind_without_a_condition_of_its_own_is_unavailable_by_its_counts(lab: Lab, run: Run) -> None:
    """A StatefulSet's controller says nothing of availability; a pod that is back before the time is up is no reason."""
    await have(lab, STATEFULSET)
    rules = ruleset(rule("short", when={"workload": ["Unavailable"]}, heal=[{"page": {}, "verify": VERIFY}]))
    healer = await run(rules, HEALER_WORKLOADS__UNAVAILABLE="0.5")
    await lab.behave(NAMESPACE, f"{NAME}-1", "hang")
    opened = await healer.says("open", rule="test/short")
    assert opened["target"] == f"statefulset/{NAME}"
    assert "2 of 3 replicas are ready, for" in opened["text"]
    await healer.says("incident verifying", rule="test/short", reason="Paged")
    await lab.behave(NAMESPACE, f"{NAME}-1", "ok")
    await healer.says("incident closed", rule="test/short")
    assert evictions(lab) == []


async def test_a_rule_that_comes_later_and_may_not_watch_says_so_and_stops_nothing(lab: Lab, run: Run, rules_folder: Any) -> None:
    """The other rules go on, and healer stays ready; when the permission is granted the rule sees what there is."""
    sick, *_ = await serve(lab, min_available=None)
    lab.forbid("list", "nodes")
    crash = rule("crash-loop", when={"pod": ["CrashLoopBackOff"]})
    healer = await run(ruleset(crash))
    broken = rule("broken", when={"node": ["KernelDeadlock"]}, heal=[{"page": {}}])
    (rules_folder / "0.yaml").write_text(ruleset(crash, broken), "utf-8")
    await healer.says("a permission is missing", permission="list nodes")
    assert (await healer.get("/readyz"))[0] == 200
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident healed", rule="test/crash-loop")
    for node in lab.objects("nodes"):
        lab.node_condition(node["metadata"]["name"], "KernelDeadlock", "True", "DockerHung")
    lab.allow("list", "nodes")
    await healer.says("open", rule="test/broken")
