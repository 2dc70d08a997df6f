"""One incident's object in the cluster: each write of its status is a compare-and-swap on its resourceVersion.

What a conflict means is told by the status. A person who annotates the object changes its resourceVersion and not its status:
the write is made again. A status that is neither the one that was known nor one that was sent is somebody else's: from then on
the object is lost to us. One that was sent is our own, of a request whose answer never came.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ApiUnavailable, Unreadable
from healer.cluster.resources import Resource
from healer.journal.base import ClaimLost, JournalError, JournalMissing, NotLeading, SetAside, Undecodable
from healer.model.effects import Loss
from healer.model.kube import Incident

INCIDENTS = Resource(Incident, "/apis/healer.dev/v1alpha1", "incidents")
MISSING = "the cluster has no incidents.healer.dev: kubectl apply -f deploy/healer/crd.yaml"
PAGE = 25
"""Incidents of a list's page: each may have half a megabyte."""
SIGNATURE = "uid"
"""The field of the status that holds the uid of the object that healer made: a copy under the same name has another uid."""
HEALER = "healer"
"""The field of the status that names the healer that wrote it last, by its Lease: NAMESPACE/NAME."""
_TRIES = 8
"""Writes of others, between our reading and our writing, that one write bears with."""

Object = dict[str, Any]
T = TypeVar("T")


class _StoredMeta(msgspec.Struct, rename="camel"):
    uid: str
    resource_version: str
    creation_timestamp: str = ""


class IncidentObject(msgspec.Struct):
    """What is read of an object: which one it is, and its status as it stands."""

    metadata: _StoredMeta
    status: Object | None = None
    spec: Object | None = None

    @property
    def signed(self) -> bool:
        """Whether healer made this very object: the uid stands in the status that it wrote."""
        return (self.status or {}).get(SIGNATURE) == self.metadata.uid

    @property
    def healer(self) -> str:
        """The healer that wrote it last, NAMESPACE/NAME of its Lease; "" of one by an earlier version of healer."""
        return str((self.status or {}).get(HEALER, ""))


class IncidentStore:
    """The object of one incident. `is_leader` is asked right before each write: who does not lead writes nothing.

    `healer` names the healer that writes; with "" the object names none.
    """

    def __init__(self, api: Api, is_leader: Callable[[], bool], namespace: str, name: str, healer: str = "") -> None:
        self.namespace = namespace
        self.name = name
        self.lost = ""
        """Why it is not ours any more, when it is not."""
        self.loss: Loss | None = None
        """How it was lost, where that is of no concern to any other incident."""
        self.created = ""
        """When the API server says that it was made, RFC 3339; "" before it was."""
        self.lock = asyncio.Lock()
        """To be held over a write or a removal."""
        self._api = api
        self._healer = healer
        self._is_leader = is_leader
        self._path = INCIDENTS.path(namespace, name)
        self._uid = ""
        self._signed = False
        self._version = ""
        self._status: bytes | None = None
        self._sent: set[bytes] = set()  # what may have come to stand since then

    def learn(self, found: IncidentObject) -> None:
        """Take what the cluster holds as what is known. What was sent to an older version cannot come to stand any more."""
        if found.metadata.resource_version != self._version:
            self._sent.clear()
        self._uid, self.created = found.metadata.uid, found.metadata.creation_timestamp
        self._version = found.metadata.resource_version
        self._status = _digest(found.status)
        self._signed = self._signed or found.signed

    async def write(self, spec: Object, status: Object) -> None:
        """Make the status so, and the object where there is none; returns when the cluster has it.

        Raises ClaimLost when the object is not ours, NotLeading, JournalMissing, ClusterError.
        """
        doubted = False
        if self._healer:
            status = status | {HEALER: self._healer}
        for _ in range(_TRIES):
            self._check()
            try:
                if not self._uid:
                    self.learn(await self._send("POST", INCIDENTS.path(self.namespace), spec=spec))
                    self._signed = True
                if self._signed:
                    status = status | {SIGNATURE: self._uid}
                self._sent.add(_digest(status) or b"")
                self.learn(await self._send("PUT", f"{self._path}/status", status=status))
                return
            except ApiError as error:
                self._judge(error)
            except ApiUnavailable:
                if doubted:
                    raise
                doubted = True
            await self._look(spec)
            if self._status == _digest(status):
                return
        raise ApiUnavailable(f"{self._path} is changed by others again and again")

    async def read(self, decode: Callable[[bytes], Awaitable[T]]) -> T:
        """What the cluster holds of it now. Raises ClaimLost when it cannot be read (any more), ClusterError."""
        try:
            return await decode(await self._api.request("GET", self._path))
        except ApiError as error:
            if not error.is_not_found:
                raise
            self.lose("somebody has deleted it", Loss.DELETED)
        except Undecodable as error:
            self.lose(f"it cannot be read: {error}")
        raise ClaimLost(f"incident {self.name} in {self.namespace}: {self.lost}")

    async def remove(self) -> None:
        """Delete the object, unless another has its name by now. Raises NotLeading, ClusterError."""
        if not self._is_leader():
            raise NotLeading("another healer leads: nothing was deleted")
        try:
            await self._api.request("DELETE", self._path, body={"preconditions": {"uid": self._uid}})
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    @property
    def uid(self) -> str:
        """The object's uid; "" before it was made."""
        return self._uid

    @property
    def signed(self) -> bool:
        """Whether healer made this very object: it writes the uid into the status of what it makes, and of nothing else."""
        return self._signed

    def lose(self, why: str, how: Loss | None = None) -> None:
        """From now on nothing is written. The first reason stays."""
        if not self.lost:
            self.lost, self.loss = why, how

    def _check(self) -> None:
        if self.lost:
            error = ClaimLost if self.loss in (None, Loss.EDITED) else SetAside
            raise error(f"incident {self.name} in {self.namespace}: {self.lost}")
        if not self._is_leader():
            raise NotLeading("another healer leads: nothing was written")

    def _judge(self, error: ApiError) -> None:
        """Whether a refusal is worth another look: a conflict, or an object that is gone. Everything else is raised."""
        gone = error.is_not_found and error.reason == "NotFound"
        if "NamespaceTerminating" in error.causes:
            self.lose(f"namespace {self.namespace} is being deleted, incidents in it cannot be kept", Loss.NO_NAMESPACE)
        elif gone and not self._uid:
            self.lose(f"namespace {self.namespace} is gone, incidents in it cannot be kept", Loss.NO_NAMESPACE)
        elif error.is_not_found and not gone:
            raise JournalMissing(MISSING) from error
        elif not gone and not error.is_conflict:
            raise error

    async def _look(self, spec: Object) -> None:
        """Read the object, and find out whether it is still ours.

        One that has our spec and no status yet is what our own request has made, whose answer was lost.
        """
        self._check()
        try:
            found = _found(await self._api.request("GET", self._path), self._path)
        except ApiError as error:
            if not error.is_not_found:
                raise
            if self._uid:
                self.lose("somebody has deleted it", Loss.DELETED)
            return
        status = _digest(found.status)
        if self._uid and found.metadata.uid != self._uid:
            self.lose("somebody has deleted it and made another of its name", Loss.DELETED)
        elif status != self._status and status not in self._sent:
            self.lose("somebody else has written its status", Loss.EDITED)
        else:
            self._signed = self._signed or (not self._uid and found.status is None and _digest(found.spec) == _digest(spec))
            self.learn(found)

    async def _send(self, method: str, path: str, **content: Object) -> IncidentObject:
        metadata = {"name": self.name, "namespace": self.namespace}
        if self._uid:
            metadata |= {"uid": self._uid, "resourceVersion": self._version}
        head = {"apiVersion": INCIDENTS.group.removeprefix("/apis/"), "kind": INCIDENTS.name, "metadata": metadata}
        # Strict: a definition that is older than we are is said to be, and does not drop in silence what it does not know.
        return _found(await self._api.request(method, path, query={"fieldValidation": "Strict"}, body=head | content), path)


def journal_error(error: Exception) -> JournalError:
    """The error as the journal reports it, with what to do where that is known."""
    if isinstance(error, ApiError):
        if error.is_not_found:
            return JournalMissing(MISSING)
        if error.is_forbidden:
            return JournalError(f"{error}: `healer rbac` prints the permissions for incidents")
        if "strict decoding error" in error.message:
            return JournalError(f"{error}: the definition is older than this healer: kubectl apply -f deploy/healer/crd.yaml")
    return JournalError(f"the journal cannot be asked: {error}")


def _found(body: bytes, path: str) -> IncidentObject:
    try:
        return msgspec.json.decode(body, type=IncidentObject)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: the answer is no incident: {error}") from error


def _digest(status: Object | None) -> bytes | None:
    """Equal for equal statuses, whatever the order of their keys; None for none."""
    if status is None:
        return None
    return hashlib.blake2b(msgspec.json.encode(status, order="sorted"), digest_size=16).digest()
