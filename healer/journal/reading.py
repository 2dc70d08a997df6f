"""Reads the incidents of the cluster. One with many targets takes long to decode: a thread does it, and the loop goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog

from healer.cluster.api import Api, pages
from healer.cluster.decode import LooseObject
from healer.cluster.errors import ApiError, ClusterError
from healer.journal import codec
from healer.journal.base import JournalCounts, Undecodable
from healer.journal.stored import INCIDENTS, PAGE, IncidentObject, journal_error
from healer.model.incident import Incident

S = TypeVar("S")
T = TypeVar("T")

CLOSED_LINES = 20
"""Lines of a closed incident's history that are kept: what a sink may not have told yet."""
AT_ONCE = 64 * 1024
"""Bytes that are read on the loop, in some milliseconds. What is larger (the API server takes 1.5 MB) is read in a thread."""
_TRIES = 5
"""Times that a list is begun anew when its continue token expires."""


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


class IncidentReader:
    """Reads all incidents of `namespaces` ("" for all). `home` is the namespace for incidents of workloads that have none."""

    def __init__(self, api: Api, namespaces: tuple[str, ...], home: str, counts: JournalCounts) -> None:
        self._api = api
        self._namespaces = namespaces
        self._home = home
        self._counts = counts
        self._reported: dict[tuple[str, str], str] = {}
        self.unread: dict[tuple[str, str], str] = {}
        """The objects (namespace, name) that were left alone by the last `read`, and why."""
        self._log = structlog.get_logger("healer.journal")

    async def read(self) -> AsyncIterator[ReadIncident]:
        """Every incident. An object that is no incident, or not where it belongs, is left alone. Raises JournalError."""
        self._reported, self.unread = self.unread, {}
        for namespace in self._namespaces:
            async for raw in self._listed(namespace):
                found = await off_loop(read, bytes(raw), len(raw))
                if isinstance(found, Odd):
                    self.leave_alone(found.namespace, found.name, found.why)
                elif found.namespace != (found.incident.workload.namespace or self._home):
                    about = found.incident.workload.namespace
                    why = f"is in namespace {found.namespace!r}, but about one in {about!r}"
                    self.leave_alone(found.namespace, found.incident.id, why)
                else:
                    yield found
                await asyncio.sleep(0)  # each costs milliseconds, and the lease is renewed meanwhile

    def leave_alone(self, namespace: str, name: str, error: str) -> None:
        """Count an object that is no incident of healer's, and log what is wrong with it, once."""
        self._counts.undecodable += 1
        self.unread[namespace, name] = error
        if self._reported.get((namespace, name)) != error:
            self._log.error("incident cannot be read: left alone", namespace=namespace, name=name, error=error)

    async def _listed(self, namespace: str) -> AsyncIterator[msgspec.Raw]:
        """The objects of a namespace, or of all; a continue token that expired starts the list anew."""
        for attempt in range(_TRIES):
            try:
                async for page in pages(self._api, INCIDENTS.path(namespace), page=PAGE):
                    for raw in page.items or ():
                        yield raw
                return
            except ClusterError as error:
                if not (isinstance(error, ApiError) and error.is_expired and attempt + 1 < _TRIES):
                    raise journal_error(error) from error


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
