"""What people say to a running healer through the cluster: pause, approve; and what it says to them when it cannot run."""

import signal
from pathlib import Path

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, evictions, patch, ruleset, serve
from tests.support.healer import verb
from tests.support.processes import PATIENCE

HOME = ("--healer-namespace", "default")
_INCIDENTS = f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/incidents"


async def test_everything_is_paused_and_goes_on(lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]) -> None:
    sick, *_ = await serve(lab)
    kubeconfig = {"KUBECONFIG": settings["KUBECONFIG"]}
    healer = await run(ruleset(CRASH_LOOP), HEALER_LEADER__RENEW="0.2")
    code, printed = await verb("pause", "everything", *HOME, "--reason", "load test", home=tmp_path, **kubeconfig)
    assert code == 0, printed
    await lab.behave(NAMESPACE, sick, "crash")
    waiting = await healer.says("incident waiting", reason="Paused")
    assert "load test" in waiting["text"]
    assert evictions(lab) == []
    code, printed = await verb("resume", "everything", *HOME, home=tmp_path, **kubeconfig)
    assert code == 0, printed
    await healer.says("incident healed")
    assert evictions(lab) == [sick]


async def test_a_step_waits_for_approval_and_is_taken_then(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]
) -> None:
    sick, *_ = await serve(lab)
    healer = await run(ruleset(CRASH_LOOP | {"mode": "approve"}))
    await lab.behave(NAMESPACE, sick, "crash")
    waiting = await healer.says("incident waiting", reason="NeedsApproval")
    assert evictions(lab) == []
    arguments = ("approve", waiting["incident"], "-n", NAMESPACE, "--by", "alice")
    code, printed = await verb(*arguments, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
    assert code == 0, printed
    await healer.says("incident healed")
    assert evictions(lab) == [sick]
    (incident,) = lab.objects("incidents.healer.dev")
    assert [approval["by"] for approval in incident["status"]["approvals"]] == ["alice"]


async def test_a_cluster_without_the_definition_of_incidents_says_what_to_apply(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(ruleset(CRASH_LOOP))
    async with Lab() as lab:
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        code, printed = await verb(
            "run",
            "--rules",
            str(tmp_path / "rules.yaml"),
            home=tmp_path,
            KUBECONFIG=tmp_path / "kubeconfig",
            HEALER_HTTP__PORT="0",
        )
    assert code == 2
    assert "kubectl apply -f deploy/healer/crd.yaml" in printed


async def test_what_was_approved_is_asked_for_again_when_the_rule_was_changed_while_healer_was_away(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]
) -> None:
    sick, *_ = await serve(lab)
    kubeconfig = {"KUBECONFIG": settings["KUBECONFIG"]}
    healer = await run(ruleset(CRASH_LOOP | {"mode": "approve"}))
    await lab.behave(NAMESPACE, sick, "crash")
    waiting = await healer.says("incident waiting", reason="NeedsApproval")
    pause = (f"namespace/{NAMESPACE}", "--reason", "not yet")
    assert (await verb("pause", *pause, home=tmp_path, **kubeconfig))[0] == 0
    arguments = ("approve", waiting["incident"], "-n", NAMESPACE, "--by", "alice")
    assert (await verb(*arguments, home=tmp_path, **kubeconfig))[0] == 0
    await healer.says("incident waiting", reason="Paused")
    healer.send(signal.SIGTERM)
    await healer.ended()
    changed = CRASH_LOOP | {"mode": "approve", "limits": {"cooldown": "20m"}}
    healer = await run(ruleset(changed))
    closed = await healer.says("incident closed", incident=waiting["incident"], reason="RuleChanged")
    assert "the approval by alice was for the rule as it was" in closed["text"]
    assert (await verb("resume", f"namespace/{NAMESPACE}", home=tmp_path, **kubeconfig))[0] == 0
    again = await healer.says("incident waiting", reason="NeedsApproval")
    assert again["incident"] != waiting["incident"]
    assert evictions(lab) == []
    assert (await verb("approve", again["incident"], "-n", NAMESPACE, "--by", "bob", home=tmp_path, **kubeconfig))[0] == 0
    await healer.says("incident healed")
    assert evictions(lab) == [sick]


async def test_what_was_approved_in_incidents_that_are_over_is_not_refused_at_each_start(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]
) -> None:
    """The annotation stays on a closed incident; what comes later is heard all the same."""
    sick, *_ = await serve(lab)
    kubeconfig = {"KUBECONFIG": settings["KUBECONFIG"]}
    rules = ruleset(CRASH_LOOP | {"mode": "approve", "limits": {"cooldown": "1s"}})
    healer = await run(rules)
    await lab.behave(NAMESPACE, sick, "crash")
    first = await healer.says("incident waiting", reason="NeedsApproval")
    arguments = ("approve", first["incident"], "-n", NAMESPACE, "--by", "alice")
    assert (await verb(*arguments, home=tmp_path, **kubeconfig))[0] == 0
    await healer.says("incident closed", incident=first["incident"])
    await lab.wait_for(lambda lab: lab.objects("incidents.healer.dev")[0]["status"]["state"] == "closed", PATIENCE)
    healer.send(signal.SIGTERM)
    await healer.ended()

    healer = await run(rules)
    passed = await healer.says("an approval from before is not taken for a new one")
    assert (passed["incident"], passed["by"], passed["level"]) == (first["incident"], "alice", "debug")
    await patch(lab, f"{_INCIDENTS}/{first['incident']}", {"metadata": {"annotations": {"healer.dev/approved-by": "bob"}}})
    refused = await healer.says("refuse", reason="NotAwaited")
    assert "bob approved an incident that does not wait" in refused["text"], "and not alice: what comes later is answered"
    assert len(healer.find("refuse", reason="NotAwaited")) == 1
