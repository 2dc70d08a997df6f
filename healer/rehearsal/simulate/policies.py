"""What can stand in healer's place in a simulation: nobody, and two simple policies that are common in the field."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from healer.clock import Clock
from healer.lab.apiserver.api import DeleteOptions
from healer.lab.apiserver.status import ApiRefusal
from healer.lab.apiserver.store import StoreEvent
from healer.lab.kinds import POD
from healer.lab.objects import Object, annotations_of, is_ready
from healer.rehearsal.simulate.alertmanager import PlayedSilences
from healer.rehearsal.simulate.asking import PlayedRules
from healer.rehearsal.simulate.cluster_spec import Gap
from healer.rehearsal.simulate.happenings import Happenings
from healer.rehearsal.simulate.played import PlayedCluster, workload_of
from healer.rehearsal.simulate.prometheus import ModelledPrometheus, Posted
from healer.rehearsal.simulate.promql import PlayedQueries
from healer.rehearsal.simulate.strikes import Strikes
from healer.rehearsal.timeline import ACT
from healer.rules.rulebook import Rulebook
from healer.settings import Settings

_RESTARTED = "kubectl.kubernetes.io/restartedAt"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a policy plays in. `helped` is to be told when a person is asked to help with a workload, and why."""

    cluster: PlayedCluster
    happenings: Happenings
    clock: Clock
    rulebook: Rulebook
    settings: Settings
    prometheus: Callable[[], ModelledPrometheus]
    silences: PlayedSilences
    strikes: Strikes
    gaps: Sequence[Gap]
    asking: PlayedRules
    queries: Callable[[], PlayedQueries]
    now: Callable[[], float]
    """Seconds from the beginning of the scenario."""
    asked: Callable[[str, str], None]


class HealingPolicy(Protocol):
    """What heals, or does not."""

    async def run(self) -> None:
        """Until cancelled. What is started is awaited."""

    async def alerted(self, alert: Posted) -> None:
        """Take a post of Alertmanager."""


class DoNothing:
    """Nobody heals. (People mend what a scenario says that they mend.)"""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def run(self) -> None:
        """Nothing."""

    async def alerted(self, alert: Posted) -> None:
        """Nothing."""


class RestartAtOnce:
    """Deletes each pod that is not ready, or waits with an error, as soon as it is seen; each pod once. Nothing is verified."""

    _WAITS = ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError")

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._was_ready: set[str] = set()
        self._deleted: set[str] = set()
        scene.cluster.lab.store.listeners.append(self._observe)

    async def run(self) -> None:
        """Nothing: it follows the changes of pods."""

    async def alerted(self, alert: Posted) -> None:
        """Nothing: it looks at pods."""

    def _observe(self, collection: str, change: StoreEvent) -> None:
        pod = change.now.object
        if collection != POD.stored_in or change.type == "DELETED" or not workload_of(pod):
            return
        uid = pod["metadata"]["uid"]
        if is_ready(pod):
            self._was_ready.add(uid)
        waiting = [(each.get("state") or {}).get("waiting") or {} for each in (pod["status"].get("containerStatuses") or [])]
        sick = uid in self._was_ready and not is_ready(pod)
        if (sick or any(each.get("reason") in self._WAITS for each in waiting)) and uid not in self._deleted:
            self._deleted.add(uid)
            asyncio.get_running_loop().call_soon(_delete, self._scene, pod["metadata"]["namespace"], pod["metadata"]["name"])


class DeleteOnAlert:
    """Deletes the pod that an alert names, and restarts the workload that an alert names, for each alert once (as the usual
    playbooks of Robusta do). Nothing is verified."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._done: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Nothing: it follows the alerts."""

    async def alerted(self, alert: Posted) -> None:
        """Act on an alert that fires for the first time."""
        occurrence = (alert["fingerprint"], alert["startsAt"])
        if alert["status"] == "firing" and occurrence not in self._done:
            self._done.add(occurrence)
            self._act(alert["labels"])

    def _act(self, labels: Mapping[str, str]) -> None:
        if "pod" in labels:
            _delete(self._scene, labels["namespace"], labels["pod"])
            return
        kinds = ("deployment", "statefulset", "daemonset")
        name = next((labels[kind] for kind in kinds if kind in labels), "")
        if name in self._scene.cluster.workloads:
            self._scene.happenings.add(ACT, f"rollout restart of {name}", name, code="restart")
            self._scene.cluster.change(name, self._restarted)

    def _restarted(self, obj: Object) -> None:
        template = obj["spec"]["template"]
        now = self._scene.clock.stamp()
        template["metadata"]["annotations"] = annotations_of(template) | {_RESTARTED: now}


def _delete(scene: Scene, namespace: str, name: str) -> None:
    """Delete a pod, whatever its budget says."""
    try:
        pod = scene.cluster.lab.api.get(POD, namespace, name)
        workload = workload_of(pod)
        scene.cluster.lab.api.delete(POD, namespace, name, DeleteOptions())
    except ApiRefusal:
        return  # it is gone
    scene.happenings.add(ACT, f"delete pod/{name}", workload, code="delete")
