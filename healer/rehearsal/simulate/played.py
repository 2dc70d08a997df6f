"""The cluster of a scenario: the lab with its nodes, workloads, Services, budgets and quotas, and what can be asked of it."""

from collections.abc import Callable, Iterator
from typing import Any

from healer.lab.apiserver.store import StoreEvent
from healer.lab.kinds import DAEMONSET, DEPLOYMENT, NODE, POD, STATEFULSET, Kind
from healer.lab.kubelet.behaviour import LOADS, STARTS, STOPS
from healer.lab.lab import Lab
from healer.lab.objects import Object, annotations_of, is_active, is_ready, labels_of
from healer.model.annotations import QUARANTINED
from healer.rehearsal.simulate.cluster_spec import ClusterSpec, PlayedWorkload
from healer.rehearsal.simulate.splitting import definitions, route_of

ZONE = "topology.kubernetes.io/zone"
GPU = "nvidia.com/gpu"
WORKLOAD = "lab.healer.dev/workload"
"""The annotation of a pod with the name of its workload in the scenario."""
KINDS: dict[str, Kind] = {"Deployment": DEPLOYMENT, "StatefulSet": STATEFULSET, "DaemonSet": DAEMONSET}
_FOR_EVER = 10**9
"""Seconds between bookmarks: nobody needs one here."""


class PlayedCluster:
    """The lab that plays a scenario's cluster; an async context manager."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.lab = Lab(port=None, nodes=spec.nodes)
        self.lab.bookmark_every = _FOR_EVER
        self.workloads = {each.name: each for each in spec.workloads}
        self._pods: dict[str, dict[str, Object]] = {each.name: {} for each in spec.workloads}
        """The pods that are there, not being deleted and not in quarantine, by workload and uid."""
        self._ready: dict[str, set[str]] = {each.name: set() for each in spec.workloads}
        self.lab.store.listeners.append(self._observe)

    async def __aenter__(self) -> "PlayedCluster":
        for number in range(self.spec.nodes):
            zone = self.spec.zones[number % len(self.spec.zones)]
            self.lab.api.modify(NODE, "", f"node-{number}", _placed(zone))
            if self.spec.gpus:
                self.lab.api.modify(NODE, "", f"node-{number}", _equipped(self.spec.gpus), subresource="status")
        await self.lab.__aenter__()
        await self.lab.apply(definitions(self.spec.workloads))
        for workload in self.spec.workloads:
            await self.lab.apply(manifests(workload))
            if workload.canary is not None:
                await self.lab.apply(route_of(workload, self.workloads[workload.canary.of]))
        for quota in self.spec.quotas:
            await self.lab.apply(
                {
                    "apiVersion": "v1",
                    "kind": "ResourceQuota",
                    "metadata": {"name": "pods", "namespace": quota.namespace},
                    "spec": {"hard": {"pods": str(quota.pods)}},
                }
            )
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self.lab.__aexit__(*failure)

    def _observe(self, collection: str, change: StoreEvent) -> None:
        pod = change.now.object
        workload = workload_of(pod) if collection == POD.stored_in else ""
        if workload not in self._pods:
            return
        uid, there = pod["metadata"]["uid"], change.type != "DELETED" and is_active(pod) and not is_quarantined(pod)
        if there:
            self._pods[workload][uid] = pod
        else:
            self._pods[workload].pop(uid, None)
        (self._ready[workload].add if there and is_ready(pod) else self._ready[workload].discard)(uid)

    def pods(self, workload: str = "") -> list[Object]:
        """The pods of a workload, or of all, that have not finished and are not being deleted; by name. Not to be changed."""
        found = [pod for name in ([workload] if workload else self._pods) for pod in self._pods[name].values()]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def pod(self, uid: str) -> Object | None:
        """The pod of that uid, unless it has finished or is being deleted."""
        return next((pods[uid] for pods in self._pods.values() if uid in pods), None)

    def ready(self, workload: str) -> int:
        """How many pods of it are ready."""
        return len(self._ready[workload])

    def troubled(self) -> list[Object]:
        """The pods that are not ready, by name."""
        found = [
            pod
            for name, pods in self._pods.items()
            if len(pods) > len(self._ready[name])
            for uid, pod in pods.items()
            if uid not in self._ready[name]
        ]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def desired(self, workload: str) -> int:
        """How many pods it wants."""
        obj = self.object(workload)
        if self.workloads[workload].kind == "DaemonSet":
            return int((obj.get("status") or {}).get("desiredNumberScheduled", 0))
        return int(obj["spec"]["replicas"])

    def object(self, workload: str) -> Object:
        """The workload itself. Not to be changed."""
        spec = self.workloads[workload]
        return self.lab.api.get(KINDS[spec.kind], spec.namespace, spec.name)

    def change(self, workload: str, change: Callable[[Object], None]) -> None:
        """Write the workload with a change, as a person or a pipeline does. Raises ApiRefusal."""
        spec = self.workloads[workload]
        self.lab.api.modify(KINDS[spec.kind], spec.namespace, spec.name, change)

    def nodes(self, zone: str | None = None) -> Iterator[str]:
        """The names of the nodes, of those in a zone if one is given."""
        for node in self.lab.api.objects(NODE):
            if zone is None or labels_of(node).get(ZONE) == zone:
                yield node["metadata"]["name"]


def workload_of(pod: Object) -> str:
    """The name of the pod's workload in the scenario; "" for another pod."""
    return annotations_of(pod).get(WORKLOAD, "")


def is_quarantined(pod: Object) -> bool:
    """Whether it was taken out of its workload and its Service, to be examined: for the users it is gone."""
    return QUARANTINED in labels_of(pod)


def image_of(pod: Object) -> str:
    """The image of the pod's first container."""
    return str(pod["spec"]["containers"][0]["image"])


def node_of(pod: Object) -> str:
    """The node that the pod is on; "" before it is placed."""
    return str(pod["spec"].get("nodeName") or "")


def manifests(workload: PlayedWorkload) -> list[Object]:
    """The workload, its Service, and its budget if it has one."""
    labels, selector = workload.all_labels, workload.selects
    meta = {"name": workload.name, "namespace": workload.namespace, "labels": labels}
    times = {STARTS: workload.starts, LOADS: workload.loads, STOPS: workload.stops}
    container: Object = {
        "name": "server",
        "image": workload.image,
        "ports": [{"containerPort": workload.port}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": workload.port}},
    }
    if workload.gpus:
        container["resources"] = {"limits": {GPU: str(workload.gpus)}}
    annotations = {WORKLOAD: workload.name} | {name: f"{seconds:g}" for name, seconds in times.items()}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container]}}
    spec: Object = {"selector": {"matchLabels": selector}, "template": template}
    if workload.kind != "DaemonSet":
        spec["replicas"] = workload.replicas
    if workload.kind == "StatefulSet":
        spec |= {"serviceName": workload.name, "podManagementPolicy": "Parallel"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"selector": selector, "ports": [{"port": workload.port}]},
    }
    made = [{"apiVersion": "apps/v1", "kind": workload.kind, "metadata": meta, "spec": spec}, service]
    if workload.min_available is not None:
        budget = {"minAvailable": workload.min_available, "selector": {"matchLabels": selector}}
        made.append({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": budget})
    if workload.autoscale is not None:
        scaled = {"apiVersion": "apps/v1", "kind": workload.kind, "name": workload.name}
        target = {"type": "Utilization", "averageUtilization": round(100 * workload.autoscale.target)}
        scaler = {
            "scaleTargetRef": scaled,
            "minReplicas": workload.autoscale.min,
            "maxReplicas": workload.autoscale.max,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        }
        made.append({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": scaler})
    return made


def _placed(zone: str) -> Callable[[Object], None]:
    def change(node: Object) -> None:
        name = node["metadata"]["name"]
        node["metadata"]["labels"] = labels_of(node) | {ZONE: zone, "kubernetes.io/hostname": name}

    return change


def _equipped(gpus: int) -> Callable[[Object], None]:
    def change(node: Object) -> None:
        node["status"] |= {"allocatable": {GPU: str(gpus)}, "capacity": {GPU: str(gpus)}}

    return change
