"""What the API server refuses to store: names, required fields, ranges, and what may not change."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from healer.lab.objects import Object, clone
from healer.lab.selectors import label_selector
from healer.lab.status import Cause

Check = Callable[[Object], list[Cause]]
UpdateCheck = Callable[[Object, Object], list[Cause]]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_POD_UPDATE_RULE = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
    "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def invalid_value(field: str, value: str, why: str) -> Cause:
    """A field with a value that is not allowed."""
    return Cause(field, f"Invalid value: {value}: {why}")


def required(field: str, why: str = "") -> Cause:
    """A field that must be there."""
    return Cause(field, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def check_name(name: str) -> list[Cause]:
    """metadata.name must be a DNS subdomain."""
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        return [invalid_value("metadata.name", f'"{name}"', _SUBDOMAIN_RULE)]
    return []


def pod(obj: Object) -> list[Cause]:
    """Pod: containers, each with a name and an image."""
    return _pod_spec(obj.get("spec") or {}, "spec")


def _pod_spec(spec: Object, path: str) -> list[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        return [required(f"{path}.containers")]
    return [
        required(f"{path}.containers[{at}].{field}")
        for at, container in enumerate(containers)
        for field in ("name", "image")
        if not container.get(field)
    ]


def pod_update(new: Object, old: Object) -> list[Cause]:
    """Pod: hardly anything of the spec may change."""
    return [] if _fixed(new) == _fixed(old) else [Cause("spec", _POD_UPDATE_RULE, "FieldValueForbidden")]


def _fixed(pod_object: Object) -> Object:
    spec: Object = clone(pod_object["spec"])
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        container.pop("image", None)
    for field in ("activeDeadlineSeconds", "tolerations"):
        spec.pop(field, None)
    return spec


def workload(obj: Object) -> list[Cause]:
    """Deployment and ReplicaSet: replicas, and a selector that matches the template."""
    spec = obj["spec"]
    causes = _not_negative(spec, "replicas", "spec")
    selector = spec.get("selector")
    template = spec["template"]
    labels = template["metadata"].get("labels") or {}
    if not selector:
        causes.append(required("spec.selector"))
    elif not label_selector(selector)(labels):
        shown = _go_map(labels)
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", shown, why))
    return causes + _pod_spec(template["spec"], "spec.template.spec")


def workload_update(new: Object, old: Object) -> list[Cause]:
    """Deployment and ReplicaSet: the selector never changes."""
    if new["spec"].get("selector") == old["spec"].get("selector"):
        return []
    shown = _go_map((new["spec"].get("selector") or {}).get("matchLabels") or {})
    return [invalid_value("spec.selector", shown, "field is immutable")]


def _go_map(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'"{key}":"{value}"' for key, value in sorted(labels.items())) + "}"


def _not_negative(spec: Object, field: str, path: str) -> list[Cause]:
    value = spec.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or value >= 0:
        return []
    return [invalid_value(f"{path}.{field}", str(value), "must be greater than or equal to 0")]


def disruption_budget(obj: Object) -> list[Cause]:
    """PodDisruptionBudget: either minAvailable or maxUnavailable, neither negative."""
    spec = obj["spec"]
    if "minAvailable" in spec and "maxUnavailable" in spec:
        shown = f'{{"minAvailable":{spec["minAvailable"]},"maxUnavailable":{spec["maxUnavailable"]}}}'
        return [invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set")]
    return _not_negative(spec, "minAvailable", "spec") + _not_negative(spec, "maxUnavailable", "spec")


def nothing(obj: Object) -> list[Cause]:
    """A kind whose content is not checked."""
    return []


def no_change_rule(new: Object, old: Object) -> list[Cause]:
    """A kind whose every field may change."""
    return []


def quoted(value: Any) -> str:
    """A value as Go's field errors print it."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
