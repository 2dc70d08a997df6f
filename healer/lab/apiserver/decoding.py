"""Decode the body of a request: check the types, drop unknown fields and report them.

Wrong types of a built-in kind are refused here, as by Go's decoder. Those of a custom resource are refused by validation.
"""

from __future__ import annotations

from typing import TypeVar, cast

from healer.lab.apiserver import schema, shapes, status
from healer.lab.kinds import Kind
from healer.lab.objects import Object, clone

T = TypeVar("T")


def decode(kind: Kind, body: Object, *, patched: bool = False) -> tuple[Object, list[str]]:
    """The object in its stored form, and the paths of the dropped fields. Raises ApiRefusal 400 for a wrong type.

    patched: the body is the result of a patch, so a wrong type raises 422 instead.
    """
    obj = kind.accept({key: clone(value) for key, value in body.items() if key not in ("kind", "apiVersion")})
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    if kind.custom:
        obj = _with_whole_numbers(obj)
    for part in () if kind.custom else ("metadata", "spec"):
        if part in obj:
            obj[part] = _without_nulls(obj[part])
    checked = schema.whole(shapes.OPEN if kind.custom else kind.schema)
    for cause in schema.validate(obj, checked):
        why = f"json: cannot unmarshal into Go struct field {cause.field}: {cause.message}"
        if patched:
            raise status.invalid_patch(why)
        raise status.bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')
    unknown = schema.prune(obj, schema.whole(kind.schema))
    return obj, sorted(unknown) if kind.custom else unknown


def _without_nulls(value: T) -> T:
    """Remove null values: Go's decoder treats null as absent."""
    if isinstance(value, dict):
        return cast(T, {key: _without_nulls(item) for key, item in value.items() if item is not None})
    if isinstance(value, list):
        return cast(T, [_without_nulls(item) for item in value])
    return value


def _with_whole_numbers(value: T) -> T:
    """Turn floats without a fraction into integers, as Go writes them: 1.0 is 1."""
    if isinstance(value, dict):
        return cast(T, {key: _with_whole_numbers(item) for key, item in value.items()})
    if isinstance(value, list):
        return cast(T, [_with_whole_numbers(item) for item in value])
    return cast(T, int(value)) if isinstance(value, float) and value.is_integer() else value
