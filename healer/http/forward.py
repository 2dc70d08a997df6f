"""A follower's webhook: forwards a body to the leader, so that a Service may send to any replica."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import msgspec

from healer.model.signal import NOTHING, PERHAPS, QueueFull, WebhookError
from healer.secret import SecretError, SecretFile

SUFFIX = "/forwarded"
"""The suffix of the path to which a follower forwards; what is posted there is not forwarded again."""


class Forward:
    """A receiver. `leader` returns the leader's "host:port", checked to be healer's, or raises QueueFull. `path` is the
    webhook's; `timeout` is in seconds."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        leader: Callable[[], Awaitable[str]],
        path: str,
        token_file: Path | None,
        timeout: float,
    ) -> None:
        self._session = session
        self._leader = leader
        self._path = path + SUFFIX
        self._token = None if token_file is None else SecretFile(token_file)
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def __call__(self, body: bytes) -> Mapping[str, int]:
        """The leader's answer. Raises WebhookError when the leader refuses the body, and QueueFull when no leader answers."""
        leader = await self._leader()
        try:
            headers = {"Content-Type": "application/json"}
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token.read()}"
            async with self._session.post(
                f"http://{leader}{self._path}", data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                return _answer(response.status, await response.read())
        except (TimeoutError, aiohttp.ClientError, SecretError, msgspec.DecodeError) as error:
            connected = not isinstance(error, aiohttp.ClientConnectorError | SecretError)
            raise QueueFull(
                f"the leader at {leader} cannot be asked: {error or type(error).__name__}",
                retry_after=2,
                hint=PERHAPS if connected else NOTHING,
            ) from error


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
