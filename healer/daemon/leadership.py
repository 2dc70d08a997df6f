"""Which replica acts: the Lease, what it says of the leader, and the pause of everything that people write on it.

The pause is read in every configuration: without an election the Lease is still where it stands. While it is not known, nothing
is done.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NoReturn

import msgspec
import structlog

from healer.clock import Clock
from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ClusterError
from healer.cluster.lease import LABELS, Lease, LeaseSettings
from healer.http.health import ALONE, LEADERSHIP, Check
from healer.model.annotations import PAUSED, PAUSED_BY, PAUSED_REASON, PAUSED_UNTIL
from healer.model.kube import ends
from healer.model.signal import QueueFull
from healer.model.view import View
from healer.settings.sections import LeaderSettings

Serve = Callable[[Callable[[], bool]], Awaitable[None]]
"""A term: until cancelled, or until it ends by itself. It is given what says whether we may act at this moment."""

_LEASE_REQUEST = 1.5
"""Seconds that one request about the lease may take, at most; a server that is always slower has no leader."""
UNKNOWN = "whether somebody has paused everything is not known"


class Leadership:
    """`home` is healer's own namespace; `port` says at which port we are reached; `settled` is set when somebody leads."""

    def __init__(
        self, settings: LeaderSettings, home: str, view: View, port: Callable[[], int], settled: asyncio.Event, clock: Clock
    ) -> None:
        self._settings = settings
        self._home = home
        self._view = view
        self._port = port
        self._settled = settled
        self._clock = clock
        self._lease: Lease | None = None
        self._log = structlog.get_logger("healer")
        self.serving = False
        """Whether a term of ours takes signals."""
        if not settings.enabled:
            view.paused_everywhere = f"{UNKNOWN} yet"

    @property
    def elected(self) -> bool:
        """Whether replicas agree by a Lease who acts."""
        return self._settings.enabled

    @property
    def address(self) -> str:
        """host:port at which others reach this replica."""
        return self._settings.address or f"{socket.gethostname()}:{self._port()}"

    @property
    def identity(self) -> str:
        """Unique among processes, and where to reach us."""
        return f"{socket.gethostname()}-{os.getpid()}@{self.address}"

    def held(self) -> bool:
        """Whether we may act at this moment."""
        return not self.elected or (self._lease is not None and self._lease.held())

    def leader(self) -> str:
        """The address of the replica that leads, another than this one. Raises QueueFull when there is none."""
        holder = None if self._lease is None else self._lease.leader()
        address = "" if holder in (None, self.identity) else str(holder).partition("@")[2]
        if not address:
            raise QueueFull("no healer leads at the moment", retry_after=2)
        return address

    def check(self) -> Check:
        """Who leads, in words; not ok when nobody does."""
        if not self.elected:
            return Check(LEADERSHIP, self.serving, ALONE if self.serving else "not begun yet")
        holder = None if self._lease is None else self._lease.leader()
        lease = f"lease {self._home}/{self._settings.name}"
        if holder == self.identity:
            return Check(LEADERSHIP, True, f"leader: this replica, {self.identity} ({lease})")
        if holder:
            return Check(LEADERSHIP, True, f"follower of {holder} ({lease})")
        why = "" if self._lease is None else self._lease.trouble
        return Check(LEADERSHIP, False, f"nobody leads: nothing is healed ({lease})" + (f": {why}" if why else ""))

    async def run(self, api: Api, serve: Serve) -> NoReturn:
        """Term after term, each begun when we are the one to act; until cancelled."""
        if not self.elected:
            pause = _PauseWatch(api, self._path, self._annotated, self._unknown)
            await pause.begin(self._settings.name)
            async with asyncio.TaskGroup() as group:
                group.create_task(pause.run(self._settings.renew), name="pause")
                while True:
                    await serve(_always)
        while True:
            self._lease = Lease(api, self._lease_settings(), self.identity, on_annotations=self._annotated)
            await self._lease.run(partial(serve, self._lease.held))

    @property
    def _path(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._home}/leases/{self._settings.name}"

    def _annotated(self, annotations: Mapping[str, str]) -> None:
        """Whenever the Lease was read: who leads, and whether somebody has paused everything by an annotation on it."""
        if self._lease is not None and self._lease.holder not in (None, "", self.identity):
            self._settled.set()
        until = ends(annotations.get(PAUSED_UNTIL, ""))
        paused = annotations.get(PAUSED) == "true" and until > self._clock.wall()
        by, why = annotations.get(PAUSED_BY, "somebody"), annotations.get(PAUSED_REASON, "")
        self._view.paused_everywhere = (f"{by}: {why}" if why else by) if paused else ""

    def _unknown(self, error: ApiError) -> None:
        """We may not read the Lease: whoever paused everything would not be heard, so nothing is done."""
        told = f"{UNKNOWN}: {error}"
        if self._view.paused_everywhere != told:
            self._log.error("nothing is done: a pause of everything would not be seen", lease=self._path, error=str(error))
        self._view.paused_everywhere = told

    def _lease_settings(self) -> LeaseSettings:
        leader = self._settings
        return LeaseSettings(
            namespace=self._home,
            name=leader.name,
            duration=leader.duration,
            deadline=leader.deadline,
            renew=leader.renew,
            retry=leader.retry,
            request_timeout=min(_LEASE_REQUEST, leader.deadline / 2),
        )


class _LeaseAnnotations(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _Annotated(msgspec.Struct):
    metadata: _LeaseAnnotations


class _PauseWatch:
    """Reads the annotations of the Lease where no election does. When the server does not answer, what is known stays."""

    def __init__(
        self, api: Api, path: str, told: Callable[[Mapping[str, str]], None], refused: Callable[[ApiError], None]
    ) -> None:
        self._api = api
        self._path = path
        self._told = told
        self._refused = refused
        self._missing = False

    async def begin(self, name: str) -> None:
        """Read it, and make it where there is none: `healer pause everything` finds it then."""
        await self.look()
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "labels": LABELS}}
        if self._missing:
            with contextlib.suppress(ClusterError):  # the contact says what is missing; the pause makes the Lease itself then
                await self._api.request("POST", self._path.rpartition("/")[0], body=body)

    async def run(self, every: float) -> NoReturn:
        while True:
            await asyncio.sleep(every)
            await self.look()

    async def look(self) -> None:
        try:
            found = await self._api.get(self._path, _Annotated)
        except ApiError as error:
            self._missing = error.is_not_found
            if error.is_not_found:
                self._told({})
            elif error.is_forbidden:
                self._refused(error)
        except ClusterError:
            return  # the contact has said it
        else:
            self._told(found.metadata.annotations or {})


def _always() -> bool:
    return True
