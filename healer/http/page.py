"""The page for people: files that show what GET /state says. They hold no data, so that whoever reaches the port gets them."""

import hashlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from healer.http.answer import Refused

PAGE_PATH = "/"
FILE_PATH = "/page/{name}"
_FILES = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_START = "index.html"
_NONE = ("base-uri", "form-action", "frame-ancestors", "object-src")
HEADERS = {
    "Content-Security-Policy": "; ".join(["default-src 'self'", *(f"{each} 'none'" for each in _NONE)]),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""No script, style, font or picture of others, none inside of the page itself, and no frame around it."""


class PageFiles:
    """The routes. `admit` raises Refused for a client that is not answered; the files are read once."""

    def __init__(self, admit: Callable[[web.Request], Awaitable[None]]) -> None:
        self._admit = admit
        self._files = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in sorted(_FILES.iterdir())}
        version = hashlib.sha256(b"".join(body for body, _ in self._files.values())).hexdigest()[:16]
        self._headers = HEADERS | {"ETag": f'"{version}"'}

    async def start(self, request: web.Request) -> web.Response:
        """Answers 200, or 304."""
        return await self._answer(request, _START)

    async def file(self, request: web.Request) -> web.Response:
        """Answers 200, 304 or 404."""
        return await self._answer(request, request.match_info["name"])

    async def _answer(self, request: web.Request, name: str) -> web.Response:
        await self._admit(request)
        if name not in self._files:
            raise Refused(HTTPStatus.NOT_FOUND, "the page has no such file", "GET / is the page")
        if request.headers.get("If-None-Match") == self._headers["ETag"]:
            return web.Response(status=304, headers=self._headers)
        body, kind = self._files[name]
        return web.Response(body=body, headers=self._headers | {"Content-Type": kind})
