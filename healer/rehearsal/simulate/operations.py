"""What people and their pipelines do in a scenario: rollouts, drains, a GitOps controller; and the modelled autoscaler."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from healer.lab.apiserver.status import ApiRefusal
from healer.lab.apiserver.store import StoreEvent
from healer.lab.apiserver.subresources import evict
from healer.lab.kinds import NODE
from healer.lab.objects import Object, annotations_of, clone
from healer.model.annotations import PAUSED
from healer.rehearsal.simulate.happenings import Happenings
from healer.rehearsal.simulate.played import KINDS, PlayedCluster, node_of
from healer.rehearsal.simulate.scenario import OperationSpec
from healer.rehearsal.simulate.serving import Serving

_RESTARTED = "kubectl.kubernetes.io/restartedAt"
_AGAIN = 5.0
"""Seconds after which `kubectl drain` tries an eviction again that was refused."""
_SYNC = 60.0
"""Seconds from a change until a GitOps controller has put the manifest back."""
_AUTOSCALER = 15.0
_TOLERANCE = 0.1
_STABLE = 300.0
"""The autoscaler scales down to the largest number that it wanted in the last 5 minutes (its defaults)."""


class Operations:
    """Carries out the operations. `clock` gives seconds from the beginning."""

    def __init__(
        self, operations: tuple[OperationSpec, ...], cluster: PlayedCluster, happenings: Happenings, clock: Callable[[], float]
    ) -> None:
        self._operations = operations
        self._cluster = cluster
        self._happenings = happenings
        self._clock = clock
        self._kept: dict[str, Object] = {}
        """The specs that a GitOps controller keeps, by workload."""

    async def run(self) -> None:
        """Do each at its time."""
        async with asyncio.TaskGroup() as group:
            for operation in self._operations:
                group.create_task(self._at(operation))

    async def _at(self, operation: OperationSpec) -> None:
        await asyncio.sleep(operation.at - self._clock())
        given = getattr(operation, operation.what)
        workload = getattr(given, "workload", "")
        said = " ".join(f"{value}" for value in given.model_dump().values())
        self._happenings.add("operation", f"{operation.what} {said}", workload)
        try:
            await getattr(self, f"_{operation.what}")(given)
        except ApiRefusal as error:
            self._happenings.add("operation", f"{operation.what} {said} was refused: {error}", workload)

    async def _rollout(self, given: Any) -> None:
        def change(obj: Object) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = given.image

        self._write(given.workload, change)

    async def _scale(self, given: Any) -> None:
        self._write(given.workload, lambda obj: obj["spec"].update(replicas=given.replicas))

    async def _restart(self, given: Any) -> None:
        def change(obj: Object) -> None:
            template = obj["spec"]["template"]
            template["metadata"]["annotations"] = annotations_of(template) | {_RESTARTED: f"{self._clock():.0f}"}

        self._write(given.workload, change)

    async def _pause(self, given: Any) -> None:
        def change(obj: Object) -> None:
            obj["metadata"]["annotations"] = annotations_of(obj) | {PAUSED: "true"}

        self._cluster.change(given.workload, change)

    async def _resume(self, given: Any) -> None:
        def change(obj: Object) -> None:
            obj["metadata"]["annotations"] = {key: value for key, value in annotations_of(obj).items() if key != PAUSED}

        self._cluster.change(given.workload, change)

    async def _uncordon(self, given: Any) -> None:
        self._cluster.lab.api.modify(NODE, "", given.node, lambda node: node["spec"].pop("unschedulable", None))

    async def _drain(self, given: Any) -> None:
        """Cordon the node, and evict its pods until all are gone; a refusal is tried again."""
        self._cluster.lab.api.modify(NODE, "", given.node, lambda node: node["spec"].update(unschedulable=True))
        while pods := [pod for pod in self._cluster.pods() if node_of(pod) == given.node]:
            for pod in pods:
                metadata = pod["metadata"]
                try:
                    evict(
                        self._cluster.lab.api, metadata["namespace"], metadata["name"], {"metadata": {"name": metadata["name"]}}
                    )
                except ApiRefusal:
                    continue  # a budget: later
            await asyncio.sleep(_AGAIN)

    async def _gitops(self, given: Any) -> None:
        self._kept[given.workload] = clone(self._cluster.object(given.workload)["spec"])

    def _write(self, workload: str, change: Callable[[Object], None]) -> None:
        """Change a workload; where a GitOps controller keeps it, the change goes through Git."""
        self._cluster.change(workload, change)
        if workload in self._kept:
            self._kept[workload] = clone(self._cluster.object(workload)["spec"])

    def observe(self, collection: str, change: StoreEvent) -> None:
        """Take a change of the store: a GitOps controller notes it."""
        if not self._kept or change.type != "MODIFIED":
            return
        for name, spec in self._kept.items():
            workload = self._cluster.workloads[name]
            mine = (KINDS[workload.kind].stored_in, (workload.namespace, workload.name))
            if (collection, change.key) == mine and change.now.object["spec"] != spec:
                asyncio.get_running_loop().call_later(_SYNC, self._sync, name)

    def _sync(self, workload: str) -> None:
        spec = self._kept[workload]
        if self._cluster.object(workload)["spec"] != spec:
            self._happenings.add("operation", "GitOps puts the manifest back", workload)
            self._cluster.change(workload, lambda obj: obj.update(spec=clone(spec)))


class ModelledAutoscalers:
    """The HorizontalPodAutoscalers: ceil(pods * load / target), not within 10% of the target, down after 5 minutes."""

    def __init__(self, cluster: PlayedCluster, serving: Serving, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._serving = serving
        self._clock = clock
        self._wanted: dict[str, list[tuple[float, int]]] = {}

    async def run(self) -> None:
        """Look every 15 s, until cancelled. Returns at once without any."""
        scaled = [each for each in self._cluster.spec.workloads if each.autoscale is not None]
        while scaled:
            await asyncio.sleep(_AUTOSCALER)
            for each in scaled:
                self._look(each.name)

    def _look(self, workload: str) -> None:
        spec, service = self._cluster.workloads[workload], self._serving.services[workload]
        autoscale, pods, now = spec.autoscale, self._cluster.desired(workload), self._clock()
        ready = self._cluster.ready(workload)
        if autoscale is None or not ready:
            return
        load = service.rate / (ready * spec.capacity)
        ratio = load / autoscale.target
        wanted = pods if abs(ratio - 1) <= _TOLERANCE else math.ceil(ready * ratio)
        wanted = min(max(wanted, autoscale.min), autoscale.max)
        recent = [each for each in self._wanted.get(workload, []) if each[0] > now - _STABLE] + [(now, wanted)]
        self._wanted[workload] = recent
        to = wanted if wanted > pods else max(each for _, each in recent)
        to = min(to, pods) if wanted <= pods else to
        if to != pods:
            self._cluster.change(workload, lambda obj: obj["spec"].update(replicas=to))
