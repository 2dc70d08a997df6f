"""aiohttp's connection of an HTTP client, without what tells who serves, and with every refusal counted."""

import asyncio
from http import HTTPStatus

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from healer.http.refusals import Refusals

LINGER = 1.0
"""Seconds for which the rest of a refused body is read and dropped, so that its sender receives the answer."""
_LONGEST_LINE = 8190
"""Bytes of a request's first line, and of one of its headers."""
_MOST_HEADERS = 100
SERVER = "healer"
"""The header Server: without a version, which would say what to try."""


class ClientProtocol(RequestHandler):
    """One connection. What aiohttp itself refuses (a request that is no HTTP, a head that is too large) is answered here."""

    __slots__ = ("_refusals",)

    def __init__(self, server: web.Server, refusals: Refusals, idle_timeout: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None is what turns it off
            auto_decompress=False,  # a small body must not become a large one
            keepalive_timeout=idle_timeout,  # also closes a connection that sends no request
            lingering_time=LINGER,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            max_headers=_MOST_HEADERS,
        )
        self._refusals = refusals

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what no handler answers."""
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            answer = super().handle_error(request, status, exc, message)  # logs the exception
        else:
            phrase = HTTPStatus(status).phrase
            answer = web.json_response({"error": phrase, "hint": "send a request that is HTTP/1.1"}, status=status)
            answer.force_close()
        self._refusals.note(request, status, "the request cannot be read as HTTP", "see whether the client speaks HTTP/1.1")
        answer.headers["Server"] = SERVER
        return answer
