"""Validates data by a JSON Schema, as far as the schema of rule files needs it: a keyword that it does not know is an error."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_SAID = {"$schema", "title", "description", "default", "$defs"}


def faults(data: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, path: str = "$") -> Iterator[str]:
    """Everything in which the data is not as the schema says: the path, and the keyword."""
    root = schema if root is None else root
    for keyword, wanted in schema.items():
        if keyword not in _SAID:
            yield from _KEYWORDS[keyword](data, wanted, schema, root, path)


def _of_type(data: Any, wanted: str, *_: Any) -> Iterator[str]:
    path = _[-1]
    if not isinstance(data, _TYPES[wanted]) or (isinstance(data, bool) and wanted != "boolean"):
        yield f"{path}: type"


def _reference(data: Any, wanted: str, _: Any, root: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from faults(data, root["$defs"][wanted.removeprefix("#/$defs/")], root, path)


def _properties(data: Any, wanted: Mapping[str, Any], _: Any, root: Mapping[str, Any], path: str) -> Iterator[str]:
    for key in data if isinstance(data, dict) else ():
        if key in wanted:
            yield from faults(data[key], wanted[key], root, f"{path}.{key}")


def _others(data: Any, wanted: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str) -> Iterator[str]:
    for key in data if isinstance(data, dict) else ():
        if key in schema.get("properties", {}) or wanted is True:
            continue
        if wanted is False:
            yield f"{path}.{key}: additionalProperties"
        else:
            yield from faults(data[key], wanted, root, f"{path}.{key}")


def _required(data: Any, wanted: list[str], _: Any, __: Any, path: str) -> Iterator[str]:
    if isinstance(data, dict):
        yield from (f"{path}: required {key}" for key in wanted if key not in data)


def _items(data: Any, wanted: Mapping[str, Any], _: Any, root: Mapping[str, Any], path: str) -> Iterator[str]:
    for number, entry in enumerate(data if isinstance(data, list) else ()):
        yield from faults(entry, wanted, root, f"{path}[{number}]")


def _some(low: int, high: float, name: str) -> Any:
    def count(data: Any, wanted: list[Any], _: Any, root: Mapping[str, Any], path: str) -> Iterator[str]:
        if not low <= sum(not [*faults(data, each, root, path)] for each in wanted) <= high:
            yield f"{path}: {name}"

    return count


def _test(name: str, holds: Any, *types: type) -> Any:
    def check(data: Any, wanted: Any, _: Any, __: Any, path: str) -> Iterator[str]:
        if (not types or isinstance(data, types)) and not holds(data, wanted):
            yield f"{path}: {name}"

    return check


_KEYWORDS: Mapping[str, Any] = {
    "type": _of_type,
    "$ref": _reference,
    "properties": _properties,
    "additionalProperties": _others,
    "required": _required,
    "items": _items,
    "oneOf": _some(1, 1, "oneOf"),
    "anyOf": _some(1, float("inf"), "anyOf"),
    "enum": _test("enum", lambda data, wanted: data in wanted),
    "pattern": _test("pattern", lambda data, wanted: re.search(wanted, data) is not None, str),
    "minimum": _test("minimum", lambda data, wanted: data >= wanted, int, float),
    "maximum": _test("maximum", lambda data, wanted: data <= wanted, int, float),
    "exclusiveMinimum": _test("exclusiveMinimum", lambda data, wanted: data > wanted, int, float),
    "exclusiveMaximum": _test("exclusiveMaximum", lambda data, wanted: data < wanted, int, float),
    "minLength": _test("minLength", lambda data, wanted: len(data) >= wanted, str),
    "maxLength": _test("maxLength", lambda data, wanted: len(data) <= wanted, str),
    "minItems": _test("minItems", lambda data, wanted: len(data) >= wanted, list),
    "maxItems": _test("maxItems", lambda data, wanted: len(data) <= wanted, list),
}
