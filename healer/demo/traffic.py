"""Simulated traffic to two versions of a model, split by the current weight of the canary Ingress."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from healer.demo.cluster import CANARY, NAMESPACE, STABLE, ready_pods, weight
from healer.demo.counters import Counters, CounterSample
from healer.lab import Lab

BATCH, PERIOD = 3000, 0.1
"""Requests in a batch, and seconds between batches."""
_MOST_SCRAPES = 100
"""The number of scrapes kept."""
_STABLE_FAILING = 0.01
"""The share of requests, 0 to 1, that the stable version fails. The canary fails none at first."""
_SECONDS = (0.02, 0.025, 0.03, 0.04, 0.06)


class VersionTraffic:
    """The requests to a version. Its present pods take turns. `failing` is the share of errors, 0 to 1."""

    def __init__(self, lab: Lab, deployment: str, failing: float) -> None:
        self.failing = failing
        self.requests = 0
        self._deployment = deployment
        self._pods = [(pod, Counters()) for pod in ready_pods(lab, deployment)]
        self._failures_due = 0.0

    def answer_request(self) -> None:
        """Count one request as answered."""
        self._failures_due += self.failing
        fails = self._failures_due >= 1
        self._failures_due -= fails
        self.requests += 1
        _, counters = self._pods[self.requests % len(self._pods)]
        counters.count("INTERNAL" if fails else "OK", _SECONDS[self.requests % len(_SECONDS)])

    def samples(self) -> Iterator[CounterSample]:
        """The series of the version, with the labels that Prometheus adds when it scrapes a pod."""
        for pod, counters in self._pods:
            labels = {"namespace": NAMESPACE, "deployment": self._deployment, "pod": pod}
            for sample in counters.samples():
                yield CounterSample(sample.name, labels | sample.labels, sample.value)


class Traffic:
    """Sends requests from entry to exit to the pods that both versions have at entry. Each version gets one request first.

    The servers' counters are recorded after each batch, as if Prometheus scraped them. The last _MOST_SCRAPES are kept.
    """

    def __init__(self, lab: Lab) -> None:
        self.versions: dict[str, VersionTraffic] = {}
        """The traffic by Deployment. Empty before entry."""
        self._lab = lab
        self._credit = 0
        self._scrapes: deque[tuple[float, list[CounterSample]]] = deque(maxlen=_MOST_SCRAPES)
        self._sent = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.versions = {
            STABLE: VersionTraffic(self._lab, STABLE, _STABLE_FAILING),
            CANARY: VersionTraffic(self._lab, CANARY, 0.0),
        }
        for version in self.versions.values():
            version.answer_request()
        self._running = asyncio.create_task(self._run(), name="traffic")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()  # raises the exception that ended the task

    def samples(self, at: float) -> list[CounterSample]:
        """The series of both versions at the last scrape before `at`, in seconds since the epoch."""
        return next((samples for scraped, samples in reversed(self._scrapes) if scraped <= at), [])

    async def until(self, deployment: str, requests: int) -> None:
        """Return when a version has answered at least `requests` requests."""
        while self.versions[deployment].requests < requests:
            self._sent.clear()
            await self._sent.wait()

    async def _run(self) -> None:
        while True:
            share = weight(self._lab)
            for _ in range(BATCH):
                self._credit += share
                to_canary = self._credit >= 100
                self._credit -= 100 * to_canary
                self.versions[CANARY if to_canary else STABLE].answer_request()
            self._scrapes.append((time.time(), [s for version in self.versions.values() for s in version.samples()]))
            self._sent.set()
            await asyncio.sleep(PERIOD)
