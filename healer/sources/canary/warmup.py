"""Warm-up: the answers of cold servers are no evidence, and are left out of the canary's windows. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from healer.judge.judge import Window
from healer.model.duration import about
from healer.model.verdict import Counts

Key = frozenset[tuple[str, str]]
"""A series, by its labels."""

_POD_LABELS = ("pod", "pod_name", "kubernetes_pod_name", "instance")


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of one side at one time, by series: all requests, and the bad ones."""

    total: Mapping[Key, float]
    bad: Mapping[Key, float] = field(default_factory=dict)


class _Warm(NamedTuple):
    counts: Counts
    warming: float


@dataclass(frozen=True, slots=True)
class Warmup:
    """How long a server is cold: so many seconds from its first request on, and so many requests."""

    seconds: float = 0.0
    requests: float = 0.0

    def __bool__(self) -> bool:
        return self.seconds > 0 or self.requests > 0

    def __str__(self) -> str:
        return f"{about(self.seconds)} and {self.requests:g} requests a server" if self.requests else about(self.seconds)


class Warmth:
    """Which servers of one side are warm: the answers of the others are no evidence.

    A server is a pod when all series name their pod; else the whole side is one server.
    """

    def __init__(self, warmup: Warmup, *, warm: bool = False) -> None:
        """`warm`: the servers of the first reading served before the trial, so that they are warm from the beginning."""
        self._warmup = warmup
        self._warm = warm
        self._began: dict[str, float] = {}
        self._served: dict[str, float] = {}

    def first(self, reading: Reading) -> None:
        """Note the servers of the first reading. Those that have served nothing yet are cold."""
        if self._warm and not self._began:
            servers = _servers(reading)
            for server in {servers[key] for key, requests in reading.total.items() if requests > 0}:
                self._began[server], self._served[server] = -inf, inf

    def without(self, grown: Reading, at: float) -> _Warm:
        """The requests within the window that ends `at`, without those to servers that were cold when it began, and the number of
        those."""
        if not self._warmup:
            return _Warm(total_of(grown), 0.0)
        self.first(grown)
        servers = _servers(grown)
        cold = {server for server in servers.values() if not self._is_warm(server, at)}
        for key, requests in grown.total.items():
            if requests > 0:
                self._began.setdefault(servers[key], at)
                self._served[servers[key]] = self._served.get(servers[key], 0.0) + requests
        total = {key: each for key, each in grown.total.items() if servers[key] not in cold}
        bad = {key: each for key, each in grown.bad.items() if servers[key] not in cold}
        return _Warm(total_of(Reading(total, bad)), sum(grown.total.values()) - sum(total.values()))

    def _is_warm(self, server: str, at: float) -> bool:
        age, served = at - self._began.get(server, inf), self._served.get(server, 0.0)
        return age >= self._warmup.seconds and served >= self._warmup.requests


def _servers(reading: Reading) -> Mapping[Key, str]:
    """The server of each series, by the first of these labels that all series have; "" for the whole side."""
    keys = [*reading.total, *reading.bad]
    for label in _POD_LABELS:
        named = {key: value for key in keys for name, value in key if name == label}
        if len(named) == len(set(keys)):
            return named
    return dict.fromkeys(keys, "")


BothWarmths = tuple[Warmth, Warmth]
"""The canary's, and stable's."""


def judged(warmth: BothWarmths, canary: Reading, stable: Reading | None, at: float) -> Window:
    """The window that ends `at`, without warm-up."""
    ours = warmth[0].without(canary, at)
    return Window(ours.counts, None if stable is None else warmth[1].without(stable, at).counts, ours.warming)


def total_of(reading: Reading) -> Counts:
    """The requests of all series together."""
    return Counts(sum(reading.total.values()), sum(reading.bad.values()))
