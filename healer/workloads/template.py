"""Two pod templates side by side: whether they differ by more than a restart, and in what, in words."""

from typing import Any

from healer.model.annotations import RESTARTED_BY

Template = dict[str, Any]
"""A PodTemplateSpec, whole and undecoded: what goes back into the cluster must be exactly what came out of it."""

HASH = "pod-template-hash"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_LONGEST = 160
"""Characters of a change that is still told in full."""


def alike(one: Template, other: Template) -> bool:
    """Whether both make the same pods, whenever those were last restarted."""
    return _essence(one) == _essence(other)


def _essence(template: Template) -> Template:
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in (RESTARTED_AT, RESTARTED_BY)}
    return {"labels": labels, "annotations": annotations, "spec": template.get("spec")}


def differences(before: Template, after: Template) -> str:
    """What changes from one to the other: images and arguments in full where that is short, anything else by the field's name.

    Values of other fields are not shown: an environment may hold secrets.
    """
    found: list[str] = []
    for kind in ("initContainers", "containers"):
        found += _container_differences(_containers(before, kind), _containers(after, kind))
    one, other = (_essence(template) for template in (before, after))
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
    return text if len(text) <= _LONGEST else ""
