"""Least privilege: what deploy/healer grants is what a healer at work uses, no more and no less."""

from pathlib import Path

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, SLOW, patch, ruleset, serve, serves, uid
from tests.support.healer import alert
from tests.support.kustomize import read
from tests.support.processes import PATIENCE
from tests.support.rbac import Permission, granted

ROOT = Path(__file__).parents[2]


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

    used = {Permission(seen.group, seen.permission, seen.verb) for seen in lab.requests if seen.user_agent == "healer"}
    allowed = granted(read(ROOT / "deploy/healer"))
    assert used - allowed == set(), "healer asks for what nobody granted it"
    assert allowed - used == set(), "nobody needs this"
