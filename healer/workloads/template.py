"""The comparison of two pod templates: whether they make the same pods, and a description of their differences."""

from typing import Any

from healer.model.annotations import RESTARTED_BY

Template = dict[str, Any]
"""A complete PodTemplateSpec as plain JSON, so that healer writes back exactly what it has read."""

HASH = "pod-template-hash"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_MAX_SHOWN = 160
"""The most characters of a change that is shown in full."""


def same_pods(one: Template, other: Template) -> bool:
    """Whether both templates make the same pods, apart from the time of the last restart."""
    return _comparable(one) == _comparable(other)


def _comparable(template: Template) -> Template:
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in (RESTARTED_AT, RESTARTED_BY)}
    return {"labels": labels, "annotations": annotations, "spec": template.get("spec")}


def differences(before: Template, after: Template) -> str:
    """A description of the differences. Short changes of images and arguments are shown in full, others by the field's name.

    Values of other fields are not shown, because an environment may contain secrets.
    """
    found: list[str] = []
    for kind in ("initContainers", "containers"):
        found += _container_differences(_containers(before, kind), _containers(after, kind))
    one, other = (_comparable(template) for template in (before, after))
    found += [field for field in ("labels", "annotations") if one[field] != other[field]]
    specs = [{k: v for k, v in (t["spec"] or {}).items() if k not in ("initContainers", "containers")} for t in (one, other)]
    found += _changed(specs[0], specs[1])
    return ", ".join(found)


def _containers(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    return {container.get("name", ""): container for container in (template.get("spec") or {}).get(kind) or []}


def _container_differences(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    found = [f"without container {name}" for name in before.keys() - after.keys()]
    found += [f"with container {name}" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        of = f" of {name}" if len(after) > 1 else ""
        for field in _changed(before[name], after[name]):
            found.append(f"{field}{of}{_values(field, before[name].get(field), after[name].get(field))}")
    return sorted(found)


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(field for field in before.keys() | after.keys() if before.get(field) != after.get(field))


def _values(field: str, before: Any, after: Any) -> str:
    if field == "image":
        text = f" {before} -> {after}"
    elif field in ("args", "command"):
        had, has = before or [], after or []
        gone, come = (" ".join(arg for arg in some if arg not in rest) for some, rest in ((had, has), (has, had)))
        text = f" {gone or 'none'} -> {come or 'none'}"
    else:
        return ""
    return text if len(text) <= _MAX_SHOWN else ""
