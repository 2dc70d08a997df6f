"""Bad revisions of a Deployment, each time the real process against the lab: rolled back once, or left to who owns it."""

from collections.abc import Callable
from typing import Any

import pytest

from healer.lab import Lab
from healer.lab.kinds import DEPLOYMENT
from healer.lab.kubelet.behaviour import ANNOTATION
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.world import CHANNEL, NAMESPACE, Floor, evictions, pods, rule, ruleset, serve, serves, told, uid
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

NAME = "tensorflow-serving"
REVISION = "deployment.kubernetes.io/revision"
OLD, NEW = "tensorflow/serving:2.16.1", "tensorflow/serving:2.17.0"
VERIFY = {"within": "30s", "stable": "300ms"}
CRASHING = {"pod": ["CrashLoopBackOff"], "for": "300ms"}


def deployment(lab: Lab) -> Object:
    """The one that there is."""
    (found,) = lab.objects("deployments", NAMESPACE)
    return found


def revision(lab: Lab) -> str:
    """Its number."""
    return str(deployment(lab)["metadata"]["annotations"][REVISION])


def ship(lab: Lab, *, crashing: bool = False, surge: str = "25%", labels: dict[str, str] | None = None) -> None:
    """Somebody rolls the NEW image out. At most `surge` more pods than wanted are there at a time."""

    def change(obj: Object) -> None:
        obj["metadata"]["labels"] |= labels or {}
        obj["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}}
        template = obj["spec"]["template"]
        template["spec"]["containers"][0]["image"] = NEW
        if crashing:
            template["metadata"]["annotations"] = {ANNOTATION: "crash"}

    lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, change)


def settled(number: str) -> Callable[[Lab], bool]:
    """Whether three pods of that revision are ready, and none is there besides."""

    def holds(lab: Lab) -> bool:
        return revision(lab) == number and deployment(lab)["status"].get("updatedReplicas") == 3 and serves(3)(lab)

    return holds


def texts(slack: FakeSlack) -> list[str]:
    """The lines of the one thread."""
    (thread,) = slack.threads(CHANNEL)
    return thread


async def test_a_revision_whose_pods_crash_is_rolled_back_and_said_once(lab: Lab, run: Run, slack: FakeSlack) -> None:
    await serve(lab, min_available=None)
    before = deployment(lab)["spec"]["template"]
    on_storm = {"rollback": {}, "verify": VERIFY}
    limits = {"cooldown": "10m", "maxUnhealthy": "40%"}
    healer = await run(ruleset(rule("crash-loop", when=CRASHING, onStorm=on_storm, limits=limits)))
    floor = Floor(lab)
    ship(lab, crashing=True, surge="100%")

    healed = await healer.says("incident healed", rule="test/crash-loop")
    await slack.wait_for(told("healed"), PATIENCE)

    assert settled("3")(lab)
    assert deployment(lab)["spec"]["template"] == before
    assert deployment(lab)["metadata"]["annotations"]["healer.dev/rolled-back-by"] == healed["incident"]
    assert floor.lowest == 3, "the old pods served all along"
    assert evictions(lab) == []
    assert len(healer.find("open")) == 1, "one incident, not one for each pod"
    (line,) = [line for line in texts(slack) if "rolled back from revision 2 to revision 1" in line]
    assert f"image {NEW} -&gt; {OLD}" in line
    assert slack.twice == []
    assert "evict" not in "".join(texts(slack)), "the ladder's step was not taken"
    assert (await healer.metrics())["healer_actions_total{action=rollback,outcome=done}"] == 1


@pytest.mark.parametrize("even", [False, True], ids=["refused", "evenIfManaged"])
async def test_a_deployment_of_a_gitops_controller_is_rolled_back_only_when_the_rule_says_so(
    lab: Lab, run: Run, slack: FakeSlack, even: bool
) -> None:
    await serve(lab, min_available=None)
    params: dict[str, Any] = {"evenIfManaged": True} if even else {}
    healer = await run(ruleset(rule("crash-loop", when=CRASHING, heal=[{"rollback": params, "verify": VERIFY}])))
    ship(lab, crashing=True, labels={"argocd.argoproj.io/instance": "shop"})

    if even:
        await healer.says("incident healed")
        assert settled("3")(lab)
        return
    escalated = await healer.says("incident escalated")
    await slack.wait_for(told("escalated"), PATIENCE)
    assert escalated["reason"] == "Managed"
    (line,) = [line for line in texts(slack) if "*A human is needed*" in line]
    for said in (line, escalated["text"]):
        assert "deployment/tensorflow-serving is managed by Argo CD (Application shop), which would revert a rollback" in said
        assert "human is needed" in said
    assert revision(lab) == "2"
    assert not [seen for seen in lab.requests if seen.verb == "patch" and seen.permission == "deployments"]


async def test_a_storm_on_a_deployment_of_a_gitops_controller_is_held_and_who_owns_it_is_said(
    lab: Lab, run: Run, slack: FakeSlack
) -> None:
    await serve(lab, min_available=None)
    healer = await run(ruleset(rule("crash-loop", when=CRASHING, onStorm={"rollback": {}, "verify": VERIFY})))
    ship(lab, crashing=True, surge="100%", labels={"argocd.argoproj.io/instance": "shop"})

    owner = "managed by Argo CD (Application shop)"
    await slack.wait_for(lambda slack: any(owner in line for thread in slack.threads(CHANNEL) for line in thread), PATIENCE)

    (line,) = [line for line in texts(slack) if owner in line]
    assert "*A human is needed*" in line
    assert revision(lab) == "2"
    assert not healer.find("incident verifying")


async def test_a_ladder_climbs_from_an_eviction_that_did_not_help_to_a_rollback(lab: Lab, run: Run) -> None:
    """A revision that all pods have, and that one of them cannot bear: nor can the one that replaces it."""
    await serve(lab, min_available=None)
    ship(lab)
    await lab.wait_for(settled("2"), PATIENCE)
    heal = [{"evict": {}, "verify": {"within": "3s", "stable": "1s"}}, {"rollback": {}, "verify": VERIFY}]
    healer = await run(ruleset(rule("crash-loop", when=CRASHING, heal=heal)))
    sick, known = min(pods(lab)), pods(lab).keys()
    before, floor = uid(lab, sick), Floor(lab)

    await lab.behave(NAMESPACE, sick, "crash")
    await lab.wait_for(lambda lab: bool(pods(lab).keys() - known), PATIENCE)
    (replacement,) = pods(lab).keys() - known
    await lab.behave(NAMESPACE, replacement, "crash")
    healed = await healer.says("incident healed")

    assert evictions(lab) == [sick]
    assert settled("3")(lab)
    assert serves(3, without=before)(lab)
    assert [pod["spec"]["containers"][0]["image"] for pod in pods(lab).values()] == [OLD] * 3
    assert floor.lowest == 2, "the crashing one alone"
    climbed = await healer.says("climb", incident=healed["incident"])
    assert climbed["text"].startswith("step 1 (evict) did not help: sick as well: the new pod/")
    states = ["open", "acting", "verifying", "open", "acting", "verifying", "healed"]
    assert healer.history(healed["incident"]) == states
