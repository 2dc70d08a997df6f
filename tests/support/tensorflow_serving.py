"""Servers that answer for a model's status as TensorFlow Serving does, on loopback addresses that share one port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class StatusServers:
    """What each address answers: versions with their states, or a whole `web.Response`; nothing said is no such model."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []
        """The paths, in the order of the requests."""
        self.arrived: asyncio.Queue[str] = asyncio.Queue()
        """The same, to wait for."""
        self.at_once = self.most = 0
        """Requests under way now, and at most."""
        self.together: asyncio.Barrier | None = None
        """When set, so many requests are answered at once, and none before."""
        self._says: dict[str, Any] = {}

    def say(self, address: str, *versions: tuple[Any, ...], raw: web.Response | None = None) -> None:
        """From now on an address has these versions: (version, state[, code[, message]]); or answers with `raw`."""
        self._says[address] = raw if raw is not None else versions

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        self.arrived.put_nowait(request.raw_path)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            if self.together is not None:
                await self.together.wait()
            assert request.transport is not None
            said = self._says.get(request.transport.get_extra_info("sockname")[0])
            if isinstance(said, web.Response):
                return web.Response(body=said.body, status=said.status, headers=said.headers)
            return status(request, *said or ())
        finally:
            self.at_once -= 1


def status(request: web.Request, *versions: tuple[Any, ...]) -> web.Response:
    """The answer of a server that has these versions: (version, state[, code[, message]])."""
    name = request.path.rpartition("/")[2]
    if not versions:
        return web.json_response({"error": f"Could not find any versions of model {name}"}, status=404)
    return web.json_response({"model_version_status": [_entry(*one) for one in versions]})


def _entry(version: int, state: str, code: str = "OK", message: str = "") -> dict[str, Any]:
    return {"version": str(version), "state": state, "status": {"error_code": code, "error_message": message}}


@asynccontextmanager
async def status_servers(*addresses: str) -> AsyncIterator[StatusServers]:
    """Servers on these addresses of 127.0.0.0/8, on one free port of them all."""
    servers = StatusServers()
    app = web.Application()
    app.router.add_get("/v1/models/{name}", servers.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for address in addresses:
            await web.TCPSite(runner, address, servers.port).start()
            servers.port = servers.port or runner.addresses[0][1]
        yield servers
    finally:
        await runner.cleanup()
