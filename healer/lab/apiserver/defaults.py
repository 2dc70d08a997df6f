"""The defaults that the API server sets in a written object, for the kinds that the lab serves."""

from __future__ import annotations

from typing import Any

from healer.lab.objects import Object, labels_of


def pod_spec(spec: Object) -> None:
    """The defaults of a PodSpec, in a pod as in a template."""
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", _pull_policy(container.get("image") or ""))
        for port in container.get("ports") or []:
            port.setdefault("protocol", "TCP")
        for name in ("readinessProbe", "livenessProbe", "startupProbe"):
            if container.get(name):
                _probe(container[name])
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _probe(probe: Object) -> None:
    defaults = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    for key, value in defaults.items():
        probe.setdefault(key, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")


def pod(obj: Object) -> None:
    """Pod: its spec, tolerations of node loss, and the status of a new pod."""
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault(
        "tolerations",
        [
            {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for taint in ("not-ready", "unreachable")
        ],
    )
    obj.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})


def deployment(obj: Object) -> None:
    """Deployment: one replica, a rolling update with 25 % surge and 25 % unavailable."""
    spec = _with_template(obj)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    obj.setdefault("status", {})


def replicaset(obj: Object) -> None:
    """ReplicaSet: one replica."""
    _with_template(obj)
    obj.setdefault("status", {"replicas": 0})


def statefulset(obj: Object) -> None:
    """StatefulSet: one replica, ordered pods, a rolling update without partition."""
    spec = _with_template(obj)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})
    obj.setdefault("status", {"replicas": 0, "availableReplicas": 0})


def daemonset(obj: Object) -> None:
    """DaemonSet: a rolling update, one node at a time."""
    spec: Object = obj.setdefault("spec", {})
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", 0)
        rolling.setdefault("maxUnavailable", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    zero = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    obj.setdefault("status", dict.fromkeys(zero, 0))


def job(obj: Object) -> None:
    """Job: one completion, six retries, a generated selector and generated labels of its pods (pkg/registry/batch/job)."""
    spec: Object = obj.setdefault("spec", {})
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))  # the default restartPolicy is Always, which validation refuses for a Job
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    obj.setdefault("status", {})


def _with_template(obj: Object) -> Object:
    spec: Object = obj.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))
    return spec


def disruption_budget(obj: Object) -> None:
    """PodDisruptionBudget: a status that allows no disruptions until the controller has counted the pods."""
    obj.setdefault("spec", {})
    zero = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    obj.setdefault("status", zero)


def resource_quota(obj: Object) -> None:
    """ResourceQuota: an empty status."""
    obj.setdefault("spec", {})
    obj.setdefault("status", {})


def namespace(obj: Object) -> None:
    """Namespace: the phase Active, and its name as a label."""
    name = obj["metadata"]["name"]
    obj["metadata"]["labels"] = labels_of(obj) | {"kubernetes.io/metadata.name": name}
    obj.setdefault("spec", {"finalizers": ["kubernetes"]})
    obj.setdefault("status", {"phase": "Active"})


def custom_resource_definition(obj: Object) -> None:
    """CustomResourceDefinition: names, and a status without conditions."""
    spec = obj.setdefault("spec", {})
    names = spec.get("names") or {}
    names.setdefault("singular", str(names.get("kind", "")).lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")
    spec.setdefault("conversion", {"strategy": "None"})
    stored = [version["name"] for version in spec.get("versions") or [] if version.get("storage")]
    obj.setdefault(
        "status",
        {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored},
    )


def nothing(obj: Object) -> None:
    """A kind without defaults."""


# core/v1 and events.k8s.io/v1 serve the same stored events under different field names (pkg/apis/core/v1/conversion).
_EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_CORE_NAMES = {new: old for old, new in _EVENT_NAMES.items()}


def event(obj: Object) -> None:
    """Event: the fields that are always shown. The lab stores events under the field names of core/v1."""
    obj.setdefault("source", {})
    for stamp in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(stamp, None)
    obj.setdefault("reportingComponent", "")
    obj.setdefault("reportingInstance", "")


def new_event(obj: Object) -> Object:
    """Convert a stored event to events.k8s.io/v1."""
    return _renamed(obj, _EVENT_NAMES)


def core_event(obj: Object) -> Object:
    """Convert an event of events.k8s.io/v1 to the stored form."""
    return _renamed(obj, _CORE_NAMES)


def _renamed(obj: dict[str, Any], names: dict[str, str]) -> Object:
    return {names.get(key, key): value for key, value in obj.items()}
