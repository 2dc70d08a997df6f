"""What people and their pipelines do in a scenario: rollouts, drains, a GitOps controller."""

import asyncio
from collections.abc import Callable
from typing import Any

from healer.lab.apiserver.status import ApiRefusal
from healer.lab.apiserver.store import StoreEvent
from healer.lab.apiserver.subresources import evict
from healer.lab.kinds import NODE, Kind
from healer.lab.objects import Object, annotations_of, clone
from healer.model.annotations import PAUSED
from healer.model.duration import about
from healer.rehearsal.simulate.alertmanager import PlayedSilences
from healer.rehearsal.simulate.cluster_spec import PlayedWorkload
from healer.rehearsal.simulate.happenings import OPERATION, Happenings
from healer.rehearsal.simulate.played import KINDS, PlayedCluster, node_of
from healer.rehearsal.simulate.scenario import OperationSpec
from healer.rehearsal.simulate.splitting import ROUTES, route_name, weighed
from healer.sources.alertmanager.api import MadeSilence

_RESTARTED = "kubectl.kubernetes.io/restartedAt"
_AGAIN = 5.0
"""Seconds after which `kubectl drain` tries an eviction again that was refused."""
_SYNC = 60.0
"""Seconds from a change until a GitOps controller has put the manifest back."""


class Operations:
    """Carries out the operations. `clock` gives seconds from the beginning."""

    def __init__(
        self,
        operations: tuple[OperationSpec, ...],
        cluster: PlayedCluster,
        happenings: Happenings,
        clock: Callable[[], float],
        silences: PlayedSilences,
    ) -> None:
        self._operations = operations
        self._cluster = cluster
        self._happenings = happenings
        self._clock = clock
        self._silences = silences
        self._kept: dict[str, Object] = {}
        """The specs that a GitOps controller keeps, by workload."""
        self._routes: dict[str, Object] = {}
        """What it keeps of the routes, by canary."""

    async def run(self) -> None:
        """Do each at its time."""
        async with asyncio.TaskGroup() as group:
            for operation in self._operations:
                group.create_task(self._at(operation))

    async def _at(self, operation: OperationSpec) -> None:
        await asyncio.sleep(operation.at - self._clock())
        given = getattr(operation, operation.what)
        workload = getattr(given, "workload", "")
        said = _said(given)
        self._happenings.add(OPERATION, f"{operation.what} {said}", workload)
        try:
            await getattr(self, f"_{operation.what}")(given)
        except ApiRefusal as error:
            self._happenings.add(OPERATION, f"{operation.what} {said} was refused: {error}", workload)

    async def _rollout(self, given: Any) -> None:
        def change(obj: Object) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = given.image

        self._write(given.workload, change)

    async def _scale(self, given: Any) -> None:
        self._write(given.workload, lambda obj: obj["spec"].update(replicas=given.replicas))

    async def _split(self, given: Any) -> None:
        canary = self._cluster.workloads[given.workload]
        self._cluster.lab.api.modify(*_route(canary), weighed(canary, given.weight))
        if given.workload in self._routes:
            self._routes[given.workload] = _kept(self._cluster.lab.api.get(*_route(canary)))

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

    async def _silence(self, given: Any) -> None:
        self._silences.make(given.matchers, self._clock() + given.lasts, MadeSilence("a human", given.comment))

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
        canary = self._cluster.workloads[given.workload]
        if canary.canary is not None:
            self._routes[given.workload] = _kept(self._cluster.lab.api.get(*_route(canary)))

    def _write(self, workload: str, change: Callable[[Object], None]) -> None:
        """Change a workload; where a GitOps controller keeps it, the change goes through Git."""
        self._cluster.change(workload, change)
        if workload in self._kept:
            self._kept[workload] = clone(self._cluster.object(workload)["spec"])

    def observe(self, collection: str, change: StoreEvent) -> None:
        """Take a change of the store: a GitOps controller notes it."""
        if not self._kept or change.type != "MODIFIED":
            return
        for name, kept in self._routes.items():
            kind, *key = _route(self._cluster.workloads[name])
            if (collection, change.key) == (kind.stored_in, tuple(key)) and _kept(change.now.object) != kept:
                asyncio.get_running_loop().call_later(_SYNC, self._sync_route, name)
        for name, spec in self._kept.items():
            workload = self._cluster.workloads[name]
            mine = (KINDS[workload.kind].stored_in, (workload.namespace, workload.name))
            if (collection, change.key) == mine and change.now.object["spec"] != spec:
                asyncio.get_running_loop().call_later(_SYNC, self._sync, name)

    def _sync(self, workload: str) -> None:
        spec = self._kept[workload]
        if self._cluster.object(workload)["spec"] != spec:
            self._happenings.add(OPERATION, "GitOps puts the manifest back", workload)
            self._cluster.change(workload, lambda obj: obj.update(spec=clone(spec)))

    def _sync_route(self, canary: str) -> None:
        kept, route = self._routes[canary], _route(self._cluster.workloads[canary])
        if _kept(self._cluster.lab.api.get(*route)) == kept:
            return
        self._happenings.add(OPERATION, "GitOps puts the route back", canary)

        def change(obj: Object) -> None:
            obj["spec"] = clone(kept["spec"])
            obj["metadata"]["annotations"] = clone(kept["annotations"])

        self._cluster.lab.api.modify(*route, change)


def _said(given: Any) -> str:
    """The parameters of an operation for people: its workload or node first."""
    values = given.model_dump()
    if "weight" in values:
        values["weight"] = f"{values['weight']:.0%}"
    if "matchers" in values:
        values["matchers"] = ", ".join(f"{name}={value}" for name, value in values["matchers"].items())
        values["lasts"] = f"for {about(values['lasts'])}"
    return " ".join(f"{value}" for value in values.values() if value != "")


def _route(canary: PlayedWorkload) -> tuple[Kind, str, str]:
    """The kind, the namespace and the name of a canary's route."""
    spec = canary.canary
    assert spec is not None, "it is a canary"
    return ROUTES[spec.router], canary.namespace, route_name(spec)


def _kept(route: Object) -> Object:
    """What Git has of a route: an Ingress has its weight in an annotation."""
    return {"spec": clone(route["spec"]), "annotations": clone(annotations_of(route))}
