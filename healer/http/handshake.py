"""The handshake of TLS, before a connection is one of the HTTP server."""

import asyncio
import ssl
from collections.abc import Callable

_GOODBYE = 1.0
"""Seconds for the other side to say that it closes as well."""


class Handshake(asyncio.Protocol):
    """A connection whose handshake is under way. When it is done, what `make` makes takes the connection over.

    `ended` is called once, with what went wrong or None. asyncio's own server would count no connection before its handshake is
    done, and clients that never finish one could use up all files of the process.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        timeout: float,
        make: Callable[[], asyncio.Protocol],
        ended: Callable[["Handshake", OSError | None], None],
    ) -> None:
        self._context = context
        self._timeout = timeout
        self._make = make
        self._ended = ended
        self._early = bytearray()
        self._raw: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self._closed = False
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake."""
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._raw = transport
        if self._closed:
            transport.abort()
            return self._ended(self, None)
        self.peer = str((transport.get_extra_info("peername") or [""])[0])
        self.task = asyncio.get_running_loop().create_task(self._shake(transport), name="handshake")
        return None

    def data_received(self, data: bytes) -> None:
        """Keep what comes together with the last message of the handshake."""
        self._early += data

    def force_close(self) -> None:
        """Close the connection at once."""
        self._closed = True
        if self._raw is not None:
            self._raw.abort()

    async def _shake(self, raw: asyncio.Transport) -> None:
        error: OSError | None = None
        tls: asyncio.Transport | None = None
        try:
            tls = await asyncio.get_running_loop().start_tls(
                raw,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._timeout,
                ssl_shutdown_timeout=_GOODBYE,
            )
        except OSError as problem:
            error = problem
        finally:
            self._ended(self, error)
        if tls is None or tls.is_closing():  # the client, or force_close, has closed it meanwhile
            return
        handler = self._make()
        tls.set_protocol(handler)
        handler.connection_made(tls)
        if self._early:
            handler.data_received(bytes(self._early))
