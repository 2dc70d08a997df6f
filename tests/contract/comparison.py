"""Compares an answer with a recorded one: what the recorded holds must be held, but for what differs by nature."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

WORKLOAD = "tensorflow-serving"
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NEUTRAL: tuple[tuple[re.Pattern[str], str], ...] = (
    (_UID, "UID"),
    (re.compile(rf"{WORKLOAD}-[a-z0-9]{{8,10}}-[a-z0-9]{{5}}(?![a-z0-9])"), "POD"),
    (re.compile(rf"{WORKLOAD}-[a-z0-9]{{8,10}}(?![a-z0-9])"), "REPLICASET"),
    (re.compile(r"\bt-[a-z0-9]{5}\b"), "GENERATED"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r'User "[^"]*"'), "USER"),
    (re.compile(r"too old resource version: .*"), "TOO OLD"),
    (re.compile(r"current: \d+"), "CURRENT"),
    (re.compile(r"ResourceVersion in record \(\d+\)"), "IN RECORD"),
    (re.compile(r"json parse error: .*"), "PARSE ERROR"),
)
# Whatever these hold, they differ by their nature, or because a stand-in wrote them.
_VOLATILE = frozenset(
    {
        "uid",
        "resourceVersion",
        "continue",
        "remainingItemCount",
        "nodeName",
        "podIP",
        "podIPs",
        "imageID",
        "pod-template-hash",
        "restartCount",
        "managedFields",
        "volumes",
        "volumeMounts",
        "startTime",
        "kubectl.kubernetes.io/last-applied-configuration",
        "touched",
    }
)


def _neutral(value: Any) -> Any:
    """The value without what differs from run to run."""
    if isinstance(value, dict):
        return {_neutral(key): _neutral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_neutral(item) for item in value]
    if isinstance(value, str):
        for pattern, word in _NEUTRAL:
            value = pattern.sub(word, value)
    return value


def _missing(recorded: Any, given: Any, path: str, excused: frozenset[str]) -> Iterator[str]:
    """What the recorded answer holds and the given one does not."""
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key, item in recorded.items():
            if key in _VOLATILE or key in excused:
                continue
            if key not in given:
                yield f"{path}.{key} is missing; recorded {item!r}"
            else:
                yield from _missing(item, given[key], f"{path}.{key}", excused)
    elif isinstance(recorded, list) and isinstance(given, list):
        yield from _missing_items(recorded, given, path, excused)
    elif recorded != given:
        yield f"{path} is {given!r}; recorded {recorded!r}"


def _missing_items(recorded: list[Any], given: list[Any], path: str, excused: frozenset[str]) -> Iterator[str]:
    if all(isinstance(item, dict) and {"type", "status"} <= item.keys() for item in recorded):  # in whatever order
        by_type = {item["type"]: item for item in given}
        for item in recorded:
            yield from _missing(item, by_type.get(item["type"], {}), f"{path}[{item['type']}]", excused)
        return
    if len(recorded) != len(given):
        yield f"{path} has {len(given)} items; recorded {len(recorded)}"
    ordered = zip(sorted(recorded, key=_image), sorted(given, key=_image), strict=False)
    for at, (one, other) in enumerate(ordered):
        yield from _missing(one, other, f"{path}[{at}]", excused)


def _image(item: Any) -> str:
    """Pods are sorted by random names, so they are compared by the image they run."""
    containers = item.get("spec", {}).get("containers") if isinstance(item, dict) else None
    return str(containers[0]["image"]) if containers else ""


def compare(recorded: Any, given: Any, excused: frozenset[str] = frozenset()) -> Iterator[str]:
    """What differs between two bodies, but for the fields that are excused."""
    yield from _missing(_neutral(recorded), _neutral(given), "", excused)


def compare_watches(recorded: list[Object], given: list[Object]) -> Iterator[str]:
    """Each object's events are compared in their order; bookmarks must be there if any was recorded."""
    old, new = _by_object([line["event"] for line in recorded]), _by_object(given)
    old_types = sorted([event["type"] for event in events] for events in old.values())
    new_types = sorted([event["type"] for event in events] for events in new.values())
    if old_types != new_types:
        yield f"events {new_types}; recorded {old_types}"
        return
    for one, other in zip(sorted(old.values(), key=_order), sorted(new.values(), key=_order), strict=True):
        for event, counterpart in zip(one, other, strict=True):
            yield from compare(event, counterpart, frozenset({"generation"}))


def _order(events: list[Object]) -> list[str]:
    return [event["type"] for event in events]


def _by_object(events: list[Object]) -> dict[str, list[Object]]:
    grouped: dict[str, list[Object]] = {}
    for event in events:
        metadata = event["object"]["metadata"]
        marks = metadata.get("annotations", {}) if event["type"] == "BOOKMARK" else {}
        key = metadata.get("uid") or f"{event['type']} {sorted(marks)}"
        known = grouped.setdefault(key, [])
        if event["type"] != "BOOKMARK" or not known:
            known.append(event)
    return grouped
