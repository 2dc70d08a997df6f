"""Makes a line of a record plain and safe: dictionaries without default values, each text redacted (promise 12).

The objects are those that healer decodes: without environment variables, without other annotations, without data of Secrets.
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from healer.daemon.recording.lines import Line
from healer.model.kube import KubeStruct
from healer.model.redact import SECRET, names_secret, redact, redact_most
from healer.model.target import Target

_IDENTITY = frozenset({"kind", "namespace", "name", "uid", "resource_version", "node_name"})
"""The fields by which objects refer to each other. Kubernetes restricts what they may be."""
_LONGEST = 16_384
"""The most characters of one text."""
_SHORT = 256
"""The length up to which a text probably recurs. Such texts are cached."""


class _WrittenField(NamedTuple):
    """A field of a struct or a dataclass, as it is written. One of `identity` is written as it is."""

    attribute: str
    name: str
    default: Any
    identity: bool


def encoded(line: Line) -> bytes:
    """The line as JSON, redacted, with its line end."""
    tag = type(line).__struct_config__.tag
    return msgspec.json.encode({"line": tag, **_fields(line)}) + b"\n"


def plain(value: Any) -> Any:
    """The value as JSON has it, each text in it redacted."""
    kind = type(value)
    if kind is str:
        return _short(value) if len(value) <= _SHORT else redact_most(value, _LONGEST)
    if kind in (int, float, bool) or value is None:
        return value
    if kind in (tuple, list):
        return [plain(each) for each in value]
    if isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {_short(key): SECRET if names_secret(key) and each else plain(each) for key, each in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(map(plain, value))
    if isinstance(value, str | int | float):
        return plain(str(value)) if isinstance(value, str) else value
    raise TypeError(f"a record has no form for {kind.__name__}")


def _fields(value: Any) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for attribute, name, default, identity in _known_fields(type(value)):
        each = getattr(value, attribute)
        if each is default or each == default:
            continue
        written[name] = each if identity and type(each) is str else plain(each)
    return written


def _known_fields(kind: Any) -> tuple[_WrittenField, ...]:
    """The fields of a type, with what is left out when it is all that they say."""
    if (known := _FIELDS.get(kind)) is None:
        identity = _IDENTITY if issubclass(kind, KubeStruct | Target) else frozenset[str]()
        if issubclass(kind, msgspec.Struct):
            found = [(each.name, each.encode_name, each.default, each.default_factory) for each in msgspec.structs.fields(kind)]
        else:
            found = [(each.name, each.name, each.default, each.default_factory) for each in dataclasses.fields(kind)]
        known = _FIELDS[kind] = tuple(
            _WrittenField(name, written, _default(default, factory), name in identity)
            for name, written, default, factory in found
        )
    return known


def _default(value: Any, factory: Any) -> Any:
    """The default of a field; what equals nothing, where it has none."""
    if value is not msgspec.NODEFAULT and value is not dataclasses.MISSING:
        return value
    if factory is not msgspec.NODEFAULT and factory is not dataclasses.MISSING:
        return factory()
    return _NONE


_NONE = object()
_FIELDS: dict[Any, tuple[_WrittenField, ...]] = {}
"""By type."""


@lru_cache(8192)
def _short(text: str) -> str:
    return redact(text)
