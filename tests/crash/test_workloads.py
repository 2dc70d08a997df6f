"""What healer does to workloads, with the daemon killed at the requests that differ from those of an eviction.

An alert of Alertmanager names a workload, and is over when healer looks whether its action has helped. From the claim on, until
the outcome is journaled, a daemon dies before and after the write to the route, the workload or the file, and before each to
the journal. After one of these the cluster is as it is before what follows, and before or after a read as it was before that.

Coarser than the matrix of an eviction, so that all of them are quick together. How a daemon begins, opens an incident and tells
Slack is the same there, and tried there. Deaths at the reads of an action, which should make no difference, are tried with the
one that has most, and deaths around the end of the alert with the quickest.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import msgspec
import pytest

from healer.cluster.api import Api
from healer.lab import Lab, serving
from healer.lab.apiserver.store import StoreEvent
from healer.lab.canary import CANARY, ROUTE, STABLE, versions
from healer.lab.custom import CLONESET, INFERENCE_SERVICE, ROLLOUT, as_cloneset, as_rollout, definition
from healer.lab.groups import serving_groups
from healer.lab.kinds import DAEMONSET, DEPLOYMENT, STATEFULSET, Kind
from healer.lab.objects import Object, clone, condition
from healer.model.annotations import MODEL_HISTORY
from healer.model_servers.history import PolicyState, load
from healer.model_servers.tensorflow_serving.config import find
from healer.model_servers.versions import specific
from healer.operate.undo import undo
from tests.crash.gate import Gate, Point
from tests.crash.matrix import Matrix
from tests.crash.world import Scenario, World, all_healed, incidents_of, state, states
from tests.integration.test_job import template
from tests.integration.world import CHANNEL, NAMESPACE, Rule, rule, serves, told
from tests.support.canary import route
from tests.support.healer import Healer, alert
from tests.support.processes import PATIENCE
from tests.support.prometheus import alertmanager
from tests.support.slack import FakeSlack
from tests.support.tensorflow_serving import StatusServers, status_servers

_AT_ONCE = 2
"""Runs at a time: the matrix of an eviction runs beside these."""
_REPEATS = 2.0
"""Seconds after which Alertmanager sends again what still fires."""
_JOURNAL = "update incidents/status"
_NAME = "tensorflow-serving"
_REVISION = "deployment.kubernetes.io/revision"
_WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"
_ROUTE: dict[str, Any] = {
    "route": {"kind": "Ingress", "name": ROUTE},
    "stable": {"deployment": STABLE},
    "canary": {"deployment": CANARY},
}
_MAP = "models"
_FILE = """\
model_config_list {
  config {
    name: "ranker"  # the home page
    base_path: "/models/ranker"
    model_version_policy { specific { versions: 42 } }
    version_labels { key: "stable" value: 42 }
  }
}
"""


class OnWorkload(Scenario):
    """An alert on a Deployment, and what is done about it."""

    deployment = _NAME
    action: ClassVar[str]
    reads: ClassVar[frozenset[str]] = frozenset()
    """The requests before which a daemon dies, too."""
    phases: ClassVar[frozenset[str]] = frozenset({"acting"})
    """The states of the incident in which it dies at writes to the journal."""
    watched: ClassVar[str]
    """The resource that the action changes."""
    space: ClassVar[str] = NAMESPACE
    """Its namespace."""
    scope: ClassVar[Rule] = {}
    """The scope of the rule, where it is not that of the file."""

    async def begin(self, stack: AsyncExitStack) -> Rule:
        self._alert = alert("HighErrors", deployment=self.deployment)
        self._taken: set[str] = set()
        """What Alertmanager was answered 2xx to: it sends the rest again."""
        self.seen: list[Object] = []
        """What the action changes, as it was, and after each write."""
        self.kept: list[dict[str, str]] = []
        """What was journaled for the action at each of these writes."""
        await self.prepare(stack)
        self._kind = self.lab.api.kinds.named(self.watched)
        self.seen.append(clone(self.object()))
        self.lab.store.listeners.append(self._look)
        return rule("high-errors", when={"alert": ["HighErrors"]}, heal=self.ladder(), **self.scope)

    @abstractmethod
    async def prepare(self, stack: AsyncExitStack) -> None:
        """Have the workload be as it is when the alert comes."""

    @abstractmethod
    def object(self) -> Object:
        """What the action changes, as it is."""

    def ladder(self) -> list[dict[str, Any]]:
        """What the rule does about it."""
        return [self.step()]

    def step(self, within: str = "30s", **params: Any) -> dict[str, Any]:
        """A step of it, with these parameters of the action."""
        return {self.action: params, "verify": {"within": within, "stable": "100ms"}}

    def better(self) -> bool:
        """Whether what was done will end the alert."""
        return True

    def matters(self, point: Point) -> bool:
        name, _, moment = point
        if name in self.must:
            return True
        if name == _JOURNAL:
            return moment == "before" and any(state(each) in self.phases for each in incidents_of(self.lab))
        return name in self.reads and moment == "before"

    async def heal(self, healer: Healer, gate: Gate) -> None:
        async with asyncio.timeout(PATIENCE):
            while not self._treated(self.lab):
                await self._send(healer, "firing")
                with suppress(TimeoutError):
                    await self.lab.wait_for(self._treated, _REPEATS)
        await self._send(healer, "resolved")
        await self.lab.wait_for(all_healed, PATIENCE)
        await self.slack.wait_for(told("healed"), PATIENCE)

    def _treated(self, lab: Lab) -> bool:
        return self.better() and any(state(each) in ("verifying", "healed") for each in incidents_of(lab))

    async def _send(self, healer: Healer, status: str) -> None:
        """As Alertmanager does: until it is answered 2xx, by another daemon when this one dies.

        What fires it repeats, to a daemon that has it from the journal alone too: that one acts on it only when it hears so.
        One that loses its lease, on a machine with too much to do, begins anew with the journal: it has to hear so again.
        """
        if status in self._taken and (status == "resolved" or "resolved" in self._taken):
            return
        while healer.runs:
            try:
                code, answer = await healer.post(self._alert | {"status": status})
            except aiohttp.ClientError:
                code = 503
            if code != 503:
                assert code == 200, answer
                self._taken.add(status)
                return
            await asyncio.sleep(0.1)  # it has lost its lease, on a machine with too much to do; or it is dying

    @property
    def notice(self) -> dict[str, str]:
        """What is journaled for the action."""
        kept = [each["status"].get("notices", {}).get(self.action) for each in incidents_of(self.lab) if "status" in each]
        return next((dict(each) for each in kept if each), {})

    def _look(self, collection: str, change: StoreEvent) -> None:
        if collection == self._kind.stored_in and change.key == (self.space, self.seen[0]["metadata"]["name"]):
            self.seen.append(clone(self.object()))
            self.kept.append(self.notice)

    def named(self, resource: str, name: str) -> Object:
        """An object as it is."""
        (found,) = [each for each in self.lab.objects(resource, NAMESPACE) if each["metadata"]["name"] == name]
        return found


class ShiftTraffic(OnWorkload):
    """All traffic is taken off a canary that has a fifth of it."""

    deployment = CANARY
    action = "shiftTraffic"
    must = ("patch ingresses",)
    reads = frozenset({"get deployments", "list ingresses", "list endpointslices"})
    watched = "ingresses"
    weights: ClassVar[list[str]] = ["20", "0"]
    """One after the other."""

    async def prepare(self, stack: AsyncExitStack) -> None:
        await self.lab.apply([*versions(NAMESPACE, replicas=(1, 1)), *route("Ingress", NAMESPACE, 20)])
        await self.lab.wait_for(serves(2), PATIENCE)

    def object(self) -> Object:
        return self.named("ingresses", ROUTE)

    def ladder(self) -> list[dict[str, Any]]:
        return [self.step(to=0, **_ROUTE)]

    def better(self) -> bool:
        return _weight(self.object()) == self.weights[-1]

    async def verify(self) -> None:
        assert [_weight(each) for each in self.seen] == self.weights
        for kept in (*self.kept, self.notice):  # journaled before it was patched, and to the end
            (note,) = kept.values()
            assert msgspec.json.decode(note)["before"] == "80:20"
        healed = next(each for each in incidents_of(self.lab) if "healed" in states(each))
        kubeconfig = self.folder / "kubeconfig"
        self.lab.write_kubeconfig(kubeconfig)  # past the gate of the dead
        api = await Api.connect(kubeconfig=str(kubeconfig))
        try:  # what the verb `healer undo` does
            await undo(api, NAMESPACE, healed["metadata"]["name"], "alice", lambda _: None)
        finally:
            await api.aclose()
        assert [_weight(each) for each in self.seen] == [*self.weights, "20"]
        assert all(_without_weight(each) == _without_weight(self.seen[0]) for each in self.seen)


class ShiftBySteps(ShiftTraffic):
    """A part of it is taken off, then another: neither twice, and what there was is what there was before the first."""

    reads = frozenset()
    weights: ClassVar[list[str]] = ["20", "10", "5"]

    def ladder(self) -> list[dict[str, Any]]:
        return [self.step("200ms", by=10, **_ROUTE), self.step(by=5, **_ROUTE)]


class ShiftByOwner(OnWorkload):
    """All traffic is taken off the canary of an InferenceService, by its own field."""

    sides = ("ranker-1-deployment", "ranker-2-deployment")
    deployment = sides[1]
    action = "shiftTraffic"
    must = ("patch inferenceservices",)
    watched = "inferenceservices"

    async def prepare(self, stack: AsyncExitStack) -> None:
        service = {
            "apiVersion": INFERENCE_SERVICE.api_version,
            "kind": INFERENCE_SERVICE.kind,
            "metadata": {"name": "ranker", "namespace": NAMESPACE},
            "spec": {"predictor": {"canaryTrafficPercent": 20}},
        }
        revisions = {"latestReadyRevision": "ranker-2", "latestRolledoutRevision": "ranker-1"}
        status = {"components": {"predictor": revisions}}
        made = versions(NAMESPACE, names=self.sides, replicas=(1, 1))
        await self.lab.apply([definition(INFERENCE_SERVICE), *made, service])
        self.lab.api.modify(INFERENCE_SERVICE, NAMESPACE, "ranker", lambda obj: obj.update(status=status), subresource="status")
        await self.lab.wait_for(serves(2), PATIENCE)

    def object(self) -> Object:
        return self.named("inferenceservices", "ranker")

    def ladder(self) -> list[dict[str, Any]]:
        stable, canary = ({"deployment": each} for each in self.sides)
        return [self.step(to=0, route={"kind": "InferenceService", "name": "ranker"}, stable=stable, canary=canary)]

    async def verify(self) -> None:
        assert [each["spec"]["predictor"]["canaryTrafficPercent"] for each in self.seen] == [20, 0]
        for kept in (*self.kept, self.notice):  # journaled before it was patched, and to the end
            (note,) = kept.values()
            assert msgspec.json.decode(note)["before"] == "80:20"


def _weight(ingress: Object) -> str:
    return str(ingress["metadata"]["annotations"][_WEIGHT])


def _without_weight(ingress: Object) -> Object:
    """All of it but the weight, and but what the API server itself writes when something changes."""
    rest = clone(ingress)
    del rest["metadata"]["annotations"][_WEIGHT]
    for key in ("resourceVersion", "managedFields", "generation"):
        rest["metadata"].pop(key, None)
    return rest


class OnTemplate(OnWorkload):
    """The Deployment's template is changed."""

    must = ("patch deployments",)
    watched = "deployments"

    async def prepare(self, stack: AsyncExitStack) -> None:
        await self.lab.apply(serving(replicas=2, min_available=None))
        await self.lab.wait_for(_settled("1"), PATIENCE)

    def object(self) -> Object:
        return self.named("deployments", _NAME)

    def rolled(self) -> list[Object]:
        """The templates that it had, one after the other; see that each was a revision of its own, and the last one serves."""
        found: list[Object] = []
        for each in self.seen:
            if (template := each["spec"]["template"]) not in found[-1:]:
                found.append(template)
        revisions = list(dict.fromkeys(each["metadata"]["annotations"][_REVISION] for each in self.seen))
        first = int(revisions[0])
        assert revisions == [str(first + number) for number in range(len(found))]
        assert _settled(revisions[-1])(self.lab)
        return found


class Rollback(OnTemplate):
    """Revision 2 is bad, and revision 1 comes back as revision 3."""

    action = "rollback"

    async def prepare(self, stack: AsyncExitStack) -> None:
        await super().prepare(stack)
        self._good = clone(self.object()["spec"]["template"])

        def ship(obj: Object) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = "tensorflow/serving:2.17.0"

        self.lab.api.modify(DEPLOYMENT, NAMESPACE, _NAME, ship)
        await self.lab.wait_for(_settled("2"), PATIENCE)

    async def verify(self) -> None:
        assert self.rolled()[1:] == [self._good]
        assert self.object()["metadata"]["annotations"]["healer.dev/rolled-back-from"] == "2"


class RolloutRestart(OnTemplate):
    """The same template with another date is rolled out."""

    action = "rolloutRestart"
    phases = frozenset({"acting", "verifying"})

    async def verify(self) -> None:
        before, after = self.rolled()
        assert before["spec"] == after["spec"]
        assert "kubectl.kubernetes.io/restartedAt" in after["metadata"]["annotations"]


class RollbackStateful(OnWorkload):
    """As of a Deployment, but its revisions are ControllerRevisions, and a note names one by its name."""

    action = "rollback"
    must = ("patch statefulsets",)
    watched = "statefulsets"

    async def prepare(self, stack: AsyncExitStack) -> None:
        self._alert = alert("HighErrors", statefulset=_NAME)
        await self.lab.apply(_stateful())
        await self.lab.wait_for(_rolled_out(1), PATIENCE)
        self._good = clone(self.object()["spec"]["template"])

        def ship(obj: Object) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = "tensorflow/serving:2.17.0"

        self.lab.api.modify(STATEFULSET, NAMESPACE, _NAME, ship)
        await self.lab.wait_for(_rolled_out(2), PATIENCE)
        self._bad = self.object()["status"]["updateRevision"]

    def object(self) -> Object:
        return self.named("statefulsets", _NAME)

    async def verify(self) -> None:
        templates = [template for template, _ in groupby(each["spec"]["template"] for each in self.seen)]
        assert templates[1:] == [self._good]
        assert self.object()["metadata"]["annotations"]["healer.dev/rolled-back-from"] == self._bad
        assert _rolled_out(3)(self.lab)


class OfKind(OnWorkload):
    """A workload of another kind changes at once, and each of its pods is replaced once.

    How it is claimed is as with a Deployment: a daemon dies only around the write, which is to another resource.
    """

    phases = frozenset()
    kind: ClassVar[Kind]
    replicas: ClassVar[int] = 2

    async def prepare(self, stack: AsyncExitStack) -> None:
        about: dict[str, Any] = {self.kind.kind.lower(): _NAME}
        self._alert = alert("HighErrors", **about)
        defined = [definition(self.kind)] if self.kind.custom else []
        deployment, *others = serving(replicas=self.replicas, min_available=None)
        await self.lab.apply([*defined, self.made(deployment), *others])
        await self.lab.wait_for(self._current, PATIENCE)
        await self.changed()
        self.born = self._uids()
        self.lab.store.listeners.append(self._note)

    def made(self, deployment: Object) -> Object:
        """The workload, with the pods of the Deployment."""
        return as_rollout(deployment) if self.kind is ROLLOUT else as_cloneset(deployment)

    async def changed(self) -> None:
        """What has happened to it before the alert."""

    def object(self) -> Object:
        return self.named(self.watched, _NAME)

    def mark(self, obj: Object) -> Any:
        """What the action changes."""
        return obj["spec"]["template"]

    def _uids(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.lab.objects("pods", NAMESPACE)}

    def _note(self, collection: str, change: StoreEvent) -> None:
        if collection == "pods":
            self.born |= self._uids()

    def _current(self, lab: Lab) -> bool:
        """Whether its controller has seen its spec, and all pods are of it."""
        found = self.object()
        status = found.get("status") or {}
        observed = str(status.get("observedGeneration")) == str(found["metadata"]["generation"])
        updated = status.get("updatedNumberScheduled" if self.kind is DAEMONSET else "updatedReplicas")
        promoted = status.get("stableRS") == status.get("currentPodHash")
        return observed and promoted and updated == self.replicas and serves(self.replicas)(lab)

    async def verify(self) -> None:
        assert len([mark for mark, _ in groupby(map(self.mark, self.seen))]) == 2
        assert self._current(self.lab)
        assert len(self.born) == 2 * self.replicas


class RollbackRollout(OfKind):
    """Its newest revision is promoted, and bad."""

    action = "rollback"
    kind = ROLLOUT
    watched = ROLLOUT.resource
    must = ("patch rollouts",)

    async def changed(self) -> None:
        def ship(obj: Object) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = "tensorflow/serving:2.17.0"

        self._good = self._image(self.object())
        self.lab.api.modify(self.kind, NAMESPACE, _NAME, ship)
        before = self._uids()
        await self.lab.wait_for(lambda lab: not before & self._uids() and self._current(lab), PATIENCE)

    def _image(self, obj: Object) -> str:
        return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])

    async def verify(self) -> None:
        await super().verify()
        assert [image for image, _ in groupby(map(self._image, self.seen))][1:] == [self._good]


class RollbackCloneSet(RollbackRollout):
    """As of a Rollout, by ControllerRevisions."""

    kind = CLONESET
    watched = CLONESET.resource
    must = ("patch clonesets",)


class OfDaemonSet(OfKind):
    """A pod on each node of the lab; the rule names the kind."""

    kind = DAEMONSET
    watched = "daemonsets"
    must = ("patch daemonsets",)
    replicas = 3
    scope: ClassVar[Rule] = {"scope": {"namespaces": [NAMESPACE], "kinds": ["DaemonSet"]}}

    def made(self, deployment: Object) -> Object:
        spec = {key: deployment["spec"][key] for key in ("selector", "template")}
        return deployment | {"kind": "DaemonSet", "spec": spec}


class RollbackDaemonSet(OfDaemonSet, RollbackRollout):
    """As of a Rollout, by ControllerRevisions."""


class RestartCloneSet(OfKind):
    """The same template with another date is rolled out, once."""

    action = "rolloutRestart"
    kind = CLONESET
    watched = CLONESET.resource
    must = ("patch clonesets",)


class RestartDaemonSet(OfDaemonSet):
    """The same of a DaemonSet."""

    action = "rolloutRestart"


class RestartRollout(OfKind):
    """Its own field has the date, and its template stays."""

    action = "rolloutRestart"
    kind = ROLLOUT
    watched = ROLLOUT.resource
    must = ("patch rollouts",)

    async def changed(self) -> None:
        """Its pods are older than a second: its controller compares whole ones."""
        for pod in self.lab.objects("pods", NAMESPACE):
            pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
            self.lab.store.put("pods", (NAMESPACE, pod["metadata"]["name"]), pod)

    def mark(self, obj: Object) -> Any:
        return obj["spec"].get("restartAt")

    async def verify(self) -> None:
        await super().verify()
        template = self.seen[0]["spec"]["template"]
        assert all(each["spec"]["template"] == template for each in self.seen)


class EvictStateful(OnWorkload):
    """A pod of a StatefulSet is evicted, and the one that gets its name is not."""

    action = "evict"
    must = ("create pods/eviction",)
    watched = "statefulsets"

    async def prepare(self, stack: AsyncExitStack) -> None:
        self.born: set[str] = set()
        self.lab.store.listeners.append(self._note)
        self._alert = alert("HighErrors", pod=f"{_NAME}-1")
        await self.lab.apply(_stateful())
        await self.lab.wait_for(serves(2), PATIENCE)

    def object(self) -> Object:
        return self.named("statefulsets", _NAME)

    def _note(self, collection: str, change: StoreEvent) -> None:
        if collection == "pods":
            self.born.update(f"{pod['metadata']['name']}/{pod['metadata']['uid']}" for pod in self.lab.objects("pods", NAMESPACE))

    async def verify(self) -> None:
        names = sorted(each.partition("/")[0] for each in self.born)
        assert names == [f"{_NAME}-0", f"{_NAME}-1", f"{_NAME}-1"]
        assert serves(2)(self.lab)


class EvictGroup(EvictStateful):
    """A worker of a LeaderWorkerSet is evicted, and its group is replaced once."""

    async def prepare(self, stack: AsyncExitStack) -> None:
        self.born = set()
        self.lab.store.listeners.append(self._note)
        self._alert = alert("HighErrors", pod=f"{_NAME}-1-1")
        await self.lab.apply(serving_groups(_NAME, NAMESPACE))
        await self.lab.wait_for(serves(4), PATIENCE)

    async def verify(self) -> None:
        names = sorted(each.partition("/")[0] for each in self.born)
        leaders = [name for name in names if name.count("-") == _NAME.count("-") + 1]
        assert leaders == [f"{_NAME}-0", f"{_NAME}-1", f"{_NAME}-1"]
        assert names.count(f"{_NAME}-0-1") == 1  # the old group's workers may come once more before they go with their leader
        assert serves(4)(self.lab)


def _stateful() -> list[Object]:
    """The serving workload of the lab with two replicas, as a StatefulSet."""
    manifests = serving(replicas=2, min_available=None)
    keys = ("replicas", "selector", "template")
    manifests[0] |= {"kind": "StatefulSet", "spec": {key: manifests[0]["spec"][key] for key in keys} | {"serviceName": _NAME}}
    return manifests


def _rolled_out(number: int) -> Callable[[Lab], bool]:
    """Whether the StatefulSet is at the revision of that number, and its two pods are of it."""

    def holds(lab: Lab) -> bool:
        status = lab.objects("statefulsets", NAMESPACE)[0]["status"]
        names = [each["metadata"]["name"] for each in lab.objects("controllerrevisions", NAMESPACE) if each["revision"] == number]
        current = names == [status.get("currentRevision")] == [status.get("updateRevision")]
        return current and status.get("updatedReplicas") == 2 and serves(2)(lab)

    return holds


class CollectFirst(RolloutRestart):
    """What the pods say is kept once, before they are replaced."""

    must = ("create configmaps",)
    phases = frozenset()
    looking = 1

    def ladder(self) -> list[dict[str, Any]]:
        return [{"collect": {}}, *super().ladder()]

    async def verify(self) -> None:
        await super().verify()
        (kept,) = self.lab.objects("configmaps", NAMESPACE)
        healed = next(each for each in incidents_of(self.lab) if "healed" in states(each))
        assert kept["metadata"]["annotations"] == {"healer.dev/collected-for": healed["metadata"]["name"]}


class RunJob(OnWorkload):
    """A Job of the team's own is run once, whoever made it and whoever waits for its end."""

    action = "job"
    must = ("create jobs",)
    watched = "deployments"

    async def prepare(self, stack: AsyncExitStack) -> None:
        await self.lab.apply([*serving(replicas=2, min_available=None), template()])
        await self.lab.wait_for(serves(2), PATIENCE)

    def object(self) -> Object:
        return self.named("deployments", _NAME)

    def ladder(self) -> list[dict[str, Any]]:
        return [self.step(template="mend")]

    async def verify(self) -> None:
        (job,) = self.lab.objects("jobs", NAMESPACE)
        assert condition(job, "Complete") is not None
        assert self.notice in ({}, {"made": job["metadata"]["name"]})  # none of one that is found by its name


class Quarantine(OnWorkload):
    """A pod is put in quarantine once, and one takes its place."""

    action = "quarantine"
    must = ("patch pods",)
    watched = "deployments"

    async def prepare(self, stack: AsyncExitStack) -> None:
        await self.lab.apply(serving(replicas=3, min_available=None))
        await self.lab.wait_for(serves(3), PATIENCE)
        self._alert = alert("HighErrors", pod=self.lab.objects("pods", NAMESPACE)[0]["metadata"]["name"])

    def object(self) -> Object:
        return self.named("deployments", _NAME)

    async def verify(self) -> None:
        found = self.lab.objects("pods", NAMESPACE)
        (kept,) = filter(_quarantined, found)
        assert len(found) == 4
        assert self._alert["labels"]["pod"] == kept["metadata"]["name"]
        assert list(self.notice) == [f"pod/{kept['metadata']['name']}"]


class QuarantineExpires(Quarantine):
    """A pod whose time in quarantine is over is deleted once, and no other.

    The shortest time is a minute: the first daemon heals and lives, and then its note is made as old as that.
    """

    must = ("delete pods",)
    phases = frozenset()
    _over = False

    async def begin(self, stack: AsyncExitStack) -> Rule:
        quarantine = await super().begin(stack)
        await World(self.lab, self.slack, self.folder, self).live(quarantine, lambda _: False)
        self.left = {pod["metadata"]["uid"] for pod in self.lab.objects("pods", NAMESPACE) if not _quarantined(pod)}
        (healed,) = incidents_of(self.lab)
        kind = self.lab.api.kinds.named("incidents.healer.dev")
        self.lab.api.modify(kind, NAMESPACE, healed["metadata"]["name"], self._expire, subresource="status")
        self._over = True
        return quarantine

    def matters(self, point: Point) -> bool:
        standing = point[0] == _JOURNAL and point[2] == "before" and '"ended"' not in str(self.notice)
        return point[0] in self.must or standing

    async def heal(self, healer: Healer, gate: Gate) -> None:
        if not self._over:
            await super().heal(healer, gate)
            return
        await self.lab.wait_for(lambda _: '"ended"' in str(self.notice), PATIENCE)
        pod = f"pod/{self._alert['labels']['pod']}"
        ends = (f"*Taken back*: {pod}", f"nothing is left to take back: {pod}", f"{pod} is gone")
        await self.slack.wait_for(lambda s: any(end in line for end in ends for t in s.threads(CHANNEL) for line in t), PATIENCE)

    def _expire(self, incident: Object) -> None:
        for key, text in incident["status"]["notices"][self.action].items():
            note = msgspec.json.decode(text)
            incident["status"]["notices"][self.action][key] = msgspec.json.encode(
                note | {"until": note["until"] - 86400}
            ).decode()

    async def verify(self) -> None:
        await self.lab.wait_for(serves(3), PATIENCE)
        assert {pod["metadata"]["uid"] for pod in self.lab.objects("pods", NAMESPACE)} == self.left


def _quarantined(pod: Object) -> bool:
    return "healer.dev/quarantined" in pod["metadata"]["labels"]


class RestartPod(OnWorkload):
    """A pod is deleted once, and one takes its place."""

    action = "restart"
    must = ("delete pods",)
    watched = "deployments"

    async def prepare(self, stack: AsyncExitStack) -> None:
        self.born: set[str] = set()
        self.lab.store.listeners.append(self._note)
        await self.lab.apply(serving(replicas=3, min_available=None))
        await self.lab.wait_for(serves(3), PATIENCE)
        pod = self.lab.objects("pods", NAMESPACE)[0]
        self.sick = pod["metadata"]["uid"]
        self._alert = alert("HighErrors", pod=pod["metadata"]["name"])

    def object(self) -> Object:
        return self.named("deployments", _NAME)

    def _note(self, collection: str, change: StoreEvent) -> None:
        if collection == "pods":
            self.born.update(pod["metadata"]["uid"] for pod in self.lab.objects("pods", NAMESPACE))

    async def verify(self) -> None:
        assert len(self.born) == 4
        assert serves(3, without=self.sick)(self.lab)


class ForATime(OnWorkload):
    """A change that is taken back when the incident is healed. How it is claimed is as with all others, and tried there."""

    phases = frozenset()

    def matters(self, point: Point) -> bool:
        return super().matters(point) or (point[0] == _JOURNAL and point[2] == "before" and self._stands())

    async def heal(self, healer: Healer, gate: Gate) -> None:
        await super().heal(healer, gate)
        await self.lab.wait_for(lambda _: '"ended"' in str(self.notice), PATIENCE)
        await self.slack.wait_for(lambda s: any("aken back" in line for each in s.threads(CHANNEL) for line in each), PATIENCE)

    def _stands(self) -> bool:
        """Whether the incident is healed, and the change is not taken back."""
        return '"ended"' not in str(self.notice) and any(state(each) == "healed" for each in incidents_of(self.lab))


class Cordon(ForATime):
    """The node of a pod is cordoned, and takes pods again when the incident is healed."""

    action = "cordon"
    must = ("patch nodes",)
    watched = "nodes"
    space = ""

    def matters(self, point: Point) -> bool:
        return point[0] in self.must

    async def prepare(self, stack: AsyncExitStack) -> None:
        await self.lab.apply(serving(replicas=2, min_available=None))
        await self.lab.wait_for(serves(2), PATIENCE)
        pod = self.lab.objects("pods", NAMESPACE)[0]
        self._node = pod["spec"]["nodeName"]
        self._alert = alert("HighErrors", pod=pod["metadata"]["name"])

    def object(self) -> Object:
        (found,) = [each for each in self.lab.objects("nodes") if each["metadata"]["name"] == self._node]
        return found

    def ladder(self) -> list[dict[str, Any]]:
        return [self.step(keepFor="0s")]

    async def verify(self) -> None:
        assert [cordoned for cordoned, _ in groupby(bool(each["spec"].get("unschedulable")) for each in self.seen)] == [
            False,
            True,
            False,
        ]
        assert "healer.dev/cordoned-by" not in (self.object()["metadata"].get("annotations") or {})
        assert all('"after"' in str(kept) for kept in (*self.kept, self.notice))  # journaled before it was cordoned


class Silence(ForATime):
    """The alert is silenced in a real Alertmanager, which the gate does not stand before: a daemon dies at its journal."""

    action = "silence"
    must = (_JOURNAL,)
    watched = "deployments"

    async def begin(self, stack: AsyncExitStack) -> Rule:
        config = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
        self._monitor = await stack.enter_async_context(alertmanager(self.folder / "alertmanager", config))
        self.settings = {"HEALER_ALERTS__URL": f"http://{self._monitor.address}"}
        return await super().begin(stack)

    async def prepare(self, stack: AsyncExitStack) -> None:
        await self.lab.apply(serving(replicas=2, min_available=None))
        await self.lab.wait_for(serves(2), PATIENCE)
        sent = {"labels": self._alert["labels"], "startsAt": self._alert["startsAt"]}
        await self._ask("POST", "alerts", [sent])
        (listed,) = await self._ask("GET", "alerts")
        self._alert["fingerprint"] = listed["fingerprint"]

    def object(self) -> Object:
        return self.named("deployments", _NAME)

    def ladder(self) -> list[dict[str, Any]]:
        return [self.step()]

    def matters(self, point: Point) -> bool:
        noted = point[2] == "before" and bool(self.notice)
        acting = noted and any(state(each) == "acting" for each in incidents_of(self.lab))
        return point[0] == _JOURNAL and (acting or self._stands())

    async def verify(self) -> None:
        (made,) = await self._ask("GET", "silences")
        assert (made["status"]["state"], made["createdBy"]) == ("expired", "healer")

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        url = f"http://{self._monitor.address}/api/v2/{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as answer:
            assert answer.ok, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else None


class Scale(ForATime):
    """A replica more is added, and taken back when the incident is healed."""

    action = "scale"
    must = ("patch deployments/scale",)
    watched = "deployments"

    async def prepare(self, stack: AsyncExitStack) -> None:
        await self.lab.apply(serving(replicas=2, min_available=None))
        await self.lab.wait_for(serves(2), PATIENCE)

    def object(self) -> Object:
        return self.named("deployments", _NAME)

    def ladder(self) -> list[dict[str, Any]]:
        return [self.step(by=1, max=3, keepFor="0s")]

    async def verify(self) -> None:
        assert [number for number, _ in groupby(each["spec"]["replicas"] for each in self.seen)] == [2, 3, 2]
        scaled = [kept for seen, kept in zip(self.seen[1:], self.kept, strict=True) if seen["spec"]["replicas"] == 3]
        for kept in (*scaled, self.notice):  # journaled before it was scaled, and to the end
            note = msgspec.json.decode(kept["replicas"])
            assert (note["before"], note["after"]) == ("2", "3")


class PinModelVersion(OnWorkload):
    """Version 42 is served, and 41 is to be: it is loaded beside the other first, and alone only when it is there."""

    action = "pinModelVersion"
    must = ("patch configmaps",)
    watched = "configmaps"

    async def prepare(self, stack: AsyncExitStack) -> None:
        address = "127.0.0.1"
        self._servers: StatusServers = await stack.enter_async_context(status_servers(address))
        data = {"models.config": _FILE, "monitoring.config": "prometheus_config { enable: true }"}
        metadata = {"name": _MAP, "namespace": NAMESPACE}
        models = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        manifests = serving(replicas=2, min_available=None, addresses=(address,))
        manifests[0]["spec"]["template"]["spec"]["volumes"] = [{"name": "config", "configMap": {"name": _MAP}}]

        def follow(*_: object) -> None:
            """The servers have what the file says."""
            versions = find(self.object()["data"]["models.config"], "ranker").policy.versions
            self._servers.say(address, *((version, "AVAILABLE") for version in versions))

        await self.lab.apply([models, *manifests])
        follow()
        self.lab.store.listeners.append(follow)
        await self.lab.wait_for(_settled("1"), PATIENCE)

    def object(self) -> Object:
        return self.named("configmaps", _MAP)

    def ladder(self) -> list[dict[str, Any]]:
        return [self.step(configMap=_MAP, model="ranker", version=41, port=self._servers.port)]

    async def verify(self) -> None:
        files = [each["data"]["models.config"] for each in self.seen]
        assert [find(file, "ranker").policy for file in files] == [specific([42]), specific([41, 42]), specific([41])]
        assert find(files[-1], "ranker").labels == {"stable": 41}
        assert self.object()["data"]["monitoring.config"] == self.seen[0]["data"]["monitoring.config"]
        original = PolicyState.of(specific([42]), {"stable": 42})
        for kept in (*self.kept, self.notice):  # journaled before it was written, and to the end
            assert msgspec.json.decode(kept["from"], type=PolicyState) == original
        history = load(self.object()["metadata"]["annotations"][MODEL_HISTORY])
        assert [entry.after.versions for entry in history] == [(41, 42), (41,)]
        assert history[0].before == original


def _settled(revision: str) -> Callable[[Lab], bool]:
    """Whether the Deployment is at that revision, two pods of it are ready, and none is there besides."""

    def holds(lab: Lab) -> bool:
        (found,) = [each for each in lab.objects("deployments", NAMESPACE) if each["metadata"]["name"] == _NAME]
        status = found.get("status", {})
        at = found["metadata"].get("annotations", {}).get(_REVISION)
        return at == revision and status.get("updatedReplicas") == 2 and serves(2)(lab)

    return holds


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "scenario",
    [
        ShiftTraffic,
        ShiftBySteps,
        ShiftByOwner,
        Rollback,
        RollbackStateful,
        RollbackRollout,
        RollbackCloneSet,
        RollbackDaemonSet,
        RestartRollout,
        RestartCloneSet,
        RestartDaemonSet,
        EvictStateful,
        EvictGroup,
        RolloutRestart,
        CollectFirst,
        RunJob,
        Quarantine,
        QuarantineExpires,
        RestartPod,
        Scale,
        Cordon,
        Silence,
        PinModelVersion,
    ],
)
async def test_a_daemon_killed_while_it_changes_a_workload_does_it_once(
    scenario: Callable[[Lab, FakeSlack, Path], OnWorkload], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    matrix = Matrix(getattr(scenario, "__name__", ""), scenario, tmp_path)
    record_property("figures", await matrix.complete(_AT_ONCE))
