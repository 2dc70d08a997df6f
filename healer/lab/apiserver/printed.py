"""What `kubectl get` prints of pods, Deployments and Events: their columns, as the API server's own printers have them.

Source: pkg/printers/internalversion/printers.go, without the columns of `-o wide`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from healer.lab.objects import Object

Column = tuple[str, str, int]
"""Name, type and priority."""


class Printer(NamedTuple):
    """The columns of a kind, and the cells of an object; a date is its stamp."""

    columns: tuple[Column, ...]
    cells: Callable[[Object], list[Any]]


def _pod(pod: Object) -> list[Any]:
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    ready = sum(bool(each.get("ready")) for each in containers)
    restarts = sum(int(each.get("restartCount") or 0) for each in containers)
    name, born = pod["metadata"]["name"], pod["metadata"].get("creationTimestamp")
    return [name, f"{ready}/{len(pod['spec']['containers'])}", _reason(pod), str(restarts), born]


def _reason(pod: Object) -> str:
    """The column STATUS: the last container with a reason of its own speaks, or a first one that initializes."""
    status = pod.get("status") or {}
    reason = status.get("reason") or status.get("phase") or "Unknown"
    stuck = next(_unfinished(status.get("initContainerStatuses") or []), None)
    if stuck is not None:
        reason = f"Init:{stuck}"
    else:
        for each in reversed(status.get("containerStatuses") or []):
            reason = _said(each) or reason
    if "deletionTimestamp" in pod["metadata"]:
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(reason)


def _unfinished(statuses: list[Object]) -> Iterator[str]:
    for number, each in enumerate(statuses):
        ended = (each.get("state") or {}).get("terminated")
        if (ended is not None and ended.get("exitCode") == 0) or each.get("started"):
            continue
        said = _said(each)
        yield said if said and said != "PodInitializing" else f"{number}/{len(statuses)}"


def _said(container: Object) -> str:
    state = container.get("state") or {}
    if (waiting := state.get("waiting")) is not None:
        return str(waiting.get("reason") or "")
    if (ended := state.get("terminated")) is not None:
        return str(
            ended.get("reason") or (f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended['exitCode']}")
        )
    return ""


def _deployment(deployment: Object) -> list[Any]:
    status, meta = deployment.get("status") or {}, deployment["metadata"]
    ready = f"{status.get('readyReplicas') or 0}/{deployment['spec'].get('replicas', 1)}"
    counts = (status.get("updatedReplicas") or 0, status.get("availableReplicas") or 0)
    return [meta["name"], ready, *counts, meta.get("creationTimestamp")]


def _event(event: Object) -> list[Any]:
    about = event.get("involvedObject") or event.get("regarding") or {}
    kind, name = str(about.get("kind") or "").lower(), about.get("name")
    last = (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    said = str(event.get("message") or event.get("note") or "").strip()
    return [last, event.get("type"), event.get("reason"), f"{kind}/{name}" if name else kind, said, event["metadata"]["name"]]


PRINTERS = {
    "Pod": Printer(
        (("Name", "name", 0), ("Ready", "string", 0), ("Status", "string", 0), ("Restarts", "string", 0), ("Age", "date", 0)),
        _pod,
    ),
    "Deployment": Printer(
        (
            ("Name", "name", 0),
            ("Ready", "string", 0),
            ("Up-to-date", "string", 0),
            ("Available", "string", 0),
            ("Age", "date", 0),
        ),
        _deployment,
    ),
    "Event": Printer(
        (
            ("Last Seen", "date", 0),
            ("Type", "string", 0),
            ("Reason", "string", 0),
            ("Object", "string", 0),
            ("Message", "string", 0),
            ("Name", "name", 1),
        ),
        _event,
    ),
}
