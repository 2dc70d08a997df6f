"""Stand-ins for TensorFlow Serving, one for each pod of a lab, with synthetic traffic.

What they show is TensorFlow Serving's own: the metrics' names, labels, units and buckets
(tensorflow_serving/servables/tensorflow/util.cc and util/prometheus_exporter.cc) and the status API.
"""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from healer.lab import Lab
from healer.lab.kubelet.behaviour import behaviour_of

MODEL = "model"
METRICS = "/monitoring/prometheus/metrics"
EDGES = [10 * 1.8**k for k in range(33)]
"""Upper edges of the latency's buckets, in microseconds."""
FAST = (20_000.0, 35_000.0, 60_000.0)
SLOW = (900_000.0, 1_200_000.0, 1_500_000.0)
"""Latencies, in microseconds, that requests have in turn."""
_RATE = 100.0
"""Requests a second."""


class ModelServer:
    """One server on a free port, from entry to exit. `slow` may be changed while it serves; it serves _RATE requests a second."""

    def __init__(self) -> None:
        self.slow = False
        self.address = ""
        self._served_until = 0.0
        self._requests = 0
        self._sum = 0.0
        self._buckets = [0] * len(EDGES)
        self._turn = itertools.count()
        app = web.Application()
        app.router.add_get(METRICS, self._metrics)
        app.router.add_get(f"/v1/models/{MODEL}", self._status)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start(self) -> None:
        """Begin to serve."""
        self._served_until = asyncio.get_running_loop().time()
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        """Be gone."""
        await self._runner.cleanup()

    def serve(self) -> None:
        """Serve the requests that have come since the last call, at the speed of now."""
        now = asyncio.get_running_loop().time()
        due = int((now - self._served_until) * _RATE)
        self._served_until += due / _RATE
        self.take(due)

    def take(self, requests: int) -> None:
        """Serve so many requests at once."""
        latencies = SLOW if self.slow else FAST
        for _ in range(requests):
            latency = latencies[next(self._turn) % len(latencies)]
            self._requests += 1
            self._sum += latency
            for index, edge in enumerate(EDGES):
                self._buckets[index] += latency <= edge

    async def _metrics(self, _: web.Request) -> web.Response:
        self.serve()
        return web.Response(text="\n".join(self._lines()) + "\n", content_type="text/plain")

    def _lines(self) -> Iterator[str]:
        name = ":tensorflow:serving:request_count"
        yield f"# TYPE {name} counter"
        yield f'{name}{{model_name="{MODEL}",status="OK"}} {self._requests}'
        name, labels = ":tensorflow:serving:request_latency", f'model_name="{MODEL}",API="Predict",entrypoint="REST"'
        yield f"# TYPE {name} histogram"
        for edge, count in zip(EDGES, self._buckets, strict=True):
            yield f'{name}_bucket{{{labels},le="{edge:g}"}} {count}'
        yield f'{name}_bucket{{{labels},le="+Inf"}} {self._requests}'
        yield f"{name}_sum{{{labels}}} {self._sum:g}"
        yield f"{name}_count{{{labels}}} {self._requests}"

    async def _status(self, _: web.Request) -> web.Response:
        version = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return web.json_response({"model_version_status": [version]})


class ModelServers:
    """A server for every running pod of a lab's namespace, for as long as the pod lives, and slow while the pod is told `slow`.

    `targets` is kept up to date for Prometheus' file_sd, with the labels that a relabelled kubernetes_sd gives.
    """

    def __init__(self, lab: Lab, targets: Path, namespace: str = "production") -> None:
        self.servers: dict[str, ModelServer] = {}
        """By the pod's uid."""
        self._lab = lab
        self._targets = targets
        self._namespace = namespace
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._match()
        self._lab.store.listeners.append(self._look)
        self._following = asyncio.create_task(self._follow(), name="model servers")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lab.store.listeners.remove(self._look)
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        for server in self.servers.values():
            await server.stop()
        if self._following is not None and not self._following.cancelled():
            self._following.result()  # raises what ended it

    def _look(self, collection: str, _: object) -> None:
        if collection == "pods":
            self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._match()

    async def _match(self) -> None:
        """Have the servers that the pods of now ask for."""
        pods = {pod["metadata"]["uid"]: pod for pod in self._lab.objects("pods", self._namespace)}
        running = {uid: pod for uid, pod in pods.items() if pod["status"].get("phase") == "Running"}
        for uid in self.servers.keys() - running.keys():
            await self.servers.pop(uid).stop()
        for uid in running.keys() - self.servers.keys():
            server = ModelServer()
            await server.start()
            self.servers[uid] = server
        for uid, server in self.servers.items():
            slow = behaviour_of(running[uid]) == "slow"
            if slow is not server.slow:
                server.serve()
                server.slow = slow
        self._write([self._entry(running[uid], server) for uid, server in self.servers.items()])

    def _entry(self, pod: dict[str, Any], server: ModelServer) -> dict[str, Any]:
        labels = {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}
        return {"targets": [server.address], "labels": labels}

    def _write(self, entries: list[dict[str, Any]]) -> None:
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(entries), "utf-8")
        fresh.replace(self._targets)
