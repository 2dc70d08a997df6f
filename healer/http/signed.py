"""A route for requests that others sign: no token opens it, the receiver checks the signature of the body."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from healer.http.answer import Refused
from healer.sinks.commands import PostRefused, SignedReceiver

_LARGEST = 512 * 1024
"""Bytes of a body."""


class SignedPost:
    """`admit` checks the client's network and rate. A refusal says no more than its status."""

    def __init__(self, receiver: SignedReceiver, admit: Callable[[web.Request], Awaitable[None]], read_timeout: float) -> None:
        self._receiver = receiver
        self._admit = admit
        self._read_timeout = read_timeout

    async def handle(self, request: web.Request) -> web.Response:
        """Answers 200, or what the receiver refuses with."""
        await self._admit(request)
        body = bytearray()
        try:
            async with asyncio.timeout(self._read_timeout):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > _LARGEST:
                        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large", "", {"Connection": "close"})
        except TimeoutError as error:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time", "send it again") from error
        headers: Mapping[str, str] = {name.lower(): value for name, value in request.headers.items()}
        try:
            return web.Response(text=await self._receiver(headers, bytes(body)))
        except PostRefused as error:
            raise Refused(error.status, str(error), "see docs/slack.md") from error
