"""From a request's body to an object of its kind: types are checked, unknown fields dropped and reported.

A built-in kind refuses wrong types here, as Go's decoder does; a custom resource leaves them to validation.
"""

from __future__ import annotations

from typing import TypeVar, cast

from healer.lab.apiserver import schema, shapes, status
from healer.lab.kinds import Kind
from healer.lab.objects import Object, clone

T = TypeVar("T")


def decode(kind: Kind, body: Object, *, patched: bool = False) -> tuple[Object, list[str]]:
    """The object in the form in which it is stored, and the paths of the fields that were dropped.

    patched: the body is the result of a patch, whose type errors answer 422 instead of 400.
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
    """To Go's decoder, null is the same as absent."""
    if isinstance(value, dict):
        return cast(T, {key: _without_nulls(item) for key, item in value.items() if item is not None})
    if isinstance(value, list):
        return cast(T, [_without_nulls(item) for item in value])
    return value


def _with_whole_numbers(value: T) -> T:
    """Go writes a float without a fraction as an integer: 1.0 is 1."""
    if isinstance(value, dict):
        return cast(T, {key: _with_whole_numbers(item) for key, item in value.items()})
    if isinstance(value, list):
        return cast(T, [_with_whole_numbers(item) for item in value])
    return cast(T, int(value)) if isinstance(value, float) and value.is_integer() else value
