"""The node of a sick pod is cordoned, the real process against the lab: its replacement comes elsewhere, or healer holds back."""

from pathlib import Path
from typing import Any

import pytest

from healer.lab import Lab
from healer.lab.kinds import NODE
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.test_scale import history, says
from tests.integration.world import NAMESPACE, evictions, pods, rule, ruleset, serve, serves, told, uid
from tests.support.healer import verb
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

ON: dict[str, Any] = {"HEALER_LIMITS__CORDON": "true", "HEALER_LIMITS__CORDON_SHARE": "50"}
"""A third of the lab's nodes is one."""
BY = "healer.dev/cordoned-by"


def sick_node(keep_for: str = "0s", **more: Any) -> str:
    """The rule: away from the node, then evict."""
    steps = [
        {"cordon": {"keepFor": keep_for}, "verify": {"within": "500ms", "stable": "100ms"}},
        {"evict": {}, "verify": {"within": "30s", "stable": "300ms"}},
    ]
    return ruleset(rule("sick-node", when={"pod": ["CrashLoopBackOff"], "for": "300ms"}, heal=steps, **more))


def node_of(lab: Lab, pod: str) -> Object:
    """The node that a pod is on."""
    name = pods(lab)[pod]["spec"]["nodeName"]
    (found,) = [node for node in lab.objects("nodes") if node["metadata"]["name"] == name]
    return found


def cordoned(lab: Lab) -> list[str]:
    """The nodes that take no new pods."""
    return [node["metadata"]["name"] for node in lab.objects("nodes") if node["spec"].get("unschedulable")]


async def test_the_replacement_comes_to_another_node_and_the_node_takes_pods_again(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Cordoned, evicted, healed, taken back: in that order."""
    sick, *_ = await serve(lab)
    node, was = node_of(lab, sick)["metadata"]["name"], uid(lab, sick)
    healer = await run(sick_node(), **ON)
    await lab.behave(NAMESPACE, sick, "crash")
    await lab.wait_for(lambda lab: cordoned(lab) == [node], PATIENCE)
    (marked,) = [each for each in lab.objects("nodes") if each["metadata"]["name"] == node]
    await lab.wait_for(serves(3, without=was), PATIENCE)
    await slack.wait_for(says("*Taken back*: node/"), PATIENCE)

    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    assert marked["metadata"]["annotations"] == {BY: f"{NAMESPACE}/{incident['metadata']['name']}"}
    assert evictions(lab) == [sick]
    assert cordoned(lab) == []
    assert BY not in (node_of(lab, next(iter(pods(lab))))["metadata"].get("annotations") or {})
    codes = history(lab)
    assert codes.index("Cordoned") < codes.index("Evicted") < codes.index("Healed") < codes.index("TakenBack")
    assert (await healer.metrics())["healer_taken_back_total{action=cordon,result=TakenBack}"] == 1


@pytest.mark.parametrize("whose", ["somebody", "a remediator"])
async def test_a_node_that_somebody_else_has_in_hand_is_left_as_it_is(lab: Lab, run: Run, slack: FakeSlack, whose: str) -> None:
    """A person has cordoned it, or NVSentinel treats it: nothing of it is changed, then or later."""
    sick, *_ = await serve(lab)
    node = node_of(lab, sick)["metadata"]["name"]

    def mark(obj: Object) -> None:
        if whose == "somebody":
            obj["spec"]["unschedulable"] = True
        else:
            obj["metadata"]["labels"] = {"dgxc.nvidia.com/nvsentinel-state": "quarantined"}

    lab.api.modify(NODE, "", node, mark)
    before = node_of(lab, sick)
    await run(sick_node(), **ON)
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(told("healed"), PATIENCE)

    assert ("CordonedByOther" if whose == "somebody" else "NodeRemediated") in history(lab)
    (after,) = [each for each in lab.objects("nodes") if each["metadata"]["name"] == node]
    assert after == before


async def test_no_more_nodes_than_the_settings_say(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Of three nodes a quarter is none."""
    sick, *_ = await serve(lab)
    await run(sick_node(), HEALER_LIMITS__CORDON="true")
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(told("healed"), PATIENCE)
    assert "CordonLimit" in history(lab)
    assert cordoned(lab) == []


async def test_without_the_setting_the_rule_is_an_error_that_names_it(
    settings: dict[str, str | Path], rules_folder: Path, tmp_path: Path
) -> None:
    """healer does not start with a step that it may not take."""
    (rules_folder / "0.yaml").write_text(sick_node(), "utf-8")
    code, said = await verb("run", "--rules", rules_folder, home=tmp_path, **settings)
    assert code == 2
    assert "rule test/sick-node uses the action cordon, which needs the setting HEALER_LIMITS__CORDON" in said


async def test_a_rule_that_observes_cordons_nothing(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """It says what it would have done."""
    sick, *_ = await serve(lab)
    await run(sick_node(mode="observe"), **ON)
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(says("would be cordoned (observe"), PATIENCE)
    assert cordoned(lab) == []
