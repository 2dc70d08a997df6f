"""A cluster to measure with: workloads as a busy serving cluster has them, each object in the bytes that an API server sends.

A pod is about 6 kB, as pods of model servers are once a mesh, a scheduler and the kubelet have written to them: probes, volumes,
tolerations, conditions and managedFields, of which healer reads a twentieth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Object = dict[str, Any]
Health = Literal["well", "restarted", "crashing", "failed"]

BORN = "2026-01-05T08:00:00Z"
READY = "2026-01-05T08:00:42Z"
_RESOURCES = {"limits": {"cpu": "4", "memory": "8Gi"}, "requests": {"cpu": "2", "memory": "6Gi"}}
REPLICAS = 3
OLD_REPLICA_SETS = 2
"""A Deployment keeps those of its earlier revisions (revisionHistoryLimit)."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment of 3 replicas by its name and namespace; the names and uids of its objects follow from them."""

    name: str
    namespace: str = "production"

    @property
    def uid(self) -> str:
        """Of the Deployment."""
        return f"deployment-{self.namespace}-{self.name}"

    def pod(self, replica: int) -> str:
        """The name of a pod."""
        return f"{self.name}-7d9c5b8f6d-x{replica:04}"

    def objects(self) -> Iterator[tuple[str, Object]]:
        """Every object but the pods, each with the plural of its kind."""
        yield "deployments", _deployment(self)
        for revision in range(1 + OLD_REPLICA_SETS):
            yield "replicasets", _replica_set(self, revision)
        yield "poddisruptionbudgets", _budget(self)


def pod(workload: Workload, replica: int, version: int, health: Health = "well") -> bytes:
    """A pod of a workload as JSON; `version` is its resourceVersion. A restarted one is well, and was not once."""
    return msgspec.json.encode(_pod(workload, replica, version, health))


def _meta(workload: Workload, name: str, uid: str, owner: tuple[str, str, str] | None = None) -> Object:
    meta: Object = {
        "name": name,
        "namespace": workload.namespace,
        "uid": uid,
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": BORN,
        "labels": {
            "app": "tensorflow-serving",
            "app.kubernetes.io/instance": workload.name,
            "app.kubernetes.io/part-of": "model-serving",
            "pod-template-hash": "7d9c5b8f6d",
        },
    }
    if owner is not None:
        kind, owner_name, owner_uid = owner
        reference = {"apiVersion": "apps/v1", "kind": kind, "name": owner_name, "uid": owner_uid}
        meta["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    return meta


def _deployment(workload: Workload) -> Object:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), REPLICAS)
    meta = _meta(workload, workload.name, workload.uid)
    meta["annotations"] = {"deployment.kubernetes.io/revision": str(1 + OLD_REPLICA_SETS)}
    return {"metadata": meta, "spec": {"replicas": REPLICAS}, "status": {"observedGeneration": 1, **counts}}


def _replica_set(workload: Workload, revision: int) -> Object:
    owner = ("Deployment", workload.name, workload.uid)
    return {"metadata": _meta(workload, f"{workload.name}-{revision}", f"{workload.uid}-{revision}", owner)}


def _budget(workload: Workload) -> Object:
    selector = {"matchLabels": {"app.kubernetes.io/instance": workload.name}}
    return {
        "metadata": _meta(workload, workload.name, f"{workload.uid}-budget"),
        "spec": {"maxUnavailable": 1, "selector": selector},
        "status": {"disruptionsAllowed": 1, "currentHealthy": REPLICAS, "desiredHealthy": REPLICAS - 1},
    }


def _pod(workload: Workload, replica: int, version: int, health: Health) -> Object:
    name = workload.pod(replica)
    current = f"{workload.name}-{OLD_REPLICA_SETS}", f"{workload.uid}-{OLD_REPLICA_SETS}"
    meta = _meta(workload, name, f"{workload.uid}-{replica}", ("ReplicaSet", *current))
    meta |= {"resourceVersion": str(version), "generateName": f"{workload.name}-7d9c5b8f6d-"}
    meta["annotations"] = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8501",
        "kubectl.kubernetes.io/restartedAt": BORN,
    }
    meta["managedFields"] = _MANAGED
    ready = health in ("well", "restarted")
    phase = "Failed" if health == "failed" else "Running"
    return {
        "metadata": meta,
        "spec": {**_SPEC, "nodeName": f"gpu-pool-{replica:04}.internal"},
        "status": {
            "phase": phase,
            "conditions": [
                _condition("PodReadyToStartContainers", True),
                _condition("Initialized", True),
                _condition("Ready", ready),
                _condition("ContainersReady", ready),
                _condition("PodScheduled", True),
            ],
            "hostIP": "10.12.3.77",
            "hostIPs": [{"ip": "10.12.3.77"}],
            "podIP": "10.12.3.4",
            "podIPs": [{"ip": "10.12.3.4"}],
            "startTime": BORN,
            "initContainerStatuses": [_status("fetch-model", _ended(0, "Completed"), {}, 0, ready=True)],
            "containerStatuses": [_serving(health), _status("metrics", {"running": {"startedAt": BORN}}, {}, 0, ready=True)],
            "qosClass": "Burstable",
        },
    }


def _serving(health: Health) -> Object:
    running, died = {"running": {"startedAt": READY}}, _ended(1, "Error")
    match health:
        case "well":
            return _status("serving", running, {}, 0, ready=True)
        case "restarted":
            return _status("serving", running, died, 4, ready=True)
        case "crashing":
            message = "back-off 1m20s restarting failed container=serving pod=tensorflow-serving"
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            return _status("serving", waiting, died, 5, ready=False)
        case "failed":
            return _status("serving", died, {}, 0, ready=False)


def _ended(code: int, reason: str) -> Object:
    times = {"startedAt": BORN, "finishedAt": READY, "containerID": f"containerd://{'9f2b' * 16}"}
    return {"terminated": {"exitCode": code, "reason": reason, **times}}


def _status(name: str, state: Object, last: Object, restarts: int, *, ready: bool) -> Object:
    return {
        "name": name,
        "state": state,
        "lastState": last,
        "ready": ready,
        "restartCount": restarts,
        "image": f"registry.example.com/ml/{name}:2.16.1",
        "imageID": f"registry.example.com/ml/{name}@sha256:{'0a1b' * 16}",
        "containerID": f"containerd://{'4c7d' * 16}",
        "started": ready,
    }


def _condition(kind: str, true: bool) -> Object:
    found: Object = {"type": kind, "status": "True" if true else "False", "lastProbeTime": None, "lastTransitionTime": READY}
    trouble = {"reason": "ContainersNotReady", "message": "containers with unready status: [serving]"}
    return found if true else found | trouble


def _probe(seconds: int) -> Object:
    http = {"path": "/v1/models/ranker", "port": 8501, "scheme": "HTTP"}
    return {"httpGet": http, "timeoutSeconds": 2, "periodSeconds": seconds, "successThreshold": 1, "failureThreshold": 3}


def _mount(name: str, path: str) -> Object:
    return {"name": name, "readOnly": True, "mountPath": path}


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _toleration(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}


_TOKEN = _mount("kube-api-access", "/var/run/secrets/kubernetes.io/serviceaccount")
_SERVING: Object = {
    "name": "serving",
    "image": "registry.example.com/ml/serving:2.16.1",
    "args": ["--model_config_file=/config/models.config"],
    "ports": [{"containerPort": 8500, "protocol": "TCP"}, {"name": "rest", "containerPort": 8501, "protocol": "TCP"}],
    "env": [{"name": "MODEL_NAME", "value": "ranker"}, _field("POD_NAME", "metadata.name"), _field("NODE", "spec.nodeName")],
    "resources": _RESOURCES,
    "volumeMounts": [_mount("models", "/models"), _mount("config", "/config"), _TOKEN],
    "livenessProbe": _probe(20),
    "readinessProbe": _probe(10),
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
    "securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False},
}
_METRICS: Object = {
    "name": "metrics",
    "image": "registry.example.com/ml/metrics:1.0.3",
    "ports": [{"name": "metrics", "containerPort": 9090, "protocol": "TCP"}],
    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
    "volumeMounts": [_TOKEN],
    "imagePullPolicy": "IfNotPresent",
}
_SPEC: Object = {
    "volumes": [
        {"name": "models", "emptyDir": {"sizeLimit": "20Gi"}},
        {"name": "config", "configMap": {"name": "models", "defaultMode": 420}},
        {
            "name": "kube-api-access",
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                ],
                "defaultMode": 420,
            },
        },
    ],
    "initContainers": [{"name": "fetch-model", "image": "registry.example.com/ml/fetch-model:2.16.1"}],
    "containers": [_SERVING, _METRICS],
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "tensorflow-serving",
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "schedulerName": "default-scheduler",
    "tolerations": [_toleration("node.kubernetes.io/not-ready"), _toleration("node.kubernetes.io/unreachable")],
    "priority": 0,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
}


def _managed(manager: str, fields: Object) -> Object:
    entry = {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": READY}
    return {**entry, "fieldsType": "FieldsV1", "fieldsV1": fields}


def _condition_fields(kind: str) -> Object:
    return {f'k:{{"type":"{kind}"}}': {".": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}}


_MANAGED = [
    _managed(
        "kube-controller-manager",
        {
            "f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}}, "f:ownerReferences": {".": {}}},
            "f:spec": {"f:containers": {'k:{"name":"serving"}': {".": {}, "f:args": {}, "f:image": {}, "f:name": {}}}},
        },
    ),
    _managed(
        "kubelet",
        {
            "f:status": {
                "f:conditions": {**_condition_fields("ContainersReady"), **_condition_fields("Ready")},
                "f:containerStatuses": {},
                "f:phase": {},
                "f:podIPs": {},
            }
        },
    ),
]
