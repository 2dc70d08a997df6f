"""The hollow kubelet: starts pods, lets them behave as they are told, and confirms their deletion."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from healer.lab.api import Api, DeleteOptions
from healer.lab.behaviour import BEHAVIOURS, Frame, Life, addresses_of, behaviour_of
from healer.lab.controllers.base import Controller
from healer.lab.kinds import POD
from healer.lab.objects import Object, condition, timestamp
from healer.lab.store import Change, Key


@dataclass(slots=True)
class _Resident:
    """A pod on one of the nodes: what it does, and when its next state is due."""

    uid: str
    behaviour: str
    frames: Iterator[Frame]
    due: float
    ip: str
    ends: float | None = None


class Kubelet(Controller):
    """Keys are pods.

    start_delay: seconds from placing a pod to its containers running; termination_delay: seconds from the mark of
    deletion to its end; time_scale: factor on the kubelet's own times (back-offs).
    """

    def __init__(self, api: Api, start_delay: float, termination_delay: float, time_scale: float) -> None:
        super().__init__(api)
        self._start_delay = start_delay
        self._termination_delay = termination_delay
        self._time_scale = time_scale
        self._residents: dict[Key, _Resident] = {}
        self._addresses = 0

    def observe(self, collection: str, change: Change) -> None:
        if collection != POD.stored_in:
            return
        if change.type == "DELETED":
            self._residents.pop(change.key, None)
        elif change.now.object["spec"].get("nodeName"):
            self.enqueue(change.key)

    def reconcile(self, key: Key) -> float | None:
        pod = self.api.store.get(POD.stored_in, key)
        if pod is None:
            return None
        now = asyncio.get_running_loop().time()
        resident = self._resident(key, pod, now)
        if "deletionTimestamp" in pod["metadata"]:
            return self._end(key, pod, resident, now)
        while resident.due <= now:
            frame = next(resident.frames, None)
            if frame is None:
                resident.due = float("inf")
            else:
                resident.due = now + frame.hold if frame.hold is not None else float("inf")
                self._report(key, resident, frame)
        return None if resident.due == float("inf") else resident.due - now

    def _resident(self, key: Key, pod: Object, now: float) -> _Resident:
        behaviour, uid = behaviour_of(pod), pod["metadata"]["uid"]
        resident = self._residents.get(key)
        if resident is not None and (resident.uid, resident.behaviour) == (uid, behaviour):
            return resident
        if resident is None or resident.uid != uid:
            address = pod["status"].get("podIP") or self._address(pod)
            due = now + (0 if pod["status"].get("containerStatuses") else self._start_delay)
            resident = _Resident(uid, behaviour, self._frames(pod, behaviour), due, address)
        else:
            told = resident
            resident = _Resident(uid, behaviour, self._frames(pod, behaviour), now, told.ip, told.ends)
        self._residents[key] = resident
        return resident

    def _address(self, pod: Object) -> str:
        """One of the addresses that the pod may have, the one that fewest pods have; else the next free one."""
        if allowed := addresses_of(pod):
            taken = Counter(resident.ip for resident in self._residents.values())
            return min(allowed, key=lambda address: taken[address])
        self._addresses += 1
        return f"10.1.{self._addresses // 250 % 250}.{self._addresses % 250 + 1}"

    def _frames(self, pod: Object, behaviour: str) -> Iterator[Frame]:
        make = BEHAVIOURS.get(behaviour)
        if make is None:
            return iter(())
        container = pod["spec"]["containers"][0]
        known = (pod["status"].get("containerStatuses") or [{}])[0]
        ran = bool(known.get("restartCount") or known.get("started") or known.get("lastState"))
        restarts = known.get("restartCount", 0)
        if ran and not (known.get("state") or {}).get("running") and behaviour in ("ok", "slow", "hang"):
            restarts += 1  # it stood still: running again is a restart
        life = Life(
            name=f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})",
            container=container["name"],
            image=container["image"],
            probed="readinessProbe" in container,
            ran=ran,
            restarts=restarts,
            blink=self._start_delay,
            scale=self._time_scale,
        )
        return make(life)

    def _end(self, key: Key, pod: Object, resident: _Resident, now: float) -> float | None:
        if behaviour_of(pod) == "refuse-to-terminate":
            resident.ends = None
            return None
        if resident.ends is None:
            resident.ends = now + self._termination_delay
        if now < resident.ends:
            return resident.ends - now
        self.api.delete(POD, *key, DeleteOptions(uid=resident.uid, grace=0))
        return None

    def _report(self, key: Key, resident: _Resident, frame: Frame) -> None:
        def change(pod: Object) -> None:
            _write(pod, resident.ip, frame)

        self.api.modify(POD, *key, change, subresource="status")


def _write(pod: Object, ip: str, frame: Frame) -> None:
    """The frame in the form of a pod's status."""
    status, spec = pod["status"], pod["spec"]
    names = [container["name"] for container in spec["containers"]]
    unready = [] if frame.ready else names[:1] if frame.phase == "Running" else names
    trouble = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"}
    if frame.phase == "Failed":
        trouble = {"reason": "PodFailed"}
    since = {item["type"]: item for item in status.get("conditions") or []}
    started = frame.phase != "Pending"
    status |= {
        "phase": frame.phase,
        "conditions": [
            _condition(since, "PodReadyToStartContainers", True),
            _condition(since, "Initialized", True),
            _condition(since, "Ready", not unready, trouble),
            _condition(since, "ContainersReady", not unready, trouble),
            since.get("PodScheduled") or _condition(since, "PodScheduled", True),
            *([target] if (target := condition(pod, "DisruptionTarget")) else []),
        ],
        "hostIP": "127.0.0.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": status.get("startTime") or timestamp(),
        "containerStatuses": [
            _container(spec["containers"][0], frame),
            *(_container(other, _neighbour(started)) for other in spec["containers"][1:]),
        ],
    }
    if spec.get("initContainers"):
        status["initContainerStatuses"] = [_init_container(container) for container in spec["initContainers"]]
    for field, value in (("reason", frame.reason), ("message", frame.message)):
        status.pop(field, None)
        if value:
            status[field] = value


def _neighbour(started: bool) -> Frame:
    """The other containers of the pod, which are well."""
    if started:
        return Frame({"running": {"startedAt": timestamp()}}, ready=True, started=True)
    return Frame({"waiting": {"reason": "ContainerCreating"}})


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


def _init_container(container: Object) -> Object:
    if container.get("restartPolicy") == "Always":  # a sidecar
        return _container(container, _neighbour(started=True))
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": timestamp(), "finishedAt": timestamp()}}
    return _container(container, Frame(done, ready=True))


def _condition(since: dict[str, Object], kind: str, true: bool, trouble: Object | None = None) -> Object:
    """A pod condition; its time moves only when its status does."""
    word = "True" if true else "False"
    before = since.get(kind)
    changed = timestamp() if before is None or before["status"] != word else before["lastTransitionTime"]
    fresh = {"type": kind, "status": word, "lastProbeTime": None, "lastTransitionTime": changed}
    return fresh if true or trouble is None else fresh | trouble
