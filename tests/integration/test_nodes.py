"""Rules on the nodes of pods, the real process against the lab: moved away, left to who treats the node, or to a human."""

from pathlib import Path

import pytest
import yaml

from healer.lab import Lab
from healer.lab.kinds import NODE
from tests.deploy.test_healer import one
from tests.integration.conftest import ROOT, Run
from tests.integration.world import NAMESPACE, evictions, pods, rule, ruleset, serve
from tests.support.healer import verb
from tests.support.kustomize import built
from tests.support.processes import PATIENCE
from tests.support.rbac import Authorizer, granted

BROKEN = rule("broken", when={"node": ["KernelDeadlock"]})


def place(lab: Lab, pod: str) -> str:
    """The node that a pod is on."""
    return str(pods(lab)[pod]["spec"]["nodeName"])


async def test_the_pod_on_a_broken_node_is_evicted(lab: Lab, run: Run) -> None:
    """Its node alone is at fault: the pods on the others stay."""
    sick, *_ = await serve(lab, min_available=None)
    healer = await run(ruleset(BROKEN))
    node = place(lab, sick)
    lab.node_condition(node, "ReadonlyFilesystem", "True")
    lab.node_condition(node, "KernelDeadlock", "True", "DockerHung", "task docker:1 blocked for more than 120 seconds")
    opened = await healer.says("open", rule="test/broken")
    assert f"node/{node}: KernelDeadlock=True (DockerHung): task docker:1 blocked" in opened["text"]
    await healer.says("incident verifying", rule="test/broken")
    lab.node_condition(node, "KernelDeadlock", "False")
    await healer.says("incident healed", rule="test/broken")
    assert evictions(lab)[0] == sick
    assert len(healer.find("open")) == 1


@pytest.mark.parametrize(
    ("taint", "whose"),
    [("karpenter.sh/disrupted", "Karpenter is at work"), ("node.kubernetes.io/not-ready", "Kubernetes is at work")],
)
async def test_a_node_that_somebody_else_treats_is_left_to_them_until_they_are_done(
    lab: Lab, run: Run, taint: str, whose: str
) -> None:
    """Also by a rule that asks for nothing but the pod itself."""
    sick, *_ = await serve(lab, min_available=None)
    node = place(lab, sick)
    lab.taint_node(node, taint)
    healer = await run(ruleset(BROKEN, rule("crash-loop", when={"pod": ["CrashLoopBackOff"]})))
    await lab.behave(NAMESPACE, sick, "crash")
    waits = await healer.says("incident waiting", rule="test/crash-loop", reason="NodeRemediated")
    assert f"pod/{sick} is on node/{node}, where {whose} ({taint})" in waits["text"]
    assert evictions(lab) == []
    lab.taint_node(node)
    await healer.says("incident healed", rule="test/crash-loop")
    assert evictions(lab) == [sick]


async def test_many_sick_pods_of_one_node_are_one_incident_of_the_node(lab: Lab, run: Run) -> None:
    """Of two workloads: none of their pods is taken, and a human is told once."""
    for number in range(3):
        lab.api.modify(NODE, "", f"node-{number}", lambda obj, n=number: obj["spec"].update(unschedulable=n > 0))  # type: ignore[misc]
    await serve(lab, replicas=6, min_available=None)
    for number in range(1, 3):
        lab.api.modify(NODE, "", f"node-{number}", lambda obj: obj["spec"].pop("unschedulable"))
    assert {place(lab, pod) for pod in pods(lab)} == {"node-0"}
    healer = await run(ruleset(BROKEN))
    lab.node_condition("node-0", "KernelDeadlock", "True", "DockerHung", "blocked")
    opened = await healer.says("open", rule="healer/node-storm")
    assert "6 of 6 pods on node/node-0 are sick at once" in opened["text"]
    lab.node_condition("node-0", "KernelDeadlock", "False")
    await healer.says("close", rule="healer/node-storm")
    assert evictions(lab) == []


async def test_with_what_production_deploys_any_rule_waits_for_who_treats_a_node(lab: Lab, run: Run) -> None:
    """No rule is on `node`. The lab refuses what the roles of the overlay do not allow."""
    sick, *_ = await serve(lab, min_available=None)
    objects = built(ROOT / "deploy" / "healer" / "overlays" / "production")
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    (watched,) = [entry["value"] for entry in container["env"] if entry["name"] == "HEALER_CLUSTER__NODES"]
    allows = Authorizer(objects).allows
    refused = lab.faults.answer(403, match=lambda seen: seen.user_agent == "healer" and not allows(seen), times=None)
    await lab.apply_yaml((ROOT / "deploy" / "healer" / "namespace.yaml").read_text("utf-8"))
    node = place(lab, sick)
    lab.taint_node(node, "dgxc.nvidia.com/nvsentinel-state")
    crashes = rule("crash-loop", when={"pod": ["CrashLoopBackOff"]})
    healer = await run(ruleset(crashes), HEALER_CLUSTER__NODES=watched, HEALER_LEADER__NAMESPACE="healer")
    await lab.behave(NAMESPACE, sick, "crash")
    waits = await healer.says("incident waiting", rule="test/crash-loop", reason="NodeRemediated")
    assert f"pod/{sick} is on node/{node}, where NVSentinel is at work" in waits["text"]
    assert (evictions(lab), refused.hits) == ([], 0)
    lab.taint_node(node)
    await healer.says("incident healed", rule="test/crash-loop")
    assert (evictions(lab), refused.hits) == ([sick], 0)


@pytest.mark.parametrize("nodes", [False, True])
async def test_rbac_grants_the_watch_of_nodes_where_the_setting_asks_for_it(
    rules_folder: Path, tmp_path: Path, nodes: bool
) -> None:
    """By a ClusterRole, also for a healer that is confined to namespaces. None changes nodes."""
    (rules_folder / "rules.yaml").write_text(ruleset(rule("crash-loop", when={"pod": ["CrashLoopBackOff"]})), "utf-8")
    for confined in ((), ("--namespace", NAMESPACE)):
        code, printed = await verb("rbac", rules_folder, *confined, home=tmp_path, HEALER_CLUSTER__NODES=str(nodes))
        assert code == 0
        assert {each.verb for each in granted(yaml.safe_load_all(printed)) if each.resource == "nodes"} == (
            {"get", "list", "watch"} if nodes else set()
        )


async def test_nodes_are_watched_only_where_a_rule_or_the_settings_ask_for_it(lab: Lab, run: Run) -> None:
    """Else healer says that it does not see who treats a node, and heals."""
    sick, *_ = await serve(lab, min_available=None)
    lab.taint_node(place(lab, sick), "karpenter.sh/disrupted")
    healer = await run(ruleset(rule("crash-loop", when={"pod": ["CrashLoopBackOff"]})))
    warned = await healer.says("pods may be taken from a node that somebody else treats: healer does not watch nodes")
    assert (warned["rules"], "HEALER_CLUSTER__NODES" in warned["hint"]) == (["test/crash-loop"], True)
    await lab.behave(NAMESPACE, sick, "crash")
    await lab.wait_for(lambda lab: evictions(lab) == [sick], PATIENCE)
    assert ("", "nodes", "list") not in lab.requests.permissions()
