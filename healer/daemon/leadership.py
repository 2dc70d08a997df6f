"""Which replica leads, by the Lease; and whether people have paused everything, by an annotation on it.

The annotation is read in every configuration, without an election too. While it is not known, nothing is done.
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
from healer.http.health import ALONE, LEADERSHIP, NOT_BEGUN, Check
from healer.model.annotations import PAUSED, PAUSED_BY, PAUSED_REASON, PAUSED_UNTIL
from healer.model.kube import ends
from healer.model.signal import QueueFull
from healer.model.view import View
from healer.settings.sections import LeaderSettings

Serve = Callable[[Callable[[], bool]], Awaitable[None]]
"""Leads until cancelled, or until it ends by itself. Its argument says whether this replica may act at this moment."""

_LEASE_REQUEST = 1.5
"""The longest time of a request about the Lease, in seconds. With a server that is always slower, nobody leads."""
UNKNOWN = "whether somebody has paused everything is not known"


class Leadership:
    """`home` is healer's own namespace; `port` gives the port that we listen on; `settled` is set when somebody leads."""

    def __init__(
        self, settings: LeaderSettings, home: str, view: View, port: Callable[[], int], settled: asyncio.Event, clock: Clock
    ) -> None:
        self._settings = settings
        self.home = home
        self._view = view
        self._port = port
        self._settled = settled
        self._clock = clock
        self._lease: Lease | None = None
        self._log = structlog.get_logger("healer")
        self.serving = False
        """Whether this replica leads and takes signals."""
        if not settings.enabled:
            view.paused_everywhere = f"{UNKNOWN} yet"

    @property
    def elected(self) -> bool:
        """Whether replicas elect a leader by a Lease."""
        return self._settings.enabled

    @property
    def address(self) -> str:
        """host:port at which others reach this replica."""
        return self._settings.address or f"{socket.gethostname()}:{self._port()}"

    @property
    def identity(self) -> str:
        """Unique among processes; it contains our address."""
        return f"{socket.gethostname()}-{os.getpid()}@{self.address}"

    def is_leader(self) -> bool:
        """Whether this replica may act at this moment."""
        return not self.elected or (self._lease is not None and self._lease.is_leader())

    @property
    def holder(self) -> str:
        """The identity of the replica that leads; "" when none does."""
        if not self.elected:
            return self.identity if self.serving else ""
        return ("" if self._lease is None else self._lease.leader()) or ""

    def leader(self) -> str:
        """The address of another replica that leads. Raises QueueFull when there is none."""
        holder = None if self._lease is None else self._lease.leader()
        address = "" if holder in (None, self.identity) else str(holder).partition("@")[2]
        if not address:
            raise QueueFull("no healer leads at the moment", retry_after=2)
        return address

    def check(self) -> Check:
        """Who leads; not ok when nobody does."""
        if not self.elected:
            return Check(LEADERSHIP, self.serving, ALONE if self.serving else NOT_BEGUN)
        holder = None if self._lease is None else self._lease.leader()
        lease = f"lease {self.home}/{self._settings.name}"
        if holder == self.identity:
            return Check(LEADERSHIP, True, f"leader: this replica, {self.identity} ({lease})")
        if holder:
            return Check(LEADERSHIP, True, f"follower of {holder} ({lease})")
        why = "" if self._lease is None else self._lease.trouble
        return Check(LEADERSHIP, False, f"nobody leads: nothing is healed ({lease})" + (f": {why}" if why else ""))

    async def run(self, api: Api, serve: Serve) -> NoReturn:
        """Call `serve` each time that this replica becomes the leader; until cancelled."""
        if not self.elected:
            pause = _PauseWatch(api, self._path, self._annotated, self._unknown)
            await pause.start(self._settings.name)
            async with asyncio.TaskGroup() as group:
                group.create_task(pause.run(self._settings.renew), name="pause")
                while True:
                    await serve(_always)
        while True:
            self._lease = Lease(api, self._lease_settings(), self.identity, on_annotations=self._annotated)
            await self._lease.run(partial(serve, self._lease.is_leader))

    @property
    def _path(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.home}/leases/{self._settings.name}"

    def _annotated(self, annotations: Mapping[str, str]) -> None:
        """Note who leads, and whether somebody has paused everything, each time that the Lease is read."""
        if self._lease is not None and self._lease.holder not in (None, "", self.identity):
            self._settled.set()
        until = ends(annotations.get(PAUSED_UNTIL, ""))
        paused = annotations.get(PAUSED) == "true" and until > self._clock.wall()
        by, why = annotations.get(PAUSED_BY, "somebody"), annotations.get(PAUSED_REASON, "")
        self._view.paused_everywhere = (f"{by}: {why}" if why else by) if paused else ""

    def _unknown(self, error: ApiError) -> None:
        """We may not read the Lease: a pause of everything would not be seen, so nothing is done."""
        on_annotations = f"{UNKNOWN}: {error}"
        if self._view.paused_everywhere != on_annotations:
            self._log.error("nothing is done: a pause of everything would not be seen", lease=self._path, error=str(error))
        self._view.paused_everywhere = on_annotations

    def _lease_settings(self) -> LeaseSettings:
        leader = self._settings
        return LeaseSettings(
            namespace=self.home,
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
    """Reads the annotations of the Lease if no election does. While the server does not answer, the last ones count."""

    def __init__(
        self, api: Api, path: str, on_annotations: Callable[[Mapping[str, str]], None], on_forbidden: Callable[[ApiError], None]
    ) -> None:
        self._api = api
        self._path = path
        self._on_annotations = on_annotations
        self._on_forbidden = on_forbidden
        self._missing = False

    async def start(self, name: str) -> None:
        """Read the Lease, and create it if there is none, so that `healer pause everything` finds it."""
        await self.read()
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "labels": LABELS}}
        if self._missing:
            with contextlib.suppress(
                ClusterError
            ):  # the contact logs what is missing; `healer pause` creates the Lease itself then
                await self._api.request("POST", self._path.rpartition("/")[0], body=body)

    async def run(self, every: float) -> NoReturn:
        while True:
            await asyncio.sleep(every)
            await self.read()

    async def read(self) -> None:
        try:
            found = await self._api.get(self._path, _Annotated)
        except ApiError as error:
            self._missing = error.is_not_found
            if error.is_not_found:
                self._on_annotations({})
            elif error.is_forbidden:
                self._on_forbidden(error)
        except ClusterError:
            return  # the contact logs it
        else:
            self._on_annotations(found.metadata.annotations or {})


def _always() -> bool:
    return True
