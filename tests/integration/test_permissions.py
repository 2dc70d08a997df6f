"""Least privilege: what `healer rbac` grants is what a healer at work uses, no more and no less."""

from typing import Any

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.engine.rulebook import Rulebook
from healer.engine.rulefile import load_all
from healer.lab import Lab
from healer.lab.canary import CANARY, STABLE, ingresses, versions
from healer.model.permission import Permission, Permissions
from healer.operate.rbac import LEASE, needed
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, SLOW, patch, rule, ruleset, serve, serves, uid
from tests.support.healer import alert
from tests.support.processes import PATIENCE


async def test_exactly_what_evict_and_restart_need_is_granted(lab: Lab, run: Run) -> None:
    first, second, *_ = await serve(lab, min_available=None)
    brief = {"limits": {"cooldown": "1s"}}
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

    assert used(lab) == needs(slow, restart) | LEASE


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
    rule(name.lower(), when={"alert": [name]}, heal=[step | {"verify": {"within": "30s", "stable": "300ms"}}])
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
    bound, problems = load_all({"rules.yaml": ruleset(*rules)} if rules else {}, specs(ACTIONS))
    assert not problems
    return needed(Rulebook(bound), ACTIONS)
