"""StatefulSets and DaemonSets, each time the real process against the lab: what is healed, and where healer holds back."""

from collections.abc import Callable
from typing import Any

import pytest

from healer.lab import Lab, serving
from healer.lab.kinds import DAEMONSET, STATEFULSET, Kind
from healer.lab.kubelet.behaviour import ANNOTATION
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.world import CHANNEL, NAMESPACE, evictions, pods, rule, ruleset, serves, uid
from tests.support.healer import alert
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

NAME = "tensorflow-serving"
OLD, BAD = "tensorflow/serving:2.16.1", "tensorflow/serving:bad"
QUICK = {"within": "30s", "stable": "300ms"}
SOON = {"within": "1s", "stable": "300ms"}
CRASH_LOOP = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "300ms"})
NO_IMAGE = {"pod": ["ImagePullBackOff"], "for": "300ms"}
DAEMONS: Any = {"scope": {"namespaces": [NAMESPACE], "kinds": ["DaemonSet"]}}


async def have(lab: Lab, kind: Kind, **spec: Any) -> None:
    """The serving workload of the lab as another kind, with three pods that are ready."""
    objects = serving(NAME, NAMESPACE, min_available=None)
    (workload,) = [each for each in objects if each["kind"] == "Deployment"]
    keys = {"selector", "template"} | ({"replicas"} if kind is STATEFULSET else set())
    workload |= {"kind": kind.kind, "spec": {key: workload["spec"][key] for key in keys} | spec}
    await lab.apply(objects)
    await lab.wait_for(serves(3), PATIENCE)


def found(lab: Lab, kind: Kind) -> Object:
    """The one that there is."""
    (workload,) = lab.objects(kind.plural, NAMESPACE)
    return workload


def images(lab: Lab) -> list[str]:
    """Those of the pods, by the names of the pods."""
    return [pod["spec"]["containers"][0]["image"] for _, pod in sorted(pods(lab).items())]


def ship(lab: Lab, kind: Kind, image: str) -> None:
    """Somebody rolls an image out."""

    def change(obj: Object) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image

    lab.api.modify(kind, NAMESPACE, NAME, change)


def stuck(images_: list[str]) -> Callable[[Lab], bool]:
    """Whether the pods have these images, and the last one cannot pull its own."""

    def holds(lab: Lab) -> bool:
        waits = [pod["status"].get("containerStatuses", [{}])[0].get("state", {}) for pod in pods(lab).values()]
        return images(lab) == images_ and any("ImagePullBackOff" in str(state) for state in waits)

    return holds


# StatefulSets


async def test_a_pod_of_a_statefulset_is_evicted_and_the_one_that_gets_its_name_is_not(lab: Lab, run: Run) -> None:
    """Alertmanager names the pod by its name alone, and says for a while that the alert fires: that is about the first."""
    await have(lab, STATEFULSET)
    sick, name = uid(lab, f"{NAME}-1"), f"{NAME}-1"
    healer = await run(ruleset(rule("slow", when={"alert": ["HighLatency"]}, heal=[{"evict": {}, "verify": QUICK}] * 2)))
    slow = alert("HighLatency", pod=name)
    await healer.post(slow)
    await lab.wait_for(serves(3, without=sick), PATIENCE)
    for _ in range(3):
        await healer.post(slow)
    healed = await healer.says("incident healed", rule="test/slow")
    await healer.post(slow)
    assert healed["workload"] == f"statefulset/{NAME}"
    assert evictions(lab) == [name]
    assert len(healer.find("incident open")) == 1


async def test_a_crash_loop_in_a_statefulset_is_healed(lab: Lab, run: Run) -> None:
    await have(lab, STATEFULSET, podManagementPolicy="Parallel")
    healer = await run(ruleset(CRASH_LOOP))
    await lab.behave(NAMESPACE, f"{NAME}-1", "crash")
    healed = await healer.says("incident healed", rule="test/crash-loop")
    assert (evictions(lab), healed["workload"]) == ([f"{NAME}-1"], f"statefulset/{NAME}")


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
async def test_a_bad_revision_of_a_statefulset_is_rolled_back(lab: Lab, run: Run, policy: str) -> None:
    """In order, its controller waits for the pod that never became ready until somebody takes it: the next step does."""
    await have(lab, STATEFULSET, podManagementPolicy=policy)
    template = found(lab, STATEFULSET)["spec"]["template"]
    heal = [{"rollback": {}, "verify": SOON if policy == "OrderedReady" else QUICK}, {"evict": {}, "verify": QUICK}]
    healer = await run(ruleset(rule("no-image", when=NO_IMAGE, heal=heal)))
    ship(lab, STATEFULSET, BAD)
    done = await healer.says("incident verifying", rule="test/no-image")
    assert "rolled back from revision 2 to revision 1" in done["text"]
    assert ("until they are taken" in done["text"]) is (policy == "OrderedReady")
    await healer.says("incident healed", rule="test/no-image")
    assert found(lab, STATEFULSET)["spec"]["template"] == template
    assert images(lab) == [OLD] * 3
    assert evictions(lab) == ([f"{NAME}-2"] if policy == "OrderedReady" else [])


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        ({"type": "OnDelete"}, "updateStrategy is OnDelete"),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}, "its partition (3) keeps all 3 replicas"),
    ],
    ids=["OnDelete", "partition"],
)
async def test_what_a_new_template_would_change_nothing_of_is_not_rolled(lab: Lab, run: Run, strategy: Object, why: str) -> None:
    """People are told so; a restart or a rollback that does nothing would look like a step that did not help."""
    await have(lab, STATEFULSET, updateStrategy=strategy)
    before = found(lab, STATEFULSET)["spec"]
    healer = await run(ruleset(rule("slow", when={"alert": ["HighLatency"]}, heal=[{"rolloutRestart": {}}])))
    await healer.post(alert("HighLatency", statefulset=NAME))
    escalated = await healer.says("incident escalated", rule="test/slow")
    assert why in escalated["text"]
    assert found(lab, STATEFULSET)["spec"] == before


async def test_during_a_rollout_of_a_statefulset_no_pod_is_taken(lab: Lab, run: Run) -> None:
    """Nobody has to say that it rolls: its revisions differ."""
    await have(lab, STATEFULSET)
    healer = await run(ruleset(rule("no-image", when=NO_IMAGE)))
    ship(lab, STATEFULSET, BAD)
    await lab.wait_for(stuck([OLD, OLD, BAD]), PATIENCE)
    waiting = await healer.says("incident waiting", rule="test/no-image")
    assert waiting["reason"] == "RolloutInProgress"
    assert evictions(lab) == []


# DaemonSets


async def test_a_daemonset_is_left_alone_unless_the_rule_names_its_kind(lab: Lab, run: Run) -> None:
    """What it is about is seen and told."""
    await have(lab, DAEMONSET)
    name = next(iter(pods(lab)))
    healer = await run(ruleset(CRASH_LOOP, rule("named", when=CRASH_LOOP["when"], **DAEMONS)))
    await lab.behave(NAMESPACE, name, "crash")
    ignored = await healer.says("ignore", rule="test/crash-loop")
    assert "scope.kinds" in ignored["text"]
    healed = await healer.says("incident healed")
    assert (healed["rule"], healed["workload"]) == ("test/named", f"daemonset/{NAME}")
    assert evictions(lab) == [name]


async def test_a_bad_revision_of_a_daemonset_is_rolled_back(lab: Lab, run: Run) -> None:
    await have(lab, DAEMONSET)
    template = found(lab, DAEMONSET)["spec"]["template"]
    healer = await run(ruleset(rule("no-image", when=NO_IMAGE, heal=[{"rollback": {}, "verify": QUICK}], **DAEMONS)))
    ship(lab, DAEMONSET, BAD)
    await healer.says("incident healed", rule="test/no-image")
    assert found(lab, DAEMONSET)["spec"]["template"] == template
    assert images(lab) == [OLD] * 3


# what is told and left alone


async def test_a_job_and_a_pod_that_nobody_owns_are_told_once_and_left_alone(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """The workload beside them is healed all the same."""
    await have(lab, STATEFULSET, podManagementPolicy="Parallel")
    (container,) = found(lab, STATEFULSET)["spec"]["template"]["spec"]["containers"]
    metadata: Object = {"labels": {"app": NAME}, "annotations": {ANNOTATION: "crash"}}
    template = {"metadata": metadata, "spec": {"restartPolicy": "OnFailure", "containers": [container]}}
    job: Object = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}, "spec": {"template": template}}
    bare: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | {"name": "solo"},
        "spec": {"containers": [container]},
    }
    healer = await run(ruleset(CRASH_LOOP))
    await lab.apply([each | {"metadata": each["metadata"] | {"namespace": NAMESPACE}} for each in (job, bare)])
    told: dict[str, Any] = {}
    for workload in ("job/train", "pod/solo"):
        told[workload] = await healer.says("incident escalated", workload=workload)
    assert "see to the Job itself" in told["job/train"]["text"]
    assert "delete it by hand" in told["pod/solo"]["text"]
    await slack.wait_for(lambda slack: len(slack.threads(CHANNEL)) == 2, PATIENCE)
    await lab.behave(NAMESPACE, f"{NAME}-1", "crash")
    await healer.says("incident healed", workload=f"statefulset/{NAME}")
    assert evictions(lab) == [f"{NAME}-1"]
    assert len(healer.find("incident open")) == 3
