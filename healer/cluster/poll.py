"""Reads Namespaces by name, for a healer that is confined to namespaces: to list and watch them needs a ClusterRole.

A Role in a namespace can allow `get` on that Namespace, because RBAC treats a Namespace as an object inside itself. Without this
permission healer does not see the annotation `healer.dev/paused` on the Namespace. It logs that once and goes on.
"""

import asyncio
from typing import NoReturn

import structlog

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ClusterError
from healer.cluster.resources import RESOURCES
from healer.model.annotations import PAUSED
from healer.model.kube import Namespace
from healer.model.view import View

log = structlog.get_logger()


class NamespacePoll:
    """Keeps one Namespace of `view` up to date by reading it every `every` seconds.

    A read that fails changes nothing in the view: a pause stays in force until a read shows that it was removed.
    """

    resource = RESOURCES[Namespace]

    def __init__(self, api: Api, view: View, namespace: str, *, every: float) -> None:
        self.namespace = namespace
        self.synced = asyncio.Event()
        """Set when the server has answered for the first time, also with a refusal."""
        self.trouble = ""
        """Why the last read failed; empty when it did not."""
        self.absent = ""
        """Empty: every cluster has Namespaces."""
        self.refused = False
        """Whether the permission to read it is missing. Then an annotation on it cannot pause healer."""
        self._api = api
        self._view = view
        self._every = every
        self._clock = clock = api.clock.steady
        self._path = self.resource.path(name=namespace)
        self._begun = clock()
        self._heard: float | None = None
        self._tried = self._begun

    def age(self, now: float) -> float:
        """Seconds at `now` since the server last answered, or since the start when it never did."""
        return max(0.0, now - (self._begun if self._heard is None else self._heard))

    @property
    def heard(self) -> bool:
        """Whether the server has ever answered."""
        return self._heard is not None

    def idle(self, now: float) -> float:
        """Seconds at `now` since the last attempt. A large value shows that the loop hangs."""
        return max(0.0, now - self._tried)

    async def run(self) -> NoReturn:
        """Read the Namespace again and again until cancelled."""
        while True:
            await self._read()
            await asyncio.sleep(self._every)

    async def _read(self) -> None:
        try:
            found = await self._api.get(self._path, Namespace)
        except ApiError as error:
            self.trouble = str(error)
            if error.is_not_found:
                self._apply(None)
            elif error.is_forbidden:
                self._refuse()
        except ClusterError as error:
            self.trouble = str(error)
        else:
            self._apply(found)
            self.trouble, self.refused = "", False
        self._tried = self._clock()

    def _apply(self, found: Namespace | None) -> None:
        known = self._view.namespace(self.namespace)
        if known is not None and (found is None or found.metadata.uid != known.metadata.uid):
            self._view.drop(Namespace, known.metadata.uid)
        if found is not None:
            self._view.put(found)
        self._answered()

    def _refuse(self) -> None:
        if not self.refused:
            log.warning(
                f"a namespace cannot be read: {PAUSED} on it is not seen",
                namespace=self.namespace,
                missing="get namespaces",
                hint=f"`healer rbac RULES... --namespace {self.namespace}` prints the Role; or pause the workload, or everything",
            )
        self.refused = True
        self._answered()

    def _answered(self) -> None:
        self._heard = self._clock()
        self.synced.set()
