"""Asks model servers for the status of a model, for the heartbeat of their engines, and idle engines for a token."""

import asyncio
import errno
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp

from healer.model_servers.base import ModelServer, TokenRequest
from healer.model_servers.heartbeat import Beats, Heartbeat, read_beats
from healer.model_servers.idle import Reply
from healer.model_servers.status import ConnectionRefused, ModelStatus, StatusError

_LONGEST = 1 << 20
"""The longest answer about a model, in bytes."""
_LONGEST_METRICS = 4 << 20
"""The longest answer with metrics, in bytes."""
_METRICS_TIMEOUT = 5.0
"""Seconds that metrics may take."""

_CONNECTING = 0.5
"""The share of the time for a request for a token that the connection may take: a server that cannot be reached is no hang."""

T = TypeVar("T")


class TokenSlots:
    """Bounds the requests for a token of all rules together: so many at once, and one at a time to a server."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._servers: set[str] = set()

    @contextmanager
    def take(self, server: str) -> Iterator[bool]:
        """Whether this server, "HOST:PORT", may be asked now. Nobody waits: there is another look."""
        free = server not in self._servers and len(self._servers) < self._at_once
        if free:
            self._servers.add(server)
        try:
            yield free
        finally:
            if free:
                self._servers.remove(server)


Due = Callable[[str, Beats], str | None]
"""The engine that is to be asked for a token now, by the server's name and the beats that it has just shown; None: none is."""


@dataclass(frozen=True, slots=True)
class AskingForTokens:
    """When and how the engines are asked for tokens. `within`: the seconds that an answer may take."""

    request: TokenRequest
    due: Due
    within: float
    slots: TokenSlots


@dataclass(frozen=True, slots=True)
class Look:
    """What a server showed at one look.

    `beats`: of its engines, or in words why they are not known; None when nobody asked. `reply`: what came of the request for a
    token that followed; None when there was none.
    """

    status: ModelStatus
    beats: Beats | str | None = None
    reply: Reply | None = None


async def ask(session: aiohttp.ClientSession, server: ModelServer, host: str, port: int, model: str) -> ModelStatus:
    """Ask one server, within its `timeout`. Raises StatusError."""
    status, body = await _fetch(session, server.method, _url(host, port, server.path(model)), server.timeout, _LONGEST)
    return server.parse(model, status, body)


async def look(session: aiohttp.ClientSession, server: ModelServer, host: str, port: int, model: str, *, beats: bool) -> Look:
    """Ask one server, also for the heartbeat of its engines with `beats`. Raises StatusError."""
    status = await ask(session, server, host, port, model)
    if not beats or server.heartbeat is None:
        return Look(status)
    try:
        return Look(status, await _beats(session, server.heartbeat, host, port, model))
    except StatusError as error:
        return Look(status, str(error))


async def _beats(session: aiohttp.ClientSession, heartbeat: Heartbeat, host: str, port: int, model: str) -> Beats:
    status, body = await _fetch(session, "GET", _url(host, port, heartbeat.path), _METRICS_TIMEOUT, _LONGEST_METRICS)
    beats = await read_beats(heartbeat, model, status, body)
    status, body = await _fetch(session, "GET", _url(host, port, heartbeat.paused_path), _METRICS_TIMEOUT, _LONGEST)
    if status != 404 and heartbeat.paused(status, body):
        raise StatusError(f"its engine is paused (GET {heartbeat.paused_path}): that it stands still says nothing")
    return beats


async def ask_for_token(
    session: aiohttp.ClientSession, tokens: AskingForTokens, host: str, port: int, model: str, engine: str, *, of_several: bool
) -> Reply:
    """Have an engine generate one token. A request that is late is closed, so that the server cancels it.

    `of_several`: whether the server has other engines, among which it would choose.
    """
    request = tokens.request
    headers = {request.rank_header: rank[0]} if of_several and (rank := re.search(r"\d+", engine)) else {}
    limit = aiohttp.ClientTimeout(total=tokens.within, connect=tokens.within * _CONNECTING)
    url = _url(host, port, request.path)
    try:
        async with session.post(url, json=request.body(model), headers=headers, timeout=limit, allow_redirects=False) as answer:
            if answer.status == 200:
                return Reply(engine)
            return Reply(engine, refused=f"POST {request.path} answers {answer.status}")
    except aiohttp.ConnectionTimeoutError:
        return Reply(engine, refused=f"POST {request.path}: no connection")
    except TimeoutError:
        return Reply(engine, late=True)
    except (aiohttp.ClientError, OSError) as error:
        return Reply(engine, refused=f"POST {request.path}: no answer: {error or type(error).__name__}")


async def _with_token(
    session: aiohttp.ClientSession, tokens: AskingForTokens, name: str, host: str, port: int, model: str, seen: Look
) -> Look:
    """The look with the reply of the engine that is due, at once: what the beats show of it is true now."""
    if seen.beats is None or isinstance(seen.beats, str) or not seen.status.ready:
        return seen
    engine = tokens.due(name, seen.beats)
    if engine is None:
        return seen
    with tokens.slots.take(f"{host}:{port}") as free:
        if not free:
            return seen
        several = len(seen.beats) > 1
        return replace(seen, reply=await ask_for_token(session, tokens, host, port, model, engine, of_several=several))


def _url(host: str, port: int, path: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


async def _fetch(session: aiohttp.ClientSession, method: str, url: str, seconds: float, longest: int) -> tuple[int, bytes]:
    """The HTTP status and the body of an answer. Raises StatusError."""
    limit = aiohttp.ClientTimeout(total=seconds)
    try:
        async with session.request(method, url, timeout=limit, allow_redirects=False) as answer:
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > longest:
                    raise StatusError(f"its answer is longer than {longest} bytes")
            return answer.status, bytes(body)
    except TimeoutError as error:
        raise StatusError(f"no answer within {seconds:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        # The errno of a connection that was made and then broken is another one.
        refused = isinstance(error, aiohttp.ClientConnectorError) and error.errno == errno.ECONNREFUSED
        kind = ConnectionRefused if refused else StatusError
        raise kind(f"no answer: {error or type(error).__name__}") from error


async def ask_each(
    server: ModelServer, hosts: Mapping[str, str], port: int, model: str, *, limit: asyncio.Semaphore
) -> dict[str, ModelStatus | StatusError]:
    """Ask the servers at these hosts, as many at once as `limit` allows: their answers, or why there is none, by name."""

    async def one(session: aiohttp.ClientSession, _: str, host: str) -> ModelStatus:
        async with limit:
            return await ask(session, server, host, port, model)

    return await _each(hosts, one)


async def look_each(
    server: ModelServer,
    hosts: Mapping[str, str],
    port: int,
    model: str,
    *,
    beats: bool,
    limit: asyncio.Semaphore,
    tokens: AskingForTokens | None = None,
) -> dict[str, Look | StatusError]:
    """The same, with the heartbeats of their engines if `beats` says so, and with tokens of those that are due."""

    async def one(session: aiohttp.ClientSession, name: str, host: str) -> Look:
        async with limit:
            seen = await look(session, server, host, port, model, beats=beats)
        return seen if tokens is None else await _with_token(session, tokens, name, host, port, model, seen)

    return await _each(hosts, one)


async def _each(
    hosts: Mapping[str, str], one: Callable[[aiohttp.ClientSession, str, str], Awaitable[T]]
) -> dict[str, T | StatusError]:
    async def answer(session: aiohttp.ClientSession, name: str, host: str) -> T | StatusError:
        try:
            return await one(session, name, host)
        except StatusError as error:
            return error

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        asked = {name: group.create_task(answer(session, name, host)) for name, host in hosts.items()}
    return {name: task.result() for name, task in asked.items()}
