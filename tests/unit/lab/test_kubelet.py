"""The hollow kubelet: each behaviour as a pod's status shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from healer.lab import Lab, serving
from healer.lab.behaviour import ANNOTATION
from healer.lab.objects import condition, is_ready

Object = dict[str, Any]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A lab whose back-offs are a hundred times quicker."""
    async with Lab(start_delay=0.01, termination_delay=0.01, time_scale=0.01) as lab:
        yield lab


def _pod(lab: Lab) -> Object:
    pods = lab.objects("pods", "production")
    return pods[0] if pods else {"metadata": {}, "status": {}}


def _container(lab: Lab) -> Object:
    [container] = _pod(lab)["status"].get("containerStatuses") or [{"state": {}, "lastState": {}, "restartCount": 0}]
    found: Object = container
    return found


def _waiting(lab: Lab) -> str:
    reason: str = _container(lab)["state"].get("waiting", {}).get("reason", "")
    return reason


async def _one(lab: Lab, behaviour: str | None = None) -> str:
    """One pod, well unless told otherwise from its start."""
    await lab.apply(serving(replicas=1, min_available=None, behaviour=behaviour))
    await lab.wait_for(lambda it: bool(it.objects("pods")))
    if behaviour is None:
        await lab.wait_for(lambda it: is_ready(_pod(it)))
    name: str = _pod(lab)["metadata"]["name"]
    return name


@pytest.mark.parametrize(("behaviour", "code", "reason"), [("crash", 1, "Error"), ("oom", 137, "OOMKilled")])
@pytest.mark.parametrize("from_start", [True, False])
async def test_a_crash_loop(lab: Lab, behaviour: str, code: int, reason: str, from_start: bool) -> None:
    name = await _one(lab, behaviour if from_start else None)
    if not from_start:
        await lab.behave("production", name, behaviour)
    states: list[str] = []

    def looped(it: Lab) -> bool:
        states.append("waiting" if _waiting(it) else next(iter(_container(it)["state"]), ""))
        return bool(_container(it)["restartCount"] >= 3 and _waiting(it) == "CrashLoopBackOff")

    await lab.wait_for(looped)
    assert {"running", "terminated", "waiting"} <= set(states)
    pod = _pod(lab)
    ended = _container(lab)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, reason)
    assert pod["status"]["phase"] == "Running"
    assert not is_ready(pod)
    assert _container(lab)["state"]["waiting"]["message"].startswith("back-off ")


@pytest.mark.parametrize(
    ("behaviour", "reasons"),
    [("image", {"ErrImagePull", "ImagePullBackOff"}), ("config", {"CreateContainerConfigError"})],
)
async def test_a_container_that_cannot_start(lab: Lab, behaviour: str, reasons: set[str]) -> None:
    await _one(lab, behaviour)
    seen: set[str] = set()

    def all_seen(it: Lab) -> bool:
        seen.update({_waiting(it)} - {""})
        return seen == reasons

    await lab.wait_for(all_seen)
    assert _pod(lab)["status"]["phase"] == "Pending"


async def test_a_bad_image_cannot_be_pulled(lab: Lab) -> None:
    await lab.apply(serving(replicas=1, min_available=None, image="tensorflow/serving:bad"))
    await lab.wait_for(lambda it: _waiting(it) == "ImagePullBackOff")


async def test_hanging_is_running_and_not_ready(lab: Lab) -> None:
    await lab.behave("production", await _one(lab), "hang")
    await lab.wait_for(lambda it: not is_ready(_pod(it)))
    assert "running" in _container(lab)["state"]
    ready = condition(_pod(lab), "Ready")
    assert ready is not None
    assert ready["reason"] == "ContainersNotReady"


async def test_slow_is_ready_and_says_so_by_its_annotation(lab: Lab) -> None:
    name = await _one(lab)
    await lab.behave("production", name, "slow")
    assert is_ready(_pod(lab))
    assert _pod(lab)["metadata"]["annotations"][ANNOTATION] == "slow"


@pytest.mark.parametrize(("behaviour", "reason"), [("fail", None), ("evicted", "Evicted")])
async def test_a_failed_pod_is_replaced(lab: Lab, behaviour: str, reason: str | None) -> None:
    await lab.behave("production", await _one(lab), behaviour)
    await lab.wait_for(lambda it: len(it.objects("pods")) == 2 and any(map(is_ready, it.objects("pods"))))
    [failed] = [pod for pod in lab.objects("pods") if pod["status"]["phase"] == "Failed"]
    assert failed["status"].get("reason") == reason


async def test_an_unschedulable_pod(lab: Lab) -> None:
    await _one(lab, "unschedulable")
    await lab.wait_for(lambda it: condition(_pod(it), "PodScheduled") is not None)
    placed = condition(_pod(lab), "PodScheduled")
    assert placed is not None
    assert (placed["status"], placed["reason"]) == ("False", "Unschedulable")
    await lab.behave("production", _pod(lab)["metadata"]["name"], "ok")
    await lab.wait_for(lambda it: is_ready(_pod(it)))


async def test_a_pod_that_refuses_to_terminate(lab: Lab) -> None:
    name = await _one(lab, "refuse-to-terminate")
    await lab.wait_for(lambda it: is_ready(_pod(it)))
    lab.api.delete(lab.api.kinds.named("pods"), "production", name)
    await lab.wait_for(lambda it: sum(map(is_ready, it.objects("pods"))) == 2)  # its replacement is long there
    stuck = next(pod for pod in lab.objects("pods") if pod["metadata"]["name"] == name)
    assert stuck["metadata"]["deletionGracePeriodSeconds"] == 30
    await lab.behave("production", name, "ok")
    await lab.wait_for(lambda it: name not in [pod["metadata"]["name"] for pod in it.objects("pods")])


async def test_a_crashing_pod_told_to_be_well_recovers_with_a_restart(lab: Lab) -> None:
    name = await _one(lab, "crash")
    await lab.wait_for(lambda it: _waiting(it) == "CrashLoopBackOff")
    restarts = _container(lab)["restartCount"]
    await lab.behave("production", name, "ok")
    await lab.wait_for(lambda it: is_ready(_pod(it)))
    assert _container(lab)["restartCount"] == restarts + 1


async def test_a_manual_pod_is_left_alone(lab: Lab) -> None:
    name = await _one(lab, "manual")
    kind = lab.api.kinds.named("pods")
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await lab.wait_for(lambda it: bool(_pod(it)["spec"].get("nodeName")))
    lab.api.modify(kind, "production", name, lambda pod: pod.update(status=status), subresource="status")
    await lab.wait_for(lambda it: it.objects("deployments")[0]["status"].get("readyReplicas") == 1)
    assert _pod(lab)["status"] == status


async def test_an_unknown_behaviour_is_an_error(lab: Lab) -> None:
    with pytest.raises(ValueError, match="use one of complete, config, crash"):
        await lab.behave("production", await _one(lab), "explode")


async def test_init_containers_and_sidecars_have_statuses(lab: Lab) -> None:
    [deployment, *_] = serving(replicas=1)
    deployment["spec"]["template"]["spec"]["initContainers"] = [
        {"name": "fetch", "image": "fetch:1"},
        {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"},
    ]
    await lab.apply(deployment)
    await lab.wait_for(lambda it: is_ready(_pod(it)))
    fetch, proxy = _pod(lab)["status"]["initContainerStatuses"]
    assert fetch["state"]["terminated"]["reason"] == "Completed"
    assert "running" in proxy["state"]
