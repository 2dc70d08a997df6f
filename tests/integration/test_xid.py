"""Alerts about Xid errors of GPUs, the real process against the lab: one class restarts a pod, the other leaves it alone."""

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import evictions, rule, ruleset, serve
from tests.support.healer import alert


async def test_an_error_of_the_application_restarts_the_pod_and_one_of_the_device_is_left_to_a_human(lab: Lab, run: Run) -> None:
    """A number that is in no table is a human's, too, and one that is not there matches nothing."""
    sick, broken, strange = await serve(lab, min_available=None)
    mine = rule("application", when={"alert": ["GpuXidError"], "if": "alert.xidClass == 'application'"})
    others = rule("other", when={"alert": ["GpuXidError"], "if": "alert.xidClass != 'application'"}, heal=[{"page": {}}])
    healer = await run(ruleset(mine, others))
    await healer.post(alert("GpuXidError", pod=broken, err_code="79"))
    await healer.post(alert("GpuXidError", pod=strange, err_code="1"), alert("GpuXidError", pod=sick))
    paged = await healer.says("incident verifying", rule="test/other", reason="Paged")
    assert evictions(lab) == [], paged["text"]
    assert healer.find("ignore", rule="test/application", target=f"pod/{sick}")[0]["reason"] == "ConditionFailed"
    await healer.post(alert("GpuXidError", pod=sick, err_code="31"))
    await healer.says("incident verifying", rule="test/application")
    assert evictions(lab) == [sick]
