"""Pods as clusters really have them: records beside the living, reboots, what never starts, replacements that are refused."""

from collections.abc import Callable

import pytest

from healer.lab import Lab, serving
from healer.lab.objects import Object, is_ready
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, evictions, pods, rule, ruleset, serve, serves
from tests.support.healer import alert
from tests.support.processes import PATIENCE

NAME = "tensorflow-serving"


def _living(lab: Lab) -> list[Object]:
    return [pod for pod in pods(lab).values() if pod["status"].get("phase") not in ("Failed", "Succeeded")]


def _recorded(records: int) -> Callable[[Lab], bool]:
    """Three are ready, beside so many records."""
    return lambda lab: len(pods(lab)) == 3 + records and sum(map(is_ready, _living(lab))) == 3


async def test_records_of_evicted_pods_leave_a_crash_loop_to_its_rule(lab: Lab, run: Run) -> None:
    await serve(lab)
    for number in range(1, 4):
        victim = next(pod["metadata"]["name"] for pod in _living(lab) if is_ready(pod))
        await lab.behave(NAMESPACE, victim, "evicted")
        await lab.wait_for(_recorded(number), PATIENCE)
    healer = await run(ruleset(rule("records", when={"pod": ["Evicted", "Failed"]}, heal=[{"page": {}}]), CRASH_LOOP))
    sick = _living(lab)[0]["metadata"]["name"]
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident healed", rule="test/crash-loop")
    assert evictions(lab) == [sick]


async def test_a_reboot_of_the_node_takes_no_pod_and_a_container_that_restarts_does(lab: Lab, run: Run) -> None:
    deployment, *_ = serving(NAME, NAMESPACE, min_available=None)
    containers = [{"name": name, "image": "x:1"} for name in ("server", "mesh", "metrics")]
    deployment["spec"]["template"]["spec"]["containers"] = containers
    await lab.apply(deployment)
    await lab.wait_for(serves(3), PATIENCE)
    healer = await run(ruleset(rule("restarting", when={"pod": ["Restarting"]})))
    for node in lab.objects("nodes"):
        lab.reboot_node(node["metadata"]["name"])
    sick = next(iter(pods(lab)))
    await lab.behave(NAMESPACE, sick, "crash", "mesh")
    opened = await healer.says("open", rule="test/restarting")
    assert opened["target"] == f"pod/{sick}"
    assert "container mesh: 3 restarts" in opened["text"]
    await lab.wait_for(lambda lab: evictions(lab) == [sick], PATIENCE)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("create-error", "CreateContainerError: context deadline exceeded"),
        ("run-error", 'failed to create containerd task: exec: "serve": executable file not found in $PATH'),
        ("creating", "its volumes, network or sandbox are not ready"),
        ("initializing", "init container fetch runs and does not end"),
    ],
)
async def test_a_pod_that_does_not_start_is_told_with_the_kubelet_s_words(
    lab: Lab, run: Run, behaviour: str, message: str
) -> None:
    deployment, *_ = serving(NAME, NAMESPACE, replicas=1, min_available=None, behaviour=behaviour)
    deployment["spec"]["template"]["spec"]["initContainers"] = [{"name": "fetch", "image": "fetch:1"}]
    await lab.apply(deployment)
    rules = ruleset(rule("not-starting", when={"pod": ["NotStarting"]}, heal=[{"page": {}}]))
    healer = await run(rules, HEALER_PODS__STARTING="0.5")
    opened = await healer.says("open", rule="test/not-starting")
    assert message in opened["text"]


async def test_a_replacement_that_admission_refuses_is_told_in_its_words(lab: Lab, run: Run) -> None:
    sick, *_ = await serve(lab, min_available=None)
    lab.admission.webhook("the image is not signed", webhook="signed.acme.io", verb="create", resource="pods")
    slow = rule("slow", when={"alert": ["HighLatency"]}, heal=[{"evict": {}, "verify": {"within": "2s", "stable": "0s"}}])
    healer = await run(ruleset(slow))
    await healer.post(alert("HighLatency", pod=sick))
    await lab.wait_for(lambda lab: sick not in pods(lab), PATIENCE)
    await healer.post(alert("HighLatency", resolved=True, pod=sick))
    told = await healer.says("incident escalated", rule="test/slow")
    assert "2 of 3 replicas are of the current revision" in told["text"]
    assert 'ReplicaFailure=True (FailedCreate): admission webhook "signed.acme.io" denied the request' in told["text"]


async def test_a_pod_whose_device_is_ill_is_evicted_and_one_of_which_nothing_is_known_is_not(lab: Lab, run: Run) -> None:
    """It is ready, and no probe of its own has noticed."""
    sick, doubtful, _ = await serve(lab, min_available=None)
    healer = await run(ruleset(rule("device", when={"pod": ["DeviceUnhealthy"]})))
    lab.device(NAMESPACE, doubtful, "Unknown")
    lab.device(NAMESPACE, sick, "Unhealthy")
    opened = await healer.says("open", rule="test/device")
    assert "device GPU-0 (nvidia.com/gpu) is unhealthy" in opened["text"]
    await healer.says("incident healed", rule="test/device")
    assert evictions(lab) == [sick]
    assert len(healer.find("open")) == 1
