"""How a trouble shows in the lab: what a kubelet, a controller, an agent, Alertmanager or a model server says of it."""

from collections.abc import Sequence
from typing import Any

from healer.lab.apiserver.api import DeleteOptions
from healer.lab.kinds import POD
from healer.lab.objects import Object, condition, labels_of, timestamp
from tests.packs.lab.controllers import BEGIN, END, NEW, report
from tests.packs.lab.scene import Scene
from tests.packs.lab.servers import close, install, looked_at
from tests.packs.troubles import Symptom, Trouble
from tests.support.healer import alert
from tests.support.processes import PATIENCE

_WAITING = {
    "ImagePullBackOff": "image",
    "ErrImagePull": "image",
    "CreateContainerError": "create-error",
    "CreateContainerConfigError": "config",
}
_BORN = {
    Symptom.UNSCHEDULABLE: "unschedulable",
    Symptom.NEVER_READY: "hang",
    Symptom.FETCHING: "initializing",
    Symptom.KILLED_FETCHING: "initializing",
}
_BEHAVIOURS = {Symptom.CRASHING: "crash", Symptom.OUT_OF_MEMORY: "oom", Symptom.UNREADY: "hang"}
STARTING = "ModelStuckStarting"
"""The condition of a pod that was never ready and whose server does not listen."""
_FIRST = {Symptom.CRASHING: "Error", Symptom.OUT_OF_MEMORY: "OOMKilled"}
"""How a container ends whose first end is all that happens."""


def born_with(trouble: Trouble) -> str:
    """The behaviour with which sick pods begin; "" when they were well before."""
    if trouble.name == STARTING:
        return "hang"
    return _WAITING[trouble.name] if trouble.symptom is Symptom.WAITING else _BORN.get(trouble.symptom, "")


async def prepare(scene: Scene, trouble: Trouble, pods: Sequence[str]) -> None:
    """What has happened to the sick pods before healer starts."""
    install(scene, trouble)
    if trouble.symptom is Symptom.FETCHING:
        for pod in pods:
            await _fetch_again(scene, pod)
    elif trouble.revisions > 1:
        await _halfway(scene)
    elif trouble.name == STARTING:
        await close(scene, pods)
    elif trouble.name == "ModelStuckLoading":  # what has been ready in its process does not load any more
        scene.ill.update(pods)


async def begin(scene: Scene, trouble: Trouble, pods: Sequence[str]) -> None:
    """It begins with these pods at once, or with the workload."""
    lab, symptom = scene.stage.lab, trouble.symptom
    if trouble.revisions > 1:
        await _killed_at_each(scene, trouble)
    elif symptom in _FIRST and trouble.times == 1:
        for pod in pods:
            await _end(scene, pod, _FIRST[symptom])
    elif symptom is Symptom.RETIRED or trouble.retired:
        for pod in pods:
            await _unready(scene, pod, ran=3600)
    elif symptom is Symptom.ALERT and not (trouble.ready or trouble.of_workload):
        for pod in pods:
            await _unready(scene, pod, ran=0)
    elif symptom in _BEHAVIOURS or (symptom is Symptom.STATUS and not (trouble.ready or trouble.of_workload)):
        for pod in pods:
            await scene.behave(pod, _BEHAVIOURS.get(symptom, "hang"))
    if symptom is Symptom.ALERT:
        await _alert(scene, trouble, pods, firing=True)
    elif symptom in (Symptom.STATUS, Symptom.WELL):
        await looked_at(scene)
        scene.ill.update(pods)
    elif symptom is Symptom.NODE:
        _say_of_nodes(scene, trouble, pods, "False")
    elif symptom is Symptom.CONDITION:
        await BEGIN[trouble.name](scene)
    elif symptom is Symptom.EVENT:
        for pod in pods:
            report(scene, pod, trouble)
    elif symptom is Symptom.KILLED_FETCHING:
        for pod in pods:
            await scene.decided("NotLongEnough", of=pod)
            await _fetch_again(scene, pod)
    elif symptom is Symptom.RESTARTING:
        for pod in pods:
            for _ in range(trouble.times):
                lab.reboot_node(scene.pods()[pod]["spec"]["nodeName"])
    elif symptom is Symptom.TERMINATING:
        for pod in pods:
            await scene.behave(pod, "refuse-to-terminate")
            lab.api.delete(POD, scene.namespace, pod, DeleteOptions(grace=1))
    elif symptom is Symptom.RECORDED:
        for pod in sorted(scene.pods())[: trouble.times]:
            await scene.behave(pod, "evicted")
    elif symptom is Symptom.DEVICE:
        for pod in pods:
            lab.device(scene.namespace, pod, "Unhealthy")


async def end(scene: Scene, trouble: Trouble, pods: Sequence[str]) -> None:
    """It ends where the pods stay; with alerts also where they are gone."""
    if trouble.symptom is Symptom.ALERT:
        await _alert(scene, trouble, pods, firing=False)
    elif trouble.symptom in (Symptom.STATUS, Symptom.WELL):
        scene.ill.difference_update(pods)
    elif trouble.symptom is Symptom.NODE:
        _say_of_nodes(scene, trouble, pods, "True")
    elif trouble.symptom is Symptom.CONDITION:
        await END[trouble.name](scene)
    elif trouble.symptom is Symptom.RECORDED:
        for pod, found in list(scene.pods().items()):
            if found["status"].get("phase") == "Failed":
                scene.stage.lab.api.delete(POD, scene.namespace, pod)
    for pod in {*pods} & scene.pods().keys():
        if trouble.symptom is Symptom.DEVICE:
            scene.stage.lab.device(scene.namespace, pod, "Healthy")
        else:
            await scene.behave(pod, "ok")


def _say_of_nodes(scene: Scene, trouble: Trouble, pods: Sequence[str], status: str) -> None:
    assert trouble.name.endswith("Ready"), f"{trouble.name} is bad when it is True"
    for pod in pods:
        scene.stage.lab.node_condition(scene.pods()[pod]["spec"]["nodeName"], trouble.name, status)


async def _alert(scene: Scene, trouble: Trouble, pods: Sequence[str], *, firing: bool) -> None:
    about = [("deployment", scene.workload)] if trouble.of_workload else [("pod", pod) for pod in pods]
    labels: list[dict[str, Any]] = [{"namespace": scene.namespace, kind: name, **trouble.labels} for kind, name in about]
    await scene.stage.healer.post(*(alert(trouble.name, resolved=not firing, **each) for each in labels))


async def _halfway(scene: Scene) -> None:
    """A rollout halts when there are as many ready pods of the new revision as of the old one."""
    old = {*scene.pods()}
    scene.ship(NEW, "hang")
    await scene.stage.lab.wait_for(lambda _: len(scene.pods()) == 2 * len(old), PATIENCE)
    scene.halt()
    for pod in {*scene.pods()} - old:
        await scene.behave(pod, "ok")
    await scene.ready(2 * len(old))


async def _killed_at_each(scene: Scene, trouble: Trouble) -> None:
    """Two kills of a pod of each revision, and healer has seen both: at the second one the kubelet backs off."""
    of_each = {labels_of(pod)["pod-template-hash"]: name for name, pod in scene.pods().items()}
    assert (len(of_each), trouble.times) == (trouble.revisions, 2)
    for pod in of_each.values():
        await _end(scene, pod, "OOMKilled")
        await scene.decided("NotOftenEnough", of=pod)
        await _end(scene, pod, "OOMKilled", times=2)
        await scene.seen_by_another_rule(pod)


async def _end(scene: Scene, pod: str, reason: str, times: int = 1) -> None:
    """A container has ended so often. The kubelet backs off before it starts it again; out of memory once, it runs already."""
    await scene.behave(pod, "manual")
    runs = reason == "OOMKilled" and times == 1
    ended = {"exitCode": 1 if reason == "Error" else 137, "reason": reason, "startedAt": timestamp(), "finishedAt": timestamp()}
    waiting = {"reason": "CrashLoopBackOff", "message": f"back-off 10s restarting failed container pod={pod}"}
    state = {"running": {"startedAt": timestamp()}} if runs else {"waiting": waiting}

    def change(obj: Object) -> None:
        status = {"ready": runs, "restartCount": times, "state": state, "lastState": {"terminated": ended}}
        obj["status"]["containerStatuses"][0] |= status
        ready = condition(obj, "Ready")
        assert ready is not None
        ready |= {"status": str(runs), "lastTransitionTime": timestamp()}

    scene.stage.lab.api.modify(POD, scene.namespace, pod, change, subresource="status")


async def _unready(scene: Scene, pod: str, ran: float) -> None:
    """It is not ready, after so many seconds in which it ran and was; 0: it never was."""
    await scene.behave(pod, "manual")

    now = timestamp()

    def change(obj: Object) -> None:
        obj["status"]["containerStatuses"][0] |= {
            "ready": False,
            "state": {"running": {"startedAt": timestamp(-ran) if ran else now}},
        }
        ready = condition(obj, "Ready")
        assert ready is not None
        ready |= {"status": "False", "reason": "ContainersNotReady", "lastTransitionTime": now}

    scene.stage.lab.api.modify(POD, scene.namespace, pod, change, subresource="status")


async def _fetch_again(scene: Scene, pod: str) -> None:
    """The init container that runs is another one: that of before was killed."""
    await scene.stage.lab.wait_for(lambda _: "initContainerStatuses" in scene.pods()[pod]["status"], PATIENCE)
    killed = {"exitCode": 137, "reason": "OOMKilled", "startedAt": timestamp(), "finishedAt": timestamp()}

    def change(obj: Object) -> None:
        again = {"restartCount": 1, "state": {"running": {"startedAt": timestamp()}}, "lastState": {"terminated": killed}}
        obj["status"]["initContainerStatuses"][0] |= again

    scene.stage.lab.api.modify(POD, scene.namespace, pod, change, subresource="status")
