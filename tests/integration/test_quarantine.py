"""A sick pod is put in quarantine, the real process against the lab: another takes its place, or healer holds back."""

from typing import Any

from healer.cluster.api import Api
from healer.lab import Lab
from healer.lab.objects import controller_of
from healer.operate.undo import undo
from tests.integration.conftest import Run
from tests.integration.test_scale import history, says
from tests.integration.world import NAMESPACE, pods, rule, ruleset, serve, told, uid
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

LABEL = "healer.dev/quarantined"


def kept_apart(keep_for: str = "24h", **more: Any) -> str:
    """The rule."""
    step = {"quarantine": {"keepFor": keep_for}, "verify": {"within": "5s", "stable": "300ms"}}
    return ruleset(rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "300ms"}, heal=[step], **more))


def quarantined(lab: Lab) -> list[str]:
    return [name for name, pod in pods(lab).items() if LABEL in (pod["metadata"].get("labels") or {})]


async def test_another_pod_takes_its_place_and_the_sick_one_is_kept_and_released(
    lab: Lab, run: Run, slack: FakeSlack, settings: dict[str, Any]
) -> None:
    """It is no patient any more although it still crashes, and no budget counts it; `healer undo` gives it back to its owner."""
    sick, *_ = await serve(lab, min_available=None)
    await lab.apply([budget("of-the-version", {"matchLabels": {"version": "v1"}})])  # its ReplicaSet asks for no version
    await lab.wait_for(lambda lab: counts(lab, "of-the-version") == 3, PATIENCE)
    was, labels = uid(lab, sick), pods(lab)[sick]["metadata"]["labels"]
    await run(kept_apart())
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(told("healed"), PATIENCE)

    assert quarantined(lab) == [sick]
    assert len(pods(lab)) == 4
    assert uid(lab, sick) == was
    assert controller_of(pods(lab)[sick]) is None
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    slices = lab.objects("endpointslices", NAMESPACE)
    addressed = {each["targetRef"]["name"] for found in slices for each in found.get("endpoints") or []}
    assert sick not in addressed

    assert counts(lab, "of-the-version") == 3

    api = await Api.connect(kubeconfig=str(settings["KUBECONFIG"]))
    try:
        await undo(api, NAMESPACE, incident["metadata"]["name"], "alice", lambda _: None)
    finally:
        await api.aclose()
    await lab.wait_for(lambda lab: len(pods(lab)) == 3, PATIENCE)
    assert quarantined(lab) == []
    if sick in pods(lab):
        assert pods(lab)[sick]["metadata"]["labels"] == labels


def budget(name: str, selector: dict[str, Any]) -> dict[str, Any]:
    """A PodDisruptionBudget that allows everything."""
    about = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": NAMESPACE}}
    return about | {"spec": {"minAvailable": 0, "selector": selector}}


def counts(lab: Lab, name: str) -> int:
    """How many pods a budget expects, as its controller has counted them."""
    (found,) = [each for each in lab.objects("poddisruptionbudgets", NAMESPACE) if each["metadata"]["name"] == name]
    return int((found.get("status") or {}).get("expectedPods", 0))


async def test_a_budget_of_all_pods_cannot_be_left(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Whatever labels the pod loses, the budget counts it as one of those that serve."""
    sick, *_ = await serve(lab, min_available=None)
    await lab.apply([budget("of-all", {})])
    await lab.wait_for(lambda lab: counts(lab, "of-all") == 3, PATIENCE)
    await run(kept_apart())
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(says("PodDisruptionBudget of-all would select"), PATIENCE)
    assert "StillSelected" in history(lab)
    assert quarantined(lab) == []


async def test_it_does_not_go_around_a_budget(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """A PodDisruptionBudget that wants more than there is allows nothing."""
    sick, *_ = await serve(lab, min_available=3)
    await run(kept_apart())
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(says("allows no disruption now"), PATIENCE)
    assert "BudgetRefused" in history(lab)
    assert quarantined(lab) == []
    assert sick in pods(lab)


async def test_a_rule_that_observes_changes_no_label(lab: Lab, run: Run, slack: FakeSlack) -> None:
    sick, *_ = await serve(lab)
    await run(kept_apart(mode="observe"))
    await lab.behave(NAMESPACE, sick, "crash")
    await slack.wait_for(says("would be put in quarantine"), PATIENCE)
    assert quarantined(lab) == []
