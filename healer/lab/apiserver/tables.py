"""Lists in the other forms that a client may accept: as Tables, the form that kubectl requests, and as metadata alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from healer.lab.apiserver.printed import PRINTERS, Printer
from healer.lab.kinds import Kind
from healer.lab.objects import Object

_NAME = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)


def table(kind: Kind, listed: Object) -> Object:
    """A decoded list as a Table.

    Columns: those of the kind's printer; else the name, then the printer columns of a custom resource, or the age of other kinds.
    """
    printer = PRINTERS.get(kind.kind) if not kind.custom else None
    if printer is not None:
        return _printed(printer, listed)
    columns = kind.columns or (("Age", "date", ".metadata.creationTimestamp", 0),)
    definitions = [{"name": "Name", "type": "string", "format": "name", "description": _NAME, "priority": 0}] + [
        {
            "name": name,
            "type": form,
            "format": "",
            "description": f"Custom resource definition column (in JSONPath format): {path}",
            "priority": priority,
        }
        for name, form, path, priority in columns
    ]
    rows = [
        {
            "cells": [item["metadata"]["name"], *(_cell(item, form, path) for _, form, path, _ in columns)],
            "object": _metadata_of(item),
        }
        for item in listed["items"]
    ]
    return _table(listed, definitions, rows)


def _printed(printer: Printer, listed: Object) -> Object:
    definitions = [
        {
            "name": name,
            "type": "string",
            "format": form if form == "name" else "",
            "description": _NAME if form == "name" else "",
            "priority": priority,
        }
        for name, form, priority in printer.columns
    ]
    dates = [form == "date" for _, form, _ in printer.columns]
    rows = [
        {
            "cells": [age(cell) if dated else cell for cell, dated in zip(printer.cells(item), dates, strict=True)],
            "object": _metadata_of(item),
        }
        for item in listed["items"]
    ]
    return _table(listed, definitions, rows)


def _table(listed: Object, definitions: list[Object], rows: list[Object]) -> Object:
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": listed["metadata"],
        "columnDefinitions": definitions,
        "rows": rows,
    }


def metadata_list(listed: Object) -> Object:
    """A decoded list with the metadata of its items alone."""
    items = [_metadata_of(item) for item in listed["items"]]
    head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
    return {**head, "metadata": listed["metadata"], "items": items}


def _metadata_of(item: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def _cell(item: Object, form: str, path: str) -> Any:
    """The value of a cell. A date becomes its age."""
    value = _look_up(item, path)
    return age(value) if form == "date" and isinstance(value, str) else value


def age(value: str | None) -> str:
    """How long ago a time is, in the format of apimachinery's HumanDuration up to days."""
    if value is None:
        return "<unknown>"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(value)).total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 2:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    return f"{days}d"


_STEP = re.compile(r"""\.(\w+)(?:\[\?\(@\.(\w+)==["'](.*?)["']\)\])?""")
"""A step of a JSONPath: a key, and what the entry of the list there must have: .conditions[?(@.type=="Ready")]."""


def _look_up(item: Object, path: str) -> Any:
    found: Any = item
    for key, field, value in _STEP.findall(path):
        found = found.get(key) if isinstance(found, dict) else None
        if field:
            entries = found if isinstance(found, list) else []
            found = next((entry for entry in entries if isinstance(entry, dict) and entry.get(field) == value), None)
    return found
