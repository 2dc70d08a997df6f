"""A stand-in for Prometheus: it answers queries of the HTTP API from counters of this process."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from aiohttp import web

from healer.demo.counters import CounterSample
from healer.demo.promql import Unsupported, select


class StandIn:
    """Listens on a port of loopback from entry to exit. `samples` gives all series at a time, in seconds since the epoch.

    It says of ranges of time that it has none.
    """

    def __init__(self, samples: Callable[[float], Iterable[CounterSample]]) -> None:
        self.url = ""
        self._samples = samples
        app = web.Application()
        app.router.add_get("/api/v1/query", self._query)
        app.router.add_get("/api/v1/query_range", self._query_range)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    async def _query(self, request: web.Request) -> web.Response:
        at = float(request.query.get("time", time.time()))
        try:
            found = select(request.query["query"], self._samples(at))
        except Unsupported as error:
            return web.json_response({"status": "error", "errorType": "bad_data", "error": str(error)}, status=400)
        vector = [{"metric": s.labels | {"__name__": s.name}, "value": [at, f"{s.value}"]} for s in found]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": vector}})

    async def _query_range(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": []}})
