"""A webhook's body on its way through the server: the sender's token, the limits of size and time, the answer."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from healer.http.access import Door, given_token
from healer.http.answer import Refused
from healer.http.forward import Relay
from healer.model.signal import NOTHING, PERHAPS, QueueFull, WebhookError
from healer.settings.http import HttpSettings

Receiver = Callable[[bytes], Awaitable[Mapping[str, int]]]
"""Takes a body; returns counts by outcome once all of it is decided. When it raises WebhookError, nothing was taken; the `hint`
of QueueFull says whether something was."""


class Webhook:
    """One webhook's route.

    The order matters: the sender is checked before any of the body is read, and at most `max_body` bytes of it are read. `relay`
    takes what another replica decides, with the sender's token.
    """

    def __init__(
        self, receiver: Receiver, door: Door, settings: HttpSettings, bodies: asyncio.Semaphore, relay: Relay | None = None
    ) -> None:
        self._receiver = receiver
        self._door = door
        self._relay = relay
        self._settings = settings
        self._bodies = bodies

    async def handle(self, request: web.Request) -> web.Response:
        """Answers 200 when all is decided, 503 when sending it again helps, 4xx when it does not.

        Alertmanager sends again within seconds after 503, and at each `group_interval` of the group after 4xx.
        """
        await self._door.check(request)
        _check_head(request, self._settings.max_body)
        if self._bodies.locked():
            raise _retry_later("too many webhook bodies at once", 1, NOTHING)
        async with self._bodies:
            body = await self._read(request)
            if self._relay is not None and self._relay.elsewhere():
                return await self._answer(self._relay.send(request.path, body, given_token(request)))
            return await self._answer(self._receiver(body))

    async def _read(self, request: web.Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.read_timeout):
                async for chunk in request.content.iter_any():
                    if len(body) + len(chunk) > self._settings.max_body:
                        raise _too_large(self._settings.max_body)
                    body += chunk
        except TimeoutError as error:
            hint = "see what slows the network down, or raise HEALER_HTTP__READ_TIMEOUT"
            raise _broken(f"the body did not arrive within {self._settings.read_timeout:g} s", hint) from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise _broken("the body broke off", "send it whole") from error
        return bytes(body)

    async def _answer(self, deciding: Awaitable[Mapping[str, int]]) -> web.Response:
        try:
            async with asyncio.timeout(self._settings.accept_timeout):
                return web.json_response(dict(await deciding))
        except WebhookError as error:
            raise Refused(error.status, error.message, error.hint) from error
        except QueueFull as error:
            raise _retry_later(error.message, error.retry_after, error.hint) from error
        except TimeoutError as error:
            raise _retry_later(f"not decided within {self._settings.accept_timeout:g} s", 5, PERHAPS) from error


def _check_head(request: web.Request, max_body: int) -> None:
    """Refuse by the headers what needs no body to be refused."""
    if request.content_type != "application/json":
        # This also refuses what a browser may send to another site without a preflight request.
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body is not application/json", "set Content-Type: application/json")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body is compressed", "send it without Content-Encoding")
    if request.content_length is not None and request.content_length > max_body:
        raise _too_large(max_body)


def _too_large(limit: int) -> Refused:
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than {limit} bytes",
        "set max_alerts of the webhook_config, group by more labels, or raise HEALER_HTTP__MAX_BODY",
        {"Connection": "close"},
    )


def _broken(error: str, hint: str) -> Refused:
    """The body did not come: 503, although it is the sender's fault, because it may come the next time."""
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, error, hint, {"Connection": "close", "Retry-After": "1"})


def _retry_later(error: str, seconds: float, hint: str) -> Refused:
    retry_after = {"Retry-After": str(math.ceil(seconds))}
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, error, hint, retry_after)
