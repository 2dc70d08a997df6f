"""What healer does about sick pods, each time the real process against the lab."""

from pathlib import Path

import pytest

from healer.lab import Lab, serving
from healer.lab.objects import is_ready
from tests.integration.conftest import Run
from tests.integration.world import (
    CHANNEL,
    CRASH_LOOP,
    NAMESPACE,
    SLOW,
    Floor,
    evictions,
    patch,
    pods,
    rule,
    ruleset,
    serve,
    serves,
    told,
    uid,
)
from tests.support.healer import Healer, alert, environment
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

_BUDGET = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets/tensorflow-serving"


async def test_a_crash_looping_pod_is_evicted_and_replaced(lab: Lab, run: Run) -> None:
    sick, *well = await serve(lab)
    healer = await run(ruleset(CRASH_LOOP))
    before = uid(lab, sick)
    await lab.behave(NAMESPACE, sick, "crash")

    healed = await healer.says("incident healed", rule="test/crash-loop")

    assert evictions(lab) == [sick]
    assert serves(3, without=before)(lab)
    assert set(well) < set(pods(lab))
    assert healer.history(healed["incident"]) == ["open", "acting", "verifying", "healed"]


async def test_a_pod_that_was_sick_before_healer_came_is_seen(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    await lab.behave(NAMESPACE, sick, "hang")
    await lab.wait_for(lambda lab: not is_ready(pods(lab)[sick]), PATIENCE)  # from now on nothing changes
    healer = await run(ruleset(rule("not-ready", when={"pod": ["NotReady"], "for": "300ms"})))
    await healer.says("incident healed")
    assert evictions(lab) == [sick]


async def test_an_alert_for_a_pod_that_is_gone_is_decided_and_nothing_is_done(lab: Lab, run: Run) -> None:
    names = await serve(lab)
    healer = await run(ruleset(SLOW))

    status, answer = await healer.post(alert("HighLatency", pod="tensorflow-serving-0000-gone"))

    assert (status, answer) == (200, {"accepted": 1, "untargeted": 0, "truncated": 0})
    decision = await healer.says("ignore", rule="test/slow")
    assert decision["reason"] == "TargetGone"
    assert (await healer.metrics())["healer_decisions_total{decision=ignore,reason=TargetGone,rule=test/slow}"] == 1
    assert evictions(lab) == []
    assert list(pods(lab)) == names


async def test_an_alert_that_names_a_workload_is_left_to_people_when_the_ladder_acts_on_pods_only(
    lab: Lab, run: Run, slack: FakeSlack
) -> None:
    names = await serve(lab)
    healer = await run(ruleset(SLOW))

    status, _ = await healer.post(alert("HighLatency", deployment="tensorflow-serving"))

    assert status == 200
    escalated = await healer.says("incident escalated", rule="test/slow")
    assert escalated["workload"] == "deployment/tensorflow-serving"
    assert escalated["reason"] == "WrongTarget"
    await slack.wait_for(told("escalated"), PATIENCE)
    assert evictions(lab) == []
    assert list(pods(lab)) == names


async def test_a_budget_that_refuses_is_waited_for(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=3)
    healer = await run(ruleset(SLOW))
    before = uid(lab, sick)
    firing = alert("HighLatency", pod=sick)
    await healer.post(firing)

    waiting = await healer.says("incident waiting")
    assert waiting["reason"] == "BudgetRefused"
    assert uid(lab, sick) == before
    await patch(lab, _BUDGET, {"spec": {"minAvailable": 2}})
    await lab.wait_for(serves(3, without=before), PATIENCE)
    await healer.post(firing | {"status": "resolved"})
    await healer.says("incident healed", incident=waiting["incident"])

    assert set(evictions(lab)) == {sick}
    assert not [seen for seen in lab.requests if seen.verb == "delete"], "a refusal is never answered with a DELETE"
    metrics = await healer.metrics()
    assert metrics["healer_actions_total{action=evict,outcome=deferred}"] >= 1
    assert metrics["healer_actions_total{action=evict,outcome=done}"] == 1


async def test_an_alert_that_is_over_stops_the_waiting(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=3)
    healer = await run(ruleset(SLOW))
    before = uid(lab, sick)
    firing = alert("HighLatency", pod=sick)
    await healer.post(firing)
    await healer.says("incident waiting", reason="BudgetRefused")
    await healer.post(firing | {"status": "resolved"})
    closed = await healer.says("incident closed")
    assert closed["reason"] == "Recovered"
    assert uid(lab, sick) == before


async def test_two_sick_pods_of_a_workload_go_one_after_the_other(lab: Lab, run: Run) -> None:
    *sick, well = await serve(lab, min_available=None)  # no budget: what keeps the second pod is healer alone
    healer = await run(ruleset(SLOW | {"limits": {"cooldown": "10m", "maxUnhealthy": "70%"}}))
    floor, was = Floor(lab), {name: uid(lab, name) for name in pods(lab)}
    firing = [alert("HighLatency", pod=name) for name in sick]

    assert (await healer.post(*firing))[0] == 200
    await lab.wait_for(lambda lab: serves(3)(lab) and pods(lab).keys() & was.keys() == {well}, PATIENCE)
    await healer.post(*({**each, "status": "resolved"} for each in firing))
    await healer.says("incident healed")

    assert sorted(evictions(lab)) == sorted(sick)
    assert floor.lowest == 2, "never two down"
    assert uid(lab, well) == was[well]
    assert len(healer.find("open", rule="test/slow")) == 1, "one incident"
    assert (await healer.metrics())["healer_actions_total{action=evict,outcome=done}"] == 2


async def test_what_is_sick_at_once_is_a_storm_before_the_first_pod_is_taken(lab: Lab, run: Run) -> None:
    names = await serve(lab, min_available=None)
    healer = await run(ruleset(SLOW))
    await healer.post(*(alert("HighLatency", pod=name) for name in names))
    waiting = await healer.says("incident waiting")
    assert waiting["reason"] == "Storm"
    assert evictions(lab) == []


async def test_the_last_ready_pods_are_not_taken_for_an_alert(lab: Lab, run: Run) -> None:
    names = await serve(lab, replicas=2, min_available=None)
    healer = await run(ruleset(SLOW | {"limits": {"cooldown": "1m", "minReady": 2, "maxUnhealthy": "100%"}}))
    await healer.post(*(alert("HighLatency", pod=name) for name in names))
    waiting = await healer.says("incident waiting")
    assert waiting["reason"] == "BelowFloor"
    assert evictions(lab) == []


async def test_observing_asks_the_cluster_and_changes_nothing(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    healer = await run(
        ruleset(SLOW | {"mode": "observe", "heal": [{"evict": {}, "verify": {"within": "500ms", "stable": "0s"}}]})
    )
    before = pods(lab)
    floor = Floor(lab)
    await healer.post(alert("HighLatency", pod=sick))

    verifying = await healer.says("incident verifying")
    still = await healer.says("incident verifying", reason="StillSick")

    assert verifying["reason"] == "WouldEvict"
    assert still["text"].startswith("still sick")
    assert not healer.find("incident escalated")
    assert evictions(lab) == [sick], "the dry run"
    assert pods(lab) == before
    assert floor.lowest == 3


async def test_a_restart_deletes_a_pod_that_no_budget_covers(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    heal = [{"restart": {}, "verify": {"within": "30s", "stable": "300ms"}}]
    healer = await run(ruleset(rule("crash-loop", when=CRASH_LOOP["when"], heal=heal)))
    before = uid(lab, sick)
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident healed")
    assert serves(3, without=before)(lab)
    assert [seen.name for seen in lab.requests if (seen.verb, seen.permission) == ("delete", "pods")] == [sick]
    assert evictions(lab) == []


async def test_a_workload_all_of_whose_pods_crash_is_left_alone_and_people_are_asked(
    lab: Lab, run: Run, slack: FakeSlack
) -> None:
    await lab.apply(serving(behaviour="crash", min_available=None))
    healer = await run(ruleset(CRASH_LOOP))
    await healer.says("incident waiting", reason="Storm")
    await slack.wait_for(told("escalated"), PATIENCE)
    assert len(slack.messages[CHANNEL]) == 1, "one message, not one for each pod"
    assert evictions(lab) == []


async def test_a_paused_namespace_is_left_alone_until_it_is_not(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    await patch(lab, f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"annotations": {"healer.dev/paused": "true"}}})
    healer = await run(ruleset(CRASH_LOOP))
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident waiting", reason="Paused")
    assert evictions(lab) == []
    await patch(lab, f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"annotations": {"healer.dev/paused": None}}})
    await healer.says("incident healed")
    assert evictions(lab) == [sick]


async def test_an_eviction_that_is_forbidden_is_left_to_people(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    lab.forbid("create", "pods/eviction")
    healer = await run(ruleset(CRASH_LOOP))
    before = uid(lab, sick)
    await lab.behave(NAMESPACE, sick, "crash")
    escalated = await healer.says("incident escalated")
    assert escalated["reason"] == "Forbidden"
    assert "pods/eviction" in escalated["text"]
    assert evictions(lab) == [sick], "asked once"
    assert uid(lab, sick) == before


async def test_only_the_given_namespaces_are_watched(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab)
    healer = await run(ruleset(CRASH_LOOP), HEALER_CLUSTER__NAMESPACES=f'["{NAMESPACE}"]')
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident healed")
    elsewhere = (
        "namespaces",
        "leases",
        "incidents",
        "endpointslices",
    )  # of no namespace; in healer's own; there too, those of nodes
    assert {seen.namespace for seen in lab.requests if seen.resource not in elsewhere} == {NAMESPACE}


@pytest.mark.parametrize(("arguments", "mode"), [(["--observe"], "enforce"), ([], "observe")])
async def test_capped_no_rule_changes_anything_and_what_becomes_of_the_pod_is_said(
    lab: Lab, settings: dict[str, str | Path], rules_folder: Path, tmp_path: Path, arguments: list[str], mode: str
) -> None:
    sick, *_ = await serve(lab)
    (rules_folder / "rules.yaml").write_text(ruleset(SLOW), "utf-8")
    environ = environment(tmp_path, settings | {"HEALER_MODE": mode})
    async with Healer(["--rules", str(rules_folder), *arguments], environ) as healer:
        await healer.says("healer is ready")
        await healer.post(alert("HighLatency", pod=sick))
        await healer.says("incident verifying", rule="test/slow")
        await healer.post(alert("HighLatency", resolved=True, pod=sick))
        closed = await healer.says("incident closed", rule="test/slow")
        assert closed["text"].startswith("recovered by itself after")
        assert healer.find("no rule goes further than this mode, whatever it says", mode="observe")
        metrics = await healer.metrics()
    assert metrics["healer_actions_total{action=evict,outcome=dry-run}"] == 1
    assert metrics["healer_actions_total{action=evict,outcome=done}"] == 0
    assert serves(3)(lab)
    assert sick in pods(lab)
