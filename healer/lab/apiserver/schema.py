"""Structural schemas of custom resources: pruning of unknown fields, defaults, and validation.

Supported: type, the format int32, properties, additionalProperties, items, required, enum, pattern, minimum, maximum and
their exclusive forms, minLength, maxLength, minItems, maxItems, nullable, default, x-kubernetes-preserve-unknown-fields,
x-kubernetes-int-or-string. `validations` has the keys of lists and the rules in CEL. Not supported: other formats, oneOf and
similar. healer's own resources use none of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from healer.lab.apiserver import shapes
from healer.lab.apiserver.status import Cause
from healer.lab.apiserver.validation import invalid_value, quoted, required
from healer.lab.objects import Object, clone

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_JSON_NAMES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def whole(schema: Object) -> Object:
    """A schema extended by the fields that every object has."""
    known = {"apiVersion": shapes.STRING, "kind": shapes.STRING, "metadata": shapes.METADATA}
    return schema | {"properties": {**(schema.get("properties") or {}), **known}}


def prune(obj: Object, schema: Object) -> list[str]:
    """Remove the fields that the schema does not have, and return their paths."""
    return _prune(obj, schema, "")


def _prune(value: Any, schema: Object, path: str) -> list[str]:
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [found for at, item in enumerate(value) for found in _prune(item, items, f"{path}[{at}]")]
    if not isinstance(value, dict):
        return []
    prefix = f"{path}." if path else ""
    if isinstance(schema.get("additionalProperties"), dict):
        free = schema["additionalProperties"]
        return [found for key, item in value.items() for found in _prune(item, free, f"{prefix}{key}")]
    properties = schema.get("properties") or {}
    preserves_unknown = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties")
    unknown = [] if preserves_unknown else [key for key in value if key not in properties]
    for key in unknown:
        del value[key]
    known = [(key, item) for key, item in value.items() if key in properties]
    deeper = [found for key, item in known for found in _prune(item, properties[key], f"{prefix}{key}")]
    return [f"{prefix}{key}" for key in unknown] + deeper


def fill(value: Any, schema: Object) -> None:
    """Set the defaults of the schema in place."""
    if isinstance(value, dict):
        for key, sub in (schema.get("properties") or {}).items():
            if "default" in sub and (key not in value or (value[key] is None and not sub.get("nullable"))):
                value[key] = clone(sub["default"])
            if key in value:
                fill(value[key], sub)
    elif isinstance(value, list):
        for item in value:
            fill(item, schema.get("items") or {})


def validate(value: Any, schema: Object, path: str = "") -> Iterator[Cause]:
    """All violations of the schema, in the order of the schema."""
    if value is None and schema.get("nullable"):
        return
    if not _has_type(value, schema):
        yield from _wrong_type(value, schema, path)
        return
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(quoted(item) for item in schema["enum"])
        message = f"Unsupported value: {quoted(value)}: supported values: {allowed}"
        yield Cause(path, message, "FieldValueNotSupported")
    yield from _limits(value, schema, path)
    if isinstance(value, dict):
        yield from _properties(value, schema, path)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from validate(item, schema.get("items") or {}, f"{path}[{at}]")
        yield from _length(value, schema, path)


def _length(value: list[Any], schema: Object, path: str) -> Iterator[Cause]:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if len(value) < least:
        yield invalid_value(path, str(len(value)), f"{path} in body should have at least {least} items")
    if len(value) > most:
        yield Cause(path, f"Too many: {len(value)}: must have at most {most} item{'s' if most != 1 else ''}", "FieldValueTooMany")


def _wrong_type(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    wanted, found = schema.get("type", "integer,string"), _JSON_NAMES[type(value)]
    fraction, form = isinstance(value, float) and wanted == "integer", schema.get("format", "")
    if fraction and form:
        wanted, found = form, "float64"
    why = f'{path} in body must be of type {wanted}: "{found}"'
    yield Cause(path, f'Invalid value: "{found}": {why}', "FieldValueTypeInvalid")
    if fraction:
        yield _not_in_format(path, f"with format {form}" if form else "(default format)")


def _not_in_format(path: str, form: str) -> Cause:
    return Cause("<nil>", f'Invalid value: "": Checked value must be of type integer {form} in {path}')


def _has_type(value: Any, schema: Object) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, int | str) and not isinstance(value, bool)
    wanted = _TYPES.get(schema.get("type", ""))
    if wanted is None:
        return True
    return isinstance(value, wanted) and (bool in wanted or not isinstance(value, bool))


def _limits(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield invalid_value(path, quoted(value), f"{path} in body should match '{schema['pattern']}'")
        if len(value) > schema.get("maxLength", len(value)):
            message = f"Too long: may not be more than {schema['maxLength']} bytes"
            yield Cause(path, message, "FieldValueTooLong")
        if len(value) < schema.get("minLength", 0):
            least = schema["minLength"]
            yield invalid_value(path, quoted(value), f"{path} in body should be at least {least} chars long")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if schema.get("format") == "int32" and not -(2**31) <= value < 2**31:
            yield _not_in_format(path, "with format int32")
        if schema.get("exclusiveMinimum") and value <= schema["minimum"]:
            yield invalid_value(path, quoted(value), f"{path} in body should be greater than {schema['minimum']}")
        elif value < schema.get("minimum", value):
            least = schema["minimum"]
            yield invalid_value(path, quoted(value), f"{path} in body should be greater than or equal to {least}")
        if schema.get("exclusiveMaximum") and value >= schema["maximum"]:
            yield invalid_value(path, quoted(value), f"{path} in body should be less than {schema['maximum']}")
        elif value > schema.get("maximum", value):
            most = schema["maximum"]
            yield invalid_value(path, quoted(value), f"{path} in body should be less than or equal to {most}")


def _properties(value: Object, schema: Object, path: str) -> Iterator[Cause]:
    prefix = f"{path}." if path else ""
    for key in schema.get("required") or []:
        if key not in value:
            yield required(f"{prefix}{key}")
    properties = schema.get("properties") or {}
    free = schema.get("additionalProperties")
    for key, item in value.items():
        sub = properties.get(key, free if isinstance(free, dict) else {})
        yield from validate(item, sub, f"{prefix}{key}")
