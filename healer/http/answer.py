"""How the server says no: every error is JSON, {"error": what, "hint": what to do}."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """A request that is not served; it becomes the JSON answer."""

    def __init__(self, status: int, error: str, hint: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.hint = hint
        self.headers = headers or {}


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns refusals, and aiohttp's own (404, 405), into JSON."""
    try:
        return await handler(request)
    except Refused as refused:
        return _error(refused.status, refused.error, refused.hint, refused.headers)
    except web.HTTPException as error:
        hint = "POST /webhooks/alertmanager; GET /healthz, /readyz, /metrics, /decisions"
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error(error.status, HTTPStatus(error.status).phrase, hint, allow)


def _error(status: int, error: str, hint: str, headers: Mapping[str, str]) -> web.Response:
    return web.json_response({"error": error, "hint": hint}, status=status, headers=headers)
