"""Starts a list-watch for each kind and namespace; without cluster-wide rights it polls single Namespaces."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Never, Protocol

from healer.clock import Clock
from healer.cluster.api import Api
from healer.cluster.poll import NamespacePoll
from healer.cluster.resources import Resource
from healer.cluster.watch import ObjectChange, Reflector, WatchSettings
from healer.model.view import View
from healer.settings.sections import Cluster
from healer.sources.base import watched_resources


class _Synced(Protocol):
    def is_set(self) -> bool: ...

    async def wait(self) -> object: ...


class Watcher(Protocol):
    """A Reflector or a NamespacePoll. Times by the monotonic clock, in seconds."""

    @property
    def resource(self) -> Resource:
        """What is watched."""

    @property
    def namespace(self) -> str:
        """Where; empty for everywhere."""

    @property
    def synced(self) -> _Synced:
        """Set when the view holds what there was."""

    @property
    def heard(self) -> bool:
        """Whether the server has ever answered."""

    @property
    def trouble(self) -> str:
        """Why the last attempt failed; empty while all is well."""

    @property
    def absent(self) -> str:
        """Why a kind that the cluster need not have is not watched; empty while it is."""

    def age(self, now: float) -> float:
        """Since the server was last heard."""

    def idle(self, now: float) -> float:
        """Since anything was heard or tried."""

    def run(self) -> Awaitable[Never]:
        """Watch until cancelled."""


def watchers(api: Api, view: View, changed: Callable[[ObjectChange], None], settings: Cluster) -> list[Watcher]:
    """What a daemon with these settings watches."""
    found: list[Watcher] = []
    namespaces = tuple(dict.fromkeys(settings.namespaces))
    for resource in watched_resources():
        if not resource.namespaced and namespaces:
            found += [NamespacePoll(api, view, name, every=settings.namespace_poll) for name in namespaces]
            continue
        found += [
            Reflector(
                api,
                resource,
                view,
                changed,
                namespace=name,
                settings=WatchSettings(page=settings.page, absent=settings.absent_poll),
            )
            for name in namespaces or ("",)
        ]
    return found


def oldest(watched: Sequence[Watcher], clock: Clock) -> float:
    """The age of the watch that was not heard for longest, in seconds."""
    now = clock.steady()
    return max(watcher.age(now) for watcher in watched)


async def synced(watched: Iterable[Watcher]) -> None:
    """Return when all are."""
    for watcher in watched:
        await watcher.synced.wait()
