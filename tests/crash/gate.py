"""The one way from a daemon to its API server and its Slack: every request is named, and at one of them the daemon dies."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

import aiohttp
from aiohttp import web

from healer.lab.apiserver.routing import route, seen
from healer.lab.kinds import Kinds
from tests.support.processes import PATIENCE

Moment = Literal["before", "after"]
"""Before: the request never reaches the server. After: it is carried out, and its answer never reaches the daemon."""
Point = tuple[str, int, Moment]
"""Where a daemon may die: at which request, the how manieth of that name in its life, and when."""
_ONE_BY_ONE = {"accept-encoding": "identity"}
_OF_THE_HOP = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})


class Gate:
    """For one life of a daemon: an HTTP proxy in front of the API server at `server`, and `slack` as the FakeSlack's hook.

    `fatal` is asked at every point whether the daemon dies there, and has it killed; from then on nothing passes. What had passed
    before is carried out, as it would be in a real network.
    """

    def __init__(self, server: str, kinds: Kinds, fatal: Callable[[Point], bool] = lambda _: False) -> None:
        self.url = ""
        self.points: list[Point] = []
        """Every point of this life that was passed, or was the last."""
        self.evicted: Counter[str] = Counter()
        """How often the API server has accepted to evict a pod, by uid."""
        self.dead = False
        """Whether the daemon was killed here."""
        self._shut: Callable[[str], bool] = lambda _: False
        self._opened = asyncio.Event()
        self._server = server
        self._kinds = kinds
        self._fatal = fatal
        self._count: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def close(self, *names: str) -> None:
        """From now on requests of these names, of any when none is given, wait until the gate is opened again."""
        self._shut = lambda name: not names or name in names

    def open(self) -> None:
        """Let everything pass, what has waited too."""
        self._shut = lambda _: False
        self._opened.set()

    def answered(self, name: str) -> int:
        """How many requests of that name were."""
        return sum(point[0] == name and point[2] == "after" for point in self.points)

    async def passed(self, name: str, times: int = 1) -> None:
        """Return once so many requests of that name were answered."""
        async with asyncio.timeout(PATIENCE):
            while self.answered(name) < times:
                self._news.clear()
                await self._news.wait()

    async def slack(self, method: str, moment: Literal["come", "done"]) -> bool:
        """See FakeSlack.hook."""
        name = f"slack {method}"
        if moment == "come":
            self._count[name] += 1
        return self._passes((name, self._count[name], "before" if moment == "come" else "after"))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        to = route(request.path, self._kinds)
        what = seen(request.method, request.path, request.query, request.headers, to)
        name = f"{what.verb} {what.permission}"
        if what.resource == "incidents" and "dryRun" in request.query:
            name += " (dry run)"  # the look at their definition, which is no opening of an incident
        self._count[name] += 1
        number = self._count[name]
        body = await request.read()
        if not self._passes((name, number, "before")):
            return _cut(request)
        if self._shut(name):
            await self._opened.wait()
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _OF_THE_HOP} | _ONE_BY_ONE
        url = self._server + request.raw_path
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            first = b"" if what.verb == "watch" else await answer.read()
            if what.permission == "pods/eviction" and answer.status == 201:
                self.evicted[json.loads(body)["deleteOptions"]["preconditions"]["uid"]] += 1
            if not self._passes((name, number, "after")):
                return _cut(request)
            passed = {key: value for key, value in answer.headers.items() if key.lower() not in _OF_THE_HOP}
            if what.verb != "watch":
                return web.Response(status=answer.status, body=first, headers=passed)
            stream = web.StreamResponse(status=answer.status, headers=passed)
            with contextlib.suppress(ConnectionError):  # either side may end a watch, by dying too
                await stream.prepare(request)
                async for chunk in answer.content.iter_any():
                    await stream.write(chunk)
            return stream

    def _passes(self, point: Point) -> bool:
        """Whether the daemon lives on."""
        if self.dead:
            return False
        self.points.append(point)
        self._news.set()
        self.dead = self._fatal(point)
        return not self.dead


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
