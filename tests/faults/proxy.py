"""The network between one client and a server, as a TCP proxy that can be cut in several ways."""

import asyncio
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Network(Enum):
    """How the network is."""

    WHOLE = "whole"
    SILENT = "silent"
    """Nothing arrives, and nobody says so; what was sent arrives late, when the network is whole again."""
    DEAF = "deaf"
    """What the client sends arrives, the answers do not."""
    FAILING = "failing"
    """A gateway answers 500 to everything."""


class Proxy:
    """Listens on a port of loopback from entry to exit, but between `close` and `open`; passes on what the network lets."""

    def __init__(self, url: str) -> None:
        self.url = ""
        self._target = urlsplit(url)
        self._network = Network.WHOLE
        self._turned = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def turn(self, network: Network) -> None:
        """From now on the network is so."""
        self._network = network
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    async def open(self) -> None:
        """Listen; again, on the same port."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def close(self) -> None:
        """Listen no more, and reset all connections."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server: asyncio.StreamWriter | None = None
        try:
            answers, server = await asyncio.open_connection(self._target.hostname, self._target.port)
            back = asyncio.create_task(self._pass(answers, writer, {Network.WHOLE}))
            try:
                await self._pass(reader, server, {Network.WHOLE, Network.DEAF}, failing=writer)
            finally:
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            return  # either side has gone, or the network has; the other side sees that below
        finally:
            self._connections.discard(task)
            for side in (writer, server):
                if side is not None:
                    side.transport.abort()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        through: set[Network],
        failing: asyncio.StreamWriter | None = None,
    ) -> None:
        """Pass bytes on until either side closes: at once when the network lets them through, else when it does again."""
        while data := await reader.read(65536):
            if self._network is Network.FAILING and failing is not None:
                failing.write(_FAILED)
                await failing.drain()
                failing.close()
                return
            while self._network not in through:
                await self._turned.wait()
            writer.write(data)
            await writer.drain()
