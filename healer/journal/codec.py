"""Incidents as the `spec` and `status` of custom resources, and back.

The forms are made from the dataclasses of model.incident: a field that is added there is journaled without a change here (the
schema in deploy/healer/crd.yaml must have it; a test says so). Names become camelCase; a float is a time in seconds since the
epoch, for the model of an incident has no other floats, and becomes RFC 3339 with microseconds; None is left out.
"""

import copy
import dataclasses
import functools
import operator
import types
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from healer.journal.base import Undecodable
from healer.journal.conditions import conditions
from healer.model.incident import Entry, Incident, Reason, SickTarget, State
from healer.model.text import cut
from healer.rules.triggers import TRIGGERS

Object = dict[str, Any]

FIXED = ("rule", "workload", "severity", "mode", "notify", "steps", "opened_at", "background")
"""The fields that never change after opening: the spec. All others but the id, which is the object's name, are the status."""
MOST_LINES = 200
"""Lines of history in an object; beyond, the oldest but the first are left out. That of the engine is no longer."""
MOST_TARGETS = 1000
"""Targets in an object; beyond, those are left out that are no longer sick or fell sick last. That of the engine has them all;
after a restart, those of them that are still sick join anew."""
MOST_BYTES = 512 * 1024
"""The size that an object is shortened to; etcd refuses 1.5 MB."""
_LENGTHS = (300, 100, 30)
"""Characters that a text is cut to, step by step, in an object that is too large."""


def _form(kind: Any, only: Callable[[str], bool], **instead: Any) -> Any:
    """A struct like those fields of a dataclass that `only` lets through; `instead` gives some fields another type."""
    hints = get_type_hints(kind)
    fields = [
        (f.name, instead.get(f.name) or _shape(hints[f.name]), *_default(f, hints[f.name]))
        for f in dataclasses.fields(kind)
        if only(f.name)
    ]
    return msgspec.defstruct(
        kind.__name__, fields, rename="camel", omit_defaults=True, frozen=True, kw_only=True, namespace={"MODEL": kind}
    )


@functools.cache
def _part(kind: Callable[..., object]) -> Any:
    """The struct of a dataclass that is part of an incident; the same each time."""
    return _form(kind, lambda _: True)


def _shape(hint: Any) -> Any:
    """The type of a struct's field for the type of a dataclass's."""
    if hint is float:
        return datetime
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _part(hint)
    arguments = tuple(_shape(argument) for argument in get_args(hint))
    if isinstance(hint, types.UnionType):
        return functools.reduce(operator.or_, arguments)
    return get_origin(hint)[arguments] if arguments else hint


def _default(f: "dataclasses.Field[Any]", hint: Any) -> tuple[Any, ...]:
    """A struct leaves a default out when it is a plain value, and writes it when a factory made it: None alone is left out."""
    if isinstance(hint, types.UnionType) and types.NoneType in get_args(hint):
        return (None,)
    if f.default_factory is not dataclasses.MISSING:
        return (msgspec.field(default_factory=f.default_factory),)
    if f.default is not dataclasses.MISSING:
        return (msgspec.field(default_factory=functools.partial(copy.copy, f.default)),)
    return ()


def _changes(name: str) -> bool:
    return name not in FIXED and name != "id"


SPEC = _form(Incident, FIXED.__contains__)
STATUS = _form(Incident, _changes)
_STORED = _form(Incident, _changes, history=tuple[msgspec.Raw, ...])
"""A status as it is read: which lines of its history are wanted depends on its state."""


class _IncidentMeta(msgspec.Struct):
    name: str
    namespace: str = ""


_Found: Any = msgspec.defstruct("Incident", [("metadata", _IncidentMeta), ("spec", SPEC), ("status", _STORED | None, None)])


def encode(incident: Incident) -> tuple[Object, Object]:
    """The spec and the status. Free texts and the history are shortened where the object would be too large.

    Raises ValueError for a time that no calendar has (NaN, infinity, beyond the year 9999).
    """
    if len(incident.history) > MOST_LINES:
        incident = dataclasses.replace(incident, history=(incident.history[0], *incident.history[1 - MOST_LINES :]))
    if len(incident.targets) > MOST_TARGETS:
        incident = dataclasses.replace(incident, targets=_foremost(incident))
    spec, status = _plain(incident, SPEC), _plain(incident, STATUS)
    for length in _LENGTHS:
        if len(msgspec.json.encode(status)) <= MOST_BYTES:
            break
        _shorten(status, length)
    return spec, status | {"doing": _doing(incident), "conditions": conditions(incident)}


def decode(obj: bytes | Mapping[str, Any], closed_lines: int = MOST_LINES) -> Incident:
    """The incident of an object; one without a status was opened, and nothing had been decided when its writer stopped.

    Of a closed one, only the newest `closed_lines` of its history are read. Raises Undecodable.
    """
    try:
        return _decoded(obj if isinstance(obj, bytes) else msgspec.json.encode(obj), closed_lines)
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError) as error:  # OverflowError: a time that no calendar has
        raise Undecodable(str(error)) from error


def _decoded(obj: bytes, closed_lines: int) -> Incident:
    found = msgspec.json.decode(obj, type=_Found)
    fields, status = _fields(found.spec), found.status
    if status is None:
        at = fields["opened_at"]
        reason = Reason("Unfinished", "healer stopped while it opened this incident: nothing had been decided")
        return Incident(id=found.metadata.name, changed_at=at, state=State.OPEN, reason=reason, targets={}, **fields)
    if status.state is State.CLOSED:
        status = msgspec.structs.replace(status, history=status.history[-closed_lines:])
    incident = Incident(id=found.metadata.name, **fields, **_fields(status))
    for target in incident.targets.values():
        for symptom in target.signals.values():
            if symptom.source not in TRIGGERS:
                raise Undecodable(f"$.status.targets: there is no trigger {symptom.source!r}; there are {', '.join(TRIGGERS)}")
    return incident


def extras(notices: Mapping[str, Mapping[str, str]], claim: str) -> Object:
    """What stands in a status beside the incident."""
    return {"notices": {sink: dict(state) for sink, state in notices.items()}, "claim": claim}


def notices(status: Object | None) -> dict[str, Mapping[str, str]]:
    """What a status holds for sinks. Raises Undecodable."""
    try:
        return msgspec.convert((status or {}).get("notices", {}), dict[str, Mapping[str, str]])
    except msgspec.ValidationError as error:
        raise Undecodable(f"{error} - in status.notices") from error


def _plain(incident: Incident, form: Any) -> Object:
    """A part of an incident as dicts, lists, strings and integers; sets and maps are sorted, so that equal ones are the same."""
    try:
        struct = msgspec.convert(incident, form, from_attributes=True, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"incident {incident.id} cannot be written: {error}") from error
    plain: Object = msgspec.to_builtins(struct, order="deterministic")
    return plain


def _native(value: Any) -> Any:
    """What a struct holds, as the model has it."""
    match value:
        case msgspec.Raw():
            return _native(msgspec.json.decode(value, type=_part(Entry)))
        case msgspec.Struct():
            return getattr(value, "MODEL")(**_fields(value))  # noqa: B009 - structs declare no such attribute
        case datetime():
            return value.timestamp()
        case dict():
            return {key: _native(item) for key, item in value.items()}
        case tuple():
            return tuple(_native(item) for item in value)
        case _:
            return value


def _fields(struct: Any) -> dict[str, Any]:
    return {name: _native(getattr(struct, name)) for name in struct.__struct_fields__}


def _foremost(incident: Incident) -> dict[str, SickTarget]:
    """Those of many targets that matter most: what is acted on, then the sick, those sick longest first."""
    acted_on = "" if incident.acting_on is None else incident.acting_on.uid

    def rank(item: tuple[str, SickTarget]) -> tuple[bool, bool, float]:
        return item[0] != acted_on, not item[1].signals, item[1].since

    return dict(sorted(incident.targets.items(), key=rank)[:MOST_TARGETS])


def _shorten(status: Object, most: int) -> None:
    """Cut every free text of a status."""
    for reason in (status["reason"], *(entry["reason"] for entry in status["history"])):
        reason["text"] = cut(reason["text"], most)
    for sick in status["targets"].values():
        sick["what"] = cut(sick["what"], most)


def _doing(incident: Incident) -> str:
    """The step in words, for `kubectl get`: "evict (1 of 2)"."""
    if not incident.steps:
        return ""
    step = min(incident.step, len(incident.steps) - 1)
    return f"{incident.steps[step]} ({step + 1} of {len(incident.steps)})"
