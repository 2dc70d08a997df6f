"""What stands in an object is the incident: nothing lost, nothing told that must not be, never too large."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings

from healer.journal import codec
from healer.journal.base import Undecodable
from healer.lab.apiserver import schema
from healer.model.incident import Background, Incident, State
from healer.rules.schema import MOST_CHANNELS, MOST_STEPS, Mode, Severity
from tests.contract.client import Object
from tests.unit.journal.conftest import definition
from tests.unit.journal.incidents import incident, then
from tests.unit.journal.values import values

pytestmark = pytest.mark.slow


def obj(incident: Incident) -> Object:
    """The object that an incident is kept in."""
    spec, status = codec.encode(incident)
    metadata = {"name": incident.id, "namespace": incident.workload.namespace}
    whole = {"apiVersion": "healer.dev/v1alpha1", "kind": "Incident", "metadata": metadata, "spec": spec, "status": status}
    return msgspec.json.decode(msgspec.json.encode(whole), type=Object)


def crd_schema() -> Object:
    found: Object = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


SCHEMA = schema.whole(crd_schema())


@settings(max_examples=100)
@given(values(Incident))
def test_nothing_is_lost(before: Incident) -> None:
    """Neither to the codec nor to the definition: to make an incident costs more than to look at it."""
    kept = obj(before)
    assert codec.decode(kept) == before
    assert codec.decode(msgspec.json.encode(kept)) == before
    assert schema.prune(kept, SCHEMA) == []


def test_each_field_has_its_place() -> None:
    """And the two parts have none but those of the incident."""
    spec, status = set(codec.SPEC.__struct_fields__), set(codec.STATUS.__struct_fields__)
    assert spec & status == set()
    assert spec | status == {field.name for field in dataclasses.fields(Incident)} - {"id"}


BESIDE = {"doing", "conditions", "claim", "notices", "uid", "healer"}
"""What a status has besides the incident."""


def test_the_definition_is_the_model() -> None:
    """The same fields, with the same types, the same of them required; the same states, modes and severities."""
    properties = crd_schema()["properties"]
    assert properties["status"]["properties"].keys() >= BESIDE
    for name in BESIDE:
        del properties["status"]["properties"][name]
    assert list(differences(properties["spec"], codec.SPEC, "spec")) == []
    assert list(differences(properties["status"], codec.STATUS, "status")) == []
    assert properties["status"]["properties"]["state"]["enum"] == list(State)
    assert properties["spec"]["properties"]["severity"]["enum"] == list(Severity)
    assert set(properties["spec"]["properties"]["mode"]["enum"]) >= set(Mode)


def test_what_a_rule_may_hold_an_incident_may_hold() -> None:
    """One limit, checked when rules are loaded."""
    properties = crd_schema()["properties"]
    assert properties["spec"]["properties"]["notify"]["maxItems"] == MOST_CHANNELS
    assert properties["status"]["properties"]["paged"]["maxItems"] == MOST_CHANNELS
    assert properties["spec"]["properties"]["steps"]["maxItems"] == MOST_STEPS


def test_a_difference_would_be_seen() -> None:
    status = crd_schema()["properties"]["status"]
    for name in BESIDE:
        del status["properties"][name]
    del status["properties"]["wakeAt"]
    status["properties"]["extra"] = {"type": "string"}
    status["properties"]["step"] = {"type": "string"}
    status["required"].remove("state")
    del status["properties"]["history"]["items"]["properties"]["step"]
    assert sorted(differences(status, codec.STATUS, "status")) == [
        "status.extra: not in the model",
        "status.history[].step: not in the definition",
        "status.state: required by the model",
        "status.step: string, not integer",
        "status.wakeAt: not in the definition",
    ]


def differences(found: Object, hint: Any, path: str) -> Any:
    """Where a schema differs from a type of the codec's."""
    origin, arguments = get_origin(hint), [each for each in get_args(hint) if each is not types.NoneType]
    if isinstance(hint, types.UnionType):
        (hint,) = arguments
        yield from differences(found, hint, path)
    elif isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield from _fields(found, hint, path)
    elif origin is Mapping:
        yield from differences(found.get("additionalProperties", {}), arguments[1], f"{path}{{}}")
    elif origin in (tuple, frozenset):
        yield from _type(found, "array", path)
        yield from differences(found.get("items", {}), arguments[0], f"{path}[]")
    else:
        yield from _type(found, {int: "integer", bool: "boolean"}.get(hint, "string"), path)
        if (hint is datetime) != (found.get("format") == "date-time"):
            yield f"{path}: format {found.get('format')}"


def _fields(found: Object, form: type[msgspec.Struct], path: str) -> Any:
    yield from _type(found, "object", path)
    hints, known = get_type_hints(form), found.get("properties", {})
    fields = {field.encode_name: field for field in msgspec.structs.fields(form)}
    for name, field in fields.items():
        if name not in known:
            yield f"{path}.{name}: not in the definition"
            continue
        if field.required != (name in found.get("required", [])):
            yield f"{path}.{name}: {'required' if field.required else 'not required'} by the model"
        yield from differences(known[name], hints[field.name], f"{path}.{name}")
    yield from (f"{path}.{name}: not in the model" for name in known.keys() - fields.keys())


def _type(found: Object, wanted: str, path: str) -> Any:
    if found.get("type") != wanted:
        yield f"{path}: {found.get('type')}, not {wanted}"


IDENTIFIERS = {
    "Incident": {"id", "rule", "severity", "mode", "revision", "healthy", "ruled"},
    "Symptom": {"source", "name", "occurrence"},
    "Reason": {"code"},
    "Target": {"kind", "namespace", "name", "uid"},
    "Approved": {"by"},
}
"""Strings that name something or somebody: they stay as they are. A new string is one of these, or its text is redacted."""


def parts(kind: Any) -> set[Any]:
    """A dataclass, and those that it is made of."""
    inner = {each for hint in get_type_hints(kind).values() for each in _dataclasses(hint)}
    return {kind} | {part for each in inner for part in parts(each)}


def _dataclasses(hint: Any) -> set[Any]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return {hint}
    return {found for each in get_args(hint) for found in _dataclasses(each)}


def test_every_free_text_is_redacted() -> None:
    secret = "alice@example.com has password=hunter22"
    told = codec.encode(full_of(secret))
    assert "alice@example.com" not in str(told)
    assert "hunter22" not in str(told)
    strings = [(part.__name__, name) for part in parts(Incident) for name, hint in get_type_hints(part).items() if hint is str]
    free = {f"{part}.{name}" for part, name in strings if name not in IDENTIFIERS.get(part, ())}
    assert free == {"Reason.text", "SickTarget.what", "Background.description", "Background.asks"}, (
        "a new text: make it safe where it enters (free_text)"
    )


def full_of(text: str) -> Incident:
    """An incident with that text wherever one can stand."""
    before = then(incident(), State.WAITING, text)
    targets = {uid: dataclasses.replace(sick, what=text) for uid, sick in before.targets.items()}
    background = Background(text, text, {"runbook": f"https://example.com/?{text}"})
    return dataclasses.replace(before, targets=targets, background=background)


def test_it_is_never_too_large() -> None:
    """Of texts without end, many lines and a storm of targets; the newest lines and the first stay, in the order they had."""
    now = incident()
    for number in range(300):
        now = then(now, State.WAITING, f"{number} " + "\u6f22\u0001" * 5_000)
    sick = next(iter(now.targets.values()))
    targets = {
        f"uid-{number}": dataclasses.replace(sick, target=dataclasses.replace(sick.target, uid=f"uid-{number}"), what="x" * 5_000)
        for number in range(500)
    }
    now = dataclasses.replace(now, targets=targets)
    kept = obj(now)
    assert len(msgspec.json.encode(kept)) < codec.MOST_BYTES + 4096
    assert list(schema.validate({"spec": kept["spec"], "status": kept["status"]}, crd_schema())) == []
    found = codec.decode(kept)
    assert len(found.history) == codec.MOST_LINES
    assert (found.history[0].at, found.history[-1].at) == (now.history[0].at, now.history[-1].at)
    assert [entry.at for entry in found.history[1:]] == [entry.at for entry in now.history[-codec.MOST_LINES + 1 :]]
    assert found.history[-1].reason.text.startswith("299 ")
    assert found.targets.keys() == targets.keys()


def test_of_very_many_targets_the_foremost_are_kept() -> None:
    """Those that are acted on and those sick longest; an object of all would be refused, and nothing could be done any more."""
    before = incident()
    (sick,) = before.targets.values()
    targets = {}
    for number in range(5_000):
        target = dataclasses.replace(sick.target, name=f"serving-{number}", uid=f"uid-{number:04}")
        signals = {} if number < 2_000 else sick.signals
        targets[target.uid] = dataclasses.replace(sick, target=target, signals=signals, since=sick.since + number)
    acting = dataclasses.replace(before, targets=targets, acting_on=targets["uid-4999"].target)
    kept = obj(acting)
    assert len(msgspec.json.encode(kept)) < codec.MOST_BYTES + 4096
    assert sorted(codec.decode(kept).targets) == [f"uid-{number:04}" for number in (*range(2_000, 2_999), 4_999)]


def test_the_longest_text_fits_the_definition() -> None:
    kept = obj(then(incident(), State.WAITING, "x" * 5_000))
    assert len(kept["status"]["reason"]["text"]) == 1000
    assert list(schema.validate({"spec": kept["spec"], "status": kept["status"]}, crd_schema())) == []


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e15])
def test_a_time_that_no_calendar_has_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="crash-loop-1 cannot be written"):
        codec.encode(dataclasses.replace(incident(), wake_at=seconds))


def test_equal_incidents_are_written_alike() -> None:
    """Whatever the order in which their sets and maps were made."""
    names = [f"uid-{number}" for number in range(50)]
    one = dataclasses.replace(incident(), known=frozenset(names), targets={})
    two = dataclasses.replace(incident(), known=frozenset(reversed(names)), targets={})
    assert msgspec.json.encode(codec.encode(one)) == msgspec.json.encode(codec.encode(two))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"state": "asleep"}, r"asleep.*\$\.status\.state"),
        ({"step": "first"}, r"\$\.status\.step"),
        ({"changedAt": "yesterday"}, r"\$\.status\.changedAt"),
        ({"targets": {"u": {}}}, r"\$\.status\.targets\[\.\.\.\]"),
    ],
)
def test_what_cannot_be_read_says_where(change: Object, where: str) -> None:
    broken = obj(incident())
    broken["status"] |= change
    with pytest.raises(Undecodable, match=where):
        codec.decode(broken)
    with pytest.raises(Undecodable):
        codec.decode(msgspec.json.encode(broken))


def test_no_json_is_no_incident() -> None:
    with pytest.raises(Undecodable):
        codec.decode(b'{"metadata": {"na')
    with pytest.raises(Undecodable):
        codec.decode(b"\xff")


def test_what_a_later_version_writes_can_be_read() -> None:
    """Fields that are not known are passed over, those that are not there yet have their defaults."""
    kept = obj(incident())
    kept["status"]["later"] = 1
    del kept["status"]["failures"]
    assert codec.decode(kept) == incident()
