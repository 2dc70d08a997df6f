"""Simulated traffic to two versions of a model, split as the canary Ingress says at that moment."""

import asyncio
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from healer.demo.cluster import CANARY, NAMESPACE, STABLE, ready_pods, weight
from healer.demo.counters import Counters, Sample
from healer.lab import Lab

LOT, PERIOD = 60, 0.1
"""Requests that come together, and seconds from one such lot to the next."""
USUAL = 0.01
"""The share of requests that fails when all is well."""
_SECONDS = (0.02, 0.025, 0.03, 0.04, 0.06)


class Version:
    """The requests to a version, whose pods of now take turns; `failing` is the share, 0 to 1, that is answered with an error."""

    def __init__(self, lab: Lab, deployment: str) -> None:
        self.failing = USUAL
        self.requests = 0
        self._deployment = deployment
        self._pods = [(pod, Counters()) for pod in ready_pods(lab, deployment)]
        self._due = 0.0

    def take(self) -> None:
        """Answer a request."""
        self._due += self.failing
        fails = self._due >= 1
        self._due -= fails
        self.requests += 1
        _, counters = self._pods[self.requests % len(self._pods)]
        counters.count("INTERNAL" if fails else "OK", _SECONDS[self.requests % len(_SECONDS)])

    def samples(self) -> Iterator[Sample]:
        """Its series, with the labels that Prometheus gives to what it scrapes from a pod."""
        for pod, counters in self._pods:
            labels = {"namespace": NAMESPACE, "deployment": self._deployment, "pod": pod}
            for sample in counters.samples():
                yield Sample(sample.name, labels | sample.labels, sample.value)


class Traffic:
    """Requests from entry to exit, to the pods that both versions have at entry."""

    def __init__(self, lab: Lab) -> None:
        self.versions: dict[str, Version] = {}
        """By Deployment; none before entry."""
        self._lab = lab
        self._credit = 0
        self._answered = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.versions = {name: Version(self._lab, name) for name in (STABLE, CANARY)}
        self._running = asyncio.create_task(self._run(), name="traffic")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()  # raises what ended it

    def samples(self) -> Iterator[Sample]:
        """The series of both versions as they are now."""
        for version in self.versions.values():
            yield from version.samples()

    async def until(self, requests: int) -> None:
        """Return when the canary has answered so many requests."""
        while self.versions[CANARY].requests < requests:
            self._answered.clear()
            await self._answered.wait()

    async def _run(self) -> None:
        while True:
            share = weight(self._lab)
            for _ in range(LOT):
                self._credit += share
                to_canary = self._credit >= 100
                self._credit -= 100 * to_canary
                self.versions[CANARY if to_canary else STABLE].take()
            self._answered.set()
            await asyncio.sleep(PERIOD)
