"""HTTP without a socket: two ends of a connection in one process, each with the other's bytes.

The client is aiohttp's and the server is the lab's, so that requests, answers and watches are real HTTP. The bytes arrive in the
next turn of the loop.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler


class _WireEnd(asyncio.Transport):
    """One end: what is written here is received by the protocol of the other end."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 0), "sockname": ("127.0.0.1", 0)})
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._closing = False
        self.other: _WireEnd | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to the other end."""
        if not self._closing and self.other is not None and data:
            self._loop.call_soon(self.other.receive, bytes(data))

    def receive(self, data: bytes) -> None:
        """Hand over what has arrived, unless this end was closed meanwhile."""
        if not self._closing:
            self._protocol.data_received(data)

    def is_closing(self) -> bool:
        """Whether nothing more is sent or received."""
        return self._closing

    def close(self) -> None:
        """Close both ends, after what was written has arrived."""
        for end in (self, self.other):
            if end is not None:
                self._loop.call_soon(end.lose)

    def abort(self) -> None:
        """The same."""
        self.close()

    def lose(self) -> None:
        """This end is closed now."""
        if not self._closing:
            self._closing = True
            self._protocol.connection_lost(None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol receives from now on."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """What receives."""
        return self._protocol

    def pause_reading(self) -> None:
        """Nothing: the bytes are in this process already."""

    def resume_reading(self) -> None:
        """Nothing: see `pause_reading`."""


class _MemoryConnector(aiohttp.BaseConnector):
    """Connects to a server in this process, whatever the address. `server` makes the server's side of a connection."""

    def __init__(self, server: Callable[[], asyncio.Protocol]) -> None:
        super().__init__(limit=0)
        self._server = server

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:  # noqa: ASYNC109 - aiohttp's
        client: ResponseHandler = self._factory()
        server = self._server()
        near, far = _WireEnd(client), _WireEnd(server)
        near.other, far.other = far, near
        server.connection_made(far)
        client.connection_made(near)
        return client


class Wire:
    """A connection to the API server of a lab in this process (`healer.cluster.access.Connection`)."""

    origin = ""
    url = "http://lab.invalid"

    def __init__(self, server: Callable[[], asyncio.Protocol]) -> None:
        self._session = aiohttp.ClientSession(connector=_MemoryConnector(server), trust_env=False)

    async def authorization(self) -> str | None:
        """None: the lab asks for no credentials."""
        return None

    async def renew(self) -> None:
        """There is nothing to renew."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: object, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request."""
        data = None if body is None else json.dumps(body)
        return await self._session.request(method, url, headers=headers, timeout=limits, data=data)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()
