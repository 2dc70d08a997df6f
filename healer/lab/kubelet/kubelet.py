"""The hollow kubelet: starts pods, lets their containers behave as they are told, and confirms their deletion.

It is the kubelet of every node. Of a node that is lost nothing is heard: neither do statuses change, nor do deleted pods end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from healer.lab.apiserver.api import DeleteOptions, ObjectApi
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.controllers.nodes import is_lost
from healer.lab.kinds import NODE, POD
from healer.lab.kubelet.behaviour import BEHAVIOURS, Frame, Life, addresses_of, behaviour_of, behaviours_of, restarted
from healer.lab.kubelet.podstatus import write
from healer.lab.objects import Object


@dataclass(slots=True)
class _Course:
    """What one container does: its states to come, when the next is due (the event loop's time), and the present one."""

    frames: Iterator[Frame]
    due: float
    frame: Frame | None = None


@dataclass(slots=True)
class _Resident:
    """A pod on one of the nodes, with the courses of its containers and sidecars by name; `ends` is when it will be gone."""

    uid: str
    behaviours: dict[str, str]
    courses: dict[str, _Course]
    ip: str
    ends: float | None = None

    @property
    def due(self) -> float:
        return min((course.due for course in self.courses.values()), default=float("inf"))


class Kubelet(Controller):
    """Keys are pods.

    start_delay: seconds from placing a pod to its containers running; termination_delay: seconds from the mark of
    deletion to its end; time_scale: factor on the kubelet's own times (back-offs).
    """

    def __init__(self, api: ObjectApi, start_delay: float, termination_delay: float, time_scale: float) -> None:
        super().__init__(api)
        self._start_delay = start_delay
        self._termination_delay = termination_delay
        self._time_scale = time_scale
        self._residents: dict[Key, _Resident] = {}
        self._unheard: set[Key] = set()
        """Pods whose node has changed, so that they may be marked: each is reported anew when its node answers."""
        self._addresses = 0

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == NODE.stored_in and change.type == "MODIFIED":
            for pod in self._on(change.key[1]):
                key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
                self._unheard.add(key)
                self.enqueue(key)
        if collection != POD.stored_in:
            return
        if change.type == "DELETED":
            self._residents.pop(change.key, None)
            self._unheard.discard(change.key)
        elif change.now.object["spec"].get("nodeName"):
            self.enqueue(change.key)

    def reboot(self, node: str) -> None:
        """Restart every container on a node once, as its reboot does: all run again at once, and count one restart more."""
        for pod in self._on(node):
            key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
            resident = self._residents.get(key)
            if resident is None or pod["status"].get("phase") in ("Succeeded", "Failed"):
                continue
            for course in resident.courses.values():
                if course.frame is not None and "running" in course.frame.state:
                    course.frame = restarted(course.frame)
            self._report(key, resident)

    def reconcile(self, key: Key) -> float | None:
        pod = self.api.store.get(POD.stored_in, key)
        node = "" if pod is None else pod["spec"].get("nodeName", "")  # a pod that has just taken the name is on none yet
        if pod is None or not node or is_lost(self.api, node):
            return None
        now = asyncio.get_running_loop().time()
        resident = self._resident(key, pod, now)
        if "deletionTimestamp" in pod["metadata"]:
            return self._end(key, pod, resident, now)
        moved = False
        for course in resident.courses.values():
            while course.due <= now:
                frame = next(course.frames, None)
                if frame is not None:
                    course.frame, moved = frame, True
                course.due = float("inf") if frame is None or frame.hold is None else now + frame.hold
        if moved or key in self._unheard:
            self._unheard.discard(key)
            self._report(key, resident)
        return None if resident.due == float("inf") else max(resident.due - now, 0.0)

    def _on(self, node: str) -> list[Object]:
        return [pod for pod in self.api.objects(POD) if pod["spec"].get("nodeName") == node]

    def _resident(self, key: Key, pod: Object, now: float) -> _Resident:
        behaviours, uid = behaviours_of(pod), pod["metadata"]["uid"]
        resident = self._residents.get(key)
        if resident is not None and (resident.uid, resident.behaviours) == (uid, behaviours):
            return resident
        if resident is None or resident.uid != uid:
            address = pod["status"].get("podIP") or self._address(pod)
            due = now + (0 if pod["status"].get("containerStatuses") else self._start_delay)
            courses = {name: _Course(self._frames(pod, name, told), due) for name, told in behaviours.items()}
            resident = _Resident(uid, behaviours, courses, address)
        else:
            known = resident.courses
            kept = {name: known[name] for name, told in behaviours.items() if resident.behaviours.get(name) == told}
            others = {name: told for name, told in behaviours.items() if name not in kept}
            fresh = {name: self._other(pod, name, told, known[name], now) for name, told in others.items()}
            resident = _Resident(uid, behaviours, kept | fresh, resident.ip, resident.ends)
        self._residents[key] = resident
        return resident

    def _other(self, pod: Object, name: str, behaviour: str, known: _Course, now: float) -> _Course:
        """What a container does that is told something else; of one that is told `manual` the kubelet says nothing more."""
        frame = known.frame if BEHAVIOURS.get(behaviour) else None
        return _Course(self._frames(pod, name, behaviour), now, frame)

    def _address(self, pod: Object) -> str:
        """One of the addresses that the pod may have, the one that fewest pods have; else the next free one."""
        if allowed := addresses_of(pod):
            taken = Counter(resident.ip for resident in self._residents.values())
            return min(allowed, key=lambda address: taken[address])
        self._addresses += 1
        return f"10.1.{self._addresses // 250 % 250}.{self._addresses % 250 + 1}"

    def _frames(self, pod: Object, name: str, behaviour: str) -> Iterator[Frame]:
        make = BEHAVIOURS.get(behaviour)
        if make is None:
            return iter(())
        spec, status = pod["spec"], pod["status"]
        container = next(each for each in [*spec["containers"], *(spec.get("initContainers") or [])] if each["name"] == name)
        statuses = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
        known: Object = next((each for each in statuses if each["name"] == name), {})
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
            ends=spec.get("restartPolicy") == "Never",
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

    def _report(self, key: Key, resident: _Resident) -> None:
        frames = {name: course.frame for name, course in resident.courses.items() if course.frame is not None}
        if len(frames) == len(resident.courses):
            self.api.modify(POD, *key, lambda pod: write(pod, resident.ip, frames), subresource="status")
