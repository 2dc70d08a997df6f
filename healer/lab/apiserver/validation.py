"""Validation by the API server: names, required fields, ranges, and fields that may not change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from healer.lab.apiserver.selectors import label_selector
from healer.lab.apiserver.status import Cause
from healer.lab.objects import Object, clone

Check = Callable[[Object], list[Cause]]
UpdateCheck = Callable[[Object, Object], list[Cause]]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_KEY_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_FILE = re.compile(r"[-._a-zA-Z0-9]+")
_FILE_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_FROZEN = "Forbidden: field is immutable when `immutable` is set"
_MOST_ANNOTATIONS = 256 * 1024
_LONGEST_EVENT_FIELD = 128
_LONGEST_NOTE = 1024
_PERCENT = re.compile(r"[0-9]+%")
_PERCENT_RULE = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
_POD_UPDATE_RULE = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
    "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def invalid_value(field: str, value: str, why: str) -> Cause:
    """A field has an invalid value."""
    return Cause(field, f"Invalid value: {value}: {why}")


def required(field: str, why: str = "") -> Cause:
    """A required field is missing."""
    return Cause(field, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def check_name(name: str) -> list[Cause]:
    """metadata.name must be a DNS subdomain."""
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    return check_subdomain("metadata.name", name)


def check_subdomain(field: str, value: str) -> list[Cause]:
    """A field that must be a DNS subdomain."""
    if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
        return [invalid_value(field, f'"{value}"', _SUBDOMAIN_RULE)]
    return []


def check_metadata(metadata: Object) -> list[Cause]:
    """Name, label values, and the keys and size of annotations."""
    causes = check_name(metadata.get("name") or "")
    for value in (metadata.get("labels") or {}).values():
        if len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
            causes.append(invalid_value("metadata.labels", f'"{value}"', _LABEL_RULE))
    annotations: dict[str, str] = metadata.get("annotations") or {}
    for key in (*annotations, *(metadata.get("labels") or {})):
        name = key.rpartition("/")[2]
        if len(name) > 63 or not _KEY_NAME.fullmatch(name):
            field = "metadata.annotations" if key in annotations else "metadata.labels"
            causes.append(invalid_value(field, f'"{key}"', _KEY_RULE))
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _MOST_ANNOTATIONS:
        message = f"Too long: may not be more than {_MOST_ANNOTATIONS} bytes"
        causes.append(Cause("metadata.annotations", message, "FieldValueTooLong"))
    return causes


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
    """Pod: only a few fields of the spec may change."""
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
    if not selector or not label_selector(selector)(labels):
        shown = json.dumps(labels, separators=(",", ":"), sort_keys=True)
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", shown, why))
    return causes + _pod_spec(template["spec"], "spec.template.spec")


def workload_update(new: Object, old: Object) -> list[Cause]:
    """Deployment and ReplicaSet: the selector never changes."""
    if new["spec"].get("selector") == old["spec"].get("selector"):
        return []
    shown = json.dumps(new["spec"].get("selector"), separators=(",", ":"), sort_keys=True)
    return [invalid_value("spec.selector", shown, "field is immutable")]


def job(obj: Object) -> list[Cause]:
    """Job: counts that are not negative, and a restartPolicy with which pods can finish."""
    spec = obj["spec"]
    causes = [cause for field in ("parallelism", "completions", "backoffLimit") for cause in _not_negative(spec, field, "spec")]
    policy = spec["template"]["spec"].get("restartPolicy")
    causes += _pod_spec(spec["template"]["spec"], "spec.template.spec")
    if policy not in ("OnFailure", "Never"):
        rule = 'Required value: valid values: "OnFailure", "Never"'
        causes.append(Cause("spec.template.spec.restartPolicy", rule, "FieldValueRequired"))
    return causes


def job_update(new: Object, old: Object) -> list[Cause]:
    """Job: its template and its completions may not change."""
    fixed = ("template", "completions")
    return [
        Cause(f"spec.{field}", f"Invalid value: {json.dumps(new['spec'].get(field))}: field is immutable")
        for field in fixed
        if new["spec"].get(field) != old["spec"].get(field)
    ]


def _not_negative(spec: Object, field: str, path: str) -> list[Cause]:
    value = spec.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or value >= 0:
        return []
    return [invalid_value(f"{path}.{field}", str(value), "must be greater than or equal to 0")]


def config_map(obj: Object) -> list[Cause]:
    """ConfigMap: keys that are valid file names, each in only one of its two maps."""
    texts, others = obj.get("data") or {}, obj.get("binaryData") or {}
    causes = [
        invalid_value(f"{field}[{key}]", f'"{key}"', _FILE_RULE)
        for field, keys in (("data", texts), ("binaryData", others))
        for key in keys
        if not _FILE.fullmatch(key)
    ]
    both = sorted(texts.keys() & others.keys())
    return causes + [invalid_value(f"data[{key}]", f'"{key}"', "duplicate of key present in binaryData") for key in both]


def config_map_update(new: Object, old: Object) -> list[Cause]:
    """ConfigMap: an immutable one may not change."""
    if not old.get("immutable"):
        return []
    fields = [field for field in ("immutable", "data", "binaryData") if new.get(field) != old.get(field)]
    return [Cause(field, _FROZEN, "FieldValueForbidden") for field in fields]


def disruption_budget(obj: Object) -> list[Cause]:
    """PodDisruptionBudget: either minAvailable or maxUnavailable, neither negative."""
    spec = obj["spec"]
    if "minAvailable" in spec and "maxUnavailable" in spec:
        shown = f'{{"minAvailable":{spec["minAvailable"]},"maxUnavailable":{spec["maxUnavailable"]}}}'
        return [invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set")]
    return [
        cause
        for field in ("minAvailable", "maxUnavailable")
        for cause in (*_not_negative(spec, field, "spec"), *_percentage(spec, field))
    ]


def _percentage(spec: Object, field: str) -> list[Cause]:
    value = spec.get(field)
    if not isinstance(value, str) or _PERCENT.fullmatch(value):
        return []
    return [invalid_value(f"spec.{field}", f'"{value}"', _PERCENT_RULE)]


def event(obj: Object) -> list[Cause]:
    """Event of core/v1 (legacyValidateEvent of pkg/apis/core/validation). An eventTime makes it an event of the new style."""
    namespace = obj["metadata"].get("namespace") or ""
    about = (obj.get("involvedObject") or {}).get("namespace") or ""
    if not obj.get("eventTime"):
        fits = about == namespace if about else namespace in ("", "default")
        return [] if fits else [_wrong_namespace(about)]
    causes = [] if about or namespace in ("default", "kube-system") else [_wrong_namespace(about)]
    for field in ("reportingComponent", "reportingInstance", "action", "reason"):
        value = obj.get(field) or ""
        if not value:
            causes.append(required(field))
        elif len(value) > _LONGEST_EVENT_FIELD:
            causes.append(invalid_value(field, '""', f"can have at most {_LONGEST_EVENT_FIELD} characters"))
    if len(obj.get("message") or "") > _LONGEST_NOTE:
        causes.append(invalid_value("message", '""', f"can have at most {_LONGEST_NOTE} characters"))
    return causes


def new_event(obj: Object) -> list[Cause]:
    """Event of events.k8s.io/v1 (ValidateEventCreate): the rules of core/v1, and no fields of the old style."""
    shown = {"reportingComponent": "reportingController"}
    causes = [replace(cause, field=shown.get(cause.field, cause.field)) for cause in event(obj)]
    if not obj.get("eventTime"):
        causes.append(required("eventTime"))
    kind = obj.get("type") or ""
    if kind not in ("Normal", "Warning"):
        causes.append(invalid_value("type", '""', f"has invalid value: {kind}"))
    for field in ("firstTimestamp", "lastTimestamp", "count"):
        if obj.get(field):
            causes.append(invalid_value(field, '""', "needs to be unset"))
    if any((obj.get("source") or {}).values()):
        causes.append(invalid_value("source", '""', "needs to be unset"))
    return causes


def _wrong_namespace(namespace: str) -> Cause:
    return invalid_value("involvedObject.namespace", f'"{namespace}"', "does not match event.namespace")


def nothing(obj: Object) -> list[Cause]:
    """A kind without validation."""
    return []


def no_change_rule(new: Object, old: Object) -> list[Cause]:
    """A kind of which every field may change."""
    return []


def quoted(value: Any) -> str:
    """A value in the format of Go's field errors."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
