"""Helpers for Kubernetes objects as plain dicts: copies, names, times, labels, owners."""

from __future__ import annotations

import marshal
import random
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

Object = dict[str, Any]
T = TypeVar("T")
_WITHOUT_REFERENCES = 2
"""The version of marshal's format without references: it writes a shared value twice, so the copy shares nothing."""

CLOCK: ContextVar[Callable[[], float]] = ContextVar("clock", default=time.time)
"""The time of the cluster, in seconds since the epoch. A simulation sets its own before it makes a lab."""
_ANY = random.Random()
CHANCE: ContextVar[random.Random] = ContextVar("chance", default=_ANY)
"""Draws the names and the uids. A simulation sets its own, so that they are the same each time."""

# Kubernetes leaves out vowels and look-alikes (k8s.io/apimachinery/pkg/util/rand).
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def clone(value: T) -> T:
    """A deep copy of JSON-like data, much faster than copy.deepcopy. Raises ValueError for other data."""
    return cast(T, marshal.loads(marshal.dumps(cast(Any, value), _WITHOUT_REFERENCES)))


def suffix() -> str:
    """Five random characters, as the API server appends to generateName."""
    return "".join(CHANCE.get().choices(ALPHABET, k=5))


def new_uid() -> str:
    """A uid, as the API server gives to each object."""
    return str(uuid.UUID(int=CHANCE.get().getrandbits(128), version=4))


def timestamp(ahead: float = 0) -> str:
    """The time `ahead` seconds from now, in the format of metav1.Time (UTC, whole seconds)."""
    return (_now() + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(stamp: str) -> float:
    """Seconds from a metav1.Time until now."""
    return (_now() - datetime.fromisoformat(stamp)).total_seconds()


def _now() -> datetime:
    return datetime.fromtimestamp(CLOCK.get()(), UTC)


def labels_of(obj: Object) -> dict[str, str]:
    """The labels, empty when there are none."""
    labels: dict[str, str] = obj["metadata"].get("labels") or {}
    return labels


def annotations_of(obj: Object) -> dict[str, str]:
    """The annotations, empty when there are none."""
    annotations: dict[str, str] = obj["metadata"].get("annotations") or {}
    return annotations


def controller_of(obj: Object) -> Object | None:
    """The owner reference with `controller: true`, if any."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return cast(Object, owner)
    return None


def owner_reference(api_version: str, kind: str, owner: Object) -> Object:
    """A controller's owner reference to `owner`."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition(obj: Object, kind: str) -> Object | None:
    """The status condition of that type, if any."""
    for item in (obj.get("status") or {}).get("conditions") or []:
        if item["type"] == kind:
            return cast(Object, item)
    return None


def is_ready(pod: Object) -> bool:
    """Whether the pod's condition Ready is True (Kubernetes' IsPodReady)."""
    ready = condition(pod, "Ready")
    return ready is not None and ready["status"] == "True"


def is_active(pod: Object) -> bool:
    """Whether the pod counts for its ReplicaSet: it is neither finished nor terminating."""
    finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not finished and "deletionTimestamp" not in pod["metadata"]
