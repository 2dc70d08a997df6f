"""A local server that speaks as much of Slack's Web API as healer uses, and can be told to misbehave.

Rules kept as Slack documents them: a bearer token; errors as 200 with {"ok": false}; chat.update takes the channel's id, not its
name; replies by thread_ts; limits on blocks and text; a repeated client_msg_id answers with the message that is there already.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

TOKEN = "xoxb-123456789012-testtoken"


@dataclass(slots=True)
class Posted:
    """A message that people see: as it stands, as it stood before each edit, and its thread."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    edits: list[str] = field(default_factory=list)
    """The texts that it had before, oldest first."""
    replies: list["Posted"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """How one call is answered instead of properly.

    `error`: Slack's own, with `code`. `status`: an HTTP status, with `code` as JSON, else a page of HTML. `limit`: 429. `cut`:
    the connection breaks. `lose`: the message is taken, but the answer never arrives. `page`, `garbage`, `list`: a 200 that is
    a proxy's text, half JSON, or JSON of another shape.
    """

    kind: Literal["error", "status", "limit", "cut", "lose", "page", "garbage", "list"]
    code: str = ""
    status: int = 200
    retry_after: int = 0


class FakeSlack:
    """An async context manager; the port is held from construction, and nobody listens before entry."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token
        self.messages: dict[str, list[Posted]] = {}
        """Top-level messages by the name of the channel, in the order of posting."""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Every call that came, well answered or not: method and arguments."""
        self.down = False
        """While true every connection is cut."""
        self.errors: dict[str, str] = {}
        """Channels (by name) that answer an error, and which."""
        self._script: deque[Misbehaviour] = deque()
        self._sequence = 0
        self._by_key: dict[str, Posted] = {}
        self._changed = asyncio.Event()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        app = web.Application()
        app.router.add_post("/api/{method}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    @property
    def url(self) -> str:
        """What goes into the sink's base_url."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/api/"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()
        self._socket.close()

    # what a test says and asks

    def next(self, *misbehaviours: Misbehaviour) -> None:
        """The next calls are answered like this, one each."""
        self._script.extend(misbehaviours)

    async def wait_for(self, predicate: Callable[["FakeSlack"], bool], timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until the predicate holds; it is asked again after every call. Raises TimeoutError and says what was seen."""
        try:
            async with asyncio.timeout(timeout):
                while not predicate(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise TimeoutError(f"not seen within {timeout:g} s; calls: {[method for method, _ in self.calls]}") from error

    def threads(self, channel: str) -> list[list[str]]:
        """The texts of the replies, for each message of a channel."""
        return [[reply.text for reply in message.replies] for message in self.messages.get(channel, [])]

    # the API

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        arguments: dict[str, Any] = await request.json()
        self.calls.append((method, arguments))
        try:
            return self._answer(request, method, arguments)
        finally:
            self._changed.set()

    def _answer(self, request: web.Request, method: str, arguments: dict[str, Any]) -> web.StreamResponse:
        oddity = self._script.popleft() if self._script else None
        if self.down or (oddity is not None and oddity.kind == "cut"):
            return _cut(request)
        match oddity:
            case Misbehaviour(kind="error", code=code):
                return _no(code)
            case Misbehaviour(kind="status", status=status, code=code) if code:
                return web.json_response({"ok": False, "error": code}, status=status)
            case Misbehaviour(kind="garbage"):
                return web.Response(text='{"ok": tr', content_type="application/json")
            case Misbehaviour(kind="list"):
                return web.json_response(["ok"])
            case Misbehaviour(kind="status", status=status):
                return web.Response(status=status, text="<html>not Slack</html>", content_type="text/html")
            case Misbehaviour(kind="page"):
                return web.Response(text="please log in to the proxy", content_type="text/plain")
            case Misbehaviour(kind="limit", retry_after=seconds):
                return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": str(seconds)})
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _no("invalid_auth")
        answer = self._post(arguments) if method == "chat.postMessage" else self._update(arguments)
        return _cut(request) if oddity is not None else answer

    def _post(self, arguments: dict[str, Any]) -> web.Response:
        name = _name(str(arguments["channel"]))
        if problem := self.errors.get(name) or _problem(arguments):
            return _no(problem)
        key = str(arguments.get("client_msg_id", ""))
        posted = self._by_key.get(key)
        if posted is None:
            posted = Posted(name, self._next_ts(), str(arguments["text"]), list(arguments.get("blocks", [])))
            parent = arguments.get("thread_ts")
            if parent is None:
                self.messages.setdefault(name, []).append(posted)
            else:
                message = self._message(name, str(parent))
                if message is None:
                    return _no("thread_not_found")
                message.replies.append(posted)
            if key:
                self._by_key[key] = posted
        return web.json_response({"ok": True, "channel": _id(name), "ts": posted.ts})

    def _update(self, arguments: dict[str, Any]) -> web.Response:
        channel = str(arguments["channel"])
        if not channel.startswith("C-"):
            return _no("channel_not_found")
        if problem := self.errors.get(_name(channel)) or _problem(arguments):
            return _no(problem)
        message = self._message(_name(channel), str(arguments["ts"]))
        if message is None:
            return _no("message_not_found")
        message.edits.append(message.text)
        message.text, message.blocks = str(arguments["text"]), list(arguments.get("blocks", []))
        return web.json_response({"ok": True, "channel": channel, "ts": message.ts})

    def _message(self, channel: str, ts: str) -> Posted | None:
        return next((message for message in self.messages.get(channel, []) if message.ts == ts), None)

    def _next_ts(self) -> str:
        self._sequence += 1
        return f"1700000000.{self._sequence:06d}"


def _no(code: str) -> web.Response:
    return web.json_response({"ok": False, "error": code})


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _id(name: str) -> str:
    return f"C-{name}"


def _name(channel: str) -> str:
    return channel.removeprefix("C-")


def _problem(arguments: dict[str, Any]) -> str:
    """Slack's limits: 40,000 characters of text, 50 blocks, 150 a header, 3,000 a section, 2,000 a field, 10 fields."""
    if len(str(arguments["text"])) > 40_000:
        return "msg_too_long"
    blocks: list[dict[str, Any]] = arguments.get("blocks", [])
    total = 0
    for block in blocks:
        limit = {"header": 150, "section": 3000, "context": 3000}[block["type"]]
        if len(block.get("fields", [])) > 10:
            return "invalid_blocks"
        texts = (
            [(block["text"], limit)] if "text" in block else [(text, 2000) for text in block.get("fields") or block["elements"]]
        )
        if any(not 0 < len(text["text"]) <= most for text, most in texts):
            return "invalid_blocks"
        total += sum(len(text["text"]) for text, _ in texts)
    if len(blocks) > 50:
        return "invalid_blocks"
    return "msg_blocks_too_long" if total > 13_000 else ""
