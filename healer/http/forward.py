"""A follower forwards a webhook's body, and reads, to the leader, so that a Service may send to any replica."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from healer.http.tls import Reloaded
from healer.model.signal import NOTHING, PERHAPS, QueueFull, WebhookError

SUFFIX = "/forwarded"
"""The suffix of the path to which a follower forwards; what is posted there is not forwarded again."""

_SILENT = 60.0
"""Seconds of silence after which the answer of a leader is given up; a stream of it says something more often."""


class Relay:
    """Passes webhooks and reads on to the leader, with the sender's token: a rotated one is then the same for both replicas.

    `elsewhere` says whether another replica decides; `leader` returns its "host:port", checked to be healer's, or raises
    QueueFull. `tls` and `server_name` are for a leader that speaks https; `timeout` is in seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        elsewhere: Callable[[], bool],
        leader: Callable[[], Awaitable[str]],
        timeout: float,
        tls: Reloaded[ssl.SSLContext] | None = None,
        server_name: str = "",
    ) -> None:
        self._session = session
        self.elsewhere = elsewhere
        self._leader = leader
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._reading = aiohttp.ClientTimeout(total=None, sock_read=_SILENT)
        self._tls = tls
        self._server_name = server_name

    async def send(self, path: str, body: bytes, token: str) -> Mapping[str, int]:
        """The leader's answer to what was posted to a path, with this token unless it is "".

        Raises WebhookError when the leader refuses the body, and QueueFull when no leader answers.
        """
        leader = await self._leader()
        headers = {"Content-Type": "application/json"} | _shown(token)
        try:
            async with self._session.post(
                self._url(leader, path),
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                ssl=True if self._tls is None else self._tls.get(),
                server_hostname=None if self._tls is None else self._server_name,
            ) as response:
                return _answer(response.status, await response.read())
        except (TimeoutError, aiohttp.ClientError, msgspec.DecodeError) as error:
            raise QueueFull(
                f"the leader at {leader} cannot be asked: {error or type(error).__name__}",
                retry_after=2,
                hint=NOTHING if isinstance(error, aiohttp.ClientConnectorError) else PERHAPS,
            ) from error

    @asynccontextmanager
    async def read(self, path: str, query: str, token: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The leader's answer to a GET of a path, whose body is still to be read. Raises QueueFull when it cannot be asked."""
        leader = await self._leader()
        try:
            async with asyncio.timeout(self._timeout.total):
                response = await self._session.get(
                    self._url(leader, path) + (f"?{query}" if query else ""),
                    headers=_shown(token),
                    timeout=self._reading,
                    allow_redirects=False,
                    ssl=True if self._tls is None else self._tls.get(),
                    server_hostname=None if self._tls is None else self._server_name,
                )
            async with response:
                yield response
        except (TimeoutError, aiohttp.ClientError) as error:
            raise QueueFull(f"the leader at {leader} cannot be asked: {error or type(error).__name__}", retry_after=2) from error

    def _url(self, leader: str, path: str) -> str:
        return f"http{'s' if self._tls else ''}://{leader}{path}{SUFFIX}"


def _shown(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


class _Refusal(msgspec.Struct):
    error: str = "refused"
    hint: str = ""


def _answer(status: int, body: bytes) -> Mapping[str, int]:
    if status == 200:
        return msgspec.json.decode(body, type=dict[str, int])
    refusal = msgspec.json.decode(body, type=_Refusal)
    if 400 <= status < 500 and status not in (401, 403, 404):
        raise WebhookError(status, refusal.error, refusal.hint)
    raise QueueFull(
        f"the leader answered {status}: {refusal.error}", retry_after=2, hint=refusal.hint if status == 503 else NOTHING
    )
