"""The number of open connections: bounded, and far below the number of files that the process may open.

healer needs files for itself: connections to the API server and to Slack, rules, tokens. Clients that only connect must not use
them up.
"""

import asyncio
import resource

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from healer.http.answer import Handler

_SHARE = 4
"""Connections from outside get one in this many of the files that the process may open."""


class Connections:
    """The factory of a listening socket's protocols. A connection beyond `most` closes the one that has been idle longest.

    When every connection has a request under way, the new one is closed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy: set[RequestHandler] = set()
        self._used: dict[RequestHandler, float] = {}
        self.server: web.Server | None = None
        """It is set before the first connection."""

    @property
    def most(self) -> int:
        """The most connections at present."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self._most if files == resource.RLIM_INFINITY else max(1, min(self._most, files // _SHARE))

    def __call__(self) -> asyncio.BaseProtocol:
        if self.server is None:
            raise RuntimeError("the server was not set")
        now = asyncio.get_running_loop().time()
        connections = self.server.connections
        self._used = {each: self._used.get(each, now) for each in connections}
        for _ in range(len(connections) - self.most + 1):
            idle = [each for each in self._used if each not in self._busy]
            if not idle:
                return _Closing()
            longest = min(idle, key=self._used.__getitem__)
            del self._used[longest]
            longest.force_close()
        return self.server()

    @web.middleware
    async def track(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Middleware: tracks which connections have a request under way."""
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
