"""Runs a list-watch for each kind and namespace that the rules need; without cluster-wide rights it polls single Namespaces."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Never, Protocol

import structlog

from healer.clock import Clock
from healer.cluster.api import Api
from healer.cluster.poll import NamespacePoll
from healer.cluster.resources import Resource
from healer.cluster.watch import ObjectChange, Reflector, WatchSettings
from healer.model.kube import Namespace
from healer.model.view import View
from healer.rules.rulebook import BoundRule
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

    def run(self) -> Coroutine[Any, Any, Never]:
        """Watch until cancelled."""


class Watching:
    """What a daemon watches: what every rule needs, and what the rules in force need besides. Other rules may change it.

    `changed` is told each change of the view; `added` is told each kind that is watched for the first time. `further` is watched
    whatever the rules.
    """

    def __init__(
        self,
        api: Api,
        view: View,
        changed: Callable[[ObjectChange], None],
        settings: Cluster,
        clock: Clock,
        added: Callable[[str], None] = lambda kind: None,
        further: Sequence[Resource] = (),
    ) -> None:
        self._api = api
        self._view = view
        self._changed = changed
        self._settings = settings
        self._clock = clock
        self._added = added
        self._further = tuple(further)
        self._watchers: dict[Resource, list[Watcher]] = {}
        self._tasks: dict[Resource, list[asyncio.Task[Never]]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._log = structlog.get_logger("healer.cluster")

    @property
    def all(self) -> list[Watcher]:
        """Everything that is watched now."""
        return [each for watchers in self._watchers.values() for each in watchers]

    def use(self, rules: Iterable[BoundRule]) -> None:
        """Watch what these rules need from now on. What is not needed any more is forgotten, as if it were deleted."""
        wanted = [*watched_resources(rules, nodes=self._settings.nodes), *self._further]
        for resource in [each for each in self._watchers if each not in wanted]:
            self._end(resource)
        for resource in wanted:
            if resource not in self._watchers:
                self._watchers[resource] = self._made(resource)
                self._added(resource.name)
                self._start(resource)
                if self._group is not None:
                    self._log.info("the rules need a further watch: it begins", kind=resource.name)

    async def run(self) -> Never:
        """Watch, until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for resource in self._watchers:
                self._start(resource)
            await asyncio.Event().wait()
        raise AssertionError("the wait has no end")

    async def synced(self) -> None:
        """Return when the view holds what there was of all that is watched now."""
        for watcher in self.all:
            await watcher.synced.wait()

    def oldest(self, kind: str) -> float:
        """The age of the watch of that kind that was not heard for longest, in seconds; 0 when it is not watched."""
        now = self._clock.steady()
        return max((each.age(now) for each in self.all if each.resource.name == kind), default=0.0)

    def _made(self, resource: Resource) -> list[Watcher]:
        settings, namespaces = self._settings, tuple(dict.fromkeys(self._settings.namespaces))
        if resource.kind is Namespace and namespaces:
            return [NamespacePoll(self._api, self._view, name, every=settings.namespace_poll) for name in namespaces]
        page = WatchSettings(page=settings.page, absent=settings.absent_poll)
        return [
            Reflector(self._api, resource, self._view, self._changed, namespace=name, settings=page)
            for name in (namespaces if resource.namespaced else ()) or ("",)
        ]

    def _start(self, resource: Resource) -> None:
        if self._group is not None:
            name, watchers = f"watch {resource.plural}", self._watchers[resource]
            self._tasks[resource] = [self._group.create_task(each.run(), name=name) for each in watchers]

    def _end(self, resource: Resource) -> None:
        for task in self._tasks.pop(resource, ()):
            task.cancel()
        del self._watchers[resource]
        for uid in self._view.uids(resource.kind):
            if (gone := self._view.drop(resource.kind, uid)) is not None:
                self._changed(ObjectChange(resource.kind, "drop", gone, gone))
