"""Asks model servers for the status of a model, and for the heartbeat of their engines."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from healer.model_servers.base import ModelServer
from healer.model_servers.heartbeat import Beats, Heartbeat, read_beats
from healer.model_servers.status import ConnectionRefused, ModelStatus, StatusError

_LONGEST = 1 << 20
"""The longest answer about a model, in bytes."""
_LONGEST_METRICS = 4 << 20
"""The longest answer with metrics, in bytes."""
_METRICS_TIMEOUT = 5.0
"""Seconds that metrics may take."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look:
    """What a server showed at one look. `beats`: of its engines, or in words why they are not known; None when nobody asked."""

    status: ModelStatus
    beats: Beats | str | None = None


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
    return await _each(hosts, limit, lambda session, host: ask(session, server, host, port, model))


async def look_each(
    server: ModelServer, hosts: Mapping[str, str], port: int, model: str, *, beats: bool, limit: asyncio.Semaphore
) -> dict[str, Look | StatusError]:
    """The same, with the heartbeats of their engines if `beats` says so."""
    return await _each(hosts, limit, lambda session, host: look(session, server, host, port, model, beats=beats))


async def _each(
    hosts: Mapping[str, str], limit: asyncio.Semaphore, one: Callable[[aiohttp.ClientSession, str], Awaitable[T]]
) -> dict[str, T | StatusError]:
    async def limited(session: aiohttp.ClientSession, host: str) -> T | StatusError:
        async with limit:
            try:
                return await one(session, host)
            except StatusError as error:
                return error

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        asked = {name: group.create_task(limited(session, host)) for name, host in hosts.items()}
    return {name: task.result() for name, task in asked.items()}
