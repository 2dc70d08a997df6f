"""The status that the kubelet writes to a pod, made from the frames of its containers.

Source: pkg/kubelet/kubelet_pods.go (getPhase, generateAPIPodStatus) and status/generate.go of Kubernetes 1.36, and the recorded
pods of tests/contract/kubernetes-1.36.
"""

from __future__ import annotations

from collections.abc import Mapping

from healer.lab.kubelet.behaviour import Frame
from healer.lab.objects import Object, condition, timestamp

_DEVICES = "allocatedResourcesStatus"
"""The devices of a container. A test says how they are, and the status has it until the pod is gone."""


def write(pod: Object, ip: str, frames: Mapping[str, Frame]) -> None:
    """Update the pod's status from the frames, which are by container name. The first container's frame sets the pod's phase."""
    status, spec = pod["status"], pod["spec"]
    main = frames[spec["containers"][0]["name"]]
    phase = main.phase
    if phase == "Running" and any(frame.phase == "Pending" for frame in frames.values()):
        phase = "Pending"  # a container has never run
    finished = phase in ("Failed", "Succeeded")
    unready = [name for name, frame in frames.items() if finished or not frame.ready]
    details = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"}
    if finished:
        details = {"reason": "PodFailed" if phase == "Failed" else "PodCompleted"}
    waiting = [each["name"] for each in spec.get("initContainers") or []]
    incomplete = {"reason": "ContainersNotInitialized", "message": f"containers with incomplete status: [{' '.join(waiting)}]"}
    since = {item["type"]: item for item in status.get("conditions") or []}
    devices = {item["name"]: item.get(_DEVICES) for item in status.get("containerStatuses") or []}
    status |= {
        "phase": phase,
        "conditions": [
            _condition(since, "PodReadyToStartContainers", main.sandbox and not finished),
            _condition(since, "Initialized", main.initialized, incomplete),
            _condition(since, "Ready", not unready, details),
            _condition(since, "ContainersReady", not unready, details),
            since.get("PodScheduled") or _condition(since, "PodScheduled", True),
            *([target] if (target := condition(pod, "DisruptionTarget")) else []),
        ],
        "hostIP": "127.0.0.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": status.get("startTime") or timestamp(),
        "containerStatuses": [
            _container(each, frames[each["name"]]) | ({_DEVICES: had} if (had := devices.get(each["name"])) else {})
            for each in spec["containers"]
        ],
    }
    if spec.get("initContainers"):
        known = {item["name"]: item for item in status.get("initContainerStatuses") or []}
        status["initContainerStatuses"] = _initial(spec["initContainers"], frames, main, known)
    for field, value in (("reason", main.reason), ("message", main.message)):
        status.pop(field, None)
        if value:
            status[field] = value


def _initial(containers: list[Object], frames: Mapping[str, Frame], main: Frame, known: Mapping[str, Object]) -> list[Object]:
    """The statuses of the init containers. All have completed, except sidecars and the one that the pod waits for."""
    written = []
    for number, container in enumerate(containers):
        name = container["name"]
        if name in frames:
            written.append(_container(container, frames[name]))
        elif not main.initialized:
            first = main.initial if number == 0 else None
            written.append(_container(container, first or Frame({"waiting": {"reason": "PodInitializing"}})))
        else:
            written.append(_completed(container, known.get(name) or {}))
    return written


def _completed(container: Object, known: Object) -> Object:
    """The status of an init container that has done its work, also where it had failed before."""
    ended = (known.get("state") or {}).get("terminated")
    if ended is not None and ended["exitCode"] == 0:
        return known
    now = timestamp()
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    last = known.get("lastState") or {} if ended is None else {"terminated": ended}
    return _container(container, Frame(done, ready=True, restarts=known.get("restartCount", 0), last=last))


def _container(container: Object, frame: Frame) -> Object:
    return {
        "name": container["name"],
        "state": frame.state,
        "lastState": frame.last,
        "ready": frame.ready,
        "restartCount": frame.restarts,
        "image": container["image"],
        "imageID": "",
        "started": frame.started,
    }


def _condition(since: Mapping[str, Object], kind: str, true: bool, details: Object | None = None) -> Object:
    """A pod condition. lastTransitionTime changes only when the status of the condition changes."""
    value = "True" if true else "False"
    before = since.get(kind)
    changed = timestamp() if before is None or before["status"] != value else before["lastTransitionTime"]
    fresh = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": changed}
    return fresh if true or details is None else fresh | details
