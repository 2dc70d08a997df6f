"""A real HTTP server whose answers the test writes, and clients of it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from healer.cluster.api import Api

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers with what `answers` holds, one after the other, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        """(method, path and query, headers, body) of each request."""
        self.accepted = ""
        """When set, the only Authorization that is not refused."""
        self.url = ""
        self.arrived = asyncio.Event()

    def say(self, body: object = None, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer the next request so."""

        async def answer(_: web.Request) -> web.StreamResponse:
            if isinstance(body, str):
                return web.Response(text=body, status=status, headers=headers)
            return web.json_response(body, status=status, headers=headers)

        self.answers.append(answer)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The one handler."""
        self.asked.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        self.arrived.set()
        if self.accepted and request.headers.get("Authorization") != self.accepted:
            return web.json_response(
                {"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "Unauthorized"}, status=401
            )
        return await self.answers.popleft()(request)


async def listening(ssl: Any = None) -> AsyncIterator[Server]:
    """A server on a free port of loopback."""
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl).start()
    server.url = f"{'https' if ssl else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async for server in listening():
        yield server


def kubeconfig(folder: Path, url: str, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> str:
    """A kubeconfig with the contexts "it" (the default) and "other" (a port where nobody listens); returns its path."""
    path = folder / "kubeconfig"
    config = {
        "current-context": "it",
        "contexts": [
            {"name": "it", "context": {"cluster": "it", "user": "it"}},
            {"name": "other", "context": {"cluster": "other", "user": "it"}},
        ],
        "clusters": [
            {"name": "it", "cluster": {"server": url, **(cluster or {})}},
            {"name": "other", "cluster": {"server": "http://127.0.0.1:1"}},
        ],
        "users": [{"name": "it", "user": user or {"token": "secret"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.fixture
async def api(server: Server, tmp_path: Path) -> AsyncIterator[Api]:
    api = await Api.connect(kubeconfig=kubeconfig(tmp_path, server.url))
    yield api
    await api.aclose()
