"""Lists as Tables (`Accept: application/json;as=Table`), as kubectl asks for them."""

from __future__ import annotations

from typing import Any

from healer.lab.kinds import Kind
from healer.lab.objects import Object

_NAME = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)


def table(kind: Kind, listed: Object) -> Object:
    """A decoded list as a Table: the name, then a custom resource's printer columns, else the age."""
    columns = kind.columns or (("Age", "date", ".metadata.creationTimestamp"),)
    definitions = [{"name": "Name", "type": "string", "format": "name", "description": _NAME, "priority": 0}] + [
        {
            "name": name,
            "type": form,
            "format": "",
            "description": f"Custom resource definition column (in JSONPath format): {path}",
            "priority": 0,
        }
        for name, form, path in columns
    ]
    rows = [
        {
            "cells": [item["metadata"]["name"], *(_look_up(item, path) for _, _, path in columns)],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]},
        }
        for item in listed["items"]
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": listed["metadata"],
        "columnDefinitions": definitions,
        "rows": rows,
    }


def _look_up(item: Object, path: str) -> Any:
    found: Any = item
    for step in path.strip(".").split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found
