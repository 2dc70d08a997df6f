"""Stand-ins for vLLM, one for each pod of its Deployment: their health check, and the metrics of an engine that works or hangs.

The names are those of vllm/v1/metrics/loggers.py. A stand-in listens on the address of its pod, so that healer asks it as it asks
a pod in a cluster.
"""

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from healer.demo.cluster import NAMESPACE
from healer.lab import Lab

ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
"""The addresses of the pods. Linux answers on all of 127.0.0.0/8; other systems may not."""
_STEPS = 50.0
"""Steps of an engine in a second."""
_METRICS = """\
vllm:num_requests_running{{{labels}}} {running}
vllm:num_requests_waiting{{{labels}}} {waiting}
vllm:kv_cache_usage_perc{{{labels}}} {cache}
vllm:engine_sleep_state{{{labels},sleep_state="awake"}} 1
vllm:iteration_tokens_total_count{{{labels}}} {steps}
"""


@dataclass(slots=True)
class EngineState:
    """The engine of one pod. It hangs from `hung_at` on (seconds, monotonic)."""

    began: float = field(default_factory=time.monotonic)
    hung_at: float | None = None
    running: int = 8
    waiting: int = 0
    cache: float = 0.4

    def metrics(self, model: str) -> str:
        """What it answers at `/metrics`, in Prometheus' text format."""
        steps = ((time.monotonic() if self.hung_at is None else self.hung_at) - self.began) * _STEPS
        labels = f'model_name="{model}",engine="0"'
        return _METRICS.format(labels=labels, running=self.running, waiting=self.waiting, cache=self.cache, steps=int(steps))


class Engines:
    """The stand-ins, an async context manager. `port` is theirs once it is entered. Raises OSError without the addresses."""

    def __init__(self, lab: Lab, model: str) -> None:
        self.port = 0
        self._lab = lab
        self._model = model
        self._engines: dict[str, EngineState] = {}  # by the pod's uid: a new pod has a new engine
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/is_paused", self._is_paused)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            for address in ADDRESSES:
                await web.TCPSite(self._runner, address, self.port).start()
                self.port = self.port or self._runner.addresses[0][1]
        except OSError:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    def of(self, pod: str) -> EngineState:
        """The engine of a pod, by the pod's name. Raises ValueError when there is none."""
        for found in self._lab.objects("pods", NAMESPACE):
            if found["metadata"]["name"] == pod:
                return self._engine(found["metadata"]["uid"])
        raise ValueError(f"there is no pod {pod}")

    def _engine(self, uid: str) -> EngineState:
        return self._engines.setdefault(uid, EngineState())

    async def _health(self, _: web.Request) -> web.Response:
        """It passes, whether the engine hangs or not: vLLM answers 503 for a dead engine only."""
        return web.Response()

    async def _is_paused(self, _: web.Request) -> web.Response:
        return web.json_response({"is_paused": False})

    async def _metrics(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        for pod in self._lab.objects("pods", NAMESPACE):
            if pod["status"].get("podIP") == address:
                return web.Response(text=self._engine(pod["metadata"]["uid"]).metrics(self._model))
        return web.Response(status=404)
