"""Servers that answer as Triton, KServe, MLServer, vLLM and SGLang do, on loopback addresses that share one port."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as CounterMetric

from tests.support.processes import PATIENCE

MODEL = "ranker"

Answer = Callable[[web.Request], web.StreamResponse]


TOKENS = "/v1/completions"
"""The path of a request for a token."""


class Silence(web.Response):
    """No answer: the request is open until the client closes it."""


class Servers:
    """What each address answers; one of which nothing is said answers 404. `asked` has "METHOD path" of each request.

    At an address that was closed nothing listens, and connections are refused, as those to a server that loads its models.
    """

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._listening: dict[str, web.TCPSite] = {}
        self.port = 0
        self.says: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.unanswered: Counter[str] = Counter()
        """The requests to each address that are met with `Silence` now."""
        self.most_unanswered: Counter[str] = Counter()
        """The most there ever were."""
        self._changed = asyncio.Condition()

    async def open(self, *addresses: str) -> None:
        """Listen at these addresses, where nothing does."""
        for address in addresses:
            site = self._listening[address] = web.TCPSite(self._runner, address, self.port)
            await site.start()
            self.port = self.port or self._runner.addresses[0][1]

    async def close(self, *addresses: str) -> None:
        """Listen at these addresses no longer."""
        for address in addresses:
            await self._listening.pop(address).stop()

    @property
    def listening(self) -> set[str]:
        """The addresses that are not closed."""
        return set(self._listening)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        async with self._changed:
            self.asked.append(f"{request.method} {request.raw_path} {address}")
            self._changed.notify_all()
        said = self.says.get(address)
        answer = web.Response(status=404) if said is None else said(request)
        if isinstance(answer, Silence):
            await self._silence(address)
        return answer

    async def _silence(self, address: str) -> None:
        """Until the client has closed the connection, which cancels this."""
        self.unanswered[address] += 1
        self.most_unanswered[address] = max(self.most_unanswered[address], self.unanswered[address])
        try:
            await asyncio.Event().wait()
        finally:
            async with self._changed:
                self.unanswered[address] -= 1
                self._changed.notify_all()

    async def closed(self, address: str) -> None:
        """Return when the clients have closed all requests to that address that were met with `Silence`."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: self.unanswered[address] == 0)

    async def looks(self, times: int, path: str, *addresses: str) -> None:
        """Return when each of these addresses was asked for the path so often, from now on."""
        before = {address: self.count(path, address) for address in addresses}
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(
                lambda: all(self.count(path, address) >= count + times for address, count in before.items())
            )

    def count(self, path: str, address: str) -> int:
        """How often that address was asked for the path."""
        return sum(asked.split()[1:] == [path, address] for asked in self.asked)


@asynccontextmanager
async def model_servers(*addresses: str) -> AsyncIterator[Servers]:
    """Servers on these addresses of 127.0.0.0/8, on one free port of them all."""
    app = web.Application()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    servers = Servers(runner)
    app.router.add_route("*", "/{path:.*}", servers.answer)
    await runner.setup()
    try:
        await servers.open(*addresses)
        yield servers
    finally:
        await runner.cleanup()


class Engine:
    """A vLLM or an SGLang server with one engine, whose metrics are made by prometheus_client, as theirs are.

    While it `moves` and has requests `running`, it makes a step before each scrape; with `outputs` the step counts, without it
    only the usage of the KV cache grows, as in the prefill of a long prompt. It generates a token when it is asked for one; if it
    does not move, the request is left open.
    """

    def __init__(self, model: str = MODEL) -> None:
        self.model = model
        self.health = 200
        self.running = 0
        self.waiting = 0
        self.moves = True
        self.outputs = True
        self.awake = True
        self.paused: bool | None = False
        """None: the server does not know the path that says so."""
        self.token: web.Response | None = None
        """What a request for a token is answered, in place of a token."""
        self.metrics: web.Response | None = None
        """What the metrics answer in place of themselves."""
        self.steps = 0
        self.cache = 0.5

    def step(self) -> None:
        """What happens between two scrapes."""
        if self.moves and self.running:
            self.steps += self.outputs
            self.cache = 0.5 + (self.cache + 0.01) % 0.5

    def vllm(self, request: web.Request) -> web.StreamResponse:
        """An answer of vLLM's."""
        if request.path == "/health":
            return web.Response(status=self.health)
        if request.path == "/is_paused" and self.paused is not None:
            return web.json_response({"is_paused": self.paused})
        if (request.method, request.path) == ("POST", TOKENS):
            return self._completion()
        if request.path != "/metrics":
            return web.json_response({"detail": "Not Found"}, status=404)
        registry, labels = CollectorRegistry(), {"model_name": self.model, "engine": "0"}
        self._gauges(registry, labels, "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
        sleep = Gauge("vllm:engine_sleep_state", "Sleep", [*labels, "sleep_state"], registry=registry)
        for state in ("awake", "weights_offloaded", "discard_all"):
            sleep.labels(**labels, sleep_state=state).set(self.awake if state == "awake" else 0)
        tokens = Histogram("vllm:iteration_tokens_total", "Steps", list(labels), registry=registry).labels(**labels)
        for _ in range(self.steps):
            tokens.observe(8)
        return self._metrics(registry)

    def _completion(self) -> web.StreamResponse:
        if self.token is not None:
            return web.Response(body=self.token.body, status=self.token.status, headers=self.token.headers)
        if not self.moves:
            return Silence()
        self.steps += 1
        return web.json_response({"object": "text_completion", "choices": [{"index": 0, "text": ".", "finish_reason": "length"}]})

    def sglang(self, request: web.Request) -> web.StreamResponse:
        """An answer of SGLang's."""
        if request.path == "/health":
            return web.Response(status=self.health)
        if request.path == "/ready" and self.paused is not None:
            return web.Response(status=503 if self.paused else 200)
        if request.path != "/metrics":
            return web.json_response({"detail": "Not Found"}, status=404)
        registry, labels = CollectorRegistry(), {"model_name": self.model, "engine_type": "unified", "tp_rank": "0"}
        self._gauges(registry, labels, "sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage")
        tokens = CounterMetric("sglang:realtime_tokens", "Tokens", [*labels, "mode"], registry=registry)
        tokens.labels(**labels, mode="decode").inc(self.steps * 8)
        return self._metrics(registry)

    def _gauges(self, registry: CollectorRegistry, labels: dict[str, str], running: str, waiting: str, cache: str) -> None:
        self.step()
        for name, value in ((running, self.running), (waiting, self.waiting), (cache, self.cache)):
            Gauge(name, name, list(labels), registry=registry).labels(**labels).set(value)

    def _metrics(self, registry: CollectorRegistry) -> web.Response:
        if self.metrics is not None:
            return web.Response(body=self.metrics.body, status=self.metrics.status)
        return web.Response(body=generate_latest(registry), content_type="text/plain")


class Repository:
    """A Triton server: versions with their states and reasons."""

    def __init__(self, *versions: tuple[str, str, str], model: str = MODEL) -> None:
        self.versions = versions
        self.model = model

    def triton(self, request: web.Request) -> web.StreamResponse:
        """An answer of Triton's; a model that was never loaded has neither version nor state."""
        if (request.method, request.path) != ("POST", "/v2/repository/index"):
            return web.Response(status=404)
        index: list[dict[str, Any]] = [{"name": "idle"}, {"name": "other", "version": "7", "state": "READY"}]
        for version, state, reason in self.versions:
            entry = {"name": self.model, "version": version, "state": state}
            index.append(entry | ({"reason": reason} if reason else {}))
        return web.json_response(index)


class Readiness:
    """A server of the V2 protocol: of KServe, or of MLServer."""

    def __init__(self, *, ready: bool = True, model: str = MODEL) -> None:
        self.ready = ready
        self.model = model

    def kserve(self, request: web.Request) -> web.StreamResponse:
        """An answer of KServe's Python server, which says that it is ready when its model is not."""
        if request.path == "/v2/health/ready":
            return web.json_response({"ready": True})
        if request.path != f"/v2/models/{self.model}/ready":
            return web.json_response({"error": "Model with name x does not exist."}, status=404)
        if not self.ready:
            return web.json_response({"error": f"Model with name {self.model} is not ready."}, status=503)
        return web.json_response({"name": self.model, "ready": True})

    def mlserver(self, request: web.Request) -> web.StreamResponse:
        """An answer of MLServer's: empty, but for a model that it does not have."""
        if request.path != f"/v2/models/{self.model}/ready":
            return web.json_response({"error": "Model x not found"}, status=404)
        return web.Response(status=200 if self.ready else 400)
