"""Pods as a serving cluster has them, about 6 kB of JSON each, for the benchmark of the watch."""

from typing import Any

_PROBE = {"httpGet": {"path": "/v1/models/resnet", "port": 8501, "scheme": "HTTP"}, "timeoutSeconds": 5, "successThreshold": 1}
_MANAGED: dict[str, Any] = {
    "f:metadata": {
        "f:annotations": {
            ".": {},
            "f:kubectl.kubernetes.io/restartedAt": {},
            "f:prometheus.io/scrape": {},
            "f:prometheus.io/port": {},
        },
        "f:generateName": {},
        "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}, "f:version": {}, "f:app.kubernetes.io/managed-by": {}},
        "f:ownerReferences": {".": {}, 'k:{"uid":"ee5a54fc-3825-44e6-93a8-3501b7cc7947"}': {}},
    },
    "f:spec": {
        "f:containers": {
            'k:{"name":"tensorflow-serving"}': {
                ".": {},
                "f:args": {},
                "f:env": {".": {}, 'k:{"name":"MODEL_NAME"}': {".": {}, "f:name": {}, "f:value": {}}},
                "f:image": {},
                "f:imagePullPolicy": {},
                "f:livenessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}}},
                "f:name": {},
                "f:ports": {".": {}, 'k:{"containerPort":8501,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:name": {}}},
                "f:readinessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}}},
                "f:resources": {
                    ".": {},
                    "f:limits": {".": {}, "f:cpu": {}, "f:memory": {}},
                    "f:requests": {".": {}, "f:cpu": {}},
                },
                "f:terminationMessagePath": {},
                "f:volumeMounts": {".": {}, 'k:{"mountPath":"/models"}': {".": {}, "f:mountPath": {}, "f:name": {}}},
            }
        },
        "f:dnsPolicy": {},
        "f:enableServiceLinks": {},
        "f:restartPolicy": {},
        "f:schedulerName": {},
        "f:securityContext": {".": {}, "f:fsGroup": {}, "f:runAsNonRoot": {}},
        "f:serviceAccountName": {},
        "f:terminationGracePeriodSeconds": {},
        "f:volumes": {
            ".": {},
            'k:{"name":"models"}': {".": {}, "f:name": {}, "f:persistentVolumeClaim": {".": {}, "f:claimName": {}}},
        },
    },
}
_STATUS_MANAGED: dict[str, Any] = {
    "f:status": {
        "f:conditions": {
            f'k:{{"type":"{kind}"}}': {".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}
            for kind in ("ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready")
        },
        "f:containerStatuses": {},
        "f:hostIP": {},
        "f:phase": {},
        "f:podIP": {},
        "f:startTime": {},
    }
}


def pod(number: int, version: int, restarts: int = 0) -> dict[str, Any]:
    """The pod of that number: 20 a ReplicaSet, 50 a node."""
    owner, node = number // 20, number // 50
    born = "2026-03-01T10:20:30Z"
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": f"tensorflow-serving-{owner}-6c98d79dd6-{number:05x}",
            "generateName": f"tensorflow-serving-{owner}-6c98d79dd6-",
            "namespace": f"team-{owner % 40}",
            "uid": f"3207f312-a20d-47fe-83c9-{number:012x}",
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": born,
            "labels": {
                "app": f"tensorflow-serving-{owner}",
                "app.kubernetes.io/managed-by": "kustomize",
                "pod-template-hash": "6c98d79dd6",
                "version": "v1",
            },
            "annotations": {
                "kubectl.kubernetes.io/restartedAt": born,
                "prometheus.io/port": "8501",
                "prometheus.io/scrape": "true",
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": f"tensorflow-serving-{owner}-6c98d79dd6",
                    "uid": f"ee5a54fc-3825-44e6-93a8-{owner:012x}",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [
                _managed("kube-controller-manager", born, _MANAGED),
                _managed("kubelet", born, _STATUS_MANAGED) | {"subresource": "status"},
            ],
        },
        "spec": _spec(node),
        "status": _status(number, node, born, restarts),
    }


def _managed(manager: str, time: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _spec(node: int) -> dict[str, Any]:
    return {
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
            {
                "name": "kube-api-access-6gdb2",
                "projected": {
                    "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}],
                    "defaultMode": 420,
                },
            },
        ],
        "containers": [
            {
                "name": "tensorflow-serving",
                "image": "registry.example.com/ml/tensorflow-serving:2.16.1",
                "args": ["--model_config_file=/config/models.config", "--monitoring_config_file=/config/monitoring.config"],
                "ports": [
                    {"name": "grpc", "containerPort": 8500, "protocol": "TCP"},
                    {"name": "rest", "containerPort": 8501, "protocol": "TCP"},
                ],
                "env": [{"name": "MODEL_NAME", "value": "resnet"}, {"name": "TF_CPP_MIN_LOG_LEVEL", "value": "1"}],
                "resources": {"limits": {"cpu": "4", "memory": "8Gi"}, "requests": {"cpu": "2", "memory": "4Gi"}},
                "volumeMounts": [{"name": "models", "readOnly": True, "mountPath": "/models"}],
                "livenessProbe": {**_PROBE, "initialDelaySeconds": 60, "periodSeconds": 20, "failureThreshold": 3},
                "readinessProbe": {**_PROBE, "initialDelaySeconds": 5, "periodSeconds": 10, "failureThreshold": 3},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "serving",
        "nodeName": f"gpu-pool-{node:04}.eu-west-1.compute.internal",
        "securityContext": {"runAsNonRoot": True, "fsGroup": 1000},
        "schedulerName": "default-scheduler",
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _status(number: int, node: int, born: str, restarts: int) -> dict[str, Any]:
    return {
        "phase": "Running",
        "conditions": [
            {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": born}
            for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "hostIP": f"10.0.{node // 250}.{node % 250}",
        "podIP": f"10.{1 + number // 62500}.{number // 250 % 250}.{number % 250}",
        "startTime": born,
        "containerStatuses": [
            {
                "name": "tensorflow-serving",
                "state": {"running": {"startedAt": born}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": born, "finishedAt": born}},
                "ready": True,
                "restartCount": restarts,
                "image": "registry.example.com/ml/tensorflow-serving:2.16.1",
                "imageID": f"registry.example.com/ml/tensorflow-serving@sha256:{0x0123456789ABCDEF:064x}",
                "containerID": f"containerd://{number:064x}",
                "started": True,
            }
        ],
        "qosClass": "Burstable",
    }
