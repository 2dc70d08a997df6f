"""The number of open connections: bounded, and far below the number of files that the process may open.

healer needs files for itself: connections to the API server and to Slack, rules, tokens. Clients that only connect must not use
them up.
"""

import asyncio
import resource

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from healer.http.answer import Handler
from healer.http.handshake import Handshake
from healer.http.protocol import ClientProtocol
from healer.http.refusals import Refusals
from healer.http.tls import Reloaded, ServerTls
from healer.settings.http import HttpSettings

_SHARE = 4
"""Connections from outside get one in this many of the files that the process may open."""


Waiting = RequestHandler | Handshake


class Connections:
    """The factory of a listening socket's protocols. A connection beyond `most` closes the one that has been idle longest.

    When every connection has a request under way, the new one is closed. A handshake of TLS counts as idle since its start.
    """

    def __init__(self, settings: HttpSettings, tls: Reloaded[ServerTls] | None, refusals: Refusals) -> None:
        self._settings = settings
        self._tls = tls
        self._refusals = refusals
        self._busy: set[Waiting] = set()
        self._used: dict[Waiting, float] = {}
        self._shaking: set[Handshake] = set()
        self.server: web.Server | None = None
        """It is set before the first connection."""

    @property
    def most(self) -> int:
        """The most connections at present."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = self._settings.max_connections
        return most if files == resource.RLIM_INFINITY else max(1, min(most, files // _SHARE))

    def _protocol(self) -> ClientProtocol:
        if self.server is None:
            raise RuntimeError("the server was not set")
        return ClientProtocol(self.server, self._refusals, self._settings.idle_timeout)

    def __call__(self) -> asyncio.BaseProtocol:
        if self.server is None:
            raise RuntimeError("the server was not set")
        now = asyncio.get_running_loop().time()
        connections: list[Waiting] = [*self.server.connections, *self._shaking]
        self._used = {each: self._used.get(each, now) for each in connections}
        for _ in range(len(connections) - self.most + 1):
            idle = [each for each in self._used if each not in self._busy]
            if not idle:
                return _Closing()
            longest = min(idle, key=self._used.__getitem__)
            del self._used[longest]
            longest.force_close()
        if self._tls is None:
            return self._protocol()
        shaking = Handshake(self._tls.get().context, self._settings.read_timeout, self._protocol, self._shaken)
        self._shaking.add(shaking)
        return shaking

    def _shaken(self, handshake: Handshake, error: OSError | None) -> None:
        self._shaking.discard(handshake)
        if error is not None:
            self._refusals.handshake(handshake.peer, error)

    async def aclose(self) -> None:
        """End the handshakes that are under way."""
        for each in self._shaking:
            each.force_close()
        await asyncio.gather(*[each.task for each in self._shaking if each.task is not None])

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
