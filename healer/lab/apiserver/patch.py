"""The three patch types of the API: JSON merge patch, JSON patch, and the strategic merge patch of built-in kinds."""

from __future__ import annotations

from typing import Any

from healer.lab.apiserver.status import ApiRefusal, bad_request, patch_failed
from healer.lab.objects import clone

# The keys by which strategic merge patch matches the items of a list (the patchMergeKey tags of k8s.io/api).
# Where kinds have different keys for a field of one name, the first key that the items have is used.
_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port"),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
}
_MERGED_PRIMITIVES = ("finalizers",)
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
_DIRECTIVES = ("$setElementOrder/", "$retainKeys", _DELETE_PRIMITIVES, "$patch")


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes a field, objects are merged, other values replace."""
    if not isinstance(patch, dict):
        return clone(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_patch(target: Any, patch: Any) -> Any:
    """A merge patch that also merges the lists of known fields by key and follows `$patch` directives.

    Top-level lists are replaced. Only EndpointSlice has any, and they are atomic.
    """
    merged = _merge(target, patch)
    if isinstance(patch, dict):
        merged |= {key: clone(value) for key, value in patch.items() if isinstance(value, list)}
    return merged


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return clone(patch)
    if patch.get("$patch") == "replace":
        return {key: clone(value) for key, value in patch.items() if key != "$patch"}
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith(_DELETE_PRIMITIVES):
            name = key.removeprefix(_DELETE_PRIMITIVES)
            merged[name] = [item for item in merged.get(name) or [] if item not in value]
        elif key.startswith(_DIRECTIVES):
            continue
        elif value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            merged.pop(key, None)
        elif isinstance(value, list):
            merged[key] = _merge_list(key, merged.get(key) or [], value)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _merge_list(field: str, target: list[Any], patch: list[Any]) -> list[Any]:
    if field in _MERGED_PRIMITIVES:
        return target + [item for item in patch if item not in target]
    merge_key = _merge_key(field, patch)
    if merge_key is None or {"$patch": "replace"} in patch:
        return clone([item for item in patch if item != {"$patch": "replace"}])
    known = {item[merge_key]: item for item in target if merge_key in item}
    patched: dict[Any, Any] = {}
    gone = set()
    for item in patch:
        if merge_key not in item:
            raise ApiRefusal(500, "", f"map: {item} does not contain declared merge key: {merge_key}")
        key = item[merge_key]
        if item.get("$patch") == "delete":
            gone.add(key)
        else:
            patched[key] = _merge(known.get(key, {}), item)
    left = [item for item in target if item.get(merge_key) not in gone | patched.keys()]
    return _in_order(left, list(patched.values()), [item.get(merge_key) for item in target], merge_key)


def _in_order(left: list[Any], patched: list[Any], before: list[Any], merge_key: str) -> list[Any]:
    """The merged list. Patched items have the order of the patch; each other item stays before the items that it preceded.

    Source: mergeSortedSlice of k8s.io/apimachinery/pkg/util/strategicpatch.
    """
    merged, waiting = [], list(left)
    for item in patched:
        if item[merge_key] in before:
            at = before.index(item[merge_key])
            while waiting and before.index(waiting[0].get(merge_key)) < at:
                merged.append(waiting.pop(0))
        merged.append(item)
    return merged + waiting


def _merge_key(field: str, patch: list[Any]) -> str | None:
    keys = _MERGE_KEYS.get(field)
    if keys is None or not all(isinstance(item, dict) for item in patch):
        return None
    return next((key for key in keys if any(key in item for item in patch)), keys[0])


def json_patch(target: Any, patch: Any) -> Any:
    """RFC 6902. Raises ApiRefusal 400 for a malformed patch, 422 for one that cannot be applied."""
    if not isinstance(patch, list) or not all(isinstance(step, dict) for step in patch):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")
    document = {"": clone(target)}
    for step in patch:
        _apply(document, step)
    return document[""]


def _apply(document: dict[str, Any], step: dict[str, Any]) -> None:
    operation, path = step.get("op"), _pointer(step.get("path"))
    if operation == "add":
        _add(document, path, clone(step.get("value")))
    elif operation == "remove":
        _remove(document, path)
    elif operation == "replace":
        _replace(document, path, clone(step.get("value")))
    elif operation == "move":
        _add(document, path, _remove(document, _pointer(step.get("from"))))
    elif operation == "copy":
        _add(document, path, clone(_find(document, _pointer(step.get("from")))))
    elif operation != "test" or _found(document, path) != step.get("value"):
        raise patch_failed()


def _pointer(path: Any) -> list[str]:
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise patch_failed()
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]


def _find(document: Any, path: list[str]) -> Any:
    found = document
    for part in path:
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list):
            found = found[_index(part, len(found) - 1)]
        else:
            raise patch_failed()
    return found


def _found(document: Any, path: list[str]) -> Any:
    """The value for a `test`. A missing field is null, as in the API server's library."""
    parent = _find(document, path[:-1])
    return parent.get(path[-1]) if isinstance(parent, dict) else _find(parent, path[-1:])


def _index(part: str, last: int) -> int:
    """A list index of at most `last`. A negative one counts from the end, as in the API server's library."""
    if not part.removeprefix("-").isdecimal() or not -last - 1 <= int(part) <= last:
        raise patch_failed()
    return int(part) % (last + 1)


def _add(document: dict[str, Any], path: list[str], value: Any) -> None:
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    else:
        raise patch_failed()


def _replace(document: dict[str, Any], path: list[str], value: Any) -> None:
    """Replace a value. Unlike RFC 6902, a missing field is added, as in the API server's library (evanphx/json-patch 4)."""
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent[_index(last, len(parent) - 1)] = value
    else:
        _add(document, path, value)


def _remove(document: dict[str, Any], path: list[str]) -> Any:
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, dict) and last in parent:
        return parent.pop(last)
    if isinstance(parent, list):
        return parent.pop(_index(last, len(parent) - 1))
    raise patch_failed()
