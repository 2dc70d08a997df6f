"""The lab: an in-memory Kubernetes cluster that answers over HTTP on loopback."""

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
from healer.lab.apiserver.server import LabServer
from healer.lab.apiserver.store import Store, StoreEvent
from healer.lab.controllers import nodes
from healer.lab.controllers.base import Controller
from healer.lab.controllers.daemonset import DaemonSetController
from healer.lab.controllers.definition import DefinitionController
from healer.lab.controllers.deployment import DeploymentController
from healer.lab.controllers.endpoints import EndpointSliceController
from healer.lab.controllers.garbage import GarbageCollector, NamespaceController
from healer.lab.controllers.job import JobController
from healer.lab.controllers.limits import DisruptionController, QuotaController
from healer.lab.controllers.nodes import NodeLifecycle
from healer.lab.controllers.replicaset import ReplicaSetController
from healer.lab.controllers.scheduler import Scheduler
from healer.lab.controllers.statefulset import StatefulSetController
from healer.lab.faults import Faults, Requests
from healer.lab.kinds import NAMESPACE, NODE, POD, Kinds
from healer.lab.kubelet.behaviour import ANNOTATION, BEHAVIOURS
from healer.lab.kubelet.kubelet import Kubelet
from healer.lab.objects import Object, annotations_of, clone, timestamp

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class Lab:
    """An API server, controllers, a scheduler and kubelets in this process; an async context manager.

    port: where to listen on 127.0.0.1, 0 for any; token: the bearer token that clients must send, None for none;
    start_delay, termination_delay: seconds from a pod's placement to Running, and from its mark of deletion to its end;
    time_scale: factor on Kubernetes' own times (crash back-off, progressDeadlineSeconds, the two minutes of a PDB's
    disruptedPods): 0.1 is ten times quicker; nodes: how many; tls: a server context, for https;
    controllers: False serves the bare API, as a kube-apiserver does that runs alone; history: how many changes a kind
    remembers for watches.
    """

    def __init__(
        self,
        *,
        port: int = 0,
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
                JobController(self.api, time_scale),
                DisruptionController(self.api, time_scale),
                EndpointSliceController(self.api),
                QuotaController(self.api),
                GarbageCollector(self.api),
                NamespaceController(self.api),
            ]
        self._furnish(nodes if controllers else 0)

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._tasks = [self._group.create_task(controller.run()) for controller in self._controllers]
        self._runner = web.AppRunner(self._server.app(), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
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

    def write_kubeconfig(self, path: Path) -> None:
        """Write a kubeconfig file whose current context is this lab."""
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
        path.write_text(yaml.safe_dump(config), encoding="utf-8")

    async def apply(self, manifest: Object | Sequence[Object]) -> None:
        """Create the objects, and their namespaces where missing. Raises ApiError as the API would, KeyError for a
        kind that the lab does not serve."""
        for obj in [manifest] if isinstance(manifest, dict) else manifest:
            kind = self.api.kinds.of(obj["apiVersion"], obj["kind"])
            if kind is None:
                raise KeyError(f"the lab serves no {obj['apiVersion']} {obj['kind']}")
            namespace = (obj["metadata"].get("namespace") or "default") if kind.namespaced else ""
            if namespace and self.store.get(NAMESPACE.stored_in, ("", namespace)) is None:
                self.api.create(NAMESPACE, "", {"metadata": {"name": namespace}})
            self.api.create(kind, namespace, decode(kind, obj)[0])
            await asyncio.sleep(0)  # a definition is served before its first object comes

    async def apply_yaml(self, text: str) -> None:
        """Create the objects of a YAML stream."""
        await self.apply([document for document in yaml.safe_load_all(text) if document])

    async def behave(self, namespace: str, pod: str, behaviour: str, container: str = "") -> None:
        """Tell a pod, or one container or sidecar of it, what to do from now on: one of behaviour.BEHAVIOURS.

        Raises ValueError for another.
        """
        if behaviour not in BEHAVIOURS:
            raise ValueError(f"unknown behaviour {behaviour!r}; use one of {', '.join(sorted(BEHAVIOURS))}")

        def change(obj: Object) -> None:
            key = f"{ANNOTATION}.{container}" if container else ANNOTATION
            obj["metadata"]["annotations"] = annotations_of(obj) | {key: behaviour}

        self.api.modify(POD, namespace, pod, change)

    def lose_node(self, name: str) -> None:
        """A node falls silent: it is tainted, its pods are not ready, and those that are deleted stay."""
        nodes.lose(self.api, name)

    def recover_node(self, name: str) -> None:
        """A node that was lost answers again: its pods are reported anew, and those that were deleted end."""
        nodes.recover(self.api, name)

    def reboot_node(self, name: str) -> None:
        """Every container on a node restarts once, and runs again at once. Raises RuntimeError where there are no kubelets."""
        if self._kubelet is None:
            raise RuntimeError("this lab has no kubelets: controllers=False")
        self._kubelet.reboot(name)

    def objects(self, resource: str, namespace: str | None = None) -> list[Object]:
        """Copies of all objects of a resource (`pods`, `deployments`, `tests.example.dev`), sorted by name."""
        kind = self.api.kinds.named(resource)
        found = [self.api.shown(kind, clone(obj)) for obj in self.api.objects(kind, namespace)]
        return sorted(found, key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))

    async def wait_for(self, predicate: Callable[[Lab], bool], timeout: float = 10) -> None:  # noqa: ASYNC109 - the interface that tests want
        """Return once the predicate holds; it is asked again after each change. Raises TimeoutError after seconds."""
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
        """Forget the past: older resourceVersions and continue tokens answer 410 from here on."""
        self.store.compact()

    def forbid(self, verb: str, resource: str) -> None:
        """Answer 403 to a verb on `pods`, `pods/eviction`, ... as RBAC would."""
        self._server.forbid(verb, resource)

    def allow(self, verb: str, resource: str) -> None:
        """Take a `forbid` back."""
        self._server.allow(verb, resource)

    @property
    def admission(self) -> Admission:
        """Denials on order: what a webhook or a policy of the cluster refuses, to clients and controllers alike."""
        return self.api.admission

    @property
    def bookmark_every(self) -> float:
        """Seconds between the bookmarks of a watch that asked for them."""
        return self._server.bookmark_every

    @bookmark_every.setter
    def bookmark_every(self, seconds: float) -> None:
        self._server.bookmark_every = seconds

    def _furnish(self, nodes: int) -> None:
        for name in _NAMESPACES:
            self.api.create(NAMESPACE, "", {"metadata": {"name": name}})
        for number in range(nodes):
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(), "reason": "KubeletReady"}
            node = {"metadata": {"name": f"node-{number}"}, "spec": {}, "status": {"conditions": [ready]}}
            self.api.create(NODE, "", node)
