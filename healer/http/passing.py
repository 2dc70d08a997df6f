"""Reads that a follower passes on to the leader, which alone knows what it decides, so that people may open any replica."""

import asyncio
from http import HTTPStatus

import aiohttp
import structlog
from aiohttp import web

from healer.http.access import given_token
from healer.http.answer import Handler
from healer.http.forward import Relay
from healer.http.stream import SLOW, STREAM_TYPE, hang_up
from healer.model.signal import QueueFull
from healer.model.text import body_text

FROM = "X-Healer-From"
"""Whose answer it is: "leader", passed on by this follower, or "follower", where the leader cannot be asked."""
WHY = "X-Healer-Why"
"""Why the leader cannot be asked."""
_UNKNOWING = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS)
"""Statuses after which this replica answers as it can: the leader does not let it in, or is of an earlier version."""
_LONGEST = 300


class Passing:
    """`around` a handler of this replica: the leader answers where there is one, else this replica does, and says why."""

    def __init__(self, relay: Relay | None) -> None:
        self._relay = relay

    def around(self, handler: Handler) -> Handler:
        """The handler, for what the leader answers better. The door must be before it."""
        relay = self._relay
        if relay is None:
            return handler

        async def passed(request: web.Request) -> web.StreamResponse:
            if not relay.elsewhere():
                return await handler(request)
            why = await self._pass(relay, request)
            if isinstance(why, web.StreamResponse):
                return why
            request[WHY] = why
            return await handler(request)

        return passed

    async def _pass(self, relay: Relay, request: web.Request) -> web.StreamResponse | str:
        """The leader's answer, or why there is none."""
        try:
            async with relay.read(request.path, request.query_string, given_token(request)) as found:
                if found.status >= HTTPStatus.INTERNAL_SERVER_ERROR or found.status in _UNKNOWING:
                    return f"the leader answers {found.status}: {body_text(await found.content.read(4096), 200)}"
                headers = {FROM: "leader", "Cache-Control": "no-store", "Content-Type": found.headers.get("Content-Type", "")}
                if found.content_type != STREAM_TYPE:
                    return web.Response(status=found.status, headers=headers, body=await found.read())
                answer = web.StreamResponse(status=found.status, headers=headers)
                await answer.prepare(request)
                await _copy(found, request, answer)
                return answer
        except QueueFull as error:
            return error.message


async def _copy(found: aiohttp.ClientResponse, request: web.Request, answer: web.StreamResponse) -> None:
    """Pass a stream on until one side ends it. The reader asks again then."""
    try:
        async for chunk in found.content.iter_any():
            async with asyncio.timeout(SLOW):
                await answer.write(chunk)
    except (ConnectionError, TimeoutError):
        hang_up(request)
    except aiohttp.ClientError:
        structlog.get_logger("healer.http").debug("a stream that is passed on has ended")


def say_why(request: web.Request, answer: web.StreamResponse) -> None:
    """Write into the head of an answer that it is a follower's own, and why."""
    if (why := request.get(WHY)) is not None:
        answer.headers[FROM] = "follower"
        answer.headers[WHY] = " ".join(why.encode("ascii", "replace").decode().split())[:_LONGEST]
