"""From a request's body to an object of its kind: types are checked, unknown fields dropped and reported.

A built-in kind refuses wrong types here, as Go's decoder does; a custom resource leaves them to validation.
"""

from __future__ import annotations

from healer.lab import schema, shapes, status
from healer.lab.kinds import Kind
from healer.lab.objects import Object, clone


def decode(kind: Kind, body: Object, *, patched: bool = False) -> tuple[Object, list[str]]:
    """The object in the form in which it is stored, and the paths of the fields that were dropped.

    patched: the body is the result of a patch, whose type errors answer 422 instead of 400.
    """
    obj = kind.accept({key: clone(value) for key, value in body.items() if key not in ("kind", "apiVersion")})
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    checked = schema.whole(shapes.OPEN if kind.custom else kind.schema)
    for cause in schema.validate(obj, checked):
        why = f"json: cannot unmarshal into Go struct field {cause.field}: {cause.message}"
        if patched:
            raise status.invalid_patch(why)
        raise status.bad_request(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {why}')
    return obj, schema.prune(obj, schema.whole(kind.schema))
