"""LeaderWorkerSets, the real process against the lab: a group is healed as one, or left alone as one."""

from collections.abc import Callable
from typing import Any

import yaml

from healer.lab import Lab
from healer.lab.groups import LEADER_WORKER_SET, serving_groups
from healer.lab.objects import Object, is_ready
from tests.integration.conftest import Run
from tests.integration.world import CHANNEL, NAMESPACE, Rule, evictions, pods, rule, told, uid
from tests.support.healer import alert
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

CRASH = rule("crash", when={"pod": ["NotReady"], "for": "300ms"})
HANG = rule("hang", when={"alert": ["Hang"]})


def groups_rules(*rules: Rule) -> str:
    """A rule file about all that is in the namespace."""
    document = {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": "test"}}
    return yaml.safe_dump(document | {"spec": {"scope": {"namespaces": [NAMESPACE]}, "rules": list(rules)}}, sort_keys=False)


async def have(lab: Lab, **how: Any) -> None:
    """Groups vllm-0, vllm-1 and so on, all ready."""
    await lab.apply(serving_groups(**how))
    count = how.get("groups", 2)
    await lab.wait_for(lambda lab: status(lab).get("readyReplicas") == count, PATIENCE)


def status(lab: Lab) -> Object:
    """That of the LeaderWorkerSet."""
    (found,) = lab.objects(LEADER_WORKER_SET.resource, NAMESPACE)
    reported: Object = found.get("status") or {}
    return reported


def members(lab: Lab, group: int) -> dict[str, str]:
    """The uids of the pods of a group, by name."""
    return {name: pod["metadata"]["uid"] for name, pod in pods(lab).items() if name.split("-")[1] == str(group)}


def replaced(group: int, before: dict[str, str]) -> Callable[[Lab], bool]:
    """Whether all pods of a group are new ones, and ready."""

    def holds(lab: Lab) -> bool:
        now = members(lab, group)
        new = now.keys() == before.keys() and not set(now.values()) & set(before.values())
        return new and all(is_ready(pods(lab)[name]) for name in now)

    return holds


async def test_a_group_of_which_all_ranks_hang_is_restarted_once(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """An NCCL hang is seen on every rank: one alert each, one eviction for all."""
    await have(lab, groups=2, size=3)
    healer, before, other = await run(groups_rules(HANG)), members(lab, 1), members(lab, 0)
    hung = [alert("Hang", pod=name) for name in before]
    await healer.post(*hung)
    await lab.wait_for(replaced(1, before), PATIENCE)
    await healer.post(*hung)  # Alertmanager repeats them: they are about the pods that are gone
    await healer.post(*({**each, "status": "resolved", "endsAt": each["startsAt"]} for each in hung))
    await slack.wait_for(told("healed"), PATIENCE)
    (evicted,) = evictions(lab)
    assert evicted in before
    assert members(lab, 0) == other
    healed = await healer.says("incident healed", rule="test/hang")
    assert healed["workload"] == "leaderworkerset/vllm"
    assert any(
        "its group, that of leader pod/vllm-1, is replaced as a whole (3 pods)" in str(thread)
        for thread in slack.threads(CHANNEL)
    )


async def test_a_sick_worker_is_healed_by_its_group(lab: Lab, run: Run, slack: FakeSlack) -> None:
    await have(lab)
    before = members(lab, 1)
    await run(groups_rules(CRASH))
    await lab.behave(NAMESPACE, "vllm-1-1", "hang")
    await lab.wait_for(replaced(1, before), PATIENCE)
    await slack.wait_for(told("healed"), PATIENCE)
    assert evictions(lab) == ["vllm-1-1"]


async def test_two_sick_groups_of_three_are_a_storm_and_none_is_taken(lab: Lab, run: Run, slack: FakeSlack) -> None:
    await have(lab, groups=3)
    healer = await run(groups_rules(HANG | {"limits": {"maxUnhealthy": "50%", "cooldown": "10m"}}))
    await healer.post(*(alert("Hang", pod=name) for name in ("vllm-0", "vllm-0-1", "vllm-1", "vllm-1-1")))
    await slack.wait_for(lambda s: "2 of 3 groups are sick at once" in str(s.threads(CHANNEL)), PATIENCE)
    assert evictions(lab) == []


async def test_the_last_ready_group_is_not_taken(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Three of four pods are ready, but one group of two."""
    await have(lab)
    await lab.behave(NAMESPACE, "vllm-0-1", "hang")
    await lab.wait_for(lambda lab: status(lab)["readyReplicas"] == 1, PATIENCE)
    healer = await run(groups_rules(HANG))
    await healer.post(alert("Hang", pod="vllm-1"))
    await slack.wait_for(lambda s: "minReady asks for 1" in str(s.threads(CHANNEL)), PATIENCE)
    assert evictions(lab) == []


async def test_a_budget_over_the_leaders_protects_their_groups(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """The API server would let the worker go: its leader, which goes too, is what the budget is about."""
    await have(lab, protect_leaders=2)
    healer, before = await run(groups_rules(HANG)), members(lab, 1)
    await healer.post(alert("Hang", pod="vllm-1-1"))
    await slack.wait_for(lambda s: "a PodDisruptionBudget of pod/vllm-1" in str(s.threads(CHANNEL)), PATIENCE)
    assert members(lab, 1) == before
    assert uid(lab, "vllm-1") == before["vllm-1"]


async def test_a_restart_is_refused_where_a_budget_covers_what_goes_along(lab: Lab, run: Run, slack: FakeSlack) -> None:
    await have(lab, protect_leaders=1)
    heal = [{"restart": {}, "verify": {"within": "30s", "stable": "300ms"}}]
    healer, before = await run(groups_rules(HANG | {"heal": heal})), members(lab, 1)
    await healer.post(alert("Hang", pod="vllm-1-1"))
    await slack.wait_for(lambda s: "covers pod/vllm-1-1 or what goes with it" in str(s.threads(CHANNEL)), PATIENCE)
    assert members(lab, 1) == before


async def test_a_dry_run_says_what_would_go_along(lab: Lab, run: Run, slack: FakeSlack) -> None:
    await have(lab)
    healer, before = await run(groups_rules(HANG | {"mode": "observe"})), members(lab, 1)
    await healer.post(alert("Hang", pod="vllm-1-1"))
    said = "pod/vllm-1-1 would be evicted; its group, that of leader pod/vllm-1, is replaced as a whole (2 pods)"
    await slack.wait_for(lambda s: said in str(s.threads(CHANNEL)), PATIENCE)
    assert members(lab, 1) == before


async def test_a_rollout_restart_replaces_every_group(lab: Lab, run: Run, slack: FakeSlack) -> None:
    await have(lab)
    heal = [{"rolloutRestart": {}, "verify": {"within": "30s", "stable": "300ms"}}]
    healer, before = await run(groups_rules(HANG | {"heal": heal})), [members(lab, group) for group in (0, 1)]
    hung = alert("Hang", leaderworkerset="vllm")
    await healer.post(hung)
    await lab.wait_for(lambda lab: all(replaced(group, was)(lab) for group, was in enumerate(before)), PATIENCE)
    await healer.post(hung | {"status": "resolved", "endsAt": hung["startsAt"]})
    await slack.wait_for(told("healed"), PATIENCE)
    assert evictions(lab) == []


async def test_a_rollback_is_refused_with_what_to_do(lab: Lab, run: Run, slack: FakeSlack) -> None:
    await have(lab)
    heal = [{"rollback": {}, "verify": {"within": "30s", "stable": "300ms"}}]
    healer = await run(groups_rules(HANG | {"heal": heal}))
    await healer.post(alert("Hang", leaderworkerset="vllm"))
    await slack.wait_for(lambda s: "apply the earlier manifest" in str(s.threads(CHANNEL)), PATIENCE)
