"""What an API server checks of a custom resource beyond its structural schema: unique entries of lists, and rules in CEL.

Rules with `oldSelf` are for what was there before: they are checked along properties, and not inside of lists and maps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from cel_expr_python import cel

from healer.lab.apiserver.schema import validate
from healer.lab.apiserver.status import Cause
from healer.lab.objects import Object

_WORDS = "true false null in as break const continue else for function if import let loop package namespace return var void while"
_RESERVED = frozenset(_WORDS.split(" "))
"""Words of CEL that a field's name may not be."""
_BLOCKING = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
"""After a violation of these kinds no rule is checked: its values may be of another type than it means."""
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
)
_ROOT = "<nil>"


def violations(new: Object, old: Object | None, schema: Object) -> list[Cause]:
    """All that is wrong with a custom resource. `old` is what is stored."""
    content = {key: value for key, value in new.items() if key != "metadata"}
    causes = [*validate(content, schema), *_duplicates(content, schema, "")]
    if not _any_rule(schema):
        return causes
    if any(cause.reason in _BLOCKING for cause in causes):
        return [*causes, Cause(_ROOT, f"Invalid value: null: {_UNCHECKED}")]
    named = {key: new["metadata"][key] for key in ("name", "generateName") if key in new["metadata"]}
    return causes + list(_broken(content | {"metadata": named}, old, schema, ""))


def _below(value: Any, schema: Object, path: str) -> Iterator[tuple[Any, Object, str, str | None]]:
    """The values inside of a value that have a schema, with their paths; of a property also its name."""
    prefix = f"{path}." if path else ""
    if isinstance(value, list):
        yield from ((entry, schema.get("items") or {}, f"{path}[{at}]", None) for at, entry in enumerate(value))
    elif isinstance(value, dict):
        properties, free = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, entry in value.items():
            if key in properties:
                yield entry, properties[key], f"{prefix}{key}", key
            elif isinstance(free, dict):
                yield entry, free, f"{prefix}{key}", None


def _duplicates(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    """Entries of lists that are maps with keys in `x-kubernetes-list-map-keys`: no two have the same."""
    if schema.get("x-kubernetes-list-type") == "map" and isinstance(value, list):
        seen: list[Object] = []
        for at, entry in enumerate(value):
            keys = {key: entry[key] for key in schema["x-kubernetes-list-map-keys"] if isinstance(entry, dict) and key in entry}
            if keys in seen:
                yield Cause(f"{path}[{at}]", f"Duplicate value: {json.dumps(keys, separators=(',', ':'))}", "FieldValueDuplicate")
            seen.append(keys)
    for entry, inner, where, _ in _below(value, schema, path):
        yield from _duplicates(entry, inner, where)


@cache
def _compiled(rule: str) -> cel.Expression:
    return cel.NewEnv(variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN}).compile(rule)


def _any_rule(schema: Object) -> bool:
    """Whether a schema, which may contain itself, has a rule somewhere."""
    waiting, seen = [schema], {id(schema)}
    while waiting:
        found = waiting.pop()
        if found.get("x-kubernetes-validations"):
            return True
        inner = [*(found.get("properties") or {}).values(), found.get("items"), found.get("additionalProperties")]
        fresh = [each for each in inner if isinstance(each, dict) and id(each) not in seen]
        seen |= {id(each) for each in fresh}
        waiting += fresh
    return False


def _broken(value: Any, old: Any, schema: Object, path: str) -> Iterator[Cause]:
    """The rules that do not hold."""
    for rule in schema.get("x-kubernetes-validations") or ():
        text = rule["rule"]
        if "oldSelf" in text and old is None:
            continue
        facts = {"self": _escaped(value), "oldSelf": _escaped(old)}
        if not _compiled(text).eval(data=facts).value():
            yield Cause(path or _ROOT, f"Invalid value: {rule.get('message') or f'failed rule: {text}'}")
    for entry, inner, where, key in _below(value, schema, path):
        yield from _broken(entry, old.get(key) if key is not None and isinstance(old, dict) else None, inner, where)


def _escaped(value: Any) -> Any:
    """The value with its keys as CEL has them: a reserved word stands between two underscores on each side."""
    if isinstance(value, dict):
        return {f"__{key}__" if key in _RESERVED else key: _escaped(entry) for key, entry in value.items()}
    return [_escaped(entry) for entry in value] if isinstance(value, list) else value
