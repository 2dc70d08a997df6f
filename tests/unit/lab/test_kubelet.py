"""The simulated kubelet: the pod status of each behaviour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from healer.lab import Lab, serving
from healer.lab.kinds import POD
from healer.lab.kubelet.behaviour import ANNOTATION
from healer.lab.objects import clone, condition, is_ready

pytestmark = pytest.mark.slow

Object = dict[str, Any]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A lab with back-offs a hundred times shorter."""
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
    """Create one pod with a behaviour, a ready one by default. Returns its name."""
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


async def test_a_slow_pod_is_ready_and_has_the_annotation(lab: Lab) -> None:
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
    await lab.wait_for(lambda it: sum(map(is_ready, it.objects("pods"))) == 2)  # its replacement exists already
    stuck = next(pod for pod in lab.objects("pods") if pod["metadata"]["name"] == name)
    assert stuck["metadata"]["deletionGracePeriodSeconds"] == 30
    await lab.behave("production", name, "ok")
    await lab.wait_for(lambda it: name not in [pod["metadata"]["name"] for pod in it.objects("pods")])


async def test_a_crashing_pod_recovers_with_a_restart_when_its_behaviour_changes(lab: Lab) -> None:
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


# several containers


THREE = ("server", "mesh", "metrics")


async def _of_three(lab: Lab, **spec: Any) -> str:
    [deployment, *_] = serving(replicas=1, min_available=None)
    template = deployment["spec"]["template"]["spec"]
    template["containers"] = [{"name": name, "image": f"{name}:1"} for name in THREE]
    template |= spec
    await lab.apply(deployment)
    await lab.wait_for(lambda it: is_ready(_pod(it)))
    name: str = _pod(lab)["metadata"]["name"]
    return name


def _states(lab: Lab) -> dict[str, tuple[str, bool, int]]:
    """The state, readiness and restart count of each container."""
    found = _pod(lab)["status"]["containerStatuses"]
    return {item["name"]: (next(iter(item["state"])), item["ready"], item["restartCount"]) for item in found}


async def test_one_container_fails_and_the_others_go_on(lab: Lab) -> None:
    name = await _of_three(lab)
    began = {item["name"]: item["state"] for item in _pod(lab)["status"]["containerStatuses"]}
    await lab.behave("production", name, "crash", "mesh")
    await lab.wait_for(lambda it: _states(it)["mesh"][0] == "waiting")
    assert {key: state for key, state in _states(lab).items() if key != "mesh"} == {
        "server": ("running", True, 0),
        "metrics": ("running", True, 0),
    }
    others = {item["name"]: item["state"] for item in _pod(lab)["status"]["containerStatuses"] if item["name"] != "mesh"}
    assert others == {key: state for key, state in began.items() if key != "mesh"}
    ready = condition(_pod(lab), "Ready")
    assert ready is not None
    assert ready["message"] == "containers with unready status: [mesh]"


async def test_two_containers_fail_each_in_its_own_way(lab: Lab) -> None:
    name = await _of_three(lab)
    await lab.behave("production", name, "hang", "metrics")
    await lab.behave("production", name, "oom", "mesh")
    await lab.wait_for(lambda it: _states(it)["mesh"][2] >= 2 and not _states(it)["metrics"][1])
    assert _states(lab)["server"] == ("running", True, 0)
    assert _states(lab)["metrics"] == ("running", False, 0)


async def test_a_sidecar_may_fail_too(lab: Lab) -> None:
    proxy = {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}
    name = await _of_three(lab, initContainers=[proxy])
    await lab.behave("production", name, "crash", "proxy")
    await lab.wait_for(lambda it: "waiting" in _pod(it)["status"]["initContainerStatuses"][0]["state"])
    assert all(state == ("running", True, 0) for state in _states(lab).values())
    assert not is_ready(_pod(lab))


async def test_a_node_that_reboots_restarts_every_container_once(lab: Lab) -> None:
    await _of_three(lab)
    lab.reboot_node(_pod(lab)["spec"]["nodeName"])
    assert _states(lab) == dict.fromkeys(THREE, ("running", True, 1))
    ends = [item["lastState"]["terminated"] for item in _pod(lab)["status"]["containerStatuses"]]
    assert {(end["exitCode"], end["reason"]) for end in ends} == {(255, "Unknown")}


# pods that cannot run


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("creating", "ContainerCreating"),
        ("initializing", "PodInitializing"),
        ("create-error", "CreateContainerError"),
        ("run-error", "RunContainerError"),
        ("invalid-image", "InvalidImageName"),
        ("never-pull", "ErrImageNeverPull"),
    ],
)
async def test_a_pod_that_does_not_get_to_run(lab: Lab, behaviour: str, reason: str) -> None:
    [deployment, *_] = serving(replicas=1, min_available=None, behaviour=behaviour)
    deployment["spec"]["template"]["spec"]["initContainers"] = [{"name": "fetch", "image": "fetch:1"}]
    await lab.apply(deployment)
    await lab.wait_for(lambda it: _waiting(it) == reason)
    pod = _pod(lab)
    conditions = {item["type"]: item["status"] for item in pod["status"]["conditions"]}
    assert conditions["PodReadyToStartContainers"] == ("False" if behaviour == "creating" else "True")
    assert conditions["Initialized"] == ("False" if behaviour == "initializing" else "True")
    [fetch] = pod["status"]["initContainerStatuses"]
    assert next(iter(fetch["state"])) == ("running" if behaviour == "initializing" else "terminated")
    await lab.behave("production", pod["metadata"]["name"], "ok")
    await lab.wait_for(lambda it: is_ready(_pod(it)))


async def test_an_init_container_that_is_killed_out_of_memory_again_and_again(lab: Lab) -> None:
    """The pod stays Pending, as recorded by `kubectl get pods`: Init:OOMKilled, Init:CrashLoopBackOff. When it ends, it has
    completed, and the server starts."""
    [deployment, *_] = serving(replicas=1, min_available=None, behaviour="init-oom")
    deployment["spec"]["template"]["spec"]["initContainers"] = [{"name": "fetch", "image": "fetch:1"}]
    await lab.apply(deployment)

    def fetch(it: Lab) -> Object:
        [found] = _pod(it)["status"].get("initContainerStatuses") or [{"state": {}, "lastState": {}, "restartCount": 0}]
        shown: Object = found
        return shown

    await lab.wait_for(lambda it: fetch(it)["restartCount"] >= 2 and "waiting" in fetch(it)["state"])
    pod, status = _pod(lab), fetch(lab)
    assert (pod["status"]["phase"], _waiting(lab)) == ("Pending", "PodInitializing")
    assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert "restarting failed container=fetch" in status["state"]["waiting"]["message"]
    await lab.behave("production", pod["metadata"]["name"], "ok")
    await lab.wait_for(lambda it: is_ready(_pod(it)))
    assert fetch(lab)["state"]["terminated"]["reason"] == "Completed"
    assert fetch(lab)["restartCount"] == status["restartCount"]


@pytest.mark.parametrize(("policy", "phase", "restarts"), [("Never", "Failed", 0), ("OnFailure", "Running", 2)])
async def test_a_pod_that_never_restarts_fails_when_it_dies(lab: Lab, policy: str, phase: str, restarts: int) -> None:
    template = {"containers": [{"name": "train", "image": "train:1"}], "restartPolicy": policy}
    metadata = {"name": "x", "namespace": "production", "annotations": {ANNOTATION: "crash"}}
    await lab.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template})
    await lab.wait_for(lambda it: _pod(it)["status"].get("phase") == phase and _container(it)["restartCount"] >= restarts)


# lost nodes


async def test_the_pods_of_a_lost_node_become_not_ready_and_are_deleted_later(lab: Lab) -> None:
    """The deletion is confirmed only when the node answers again. The replacement runs on another node."""
    name = await _one(lab)
    node = _pod(lab)["spec"]["nodeName"]
    lab.lose_node(node)
    await lab.wait_for(lambda it: not is_ready(_pod(it)))
    assert _pod(lab)["status"]["phase"] == "Running"
    found = next(item for item in lab.objects("nodes") if item["metadata"]["name"] == node)
    ready = condition(found, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")

    def replaced(it: Lab) -> bool:
        pods = it.objects("pods", "production")
        return len(pods) == 2 and sum(map(is_ready, pods)) == 1

    await lab.wait_for(replaced)  # pods tolerate the taint for 300 s, which is 3 s here
    old = next(pod for pod in lab.objects("pods", "production") if pod["metadata"]["name"] == name)
    new = next(pod for pod in lab.objects("pods", "production") if pod["metadata"]["name"] != name)
    target = condition(old, "DisruptionTarget")
    assert target is not None
    assert (target["reason"], "deletionTimestamp" in old["metadata"]) == ("DeletionByTaintManager", True)
    assert new["spec"]["nodeName"] != node
    lab.recover_node(node)
    await lab.wait_for(lambda it: len(it.objects("pods", "production")) == 1)


async def test_a_node_that_answers_soon_has_its_pods_ready_again(lab: Lab) -> None:
    name = await _one(lab)
    lab.lose_node(_pod(lab)["spec"]["nodeName"])
    await lab.wait_for(lambda it: not is_ready(_pod(it)))
    lab.recover_node(_pod(lab)["spec"]["nodeName"])
    await lab.wait_for(lambda it: is_ready(_pod(it)))
    assert _pod(lab)["metadata"]["name"] == name


async def test_a_new_pod_with_the_name_of_a_deleted_one_has_no_node_yet(lab: Lab) -> None:
    """Pods of a StatefulSet reuse names, so the kubelet may reconcile such a name before the scheduler has bound the new pod."""
    name = await _one(lab)
    key, next_one = ("production", name), clone(_pod(lab))
    lab.api.modify(POD, *key, lambda pod: pod["metadata"].update(annotations={ANNOTATION: "hang"}))
    lab.store.remove(POD.stored_in, key)
    del next_one["spec"]["nodeName"]
    next_one["metadata"]["uid"], next_one["spec"]["schedulerName"] = "another", "nobody"
    lab.store.put(POD.stored_in, key, next_one)
    await lab.apply(serving("another", replicas=1, min_available=None))
    await lab.wait_for(lambda it: any(is_ready(each) for each in it.objects("pods") if each["metadata"]["name"] != name))
