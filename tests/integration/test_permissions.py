"""Least privilege: what deploy/healer grants is what a healer at work uses, no more and no less."""

from pathlib import Path

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, SLOW, ruleset, serve, serves, uid
from tests.support.healer import alert
from tests.support.kustomize import read
from tests.support.processes import PATIENCE
from tests.support.rbac import Permission, granted

ROOT = Path(__file__).parents[2]


async def test_exactly_what_evict_and_restart_need_is_granted(lab: Lab, run: Run) -> None:
    first, second, *_ = await serve(lab, min_available=None)
    restart = CRASH_LOOP | {"heal": [{"restart": {}, "verify": {"within": "30s", "stable": "0s"}}]}
    healer = await run(ruleset(SLOW, restart))
    before, firing = uid(lab, first), alert("HighLatency", pod=first)
    await healer.post(firing)
    await lab.wait_for(serves(3, without=before), PATIENCE)
    await healer.post(firing | {"status": "resolved"})
    await healer.says("incident healed", rule="test/slow")
    await lab.behave(NAMESPACE, second, "crash")
    await healer.says("incident healed", rule="test/crash-loop")

    used = {Permission(*permission) for permission in lab.requests.permissions()}
    allowed = granted(read(ROOT / "deploy/healer"))
    assert used - allowed == set(), "healer asks for what nobody granted it"
    assert allowed - used == set(), "nobody needs this"
