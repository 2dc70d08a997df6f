"""What controllers and kubelets say of a workload in the lab: its conditions, its autoscaler, events of its pods."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from healer.lab.kinds import AUTOSCALER, DEPLOYMENT, EVENT
from healer.lab.objects import Object, timestamp
from tests.packs.lab.scene import Scene
from tests.packs.troubles import Trouble
from tests.support.processes import PATIENCE

OLD, NEW = "tensorflow/serving:2.16.1", "tensorflow/serving:2.17.0"
_LIMITED = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "more than the maximum"}
_BLIND = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": "no metrics returned"}


async def _overdue(scene: Scene) -> None:
    scene.ship(NEW, "hang")


async def _back(scene: Scene) -> None:
    scene.ship(OLD)


async def _refuse(scene: Scene) -> None:
    """A quota lets no further pod in, and one more replica is wanted."""
    lab, count = scene.stage.lab, len(scene.pods())
    head = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "compute", "namespace": scene.namespace}}
    await lab.apply([head | {"spec": {"hard": {"pods": str(count)}}}])

    def known(_: object) -> bool:
        return bool(lab.objects("resourcequotas", scene.namespace)[0].get("status", {}).get("used"))

    await lab.wait_for(known, PATIENCE)
    _want(scene, count + 1)


async def _admit(scene: Scene) -> None:
    _want(scene, len(scene.pods()))


def _want(scene: Scene, replicas: int) -> None:
    scene.stage.lab.api.modify(DEPLOYMENT, scene.namespace, scene.workload, lambda obj: obj["spec"].update(replicas=replicas))


def _scaler(condition: Object) -> Callable[[Scene], Awaitable[None]]:
    async def say(scene: Scene) -> None:
        """Its autoscaler is at its maximum, with the CPU above its target, and has that condition."""
        api, count = scene.stage.lab.api, len(scene.pods())
        scales = {"apiVersion": "apps/v1", "kind": "Deployment", "name": scene.workload}
        metadata = {"name": scene.workload, "namespace": scene.namespace}
        api.create(AUTOSCALER, scene.namespace, {"metadata": metadata, "spec": {"scaleTargetRef": scales, "maxReplicas": count}})
        metric = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 95}}}
        status = {"currentReplicas": count, "desiredReplicas": count, "currentMetrics": [metric], "conditions": [condition]}
        api.modify(AUTOSCALER, scene.namespace, scene.workload, lambda obj: obj.update(status=status), subresource="status")

    return say


async def _scales(scene: Scene) -> None:
    """The condition of its autoscaler is as it is to be."""

    def change(obj: Object) -> None:
        (condition,) = obj["status"]["conditions"]
        condition |= {"status": "False" if condition["status"] == "True" else "True", "reason": "Fine"}

    scene.stage.lab.api.modify(AUTOSCALER, scene.namespace, scene.workload, change, subresource="status")


async def _hang(scene: Scene) -> None:
    for pod in list(scene.pods()):
        await scene.behave(pod, "hang")


async def _answer(scene: Scene) -> None:
    for pod in list(scene.pods()):
        await scene.behave(pod, "ok")


BEGIN: Mapping[str, Callable[[Scene], Awaitable[None]]] = {
    "ProgressDeadlineExceeded": _overdue,
    "ReplicaFailure": _refuse,
    "HpaAtMaximum": _scaler(_LIMITED),
    "HpaUnableToScale": _scaler(_BLIND),
    "Unavailable": _hang,
}
"""How each condition of a workload begins."""
END: Mapping[str, Callable[[Scene], Awaitable[None]]] = {
    "ProgressDeadlineExceeded": _back,
    "ReplicaFailure": _admit,
    "HpaAtMaximum": _scales,
    "HpaUnableToScale": _scales,
    "Unavailable": _answer,
}
"""And how it ends."""


def report(scene: Scene, pod: str, trouble: Trouble) -> None:
    """The kubelet reports an event of the pod, and again so often."""
    api, now = scene.stage.lab.api, timestamp()
    about = {"kind": "Pod", "namespace": scene.namespace, "name": pod, "uid": scene.pods()[pod]["metadata"]["uid"]}
    said: dict[str, Any] = {"reason": trouble.name, "type": "Warning", "message": f"{trouble.name} of {pod}"}
    said |= {"involvedObject": about | {"apiVersion": "v1"}, "source": {"component": "kubelet"}, "firstTimestamp": now}
    metadata = {"name": f"{pod}.1", "namespace": scene.namespace}
    api.create(EVENT, scene.namespace, said | {"metadata": metadata, "lastTimestamp": now, "count": 1})
    for count in range(2, trouble.times + 1):
        api.modify(EVENT, scene.namespace, f"{pod}.1", partial(dict.update, count=count, lastTimestamp=timestamp()))
