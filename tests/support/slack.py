"""A local server that speaks as much of Slack's Web API as healer uses, and can be told to misbehave.

Rules kept as Slack documents them: a bearer token and its scopes; errors as 200 with {"ok": false}; only chat.postMessage takes a
channel's name, all else its id; replies by thread_ts; limits on blocks and text; metadata stays when a message is edited, and is
shown when include_all_metadata asks for it; lists come in pages. Nothing is recognised when it is posted again.
"""

import asyncio
import socket
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

TOKEN = "xoxb-123456789012-testtoken"
APP_TOKEN = "xapp-1-A0123456789-testtoken"
WORKSPACE = "https://example.slack.com/"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SCOPES = frozenset({"chat:write", "channels:history", "channels:read", "usergroups:read"})
_NEEDED = {
    "auth.test": "",
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.getPermalink": "",
    "usergroups.users.list": "usergroups:read",
    "apps.connections.open": "",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "users.conversations": "channels:read",
}


@dataclass(slots=True)
class Posted:
    """A message that people see: as it stands, as it stood before each edit, and its thread."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any] = field(default_factory=dict)
    edits: list[str] = field(default_factory=list)
    """The texts that it had before, oldest first."""
    replies: list["Posted"] = field(default_factory=list)
    broadcast: bool = False
    """Whether a reply is shown in the channel, too."""


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


Moment = Literal["come", "done"]


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
        self.scopes = set(SCOPES)
        """What the token may; without a scope, what needs it is answered missing_scope."""
        self.strangers: set[str] = set()
        """Channels (by name) that the app may post to without having joined them."""
        self.joined: set[str] = set()
        """Channels (by name) that the app is in before anything is posted there."""
        self.page = 100
        """Items on a page of a list, at most."""
        self.posted: Counter[tuple[str, str, int]] = Counter()
        """How often each line (0: the message itself) of an incident was posted, by channel, incident and line."""
        self.hook: Callable[[str, Moment], Awaitable[bool]] | None = None
        """Awaited when a call has come and, again, when it was carried out but not answered; False cuts the connection."""
        self.groups: dict[str, list[str]] = {}
        """The members of user groups, by the group's ID."""
        self.whispers: list[tuple[str, str]] = []
        """What only one person reads: the user, and the text."""
        self.acknowledged: list[str] = []
        """The envelopes that were acknowledged in Socket Mode."""
        self._sockets: list[web.WebSocketResponse] = []
        self._known: dict[str, None] = {}
        self._script: deque[Misbehaviour] = deque()
        self._last_ts = 0.0
        self._changed = asyncio.Event()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        app = web.Application()
        app.router.add_post("/api/{method}", self._handle)
        app.router.add_get("/link", self._link)
        app.on_shutdown.append(self._hang_up)
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

    @property
    def twice(self) -> list[tuple[str, str, int]]:
        """The lines that people read more than once, by channel, incident and line."""
        return [line for line, times in self.posted.items() if times > 1]

    # people

    def payload(self, channel: str, number: int, button: str, user: str, name: str = "ann") -> dict[str, Any]:
        """What Slack tells of a press of a button, by its text, under a message of a channel. Fails when it is not there."""
        message = self.messages[channel][number]
        elements = [each for block in message.blocks if block["type"] == "actions" for each in block["elements"]]
        (pressed,) = [each for each in elements if each["text"]["text"] == button]
        return {
            "type": "block_actions",
            "user": {"id": user, "username": name, "name": name, "team_id": "T0123456789"},
            "container": {"type": "message", "message_ts": message.ts, "channel_id": _id(channel)},
            "trigger_id": "1.2.3",
            "channel": {"id": _id(channel), "name": channel.removeprefix("#")},
            "message": {"type": "message", "ts": message.ts, "text": message.text, "blocks": message.blocks},
            "actions": [{**pressed, "block_id": "healer_buttons", "action_ts": "1"}],
        }

    async def press(self, channel: str, number: int, button: str, user: str, name: str = "ann") -> None:
        """A person presses a button, and Slack tells of it over the newest connection; returns once it is taken."""
        await self.wait_for(lambda _: bool(self._sockets))
        envelope = f"envelope-{len(self.acknowledged)}"
        payload = self.payload(channel, number, button, user, name)
        said = {"type": "interactive", "envelope_id": envelope, "payload": payload, "accepts_response_payload": False}
        await self._sockets[-1].send_json(said)
        await self.wait_for(lambda _: envelope in self.acknowledged)

    async def send_away(self) -> None:
        """Slack wants another connection of Socket Mode; returns once it is there."""
        old = self._sockets[-1]
        await old.send_json({"type": "disconnect", "reason": "refresh_requested"})
        await self.wait_for(lambda _: bool(self._sockets) and self._sockets[-1] is not old)

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket_ = web.WebSocketResponse()
        await socket_.prepare(request)
        await socket_.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A0123456789"}})
        self._sockets.append(socket_)
        self._changed.set()
        async for message in socket_:
            self.acknowledged.append(str(message.json()["envelope_id"]))
            self._changed.set()
        self._sockets.remove(socket_)
        return socket_

    async def _hang_up(self, _: web.Application) -> None:
        for each in list(self._sockets):
            await each.close()

    # the API

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        arguments: dict[str, Any] = await _arguments(request, method)
        if method == "chat.postMessage":
            self._known[_name(str(arguments["channel"]))] = None
        self.calls.append((method, arguments))
        try:
            if self.hook is not None and not await self.hook(method, "come"):
                return _cut(request)
            answer = self._answer(request, method, arguments)
            if self.hook is not None and not await self.hook(method, "done"):
                return _cut(request)
            return answer
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
        token = APP_TOKEN if method == "apps.connections.open" else self.token
        if request.headers.get("Authorization") != f"Bearer {token}":
            return _no("invalid_auth")
        answer = self._carry_out(method, arguments)
        return _cut(request) if oddity is not None else answer

    def _carry_out(self, method: str, arguments: dict[str, Any]) -> web.Response:
        needed = _NEEDED[method]
        if needed and needed not in self.scopes:
            return web.json_response({"ok": False, "error": "missing_scope", "needed": needed, "provided": ",".join(self.scopes)})
        match method:
            case "auth.test":
                return web.json_response(
                    {"ok": True, "url": WORKSPACE, "team": "Example", "user": "healer", "team_id": "T0123456789"},
                    headers={"X-OAuth-Scopes": ",".join(sorted(self.scopes))},
                )
            case "chat.postMessage":
                return self._post(arguments)
            case "chat.update":
                return self._update(arguments)
            case "chat.postEphemeral":
                if not str(arguments["channel"]).startswith("C-"):
                    return _no("channel_not_found")
                self.whispers.append((str(arguments["user"]), str(arguments["text"])))
                return web.json_response({"ok": True, "message_ts": self._next_ts()})
            case "chat.getPermalink":
                return self._permalink(arguments)
            case "usergroups.users.list":
                members = self.groups.get(str(arguments["usergroup"]))
                return _no("no_such_subteam") if members is None else web.json_response({"ok": True, "users": members})
            case "apps.connections.open":
                return web.json_response({"ok": True, "url": self.url.replace("http", "ws", 1).replace("/api/", "/link")})
            case "conversations.history":
                return self._history(arguments)
            case "conversations.replies":
                return self._replies(arguments)
            case _:
                known = dict.fromkeys((*self._known, *sorted(self.joined)))
                archived = {name for name, code in self.errors.items() if code == "is_archived"}
                names = [name for name in known if name not in self.strangers | archived]
                joined = [{"id": _id(name), "name": name.removeprefix("#")} for name in names]
                return self._list("channels", joined, arguments)

    def _post(self, arguments: dict[str, Any]) -> web.Response:
        name = _name(str(arguments["channel"]))
        if problem := self.errors.get(name) or _problem(arguments):
            return _no(problem)
        metadata: dict[str, Any] = arguments.get("metadata", {})
        posted = Posted(name, self._next_ts(), str(arguments["text"]), list(arguments.get("blocks", [])), metadata)
        parent = arguments.get("thread_ts")
        if parent is None:
            self.messages.setdefault(name, []).append(posted)
        else:
            message = self._message(name, str(parent))
            if message is None:
                return _no("thread_not_found")
            posted.broadcast = bool(arguments.get("reply_broadcast", False))
            message.replies.append(posted)
        if metadata:
            payload: dict[str, Any] = metadata["event_payload"]
            self.posted.update((name, str(payload["incident"]), line) for line in range(payload["line"], payload["last"] + 1))
        return web.json_response({"ok": True, "channel": _id(name), "ts": posted.ts})

    def _history(self, arguments: dict[str, Any]) -> web.Response:
        """Newest first, as Slack has it; `oldest` and `latest` are exclusive."""
        channel = str(arguments["channel"])
        if problem := self._unreadable(channel):
            return _no(problem)
        found = [message for message in self.messages.get(_name(channel), []) if _within(message, arguments)]
        return self._list("messages", [_shown(message, arguments) for message in reversed(found)], arguments)

    def _replies(self, arguments: dict[str, Any]) -> web.Response:
        """Oldest first, and the parent before all, whatever the time."""
        channel = str(arguments["channel"])
        if problem := self._unreadable(channel):
            return _no(problem)
        parent = self._message(_name(channel), str(arguments["ts"]))
        if parent is None:
            return _no("thread_not_found")
        found = [reply for reply in parent.replies if _within(reply, arguments)]
        return self._list("messages", [_shown(message, arguments) for message in (parent, *found)], arguments)

    def _permalink(self, arguments: dict[str, Any]) -> web.Response:
        """As its documentation shows it; of a reply the form is another one."""
        channel, ts = str(arguments["channel"]), str(arguments["message_ts"])
        if not channel.startswith("C-"):
            return _no("channel_not_found")
        if self._message(_name(channel), ts) is None:
            return _no("message_not_found")
        link = f"{WORKSPACE}archives/{channel}/p{ts.replace('.', '')}"
        return web.json_response({"ok": True, "channel": channel, "permalink": link})

    def _unreadable(self, channel: str) -> str:
        if not channel.startswith("C-") or _name(channel) not in self._known:
            return "channel_not_found"
        return "not_in_channel" if _name(channel) in self.strangers else ""

    def _list(self, key: str, items: list[dict[str, Any]], arguments: dict[str, Any]) -> web.Response:
        start = int(arguments.get("cursor", 0))
        end = start + min(self.page, int(arguments["limit"]))
        following = str(end) if end < len(items) else ""
        return web.json_response({"ok": True, key: items[start:end], "response_metadata": {"next_cursor": following}})

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
        self._last_ts = max(time.time(), self._last_ts + 1e-5)
        return f"{self._last_ts:.6f}"


async def _arguments(request: web.Request, method: str) -> dict[str, Any]:
    """What a method that reads takes as a form, and a method that writes as JSON."""
    if (method.startswith("chat.") and method != "chat.getPermalink") or method == "apps.connections.open":
        arguments: dict[str, Any] = await request.json()
        return arguments
    return dict(await request.post())


def _within(message: Posted, arguments: Mapping[str, Any]) -> bool:
    return float(arguments.get("oldest", 0)) < float(message.ts) < float(arguments.get("latest", "inf"))


def _shown(message: Posted, arguments: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "message", "ts": message.ts, "text": message.text}
    if message.metadata and arguments.get("include_all_metadata") == "true":
        shown["metadata"] = message.metadata
    return shown


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


def _is_button(element: dict[str, Any]) -> bool:
    """Whether it keeps the limits of a button and of its confirmation."""
    confirm = element.get("confirm")
    texts = [(element["text"], 75)]
    if confirm is not None:
        texts += [(confirm["title"], 100), (confirm["text"], 300), (confirm["confirm"], 30), (confirm["deny"], 30)]
    short = all(text["type"] == "plain_text" and 0 < len(text["text"]) <= most for text, most in texts)
    named = 0 < len(element["action_id"]) <= 255 and len(element["value"]) <= 2000
    return short and named and element.get("style", "primary") in ("primary", "danger")


def _problem(arguments: dict[str, Any]) -> str:
    """Slack's limits: 40,000 characters of text, 50 blocks, 150 a header, 3,000 a section, 2,000 a field, 10 fields."""
    if len(str(arguments["text"])) > 40_000:
        return "msg_too_long"
    blocks: list[dict[str, Any]] = arguments.get("blocks", [])
    total = 0
    for block in blocks:
        if block["type"] == "actions":
            if not 0 < len(block["elements"]) <= 25 or not all(map(_is_button, block["elements"])):
                return "invalid_blocks"
            continue
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
