"""Traffic to a stable version and its canary: stand-ins for TensorFlow Serving, and a router that heeds the route's weights.

The servers answer over HTTP and count as TensorFlow Serving does. Latency is what they *record*, not what they take: a request
that counts as slow is answered as fast as any, so that no test waits for it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from healer.demo.counters import Counters, CounterSample
from healer.lab import Lab
from healer.lab.objects import Object
from tests.support.processes import PATIENCE

MODEL = "model"
METRICS = "/monitoring/prometheus/metrics"
PREDICT = f"/v1/models/{MODEL}:predict"
FAST, SLOW = 0.03, 0.9
"""Seconds that a request is recorded to have taken."""
_BATCH, _PAUSE = 20, 0.1
"""Requests that are under way at once, and seconds from one such batch to the next: 200 requests a second or fewer, as a rule."""


class Share:
    """Says of each of a row of requests whether it is one of a share of them, spread evenly: no chance, so no luck in a test."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        self._due = 0.0

    def next(self) -> bool:
        """Whether this one is."""
        self._due += self.value
        hit = self._due >= 1 - 1e-9
        self._due -= hit
        return hit


class ModelServer:
    """The server of one pod, on a free port from entry to exit. The shares may be changed while it serves."""

    def __init__(self) -> None:
        self.failing = Share()
        """Answered 500, and counted as INTERNAL."""
        self.invalid = Share()
        """Of the others: answered 400, and counted as INVALID_ARGUMENT, for the caller is to blame."""
        self.slow = Share()
        """Of the rest, which succeed: recorded as SLOW."""
        self.address = ""
        self.times = 1
        """So many requests each one is counted as."""
        self._counters = Counters(MODEL)
        self._scraped = asyncio.Condition()
        self._scrapes = 0
        app = web.Application()
        app.router.add_post(PREDICT, self._predict)
        app.router.add_get(METRICS, self._metrics)
        app.router.add_get(f"/v1/models/{MODEL}", self._status)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    async def scraped(self, times: int = 2) -> None:
        """Return when Prometheus has come so many times more: when it comes again it has stored what it got before."""
        goal = self._scrapes + times
        async with self._scraped, asyncio.timeout(PATIENCE):
            await self._scraped.wait_for(lambda: self._scrapes >= goal)

    async def _predict(self, request: web.Request) -> web.Response:
        await request.read()
        if self.failing.next():
            self._counters.count("INTERNAL", FAST, self.times)
            return web.json_response({"error": "the model could not be run"}, status=500)
        if self.invalid.next():
            self._counters.count("INVALID_ARGUMENT", FAST, self.times)
            return web.json_response({"error": "the input has the wrong shape"}, status=400)
        self._counters.count("OK", SLOW if self.slow.next() else FAST, self.times)
        return web.json_response({"predictions": [0.5]})

    async def _metrics(self, _: web.Request) -> web.Response:
        async with self._scraped:
            self._scrapes += 1
            self._scraped.notify_all()
        return web.Response(text=exposition(self._counters.samples()), content_type="text/plain")

    async def _status(self, _: web.Request) -> web.Response:
        version = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return web.json_response({"model_version_status": [version]})


class Version:
    """One side of the split: a Deployment and its Service, both of the name `name`, with a server for each of its pods."""

    def __init__(self, name: str, namespace: str, servers: Mapping[str, ModelServer]) -> None:
        self.name = name
        self._namespace = namespace
        self._servers = servers
        self._turn = 0

    def behave(self, *, failing: float = 0.0, invalid: float = 0.0, slow: float = 0.0, times: int = 1) -> None:
        """Answer like this from now on: shares from 0 to 1. `times`: so many requests each one is counted as, so that no test has
        to send tens of thousands; those that fail then come in bursts of so many."""
        for server in self._servers.values():
            server.failing.value, server.invalid.value, server.slow.value = failing, invalid, slow
            server.times = times

    async def scraped(self) -> None:
        """Return when Prometheus has stored what all its servers show now."""
        await asyncio.gather(*(server.scraped() for server in self._servers.values()))

    def address(self) -> str:
        """Where the next request goes: the pods take turns."""
        self._turn += 1
        servers = list(self._servers.values())
        return servers[self._turn % len(servers)].address

    def targets(self) -> list[dict[str, Any]]:
        """Prometheus' static_configs, with the labels that a relabelled kubernetes_sd gives."""
        labels = {"namespace": self._namespace, "deployment": self.name}
        return [{"targets": [server.address], "labels": {**labels, "pod": pod}} for pod, server in self._servers.items()]


@asynccontextmanager
async def serving(lab: Lab, namespace: str, *names: str) -> AsyncIterator[list[Version]]:
    """Servers for the pods that these Deployments have at this moment; a pod that comes later has none."""
    everywhere = [pod["metadata"]["name"] for pod in lab.objects("pods", namespace)]
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            pods = [pod for pod in everywhere if pod.startswith(f"{name}-")]
            assert pods, f"Deployment {name} has no pods yet"
            found.append(Version(name, namespace, {pod: await stack.enter_async_context(ModelServer()) for pod in pods}))
        yield found


class Traffic:
    """Requests without end, from entry to exit, each to the version whose turn it is by the weights that the route has then.

    Before, each server gets one, as whoever rolls it out would send it: TensorFlow Serving shows no counters before. It plays
    the router and its clients in one: the route is read from the lab before each batch of requests, and followed smoothly
    (nginx's weighted round robin), so that a weight of 20 % gets one request of any five.
    """

    def __init__(self, lab: Lab, namespace: str, route: tuple[str, str], versions: Sequence[Version]) -> None:
        self.sent: Counter[str] = Counter()
        """Requests that were answered, by version."""
        self.open: Counter[str] = Counter()
        """Requests of each batch that come by connections which are open to that version, whatever the weights are by now."""
        self.batch = _BATCH
        """Requests that are under way at once: more, where a test needs many and no more looks at them."""
        self._lab = lab
        self._namespace = namespace
        self._kind, self._name = route
        self._versions = {version.name: version for version in versions}
        self._credit: Counter[str] = Counter()
        self._answered = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send(), name="traffic")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._sending is not None
        self._sending.cancel()
        await asyncio.wait([self._sending])
        if not self._sending.cancelled():
            self._sending.result()  # raises what ended it

    def weights(self) -> dict[str, int]:
        """The weight of each version, as the route says at this moment; all is the first one's as long as there is no route."""
        routes = self._lab.objects(_RESOURCES[self._kind], self._namespace)
        found = [_WEIGHTS[self._kind](r, list(self._versions)) for r in routes if r["metadata"]["name"] == self._name]
        weights = found[0] if found else {next(iter(self._versions)): 100}
        return {name: weights.get(name, 0) for name in self._versions}

    async def until(self, requests: int, name: str | None = None, within: float = PATIENCE) -> None:
        """Return when so many more requests were answered, by that version or by all."""
        goal = self._answers(name) + requests
        async with asyncio.timeout(within):
            while self._answers(name) < goal:
                self._answered.clear()
                await self._answered.wait()

    def _answers(self, name: str | None) -> int:
        return self.sent.total() if name is None else self.sent[name]

    async def _send(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            everybody = [version for version in self._versions.values() for _ in version.targets()]
            await asyncio.gather(*(self._ask(session, version) for version in everybody))
            while True:
                weights = self.weights()
                kept = [self._versions[name] for name in self.open.elements()]
                routed = [self._next(weights) for _ in range(self.batch)]
                await asyncio.gather(*(self._ask(session, version) for version in (*routed, *kept)))
                self._answered.set()
                await asyncio.sleep(_PAUSE)

    def _next(self, weights: Mapping[str, int]) -> Version:
        for name, weight in weights.items():
            self._credit[name] += weight
        chosen = max(weights, key=lambda name: self._credit[name])
        self._credit[chosen] -= sum(weights.values())
        return self._versions[chosen]

    async def _ask(self, session: aiohttp.ClientSession, version: Version) -> None:
        async with session.post(f"http://{version.address()}{PREDICT}", json={"instances": [[1.0]]}) as answer:
            await answer.read()
        self.sent[version.name] += 1


# what the routes say, as their routers read them: name of the Service -> weight


def _ingress(route: Object, names: Sequence[str]) -> dict[str, int]:
    """ingress-nginx: the canary's Ingress names the canary, the rest of the total goes to the other version."""
    annotations = route["metadata"].get("annotations", {})
    prefix = "nginx.ingress.kubernetes.io/"
    total = int(annotations.get(f"{prefix}canary-weight-total", "100"))
    weight = int(annotations.get(f"{prefix}canary-weight", "0")) if annotations.get(f"{prefix}canary") == "true" else 0
    canary = route["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
    return {name: weight if name == canary else total - weight for name in names}


def _http_route(route: Object, _: Sequence[str]) -> dict[str, int]:
    """Gateway API: the first rule; a weight that is not written is 1."""
    return {ref["name"]: ref.get("weight", 1) for ref in route["spec"]["rules"][0]["backendRefs"]}


def _virtual_service(route: Object, _: Sequence[str]) -> dict[str, int]:
    """Istio: the first HTTP route; hosts may be short names or whole."""
    return {each["destination"]["host"].partition(".")[0]: each["weight"] for each in route["spec"]["http"][0]["route"]}


_WEIGHTS: Mapping[str, Callable[[Object, Sequence[str]], dict[str, int]]] = {
    "Ingress": _ingress,
    "HTTPRoute": _http_route,
    "VirtualService": _virtual_service,
}
_RESOURCES = {"Ingress": "ingresses", "HTTPRoute": "httproutes", "VirtualService": "virtualservices"}


def exposition(samples: Iterable[CounterSample]) -> str:
    """As Prometheus scrapes it."""
    return "".join(f"{sample.name}{{{_labels(sample)}}} {sample.value}\n" for sample in samples)


def _labels(sample: CounterSample) -> str:
    return ",".join(f"{name}={json.dumps(value)}" for name, value in sample.labels.items())
