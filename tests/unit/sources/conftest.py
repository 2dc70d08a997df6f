"""A Prometheus that remembers what a test says, and a server in its place whose answers the test writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from healer.sources.prometheus.client import Prometheus
from tests.support.processes import program
from tests.support.prometheus import prometheus

Points = Mapping[float, float]
"""Values by their time, in seconds since the epoch."""
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def remembering(folder: Path, series: Mapping[str, Points]) -> AsyncIterator[Prometheus]:
    """A client of a real Prometheus that has these series, as if it had scraped them; a series as PromQL writes it."""
    history = _written(folder, series)
    tool = program("prometheus", "promtool")
    command = [tool, "tsdb", "create-blocks-from", "openmetrics", str(history), str(folder / "data")]
    made = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await made.communicate()
    assert made.returncode == 0, said.decode()
    async with prometheus(folder, {}) as monitor, closing(Prometheus(f"http://{monitor.address}")) as client:
        yield client


def _written(folder: Path, series: Mapping[str, Points]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "history"
    path.write_text("".join(_lines(series)) + "# EOF\n", "utf-8")
    return path


def _lines(series: Mapping[str, Points]) -> Iterable[str]:
    for name, points in series.items():
        for at, value in points.items():
            yield f"{name} {value} {at}\n"


@asynccontextmanager
async def closing(client: Prometheus) -> AsyncIterator[Prometheus]:
    """A client from entry to exit."""
    try:
        yield client
    finally:
        await client.aclose()


class Imposter:
    """An HTTP server in Prometheus' place: `answer` is what it does, `asked` the queries (path and parameters) that came."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Answer = vector()
        self.asked: list[Mapping[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.methods: list[str] = []
        self.longest = 0
        """Characters of the longest request line's path."""
        self.arrived = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The one handler."""
        form = await request.post()
        asked = {name: value for name, value in form.items() if isinstance(value, str)}
        self.asked.append({"path": request.path, **request.query, **asked})
        self.methods.append(request.method)
        self.longest = max(self.longest, len(request.path_qs))
        self.headers.append(dict(request.headers))
        self.arrived.set()
        return await self.answer(request)


def vector(*values: object, **labels: str) -> Answer:
    """Answers with a vector: one series a value, numbered by the label `number`."""
    result = [{"metric": labels | {"number": str(n)}, "value": [1.0, value]} for n, value in enumerate(values)]
    return saying({"status": "success", "data": {"resultType": "vector", "result": result}})


def saying(body: object, status: int = 200, **headers: str) -> Answer:
    """Answers with JSON, or with a text."""

    async def answer(_: web.Request) -> web.StreamResponse:
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return answer


@pytest.fixture
async def imposter() -> AsyncIterator[Imposter]:
    imposter = Imposter()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", imposter.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    imposter.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield imposter
    await runner.cleanup()
