"""A local HTTP server that takes what sinks post, and can be told to misbehave."""

import asyncio
import json
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.support.certificates import Pair


@dataclass(frozen=True, slots=True)
class Posting:
    """What came: where to, its headers, its body."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `hangs`: none comes. `cuts`: the connection breaks, after the posting was taken."""

    status: int = 200
    body: Any = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    cuts: bool = False


class Receiver:
    """An async context manager; the port is held from construction, and nobody listens before entry."""

    def __init__(self, pair: Pair | None = None) -> None:
        self.taken: list[Posting] = []
        """What was answered 2xx, in order."""
        self.came: list[Posting] = []
        """All that came."""
        self.down = False
        """While true every connection is cut, and nothing is taken."""
        self._tls = pair
        self._script: deque[Reply] = deque()
        self._changed = asyncio.Event()
        self._freed = asyncio.Event()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._socket.getsockname()[1]}/"

    async def __aenter__(self) -> Self:
        context = None
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls.cert, self._tls.key)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket, ssl_context=context).start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._freed.set()
        await self._runner.cleanup()
        self._socket.close()

    def next(self, *replies: Reply) -> None:
        """The next postings are answered like this, one each."""
        self._script.extend(replies)

    async def wait_for(self, predicate: Callable[[Self], bool], timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until the predicate holds; it is asked again after every posting."""
        async with asyncio.timeout(timeout):
            while not predicate(self):
                self._changed.clear()
                await self._changed.wait()

    def answer(self, posting: Posting) -> Reply:
        """How a posting is answered, when no test says otherwise."""
        return Reply()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        posting = Posting(request.path, dict(request.query), dict(request.headers), await request.read())
        self.came.append(posting)
        reply = Reply(cuts=True, status=0) if self.down else self._script.popleft() if self._script else self.answer(posting)
        if reply.hangs:
            self._changed.set()
            await self._freed.wait()
        if 200 <= reply.status < 300 and not reply.hangs:
            self.taken.append(posting)
        self._changed.set()
        if reply.cuts:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if isinstance(reply.body, str):
            return web.Response(status=reply.status, text=reply.body, headers=dict(reply.headers))
        return web.json_response(reply.body, status=reply.status, headers=dict(reply.headers))
