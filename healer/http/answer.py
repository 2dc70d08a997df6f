"""The answer to a request that is refused: JSON, {"error": what, "hint": what to do}."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from healer.http.refusals import Objection, Refusals

_SILENT = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""Whoever is not let in does not learn how it would be: the log says it to those who run healer."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """A request is refused; it becomes the JSON answer. `logged`: the reason is in the log already. `objection`: a door's."""

    def __init__(
        self,
        status: int,
        error: str,
        hint: str,
        headers: Mapping[str, str] | None = None,
        *,
        logged: bool = False,
        objection: Objection | None = None,
    ) -> None:
        super().__init__(error)
        self.status = int(status)
        self.error = error
        self.hint = hint
        self.headers = headers or {}
        self.logged = logged
        self.objection = objection


class ErrorsAsJson:
    """The middleware that turns refusals, and aiohttp's own errors (404, 405), into JSON, and counts them."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve a request."""
        try:
            return await handler(request)
        except Refused as refused:
            return self._error(request, refused)
        except web.HTTPException as error:
            hint = _served(request.app)
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return self._error(request, Refused(error.status, HTTPStatus(error.status).phrase, hint, allow))

    def _error(self, request: web.Request, refused: Refused) -> web.Response:
        self._refusals.note(request, refused.status, refused.error, refused.hint, log=not refused.logged)
        if refused.objection is not None:
            self._refusals.deny(refused.objection)
        body = {"error": refused.error, "hint": refused.hint}
        if refused.status in _SILENT:
            body = {"error": HTTPStatus(refused.status).phrase, "hint": "the log of healer says why"}
        return web.json_response(body, status=refused.status, headers=refused.headers)


def _served(app: web.Application) -> str:
    """What there is, by method: "POST /webhooks/alertmanager; GET /healthz, /readyz"."""
    paths: dict[str, list[str]] = {}
    for route in app.router.routes():
        if route.resource is not None and route.method != "HEAD":
            paths.setdefault(route.method, []).append(route.resource.canonical)
    return "; ".join(f"{method} {', '.join(each)}" for method, each in paths.items())
