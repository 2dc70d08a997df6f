"""Simulated traffic to two versions of a model, split as the canary Ingress says at that moment."""

import asyncio
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from healer.demo.counters import Counters, Sample
from healer.lab import Lab

PERIOD = 0.1
"""Seconds from one lot of requests to the next."""
LOT = 60
"""Requests in a lot."""
_SECONDS = (0.02, 0.025, 0.03, 0.04, 0.06)
_WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"


class Version:
    """The requests to one Deployment, all to one pod of it; `failing` is the share, 0 to 1, that it answers with an error."""

    def __init__(self, namespace: str, deployment: str, pod: str, failing: float) -> None:
        self.failing = failing
        self._labels = {"namespace": namespace, "deployment": deployment, "pod": pod}
        self._counters = Counters()
        self._requests = 0
        self._due = 0.0

    def take(self) -> None:
        """Answer a request."""
        self._due += self.failing
        fails = self._due >= 1
        self._due -= fails
        self._requests += 1
        self._counters.count("INTERNAL" if fails else "OK", _SECONDS[self._requests % len(_SECONDS)])

    def samples(self) -> Iterator[Sample]:
        """Its series, with the labels that Prometheus gives to what it scrapes from a pod."""
        for sample in self._counters.samples():
            yield Sample(sample.name, {**self._labels, **sample.labels}, sample.value)


class Traffic:
    """Requests from entry to exit. `versions` are stable and canary, `ingress` is the canary's."""

    def __init__(self, lab: Lab, namespace: str, ingress: str, versions: tuple[Version, Version]) -> None:
        self.stable, self.canary = versions
        self._lab = lab
        self._ingress = (namespace, ingress)
        self._credit = 0
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run(), name="traffic")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    @property
    def weight(self) -> int:
        """Percent of the requests that go to the canary."""
        namespace, name = self._ingress
        (ingress,) = [found for found in self._lab.objects("ingresses", namespace) if found["metadata"]["name"] == name]
        return int(ingress["metadata"]["annotations"][_WEIGHT])

    def samples(self) -> Sequence[Sample]:
        """The series of both versions."""
        return [*self.stable.samples(), *self.canary.samples()]

    async def _run(self) -> None:
        while True:
            weight = self.weight
            for _ in range(LOT):
                self._credit += weight
                to_canary = self._credit >= 100
                self._credit -= 100 * to_canary
                (self.canary if to_canary else self.stable).take()
            await asyncio.sleep(PERIOD)
