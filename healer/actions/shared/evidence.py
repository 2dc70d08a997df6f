"""What `collect` reads of pods that are sick: the logs of their containers, their events, what they, their node and workload say.

Each part is asked for by itself. One that is not answered is said in the summary, and keeps no other from being read. Only what
there is room for is redacted, a piece at a time: a search keeps the event loop waiting, in another thread as well.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import yaml

from healer.cluster.api import Api, ApiError, ClusterError
from healer.cluster.resources import RESOURCES
from healer.model.kube import ContainerStatus, Pod
from healer.model.redact import redact, redact_in_pieces
from healer.model.text import one_line

_EACH = 4.0
"""Seconds for one request: a kubelet that does not answer is not waited for longer."""
_MOST_READ = 1024 * 1024
"""Bytes of a log that are read. The server counts them from the first of the lines, so that far more is read than is kept."""
_LOGS_AT_ONCE = 2
"""Logs of one pod that are read at the same time, for each is held whole; a kubelet that hangs delays no other pod."""
_MOST_EVENTS = 100
_MOST_CONTAINERS = 8
"""Containers of a pod whose logs are read; those that are not ready come first."""
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_CUT = "[earlier lines are left out]\n"

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One text by the name under which it is kept; or why there is none. It is empty until it is `redacted`."""

    name: str
    raw: bytes = b""
    """As it was read, with secrets."""
    fields: str = ""
    """The fields that are kept, where it is an object in JSON."""
    cut: bool = False
    """Whether its beginning is left out already."""
    text: str = ""
    missing: str = ""


@dataclass(frozen=True, slots=True)
class LogBounds:
    """How much is kept of each log: its last lines, and of these the last bytes."""

    lines: int
    bytes: int


async def of_pod(api: Api, pod: Pod, bounds: LogBounds) -> list[Part]:
    """The logs, the events and the state of a pod; asked for at once, and each within seconds. Not redacted. Does not raise."""
    namespace, name, short = pod.metadata.namespace, pod.metadata.name, pod.metadata.name[:120]
    path = RESOURCES[Pod].path(namespace, name)
    asked = [_events(api, f"{short}.events.txt", namespace, pod.metadata.uid), _object(api, f"{short}.pod.yaml", path, _POD)]
    if pod.spec.node_name:
        asked.append(_object(api, f"{short}.node.yaml", f"/api/v1/nodes/{pod.spec.node_name}", _NODE))
    slots = asyncio.Semaphore(_LOGS_AT_ONCE)
    for container in sorted(pod.containers, key=lambda each: each.ready)[:_MOST_CONTAINERS]:
        for previous in _runs(container):
            label = f"{short}.{container.name}.{'previous.' if previous else ''}log"
            asked.append(_log(api, label, f"{path}/log", container.name, bounds, slots, previous=previous))
    return list(await asyncio.gather(*asked))


async def of_workload(api: Api, path: str) -> list[Part]:
    """What the workload says of itself, not redacted. Does not raise."""
    return [await _object(api, "workload.yaml", path, _WORKLOAD)]


async def redacted(parts: Sequence[Part], most: int) -> list[Part]:
    """The parts with their texts, redacted; of those that are too long for so many bytes in all only the ends."""
    shares = _shares({part.name: len(part.raw) for part in parts}, most)
    return [part if part.missing else await _redacted(part, shares[part.name]) for part in parts]


async def _redacted(part: Part, share: int) -> Part:
    try:
        text = await asyncio.to_thread(_described, part.raw, part.fields) if part.fields else _tail(part, share)
    except msgspec.DecodeError as error:
        return Part(part.name, missing=f"the answer is no object: {error}")
    pieces = redact_in_pieces(text)
    found: list[str] = []
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        found.append(piece)
    return replace(part, raw=b"", text="".join(found))


def fitted(parts: Sequence[Part], most: int) -> dict[str, str]:
    """The texts by name, of so many bytes in all: of those that are too long the ends. With a list of what could not be read."""
    missing = "".join(f"{part.name}: {part.missing}\n" for part in parts if part.missing)
    texts = ({"not-read.txt": missing} if missing else {}) | {part.name: part.text for part in parts if not part.missing}
    encoded = {name: text.encode() for name, text in texts.items()}
    shares = _shares({name: len(text) for name, text in encoded.items()}, most)
    return {name: text[len(text) - shares[name] :].decode(errors="ignore") for name, text in encoded.items()}


def _shares(sizes: Mapping[str, int], most: int) -> dict[str, int]:
    """How much of each there is room for: the short ones are whole, and the long ones share what is left."""
    shares: dict[str, int] = {}
    room, left = most, len(sizes)
    for name, size in sorted(sizes.items(), key=lambda item: item[1]):
        shares[name] = min(size, room // left)
        room, left = room - shares[name], left - 1
    return shares


def last_lines(parts: Iterable[Part], most: int) -> str:
    """The end of the first log that says anything, on one line: what a person wants to see first."""
    found = [part for part in parts if part.name.endswith(".log") and part.text]
    logs = sorted(found, key=lambda part: "previous" not in part.name)
    return "" if not logs else one_line(" | ".join(logs[0].text.rstrip().splitlines()[-3:]))[-most:]


def _runs(container: ContainerStatus) -> Sequence[bool]:
    """Which runs of a container have a log: False for the present one, True for the one before it."""
    ended = container.last_state.terminated is not None
    if container.state.waiting is not None:
        return (False,) if ended else ()  # while it waits, its log is that of the run that ended last
    return (True, False) if ended else (False,)


async def _log(
    api: Api, label: str, path: str, container: str, bounds: LogBounds, slots: asyncio.Semaphore, *, previous: bool
) -> Part:
    query = {"container": container, "tailLines": str(bounds.lines), "limitBytes": str(_MOST_READ), "timestamps": "true"}
    query |= {"previous": "true"} if previous else {}
    try:
        async with asyncio.timeout(_EACH), slots:  # who waits for a slot that long is not read
            body = await api.request("GET", path, query=query)
    except (ClusterError, TimeoutError) as error:
        return Part(label, missing=_said(error))
    return Part(label, body[-bounds.bytes :], cut=len(body) > bounds.bytes)


def _tail(part: Part, most: int) -> str:
    """The last bytes of a text: whole lines, and no part of a key whose beginning was cut off."""
    cut = part.cut or len(part.raw) > most
    text = part.raw[len(part.raw) - most :].decode(errors="replace")
    if cut:
        text = text.partition("\n")[2]
    end = _KEY_END.search(text)
    if end is not None and "-----BEGIN" not in text[: end.start()]:
        text, cut = text[end.end() :], True
    return (_CUT if cut else "") + text


class _ReportedEvent(msgspec.Struct, rename="camel"):
    type: str | None = None
    reason: str | None = None
    message: str | None = None
    count: int | None = None
    last_timestamp: str | None = None
    event_time: str | None = None

    @property
    def at(self) -> str:
        """When it was seen last, RFC 3339."""
        return self.last_timestamp or self.event_time or ""


class _ReportedEvents(msgspec.Struct):
    items: list[_ReportedEvent] = []


async def _events(api: Api, label: str, namespace: str, uid: str) -> Part:
    query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": str(_MOST_EVENTS)}
    try:
        async with asyncio.timeout(_EACH):
            found = await api.get(f"/api/v1/namespaces/{namespace}/events", _ReportedEvents, query)
    except (ClusterError, TimeoutError) as error:
        return Part(label, missing=_said(error))
    lines = [
        f"{each.at or '-'} {each.type or '-'} {each.reason or '-'} x{each.count or 1}: {one_line(each.message or '')}\n"
        for each in sorted(found.items, key=lambda each: each.at)
    ]
    return Part(label, ("".join(lines) or "no events\n").encode())


_POD = (
    "metadata.name metadata.uid metadata.creationTimestamp metadata.deletionTimestamp metadata.labels metadata.ownerReferences "
    "spec.nodeName spec.priorityClassName spec.tolerations spec.containers.name spec.containers.image spec.containers.resources "
    "status"
)
_NODE = (
    "metadata.name metadata.labels spec.unschedulable spec.taints status.conditions status.allocatable status.capacity "
    "status.nodeInfo"
)
_WORKLOAD = (
    "kind metadata.name metadata.uid metadata.generation metadata.labels spec.replicas spec.strategy spec.updateStrategy "
    "spec.template.spec.containers.name spec.template.spec.containers.image spec.template.spec.containers.resources status"
)
"""The fields that are kept. The others may hold secrets: variables of the environment, arguments, annotations."""


async def _object(api: Api, label: str, path: str, fields: str) -> Part:
    try:
        return Part(label, await api.request("GET", path, within=_EACH), fields)
    except ClusterError as error:
        return Part(label, missing=_said(error))


def _described(raw: bytes, fields: str) -> str:
    """Some fields of an object. Raises msgspec.DecodeError."""
    body, kept = msgspec.json.decode(raw, type=Obj), None
    for field in fields.split():
        kept = _merged(kept, _picked(body, field.split(".")))
    return yaml.safe_dump(kept, sort_keys=False, width=130, allow_unicode=True)


def _picked(value: Any, keys: Sequence[str]) -> Any:
    """One field of an object, with the path to it; in a list, that of each item. None where it is absent."""
    if isinstance(value, list):
        return [_picked(each, keys) or {} for each in value]
    if not keys or not isinstance(value, dict):
        return value if not keys else None
    inner = _picked(value.get(keys[0]), keys[1:])
    return None if inner is None else {keys[0]: inner}


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {key: _merged(one.get(key), value) for key, value in other.items()}
    if isinstance(one, list) and isinstance(other, list):
        return [_merged(*pair) for pair in zip(one, other, strict=True)]
    return one if other is None else other


def _said(error: Exception) -> str:
    """Why a part is missing, for people."""
    if isinstance(error, ApiError):
        return redact(f"{error.status} {error.reason}: {error.message}")
    return redact(str(error)) or "no answer in time"
