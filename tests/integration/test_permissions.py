"""Least privilege: what `healer rbac` grants is what a healer at work uses, no more and no less."""

from collections.abc import Callable
from typing import Any

import pytest

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.lab.canary import CANARY, STABLE, ingresses, versions
from healer.model.action import Permission, Permissions
from healer.operate.rbac import LEASE, manifests, needed
from healer.rules.loading import load_all
from healer.rules.rulebook import Rulebook
from healer.workloads.registry import core_resources
from tests.integration.conftest import Run
from tests.integration.test_events import report
from tests.integration.test_workload_trigger import scaler
from tests.integration.world import CRASH_LOOP, NAMESPACE, SLOW, evictions, patch, pods, rule, ruleset, serve, serves, uid
from tests.support.healer import alert
from tests.support.processes import PATIENCE
from tests.support.rbac import Authorizer

DEPLOYMENTS = {"namespaces": [NAMESPACE], "kinds": ["Deployment"]}


async def test_exactly_what_evict_and_restart_need_is_granted(lab: Lab, run: Run) -> None:
    first, second, *_ = await serve(lab, min_available=None)
    brief = {"limits": {"cooldown": "1s"}, "scope": DEPLOYMENTS}
    slow, restart = SLOW | brief, CRASH_LOOP | brief | {"heal": [{"restart": {}, "verify": {"within": "30s", "stable": "0s"}}]}
    healer = await run(
        ruleset(slow, restart),
        HEALER_LEADER__RENEW="0.2",
        HEALER_JOURNAL__KEEP="1",
        HEALER_JOURNAL__PRUNE="0.2",
    )
    before, firing = uid(lab, first), alert("HighLatency", pod=first)
    await healer.post(firing)
    await lab.wait_for(serves(3, without=before), PATIENCE)
    (incident,) = lab.objects("incidents.healer.dev")
    place = f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/incidents/{incident['metadata']['name']}"
    await patch(lab, place, {"metadata": {"annotations": {"note": "a person's: healer's next write meets a conflict"}}})
    await healer.post(firing | {"status": "resolved"})
    await healer.says("incident healed", rule="test/slow")
    await lab.behave(NAMESPACE, second, "crash")
    await healer.says("incident healed", rule="test/crash-loop")
    await healer.says("incident closed", rule="test/crash-loop")
    await lab.wait_for(lambda lab: len(lab.objects("incidents.healer.dev")) == 1, PATIENCE)  # the other is too old to keep

    absent = {Permission(each.api_group, each.plural, "watch") for each in core_resources() if each.optional}
    assert used(lab) | absent == needs(slow, restart) | LEASE, "what the cluster has not is listed, and not watched"


ROUTE = {
    "route": {"kind": "Ingress", "name": "model-ab-testing"},
    "stable": {"deployment": STABLE},
    "canary": {"deployment": CANARY},
}
STEPS: dict[str, dict[str, Any]] = {
    "Shift": {"shiftTraffic": {"to": 0, **ROUTE}},
    "Again": {"rolloutRestart": {}},
    "Back": {"rollback": {}},
}
ON_WORKLOADS = [
    rule(name.lower(), when={"alert": [name]}, scope=DEPLOYMENTS, heal=[step | {"verify": {"within": "30s", "stable": "300ms"}}])
    for name, step in STEPS.items()
]


async def test_exactly_what_actions_on_workloads_need_is_granted(lab: Lab, run: Run) -> None:
    await lab.apply([*versions(), *ingresses(weight=20)])
    await lab.wait_for(serves(4), PATIENCE)
    healer = await run(ruleset(*ON_WORKLOADS))
    for name, reason in (("Shift", "Shifted"), ("Again", "RolloutRestarted"), ("Back", "RolledBack")):
        if name == "Back":
            template = {"spec": {"containers": [{"name": "tensorflow-serving", "image": "tensorflow/serving:2.17.0"}]}}
            await patch(lab, f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{CANARY}", {"spec": {"template": template}})
            await lab.wait_for(rolled_out, PATIENCE)
        firing = alert(name, deployment=CANARY)
        await healer.post(firing)
        await healer.says("incident verifying", reason=reason)
        await healer.post(firing | {"status": "resolved"})
        await healer.says("incident healed", rule=f"test/{name.lower()}")
    beyond = used(lab) - needs(*ON_WORKLOADS) - LEASE
    assert beyond == set(), "healer asks for what nobody granted it"
    assert needs(*ON_WORKLOADS) - used(lab) == needs() - used(lab), "nobody needs this"


AUTOSCALERS = {("autoscaling", "horizontalpodautoscalers", verb) for verb in ("get", "patch")}
"""Of these there are none to change."""


async def test_exactly_what_temporary_changes_need_is_granted(lab: Lab, run: Run) -> None:
    """To make them, and to take them back: nodes by name, and only where a rule cordons."""
    first, *_ = await serve(lab, min_available=None)
    verify = {"within": "30s", "stable": "0s"}
    when, scope = {"alert": ["HighLatency"]}, DEPLOYMENTS
    busy = rule("busy", when=when, scope=scope, heal=[{"scale": {"max": 4, "keepFor": "0s"}, "verify": verify}])
    sick = rule("sick", when={"alert": ["BadNode"]}, scope=scope, heal=[{"cordon": {"keepFor": "0s"}, "verify": verify}])
    healer = await run(ruleset(busy, sick), HEALER_LIMITS__CORDON="true", HEALER_LIMITS__CORDON_SHARE="50")
    for firing in (alert("HighLatency", deployment="tensorflow-serving"), alert("BadNode", pod=first)):
        await healer.post(firing)
        await healer.says("incident verifying", reason="Scaled" if "deployment" in firing["labels"] else "Cordoned")
        await healer.post(firing | {"status": "resolved"})
    for each in ("busy", "sick"):
        await healer.says("incident healed", rule=f"test/{each}", reason="TakenBack")
    assert used(lab) - needs(busy, sick) - LEASE == set(), "healer asks for what nobody granted it"
    assert needs(busy, sick) - used(lab) - (needs() - used(lab)) == AUTOSCALERS, "nobody needs this"
    assert not [each for each in needs(busy) if each.resource == "nodes"]


def _mount_fails(lab: Lab, pod: str) -> None:
    report(lab, pod)


def _kernel_hangs(lab: Lab, pod: str) -> None:
    lab.node_condition(pods(lab)[pod]["spec"]["nodeName"], "KernelDeadlock", "True")


def _at_its_maximum(lab: Lab, pod: str) -> None:
    scaler(lab, use=95)


OBSERVED: dict[str, tuple[dict[str, Any], str, Callable[[Lab, str], None]]] = {
    "event": ({"event": {"reasons": ["FailedMount"]}}, "events.events.k8s.io", _mount_fails),
    "node": ({"node": ["KernelDeadlock"]}, "nodes", _kernel_hangs),
    "workload": ({"workload": ["HpaAtMaximum"]}, "horizontalpodautoscalers.autoscaling", _at_its_maximum),
}
"""What a rule looks for, the resource that it has healer watch, and how it comes about."""
WATCHER = rule("watcher", when={"alert": ["HighLatency"]}, scope=DEPLOYMENTS, heal=[{"page": {}}])


@pytest.mark.parametrize("trigger", OBSERVED)
async def test_exactly_what_a_trigger_needs_is_granted(lab: Lab, run: Run, trigger: str) -> None:
    """The lab refuses what is not granted; a rule on alerts is granted less by just this one resource."""
    when, resource, happens = OBSERVED[trigger]
    observer = WATCHER | {"name": trigger, "when": when}
    more = {f"{each.resource}{f'.{each.group}' if each.group else ''}" for each in needs(observer) - needs(WATCHER)}
    assert more == {resource}
    sick, *_ = await serve(lab, min_available=None)
    allows = Authorizer(manifests(needs(observer), "default")).allows
    refused = lab.faults.answer(403, match=lambda seen: seen.user_agent == "healer" and not allows(seen), times=None)
    healer = await run(ruleset(observer))
    happens(lab, sick)
    await healer.says("open", rule=f"test/{trigger}")
    assert refused.hits == 0
    assert needs(observer) - needs(WATCHER) <= used(lab), "nobody needs this"


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize("trigger", OBSERVED)
async def test_a_trigger_without_a_permission_is_told(lab: Lab, run: Run, trigger: str, verb: str) -> None:
    """By its name, and how it is granted."""
    when, resource, _ = OBSERVED[trigger]
    await serve(lab, min_available=None)
    lab.forbid(verb, resource.partition(".")[0])
    healer = await run(ruleset(WATCHER | {"name": trigger, "when": when}), ready=False)
    missing = await healer.says("a permission is missing", permission=f"{verb} {resource}")
    assert "healer rbac" in missing["hint"]


CONFINED: dict[str, Any] = {"HEALER_CLUSTER__NAMESPACES": f'["{NAMESPACE}"]', "HEALER_LEADER__NAMESPACE": "default"}


async def test_a_healer_with_roles_in_its_namespaces_only_heals_there(lab: Lab, run: Run) -> None:
    """The lab refuses what `healer rbac --namespace` does not grant, as RBAC would; healer asks for nothing that is refused."""
    sick, *_ = await serve(lab, min_available=None)
    before = uid(lab, sick)
    printed = manifests(needs(CRASH_LOOP), "default", within=(NAMESPACE,))
    assert {each["kind"] for each in printed} == {"ServiceAccount", "Role", "RoleBinding"}
    allows = Authorizer(printed).allows
    refused = lab.faults.answer(403, match=lambda seen: not allows(seen), times=None)
    healer = await run(ruleset(CRASH_LOOP), **CONFINED)
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident healed", rule="test/crash-loop")
    await lab.wait_for(serves(3, without=before), PATIENCE)
    asked = [seen for seen in lab.requests if seen.user_agent == "healer" and not allows(seen)]
    assert (refused.hits, asked) == (0, [])


async def test_a_pause_of_a_namespace_is_seen_by_a_confined_healer(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    path = f"/api/v1/namespaces/{NAMESPACE}"
    await patch(lab, path, {"metadata": {"annotations": {"healer.dev/paused": "true"}}})
    healer = await run(ruleset(CRASH_LOOP), **CONFINED, HEALER_CLUSTER__NAMESPACE_POLL="100ms")
    await lab.behave(NAMESPACE, sick, "crash")
    waiting = await healer.says("incident waiting", rule="test/crash-loop")
    assert waiting["reason"] == "Paused"
    await patch(lab, path, {"metadata": {"annotations": {"healer.dev/paused": None}}})
    await healer.says("incident healed", rule="test/crash-loop")


async def test_a_namespace_that_may_not_be_read_is_said_once_and_holds_up_nothing(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    for verb in ("get", "list", "watch"):
        lab.forbid(verb, "namespaces")
    healer = await run(ruleset(CRASH_LOOP), **CONFINED, HEALER_CLUSTER__NAMESPACE_POLL="50ms")
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident healed", rule="test/crash-loop")
    (said,) = healer.find("a namespace cannot be read: healer.dev/paused on it is not seen")
    assert (said["namespace"], said["missing"]) == (NAMESPACE, "get namespaces")
    assert "healer rbac" in said["hint"]
    assert sum((seen.verb, seen.resource) == ("get", "namespaces") for seen in lab.requests) > 1


def rolled_out(lab: Lab) -> bool:
    (canary,) = [each for each in lab.objects("deployments", NAMESPACE) if each["metadata"]["name"] == CANARY]
    status, replicas = canary.get("status") or {}, canary["spec"]["replicas"]
    settled = status.get("observedGeneration") == canary["metadata"]["generation"]
    return bool(settled and status.get("updatedReplicas") == status.get("replicas") == status.get("readyReplicas") == replicas)


def used(lab: Lab) -> set[Permission]:
    """What the healer has asked for."""
    return {Permission(seen.group, seen.permission, seen.verb) for seen in lab.requests if seen.user_agent == "healer"}


def needs(*rules: dict[str, Any]) -> Permissions:
    """What `healer rbac` grants for these rules."""
    bound, problems = load_all({"rules.yaml": ruleset(*rules)} if rules else {}, vocabulary())
    assert not problems
    return needed(Rulebook(bound), ACTIONS)


async def test_rights_that_come_late_are_used_without_a_restart(lab: Lab, run: Run) -> None:
    """The control plane has not filled the sum of ClusterRoles in yet: healer has the Role for its lease alone."""
    sick, *_ = await serve(lab, min_available=None)
    before = uid(lab, sick)
    await lab.behave(NAMESPACE, sick, "crash")
    empty = lab.faults.answer(403, match=_by_the_sum, times=None, body=_forbidden("pods"))
    healer = await run(ruleset(CRASH_LOOP), ready=False)
    missing = await healer.says("a permission is missing", permission="list pods")
    assert 'the label rbac.healer.dev/aggregate-to-healer: "true"' in missing["hint"]
    assert (await healer.get("/healthz"))[0] == 200, "a restart helps nobody"
    code, told = await healer.get("/readyz")
    assert (code, told["checks"]["pods synced"]["ok"]) == (503, False)
    assert "may not list namespaces" in told["checks"]["cluster"]["reason"]
    lab.faults.remove(empty)
    await healer.says("healer is ready")
    await healer.says("incident healed", rule="test/crash-loop")
    await lab.wait_for(serves(3, without=before), PATIENCE)


async def test_rights_that_go_for_a_while_make_nothing_refused_for_ever(lab: Lab, run: Run) -> None:
    """The sum of ClusterRoles is applied anew, and empty until the control plane has filled it in."""
    sick, *_ = await serve(lab, min_available=None)
    healer = await run(ruleset(SLOW))
    empty = lab.faults.answer(403, match=_by_the_sum, times=None, body=_forbidden("pods"))
    assert (await healer.post(alert("HighLatency", pod=sick)))[0] == 503
    await healer.says("a permission is missing", permission=f"create incidents.healer.dev in namespace {NAMESPACE}")
    assert evictions(lab) == []
    lab.faults.remove(empty)
    await healer.says("incident verifying", reason="Evicted")
    assert evictions(lab) == [sick]


def _by_the_sum(seen: Any) -> bool:
    """A request of healer's that a ClusterRole, not the Role of its own namespace, allows."""
    return seen.user_agent == "healer" and bool(seen.resource) and seen.resource != "leases"


def _forbidden(resource: str) -> dict[str, Any]:
    message = f'{resource} is forbidden: User "system:serviceaccount:healer:healer" cannot do this at the cluster scope'
    return {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": message, "code": 403}
