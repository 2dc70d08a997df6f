"""The simulated kubelet. It starts pods, runs the behaviours of their containers, and confirms the deletion of pods.

One object is the kubelet of all nodes. For a lost node it does nothing: statuses do not change, and deleted pods stay.
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
from healer.lab.kubelet.behaviour import (
    BEHAVIOURS,
    LOADS,
    STARTS,
    STOPS,
    BehaviourContext,
    Frame,
    addresses_of,
    behaviour_of,
    behaviours_of,
    own_time,
    restarted,
)
from healer.lab.kubelet.podstatus import write
from healer.lab.objects import Object


@dataclass(slots=True)
class _ContainerRun:
    """One container's future states, the time of the next one (event loop clock, seconds), and its present state."""

    frames: Iterator[Frame]
    due: float
    frame: Frame | None = None


@dataclass(slots=True)
class _RunningPod:
    """A pod on a node, with the runs of its containers and sidecars by name.

    `ends` is the time at which a deleted pod is removed (event loop clock, seconds).
    """

    uid: str
    behaviours: dict[str, str]
    runs: dict[str, _ContainerRun]
    ip: str
    ends: float | None = None

    @property
    def due(self) -> float:
        return min((run.due for run in self.runs.values()), default=float("inf"))


class Kubelet(Controller):
    """Keys are pods.

    start_delay: seconds from binding a pod to a node until its containers run; termination_delay: seconds from its
    deletionTimestamp until it is removed; time_scale: factor on the kubelet's back-off times. A pod's annotations may say other
    times.
    """

    def __init__(self, api: ObjectApi, start_delay: float, termination_delay: float, time_scale: float) -> None:
        super().__init__(api)
        self._start_delay = start_delay
        self._termination_delay = termination_delay
        self._time_scale = time_scale
        self._running: dict[Key, _RunningPod] = {}
        self._to_report: set[Key] = set()
        """Pods whose node has changed. A node controller may have changed their status, so each is reported again when its node
        answers."""
        self._addresses = 0

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == NODE.stored_in and change.type == "MODIFIED":
            for pod in self._on(change.key[1]):
                key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
                self._to_report.add(key)
                self.enqueue(key)
        if collection != POD.stored_in:
            return
        if change.type == "DELETED":
            self._running.pop(change.key, None)
            self._to_report.discard(change.key)
        elif change.now.object["spec"].get("nodeName"):
            self.enqueue(change.key)

    def reboot(self, node: str) -> None:
        """Restart every running container of a node once, as a reboot of the node does. All run again at once."""
        for pod in self._on(node):
            key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
            running = self._running.get(key)
            if running is None or pod["status"].get("phase") in ("Succeeded", "Failed"):
                continue
            for run in running.runs.values():
                if run.frame is not None and "running" in run.frame.state:
                    run.frame = restarted(run.frame)
            self._report(key, running)

    def reconcile(self, key: Key) -> float | None:
        pod = self.api.store.get(POD.stored_in, key)
        node = "" if pod is None else pod["spec"].get("nodeName", "")  # a new pod of this name has no node yet
        if pod is None or not node or is_lost(self.api, node):
            return None
        now = asyncio.get_running_loop().time()
        running = self._running_pod(key, pod, now)
        if "deletionTimestamp" in pod["metadata"]:
            return self._end(key, pod, running, now)
        moved = False
        for run in running.runs.values():
            while run.due <= now:
                frame = next(run.frames, None)
                if frame is not None:
                    run.frame, moved = frame, True
                run.due = float("inf") if frame is None or frame.duration is None else now + frame.duration
        if moved or key in self._to_report:
            self._to_report.discard(key)
            self._report(key, running)
        return None if running.due == float("inf") else max(running.due - now, 0.0)

    def _on(self, node: str) -> list[Object]:
        return [pod for pod in self.api.objects(POD) if pod["spec"].get("nodeName") == node]

    def _running_pod(self, key: Key, pod: Object, now: float) -> _RunningPod:
        behaviours, uid = behaviours_of(pod), pod["metadata"]["uid"]
        running = self._running.get(key)
        if running is not None and (running.uid, running.behaviours) == (uid, behaviours):
            return running
        if running is None or running.uid != uid:
            address = pod["status"].get("podIP") or self._address(pod)
            due = now + (0 if pod["status"].get("containerStatuses") else own_time(pod, STARTS, self._start_delay))
            runs = {name: _ContainerRun(self._frames(pod, name, behaviour), due) for name, behaviour in behaviours.items()}
            running = _RunningPod(uid, behaviours, runs, address)
        else:
            known = running.runs
            unchanged = {name: known[name] for name, behaviour in behaviours.items() if running.behaviours.get(name) == behaviour}
            others = {name: behaviour for name, behaviour in behaviours.items() if name not in unchanged}
            fresh = {name: self._switched(pod, name, behaviour, known[name], now) for name, behaviour in others.items()}
            running = _RunningPod(uid, behaviours, unchanged | fresh, running.ip, running.ends)
        self._running[key] = running
        return running

    def _switched(self, pod: Object, name: str, behaviour: str, known: _ContainerRun, now: float) -> _ContainerRun:
        """The run of a container whose behaviour has changed. The kubelet reports nothing more for `manual`."""
        frame = known.frame if BEHAVIOURS.get(behaviour) else None
        return _ContainerRun(self._frames(pod, name, behaviour), now, frame)

    def _address(self, pod: Object) -> str:
        """The IP address of a new pod: of the addresses that it may get, the one that the fewest pods have.

        A pod that may get any address gets the next free one.
        """
        if allowed := addresses_of(pod):
            taken = Counter(running.ip for running in self._running.values())
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
            restarts += 1  # the container had stopped: running again is a restart
        loaded = ran and restarts == known.get("restartCount", 0)
        context = BehaviourContext(
            name=f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})",
            container=container["name"],
            image=container["image"],
            has_readiness_probe="readinessProbe" in container,
            ran=ran,
            restarts=restarts,
            short_delay=self._start_delay,
            scale=self._time_scale,
            ends=spec.get("restartPolicy") == "Never",
            initial=next((each["name"] for each in spec.get("initContainers") or []), ""),
            loads=0.0 if loaded else own_time(pod, LOADS, 0.0),
        )
        return make(context)

    def _end(self, key: Key, pod: Object, running: _RunningPod, now: float) -> float | None:
        if behaviour_of(pod) == "refuse-to-terminate":
            running.ends = None
            return None
        if running.ends is None:
            running.ends = now + own_time(pod, STOPS, self._termination_delay)
        if now < running.ends:
            return running.ends - now
        self.api.delete(POD, *key, DeleteOptions(uid=running.uid, grace=0))
        return None

    def _report(self, key: Key, running: _RunningPod) -> None:
        frames = {name: run.frame for name, run in running.runs.items() if run.frame is not None}
        if len(frames) == len(running.runs):
            self.api.modify(POD, *key, lambda pod: write(pod, running.ip, frames), subresource="status")
