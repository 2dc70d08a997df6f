"""The subresources with logic of their own: the eviction of a pod, and the scale of a workload.

Eviction follows pkg/registry/core/pod/storage/eviction.go of Kubernetes. The budget is spent *before* the pod is deleted, so an
eviction whose precondition then fails has spent it. A dry run checks the budget and the preconditions, and writes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from healer.lab.apiserver import status
from healer.lab.apiserver.admission import AdmissionRequest
from healer.lab.apiserver.api import DeleteOptions, ObjectApi
from healer.lab.apiserver.selectors import format_selector, label_selector
from healer.lab.kinds import DISRUPTION_BUDGET, POD
from healer.lab.objects import Object, clone, condition, is_ready, labels_of, timestamp

_MAX_DISRUPTED_PODS = 2000


def evict(api: ObjectApi, namespace: str, name: str, eviction: Object, *, dry_run: bool = False) -> Object:
    """Evict a pod. Returns the Status of success. Raises ApiRefusal 404, 409, 429, 403 or 500."""
    named = (eviction.get("metadata") or {}).get("name")
    if named != name:
        raise status.bad_request("name in URL does not match name in Eviction object")
    options = DeleteOptions.read(eviction.get("deleteOptions") or {})
    options = replace(options, dry_run=options.dry_run or dry_run)
    pod = api.get(POD, namespace, name)
    api.admission.check(AdmissionRequest("create", POD, "pods/eviction", namespace, name, pod))
    if not _ignores_budgets(pod):
        _check_budget(api, pod, options)
    _delete(api, pod, options)
    return status.success(code=201)


def allowed_condition(budget: Object) -> None:
    """Set the condition DisruptionAllowed from the counts. lastTransitionTime changes only when the status changes."""
    allowed = budget["status"]["disruptionsAllowed"] > 0
    value = "True" if allowed else "False"
    before = condition(budget, "DisruptionAllowed")
    since = before["lastTransitionTime"] if before and before["status"] == value else timestamp()
    budget["status"]["conditions"] = [
        {
            "type": "DisruptionAllowed",
            "status": value,
            "observedGeneration": budget["status"].get("observedGeneration", 0),
            "lastTransitionTime": since,
            "reason": "SufficientPods" if allowed else "InsufficientPods",
            "message": "",
        }
    ]


def _ignores_budgets(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]


def _check_budget(api: ObjectApi, pod: Object, options: DeleteOptions) -> None:
    namespace, labels = pod["metadata"]["namespace"], labels_of(pod)
    budgets = [
        budget for budget in api.objects(DISRUPTION_BUDGET, namespace) if label_selector(budget["spec"].get("selector"))(labels)
    ]
    if len(budgets) > 1:
        raise status.two_budgets()
    if budgets and not _may_evict_unready(pod, budgets[0]):
        _spend(api, budgets[0], pod["metadata"]["name"], options)


def _may_evict_unready(pod: Object, budget: Object) -> bool:
    """Whether the pod is not ready and may be evicted without spending the budget."""
    if is_ready(pod):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    counts = budget["status"]
    return bool(counts["currentHealthy"] >= counts["desiredHealthy"] > 0)


def _spend(api: ObjectApi, budget: Object, pod_name: str, options: DeleteOptions) -> None:
    metadata, counts = budget["metadata"], budget["status"]
    name = metadata["name"]
    if counts.get("observedGeneration", 0) < metadata["generation"]:
        message = f"The disruption budget {name} is still being processed by the server."
        raise status.budget_refuses(message, retry_after=10)
    if counts["disruptionsAllowed"] < 0:
        raise status.forbidden_because(DISRUPTION_BUDGET, name, "pdb disruptions allowed is negative")
    if len(counts.get("disruptedPods") or {}) > _MAX_DISRUPTED_PODS:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise status.forbidden_because(DISRUPTION_BUDGET, name, why)
    if counts["disruptionsAllowed"] == 0:
        needs, has = counts["desiredHealthy"], counts["currentHealthy"]
        raise status.budget_refuses(f"The disruption budget {name} needs {needs} healthy pods and has {has} currently")
    if options.dry_run:
        return
    spent = clone(budget)
    spent["status"]["disruptionsAllowed"] -= 1
    if spent["status"]["disruptionsAllowed"] == 0:
        allowed_condition(spent)
    spent["status"]["disruptedPods"] = (counts.get("disruptedPods") or {}) | {pod_name: timestamp()}
    api.update(DISRUPTION_BUDGET, metadata["namespace"], name, spent, subresource="status")


def _delete(api: ObjectApi, pod: Object, options: DeleteOptions) -> None:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    api.check_preconditions(POD, pod, options)
    if not options.dry_run:
        api.modify(POD, namespace, name, _add_disruption_target, subresource="status")
        options = replace(options, resource_version=None)
    api.delete(POD, namespace, name, options, admitted=True)


def _add_disruption_target(pod: Object) -> None:
    """Add the condition DisruptionTarget, which says why the pod is deleted."""
    counts = pod.setdefault("status", {})
    others = [item for item in counts.get("conditions") or [] if item["type"] != "DisruptionTarget"]
    known = condition(pod, "DisruptionTarget")
    target = known or {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    counts["conditions"] = [*others, target]


_SCALE_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(workload: Object) -> Object:
    """The Scale of a Deployment or ReplicaSet."""
    metadata = workload["metadata"]
    counted = (workload.get("status") or {}).get("replicas", 0)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in _SCALE_METADATA if field in metadata},
        "spec": {"replicas": workload["spec"]["replicas"]},
        "status": {"replicas": counted, "selector": format_selector(workload["spec"].get("selector"))},
    }


def scaled(workload: Object, scale: Object) -> Object:
    """The workload with the replicas of a written Scale. Raises ApiRefusal 422 for a negative number."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    name = workload["metadata"]["name"]
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise status.invalid_patch("json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise status.invalid_scale(name, status.Cause("spec.replicas", message))
    metadata = dict(workload["metadata"])
    if version := (scale.get("metadata") or {}).get("resourceVersion"):
        metadata["resourceVersion"] = version
    return workload | {"metadata": metadata, "spec": workload["spec"] | {"replicas": replicas}}
