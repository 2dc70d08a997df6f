"""An object of the API server, as an incident. One of many targets takes long to read: then the loop goes on meanwhile."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from healer.cluster.decode import LooseObject
from healer.journal import codec
from healer.journal.base import Undecodable
from healer.journal.stored import IncidentObject
from healer.model.incident import Incident

S = TypeVar("S")
T = TypeVar("T")

CLOSED_LINES = 20
"""Lines of a closed incident's history that are kept: what a sink may not have told yet."""
AT_ONCE = 64 * 1024
"""Bytes that are read on the loop, in some milliseconds. What is larger (the API server takes 1.5 MB) is read in a thread."""


@dataclass(frozen=True, slots=True)
class ReadIncident:
    """An incident, the object that it is kept in, and what sinks must know of it."""

    namespace: str
    incident: Incident
    found: IncidentObject
    notices: dict[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Odd:
    """An object that is no incident, and why."""

    namespace: str
    name: str
    why: str


def read(raw: bytes) -> ReadIncident | Odd:
    """What the object says."""
    meta = LooseObject().metadata
    try:
        meta = msgspec.json.decode(raw, type=LooseObject).metadata
        incident = codec.decode(raw, CLOSED_LINES)
        found = msgspec.json.decode(raw, type=IncidentObject)
        return ReadIncident(meta.namespace, incident, found, codec.notices(found.status))
    except (Undecodable, msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Odd(meta.namespace, meta.name, str(error))


async def off_loop(work: Callable[[S], T], given: S, size: int) -> T:
    """The same as `work(given)`; in a thread, where that takes long. `size` is about how many bytes of JSON it makes or takes.

    Threads take turns by the millisecond (see `healer run`).
    """
    return work(given) if size <= AT_ONCE else await asyncio.to_thread(work, given)
