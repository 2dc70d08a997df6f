"""How many connections the server holds: bounded, and by far below the files that the process may open.

For healer needs files of its own: to the API server, to Slack, for rules and tokens. Whoever only connects must not take them.
"""

import asyncio
import resource

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from healer.http.answer import Handler

_SHARE = 4
"""One in so many of the files that the process may open is for connections from outside."""


class Connections:
    """The factory of a listening socket's protocols. One connection more than `most` closes the one that is idle for longest.

    When all of them have a request under way, the new one is closed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy: set[RequestHandler] = set()
        self._used: dict[RequestHandler, float] = {}
        self.server: web.Server | None = None
        """Set before the first connection comes."""

    @property
    def most(self) -> int:
        """How many there may be at present."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self._most if files == resource.RLIM_INFINITY else max(1, min(self._most, files // _SHARE))

    def __call__(self) -> asyncio.BaseProtocol:
        if self.server is None:
            raise RuntimeError("the server was not set")
        now = asyncio.get_running_loop().time()
        held = self.server.connections
        self._used = {each: self._used.get(each, now) for each in held}
        for _ in range(len(held) - self.most + 1):
            idle = [each for each in self._used if each not in self._busy]
            if not idle:
                return _Closing()
            longest = min(idle, key=self._used.__getitem__)
            del self._used[longest]
            longest.force_close()
        return self.server()

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Middleware: notes which connections have a request under way."""
        protocol = request.protocol
        self._busy.add(protocol)
        try:
            return await handler(request)
        finally:
            self._busy.discard(protocol)
            self._used[protocol] = asyncio.get_running_loop().time()


class _Closing(asyncio.Protocol):
    """Closes the connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
