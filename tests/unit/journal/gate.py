"""A gate before an API server: what a test tells it, it does to the requests that pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

import aiohttp
from aiohttp import web


class Deed(Enum):
    """What becomes of a request."""

    REFUSE = "refuse"
    """The connection is closed; the server never hears of it."""
    SWALLOW = "swallow"
    """The server answers, and the answer is lost."""
    DELAY = "delay"
    """The connection is closed; the server hears of it when the test lets it go."""
    HOLD = "hold"
    """It waits until the test lets it go."""
    ANSWER = "answer"
    """It is answered here."""


@dataclass(eq=False)
class Order:
    """One deed for the requests of a method (and path, by a part of it); `met` is set by the first."""

    deed: Deed
    method: str
    part: str
    times: int
    status: int = 0
    body: object = None
    met: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


class Gate:
    """Passes requests on to `upstream`."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.away = False
        """Whether every connection is closed at once."""
        self.knocked = asyncio.Event()
        """Set by a request that came while it was away."""
        self.seen: list[tuple[str, str]] = []
        """(method, path) of each request that the server has heard."""
        self.passing: list[Callable[[str, str], None]] = []
        """Called with each."""
        self._orders: list[Order] = []
        self._upstream = upstream
        self._session = session

    def order(self, deed: Deed, method: str, part: str = "", *, times: int = 1, status: int = 0, body: object = None) -> Order:
        """Order a deed; what was ordered first is done first."""
        order = Order(deed, method, part, times, status, body)
        self._orders.append(order)
        return order

    def take_back(self, order: Order) -> None:
        """Do it no longer."""
        self._orders.remove(order)

    def count(self, method: str, part: str = "") -> int:
        """How many requests the server has heard, of a method and a path that has this part."""
        return sum(seen == method and part in path for seen, path in self.seen)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        if self.away:
            self.knocked.set()
            return await _cut(request)
        order = self._next(request)
        if order is not None and order.deed is Deed.REFUSE:
            return await _cut(request)
        if order is not None and order.deed is Deed.ANSWER:
            answer = web.json_response(order.body, status=order.status)
            answer.force_close()
            return answer
        if order is not None and order.deed is Deed.DELAY:
            await request.read()
            cut = await _cut(request)
            await order.go.wait()
            await self._pass_on(request)
            return cut
        if order is not None and order.deed is Deed.HOLD:
            await order.go.wait()
        answer = await self._pass_on(request)
        return await _cut(request) if order is not None and order.deed is Deed.SWALLOW else answer

    def _next(self, request: web.Request) -> Order | None:
        for order in self._orders:
            if request.method == order.method and order.part in request.path:
                order.times -= 1
                if not order.times:
                    self._orders.remove(order)
                order.met.set()
                return order
        return None

    async def _pass_on(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type", "Accept") if name in request.headers}
        url = self._upstream + request.path_qs
        async with self._session.request(request.method, url, data=await request.read(), headers=headers) as heard:
            body = await heard.read()
            self.seen.append((request.method, request.path))
            for listener in self.passing:
                listener(request.method, request.path)
            answer = web.Response(body=body, status=heard.status, content_type=heard.content_type)
        answer.force_close()
        return answer


async def _cut(request: web.Request) -> web.StreamResponse:
    """Begin an answer and close the connection: of one that never began, aiohttp's client would repeat a GET or PUT by itself."""
    answer = web.StreamResponse()
    answer.content_length = 1
    await answer.prepare(request)
    if request.transport is not None:
        request.transport.abort()
    return answer


@asynccontextmanager
async def gate_before(upstream: str) -> AsyncIterator[Gate]:
    """A gate on a free port of loopback."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        gate = Gate(upstream, session)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", gate.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        gate.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield gate
        finally:
            await runner.cleanup()
