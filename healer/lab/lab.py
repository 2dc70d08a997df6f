"""The lab: an in-memory Kubernetes cluster that serves its API over HTTP on loopback, or without a socket in this process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import web

from healer.lab.apiserver.admission import Admission
from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.decoding import decode
from healer.lab.apiserver.reviews import Reviews
from healer.lab.apiserver.server import LabServer
from healer.lab.apiserver.store import Store, StoreEvent
from healer.lab.controllers import nodes
from healer.lab.controllers.base import Controller
from healer.lab.controllers.cloneset import CloneSetController
from healer.lab.controllers.daemonset import DaemonSetController
from healer.lab.controllers.definition import DefinitionController
from healer.lab.controllers.deployment import DeploymentController
from healer.lab.controllers.endpoints import EndpointSliceController
from healer.lab.controllers.garbage import GarbageCollector, NamespaceController
from healer.lab.controllers.job import JobController
from healer.lab.controllers.leaderworkerset import LeaderWorkerSetController
from healer.lab.controllers.limits import DisruptionController, QuotaController
from healer.lab.controllers.nodes import NodeLifecycle
from healer.lab.controllers.replicaset import ReplicaSetController
from healer.lab.controllers.rollout import RolloutController
from healer.lab.controllers.scheduler import Scheduler
from healer.lab.controllers.statefulset import StatefulSetController
from healer.lab.faults import Faults, Requests, SeenRequest
from healer.lab.kinds import NAMESPACE, NODE, POD, Kinds
from healer.lab.kubelet.behaviour import ANNOTATION, BEHAVIOURS
from healer.lab.kubelet.kubelet import Kubelet
from healer.lab.objects import Object, annotations_of, clone, timestamp

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser, if it is built in, is ten times as fast
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class Lab:
    """An API server, controllers, a scheduler and kubelets in this process; an async context manager.

    port: the port on 127.0.0.1, 0 for a free one, None for none: then `protocol` serves in this process; token: the bearer
    token that clients must send, None for none; start_delay: seconds from binding a pod to a node until it is Running;
    termination_delay: seconds from its deletionTimestamp until it is removed; time_scale: factor on Kubernetes' own times (crash
    back-off, progressDeadlineSeconds, the two minutes of a PDB's disruptedPods), so 0.1 is ten times as fast; nodes: the number
    of nodes; tls: a server context for https; controllers: False serves the API only, like a kube-apiserver without controllers;
    history: the number of changes of a kind that watches can start from.
    """

    def __init__(
        self,
        *,
        port: int | None = 0,
        token: str | None = None,
        start_delay: float = 0.05,
        termination_delay: float = 0.05,
        time_scale: float = 1.0,
        nodes: int = 3,
        tls: ssl.SSLContext | None = None,
        controllers: bool = True,
        history: int = 20_000,
    ) -> None:
        self.url = ""
        self.faults = Faults()
        self.requests = Requests()
        self.store = Store(history)
        self.api = ObjectApi(self.store, Kinds())
        self._server = LabServer(self.api, self.faults, self.requests, token)
        self._port = port
        self._token = token
        self._tls = tls
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._controllers: list[Controller] = [DefinitionController(self.api)]
        self._kubelet: Kubelet | None = None
        if controllers:
            self._kubelet = Kubelet(self.api, start_delay, termination_delay, time_scale)
            self._controllers += [
                Scheduler(self.api),
                self._kubelet,
                NodeLifecycle(self.api, time_scale),
                ReplicaSetController(self.api),
                DeploymentController(self.api, time_scale),
                StatefulSetController(self.api),
                DaemonSetController(self.api),
                RolloutController(self.api, time_scale),
                CloneSetController(self.api),
                LeaderWorkerSetController(self.api),
                JobController(self.api, time_scale),
                DisruptionController(self.api, time_scale),
                EndpointSliceController(self.api),
                QuotaController(self.api),
                GarbageCollector(self.api),
                NamespaceController(self.api),
            ]
        self._create_base_objects(nodes if controllers else 0)

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._tasks = [self._group.create_task(controller.run()) for controller in self._controllers]
        self._runner = web.AppRunner(self._server.app(), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        if self._port is None:
            return self
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *failure: Any) -> None:
        self._server.closing.set()
        self.faults.wake()
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        if self._group is not None:
            await self._group.__aexit__(*failure)

    def protocol(self) -> asyncio.Protocol:
        """The HTTP server's side of a new connection. Raises RuntimeError before the lab is entered."""
        if self._runner is None or self._runner.server is None:
            raise RuntimeError("the lab does not run")
        return self._runner.server()

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig file whose current context is this lab."""
        cluster: Object = {"server": self.url}
        if self._tls is not None:
            cluster["insecure-skip-tls-verify"] = True
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "lab", "user": {"token": self._token} if self._token else {}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab", "namespace": "default"}}],
        }
        return yaml.safe_dump(config)

    def write_kubeconfig(self, path: Path) -> None:
        """Write the file."""
        path.write_text(self.kubeconfig, encoding="utf-8")

    async def apply(self, manifest: Object | Sequence[Object]) -> None:
        """Create the objects, and their namespaces if missing.

        Raises ApiRefusal if the API refuses one, KeyError for a kind that the lab does not serve.
        """
        for obj in [manifest] if isinstance(manifest, dict) else manifest:
            kind = self.api.kinds.of(obj["apiVersion"], obj["kind"])
            if kind is None:
                raise KeyError(f"the lab serves no {obj['apiVersion']} {obj['kind']}")
            namespace = (obj["metadata"].get("namespace") or "default") if kind.namespaced else ""
            if namespace and self.store.get(NAMESPACE.stored_in, ("", namespace)) is None:
                self.api.create(NAMESPACE, "", {"metadata": {"name": namespace}})
            self.api.create(kind, namespace, decode(kind, obj)[0])
            await asyncio.sleep(0)  # serve a definition's kinds before an object of them is created

    async def apply_yaml(self, text: str) -> None:
        """Create the objects of a YAML stream."""
        await self.apply([document for document in yaml.load_all(text, Loader=_Loader) if document])

    async def behave(self, namespace: str, pod: str, behaviour: str, container: str = "") -> None:
        """Set the behaviour of a pod, or of one container or sidecar of it, to one of behaviour.BEHAVIOURS.

        Raises ValueError for an unknown behaviour.
        """
        if behaviour not in BEHAVIOURS:
            raise ValueError(f"unknown behaviour {behaviour!r}; use one of {', '.join(sorted(BEHAVIOURS))}")

        def change(obj: Object) -> None:
            key = f"{ANNOTATION}.{container}" if container else ANNOTATION
            obj["metadata"]["annotations"] = annotations_of(obj) | {key: behaviour}

        self.api.modify(POD, namespace, pod, change)

    def log(self, namespace: str, pod: str, text: str, container: str = "") -> None:
        """Have each run of a container write this to its log; without a name it is the first container of the pod."""
        found = self.api.get(POD, namespace, pod)
        self._server.logs.write(found["metadata"]["uid"], container or found["spec"]["containers"][0]["name"], text)

    def device(self, namespace: str, pod: str, health: str, resource: str = "nvidia.com/gpu", device: str = "GPU-0") -> None:
        """Say how the device is that the first container of a pod has: Healthy, Unhealthy or Unknown."""

        def change(obj: Object) -> None:
            said = [{"name": resource, "resources": [{"resourceID": device, "health": health}]}]
            obj["status"]["containerStatuses"][0]["allocatedResourcesStatus"] = said

        self.api.modify(POD, namespace, pod, change, subresource="status")

    def node_condition(self, name: str, kind: str, status: str, reason: str = "", message: str = "") -> None:
        """Say what an agent says of a node: a condition of that type, as node-problem-detector or a cloud's agent sets it."""
        nodes.set_condition(self.api, name, kind, status, reason, message)

    def taint_node(self, name: str, *keys: str, effect: str = "NoSchedule") -> None:
        """Give a node these taints, and no others, as a node remediator does; none takes them away."""
        taints = [{"key": key, "effect": effect, "timeAdded": timestamp()} for key in keys]
        self.api.modify(NODE, "", name, lambda obj: obj["spec"].update(taints=taints))

    def lose_node(self, name: str) -> None:
        """Make a node lost: it gets a taint, its pods become not ready, and deleted pods stay."""
        nodes.lose(self.api, name)

    def recover_node(self, name: str) -> None:
        """Make a lost node answer again: the kubelet reports its pods, and removes the deleted ones."""
        nodes.recover(self.api, name)

    def reboot_node(self, name: str) -> None:
        """Restart every container of a node once. All run again at once. Raises RuntimeError if the lab has no controllers."""
        if self._kubelet is None:
            raise RuntimeError("this lab has no kubelets: controllers=False")
        self._kubelet.reboot(name)

    def objects(self, resource: str, namespace: str | None = None) -> list[Object]:
        """Copies of all objects of a resource (`pods`, `deployments`, `tests.example.dev`), sorted by name."""
        kind = self.api.kinds.named(resource)
        found = [self.api.shown(kind, clone(obj)) for obj in self.api.objects(kind, namespace)]
        return sorted(found, key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))

    async def wait_for(self, predicate: Callable[[Lab], bool], timeout: float = 10) -> None:  # noqa: ASYNC109 - the interface that tests want
        """Return when the predicate holds; it is checked after each change. Raises TimeoutError after `timeout` seconds."""
        changed = asyncio.Event()

        def on_change(collection: str, change: StoreEvent) -> None:
            changed.set()

        self.store.listeners.append(on_change)
        try:
            async with asyncio.timeout(timeout):
                while not predicate(self):
                    await changed.wait()
                    changed.clear()
        finally:
            self.store.listeners.remove(on_change)

    def compact(self) -> None:
        """Compact the history: requests with older resourceVersions and continue tokens answer 410 from now on."""
        self.store.compact()

    def forbid(self, verb: str, resource: str) -> None:
        """Answer 403 to a verb on `pods`, `pods/eviction`, ... as RBAC would."""
        self._server.forbid(verb, resource)

    def allow(self, verb: str, resource: str) -> None:
        """Remove a `forbid`."""
        self._server.allow(verb, resource)

    def authorize(self, allows: Callable[[SeenRequest], bool]) -> None:
        """Answer 403 to each request for a resource that this does not allow, as RBAC would; a later call replaces it."""
        self._server.authorize(allows)

    @property
    def reviews(self) -> Reviews:
        """The tokens that a TokenReview knows, and what a SubjectAccessReview grants."""
        return self._server.reviews

    @property
    def admission(self) -> Admission:
        """The registered denials: the requests of clients and controllers that a webhook or a policy refuses."""
        return self.api.admission

    @property
    def bookmark_every(self) -> float:
        """Seconds between the bookmarks of a watch that requests them."""
        return self._server.bookmark_every

    @bookmark_every.setter
    def bookmark_every(self, seconds: float) -> None:
        self._server.bookmark_every = seconds

    def _create_base_objects(self, nodes: int) -> None:
        for name in _NAMESPACES:
            self.api.create(NAMESPACE, "", {"metadata": {"name": name}})
        for number in range(nodes):
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(), "reason": "KubeletReady"}
            node = {"metadata": {"name": f"node-{number}"}, "spec": {}, "status": {"conditions": [ready]}}
            self.api.create(NODE, "", node)
