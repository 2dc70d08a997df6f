"""An Event about an object (events.k8s.io/v1), as healer posts it: within the limits that the API sets."""

import uuid
from datetime import UTC, datetime
from typing import Any

from healer.model.event import REPORTER
from healer.model.target import Target
from healer.model.text import cut

_NOTE = 1024
"""Bytes of a note at most (ValidateEventCreate)."""
_NAME = 200
"""Characters of the object's name in the Event's, which may have 253 in all."""
_ELSEWHERE = "default"
"""The namespace of events about objects that have none (ValidateEventCreate)."""


def object_event(
    target: Target, api_version: str, note: str, *, reason: str, action: str, now: float, instance: str, kind: str = "Normal"
) -> dict[str, Any]:
    """The Event. `now` is in seconds since the epoch; `instance` says who posts it; `kind` is Normal or Warning."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{target.name[:_NAME].rstrip('.-')}.{uuid.uuid4().hex[:16]}",
            "namespace": target.namespace or _ELSEWHERE,
        },
        "eventTime": datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": kind,
        "reason": cut(reason, 128),
        "action": cut(action, 128),
        "note": _within(note, _NOTE),
        "regarding": {
            "apiVersion": api_version,
            "kind": target.kind,
            "namespace": target.namespace,
            "name": target.name,
            "uid": target.uid,
        },
        "reportingController": REPORTER,
        "reportingInstance": cut(instance or "healer", 128),
    }


def _within(text: str, most: int) -> str:
    """The text in at most so many bytes of UTF-8, which the API counts."""
    whole = text.encode()
    return text if len(whole) <= most else whole[: most - 3].decode("utf-8", "ignore") + "…"
