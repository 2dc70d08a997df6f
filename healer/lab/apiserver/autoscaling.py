"""HorizontalPodAutoscalers of autoscaling/v2: defaults and checks, as a kube-apiserver 1.36 has them. None scales."""

from __future__ import annotations

from healer.lab.apiserver.status import Cause
from healer.lab.apiserver.validation import invalid_value, required
from healer.lab.objects import Object


def autoscaler(obj: Object) -> None:
    """At least one replica, by the use of CPU, and a status that no controller has written yet."""
    spec: Object = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    target = {"type": "Utilization", "averageUtilization": 80}
    spec.setdefault("metrics", [{"type": "Resource", "resource": {"name": "cpu", "target": target}}])
    obj.setdefault("status", {"desiredReplicas": 0, "currentMetrics": None})


def check_autoscaler(obj: Object) -> list[Cause]:
    """A maximum that is no less than the minimum, and what to scale."""
    spec = obj["spec"]
    most, causes = spec.get("maxReplicas") or 0, []
    if most < 1:
        causes.append(required("spec.maxReplicas", "must be set and greater than 0"))
    if most < spec["minReplicas"]:
        causes.append(invalid_value("spec.maxReplicas", str(most), "must be greater than or equal to `minReplicas`"))
    scales = spec.get("scaleTargetRef") or {}
    causes += [required(f"spec.scaleTargetRef.{field}") for field in ("kind", "name") if not scales.get(field)]
    if not scales.get("apiVersion"):
        causes.append(invalid_value("spec.scaleTargetRef.apiVersion", '""', "apiVersion must specify API group"))
    return causes
