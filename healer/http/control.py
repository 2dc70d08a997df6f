"""What people do on the page: POST /control/VERB, with a token, and JSON so that no other site can have a browser send it."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Protocol

import msgspec
import structlog
from aiohttp import web

from healer.http.access import Door
from healer.http.answer import Refused

CONTROL_PATH = "/control/{verb}"
_LARGEST = 16 * 1024
"""Bytes of a body."""
LONGEST_PAUSE = 366 * 86400
"""Seconds of a pause that ends by itself."""


class ControlBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked for. `name` is an incident's, or for a pause `deployment/NAME`, `namespace/NAME` or `everything`.

    `by` names the person, where the token does not. `seconds`: a pause ends by itself after so long.
    `look`: nothing is done, the answer is what would be. `shown`: what was seen.
    """

    name: str
    namespace: str = ""
    by: str = ""
    reason: str = ""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_PAUSE)] | None = None
    look: bool = False
    shown: str = ""


class Controls(Protocol):
    """What carries the commands out. Raises Refused."""

    async def __call__(self, verb: str, asked: ControlBody, by: str) -> str:
        """What was done, or would be, in words."""


VERBS = ("approve", "undo", "pause", "resume")


class ControlRoute:
    """The route. Whoever has the token of the door `control` acts in healer's name: the audit has theirs."""

    def __init__(self, door: Door, carry_out: Controls) -> None:
        self._door = door
        self._carry_out = carry_out
        self._log = structlog.get_logger("healer.http")

    async def handle(self, request: web.Request) -> web.Response:
        """Answers 200, 400 for a request that says too little, 409 when it cannot be done."""
        user = await self._door.check(request)
        verb = request.match_info["verb"]
        if verb not in VERBS:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no command {verb!r}"[:100], f"there are {', '.join(VERBS)}")
        if request.content_type != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body is not application/json", "set Content-Type")
        asked = _decoded(await _read(request.content.read))
        by = user or (f"{asked.by.strip()} (page)" if asked.by.strip() else "")
        if not by and not asked.look:
            raise Refused(HTTPStatus.BAD_REQUEST, "who asks?", "name yourself in `by`: it stands in the audit")
        said = await self._carry_out(verb, asked, by)
        if not asked.look:
            self._log.info("a person used the page", verb=verb, object=asked.name, namespace=asked.namespace, by=by, said=said)
        return web.json_response({"said": said, "by": by})


async def _read(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    body = b""
    while piece := await read(_LARGEST + 1 - len(body)):
        body += piece
        if len(body) > _LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large", "send less", {"Connection": "close"})
    return body


def _decoded(body: bytes) -> ControlBody:
    try:
        return msgspec.json.decode(body, type=ControlBody)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is no command: {error}", "see docs/security.md") from error
