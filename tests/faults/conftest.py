"""A scripted server, a real client, and a reflector between them that hurries."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from healer.clock import Clock
from healer.cluster.api import Api
from healer.cluster.resources import RESOURCES
from healer.cluster.watch import ObjectChange, Reflector, WatchSettings
from healer.model.kube import Pod
from healer.model.view import View
from healer.workloads.registry import WORKLOADS
from tests.faults.server import Server

PATIENCE = 20.0
HURRIED = WatchSettings(backoff_first=0.001, backoff_cap=0.005, brief=0.0, distrust=1000)


@dataclass
class Watched:
    """One reflector at work: the server, the view, and what the listener was told."""

    server: Server
    view: View
    reflector: Reflector
    told: list[tuple[str, str, str]] = field(default_factory=list)
    """(verb, uid, resourceVersion) of each change."""
    folded: dict[str, str] = field(default_factory=dict)
    """uid -> resourceVersion, by the changes alone."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Task[NoReturn] | None = None
    heed: Callable[[], None] | None = None
    """Called at each change."""

    def listen(self, change: ObjectChange) -> None:
        """The listener."""
        verb, uid, version = change.verb, change.obj.metadata.uid, change.obj.metadata.resource_version
        assert (None if change.before is None else change.before.metadata.uid) == (uid if uid in self.folded else None)
        assert verb == "drop" or self.folded.get(uid) != version, "told twice of the same"
        self.told.append((verb, uid, version))
        if verb == "put":
            self.folded[uid] = version
        else:
            del self.folded[uid]
        self.news.set()
        if self.heed is not None:
            self.heed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until the reflector has told, or failed, enough to make `condition` true."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self.news.clear()
                    await self.news.wait()
                    if self.running is not None and self.running.done():
                        self.running.result()  # raises what ended it
        except TimeoutError:
            pytest.fail(f"not in {PATIENCE} s; server {self.server.state}, view {self.held}, told {self.told}")

    async def settled(self) -> None:
        """Until the view is as the server is, by uid and by name, and the listener was told of all that."""
        await self.until(lambda: self.held == self.folded == self.server.state)
        for name, pod in self.server.pods.items():
            found = self.view.pod_named(pod["metadata"]["namespace"], name)
            assert found is not None
            assert found.metadata.uid == pod["metadata"]["uid"]

    async def failed(self, times: int) -> None:
        """Until the reflector has failed so often."""
        await self.until(lambda: self.reflector.counts.failures >= times)

    @property
    def held(self) -> dict[str, str]:
        """uid -> resourceVersion, of all pods of the view."""
        return {pod.metadata.uid: pod.metadata.resource_version for pod in self.view.pods()}


class Dice(random.Random):
    """Chance that tells when it is thrown: each failure of a reflector throws for its wait."""

    def __init__(self, thrown: asyncio.Event) -> None:
        super().__init__()
        self._thrown = thrown

    def random(self) -> float:
        self._thrown.set()
        return super().random()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("one\n")
    return path


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path, token: Path) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig_of(f"http://127.0.0.1:{server.port}", {"tokenFile": str(token)})))
    return str(path)


def kubeconfig_of(url: str, user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    """A kubeconfig with one context."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "test", "user": user}],
    }


Watching = Callable[..., AbstractAsyncContextManager[Watched]]


@pytest.fixture
def watching(server: Server, kubeconfig: str) -> Watching:
    """Starts reflectors; keyword arguments change WatchSettings, `namespace` the scope, `view` what is filled,
    `optional` whether the cluster need not have the kind."""

    @asynccontextmanager
    async def start(
        *,
        namespace: str = "",
        view: View | None = None,
        clock: Callable[[], float] = time.monotonic,
        optional: bool = False,
        **settings: Any,
    ) -> AsyncIterator[Watched]:
        api = await Api.connect(kubeconfig=kubeconfig, clock=Clock(steady=clock))

        news = asyncio.Event()
        view = View(WORKLOADS) if view is None else view
        reflector = Reflector(
            api,
            replace(RESOURCES[Pod], optional=optional),
            view,
            lambda change: watched.listen(change),
            namespace=namespace,
            settings=replace(HURRIED, **settings),
            rng=Dice(news),
        )
        watched = Watched(server, view, reflector, news=news)
        watched.running = running = asyncio.create_task(reflector.run())
        running.add_done_callback(lambda _: news.set())
        try:
            yield watched
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await api.aclose()
        assert running.cancelled(), running

    return start
