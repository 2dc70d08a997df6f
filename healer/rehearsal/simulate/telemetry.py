"""What the modelled Prometheus has scraped: the counters of the pods, which count the simulated requests, and what
kube-state-metrics says of pods and workloads.

The requests that a pod gets come evenly. How many of them fail is drawn, by the seed: of n requests since the last scrape, of
which a share p fails, Binomial(n, p) are counted as failed. Their times are drawn from a log-normal distribution about what the
workload `takes`.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from healer.lab.objects import Object, is_ready
from healer.rehearsal.simulate.cluster_spec import PlayedWorkload
from healer.rehearsal.simulate.exposed import BAD, OK, POD_METRICS, SERVERS, WORKLOAD_METRICS
from healer.rehearsal.simulate.played import PlayedCluster
from healer.rehearsal.simulate.promql import NAME, Labels, ScrapedSeries
from healer.rehearsal.simulate.serving import Serving

_SPREAD = 0.5
"""The standard deviation of the logarithm of a request's time."""
_MANY = 500.0
"""Failures that are expected, above which their number is drawn from the normal distribution."""
_INF = "+Inf"


@dataclass(slots=True)
class _GrowingSeries:
    """One series that grows."""

    labels: Labels
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    ended: float | None = None


_Found = dict[tuple[object, ...], tuple[Labels, float]]
"""What a scrape finds, by keys that stay from one to the next."""
_SeriesByKey = dict[tuple[object, ...], _GrowingSeries]


@dataclass(slots=True)
class _PodCount:
    """What a pod's server has counted since its container started."""

    restarts: int = -1
    whole: float = 0.0
    """The part of a request that is not counted yet."""
    ok: int = 0
    bad: int = 0
    buckets: list[int] = field(default_factory=list)
    """Requests by their time, not cumulated; the last are those above all edges."""


class Telemetry:
    """Scrapes, and keeps the samples for `keep` seconds. `wall` gives seconds since the epoch."""

    def __init__(
        self,
        cluster: PlayedCluster,
        serving: Serving,
        seed: int,
        wall: Callable[[], float],
        *,
        wanted: Iterable[str],
        keep: float,
    ) -> None:
        """`wanted`: the metrics that somebody may ask for; no others are kept."""
        self._cluster = cluster
        self._serving = serving
        self._chance = random.Random(f"{seed} requests")
        self._wall = wall
        self._wanted = frozenset(wanted)
        self._keep = keep
        self._counts: dict[str, _PodCount] = {}
        """By the uid of the pod."""
        self._pods: dict[str, _SeriesByKey] = {}
        self._workloads: dict[str, _SeriesByKey] = {}
        self._gone: list[_GrowingSeries] = []
        for each in cluster.spec.workloads:
            serving.services[each.name].counts = bool(self._wanted) and each.server is not None

    def select(self, fits: Callable[[Labels], bool]) -> Iterator[ScrapedSeries]:
        """The series whose labels fit."""
        kept = [each for group in (self._pods, self._workloads) for series in group.values() for each in series.values()]
        for each in (*kept, *self._gone):
            if each.times and fits(each.labels):
                yield ScrapedSeries(each.labels, each.times, each.values, each.ended)

    def scrape(self) -> None:
        """Store a sample of each series that is there now."""
        if not self._wanted:
            return
        now = self._wall()
        here = set()
        for workload in self._cluster.spec.workloads:
            pods = self._cluster.pods(workload.name)
            for pod in pods:
                uid = pod["metadata"]["uid"]
                here.add(uid)
                self._store(self._pods.setdefault(uid, {}), self._of_pod(workload, pod, uid), now)
            self._store(self._workloads.setdefault(workload.name, {}), self._of_workload(workload), now)
        for uid in [*self._pods.keys() - here]:
            self._store(self._pods[uid], {}, now)
            self._gone += self._pods.pop(uid).values()
            self._counts.pop(uid, None)
        self._gone = [each for each in self._gone if each.times and each.times[-1] > now - self._keep]

    def _store(self, kept: _SeriesByKey, found: _Found, now: float) -> None:
        """Append the samples; a series that is not found any more has ended (Prometheus marks it as stale)."""
        for key, (labels, value) in found.items():
            series = kept.setdefault(key, _GrowingSeries(labels))
            series.times.append(now)
            series.values.append(value)
            series.ended = None
            if series.times[0] < now - 2 * self._keep:
                half = len(series.times) // 2
                del series.times[:half], series.values[:half]
        for key, series in kept.items():
            if key not in found and series.ended is None:
                series.ended = now

    def _of_workload(self, workload: PlayedWorkload) -> _Found:
        names = WORKLOAD_METRICS[workload.kind]
        if not self._wanted & {*names}:
            return {}
        values = (float(self._cluster.desired(workload.name)), float(self._cluster.ready(workload.name)))
        about = {"namespace": workload.namespace, workload.kind.lower(): workload.name}
        return {(name,): ({NAME: name, **about}, value) for name, value in zip(names, values, strict=True)}

    def _of_pod(self, workload: PlayedWorkload, pod: Object, uid: str) -> _Found:
        about = {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}
        statuses: list[Object] = (pod.get("status") or {}).get("containerStatuses") or [{}]
        status = statuses[0]
        runs = "running" in (status.get("state") or {})
        found: _Found = {}
        if self._wanted & {*POD_METRICS}:
            restarts = float(status.get("restartCount", 0))
            found[("up",)] = {NAME: "up", **about, "job": "pods"}, float(runs)
            found[("ready",)] = {NAME: "kube_pod_status_ready", **about, "condition": "true"}, float(is_ready(pod))
            found[("restarts",)] = (
                {NAME: "kube_pod_container_status_restarts_total", **about, "container": "server"},
                restarts,
            )
        if runs and workload.server is not None:
            self._count(workload, uid, int(status.get("restartCount", 0)))
            found |= self._of_server(workload.server, uid, about)
        return found

    def _count(self, workload: PlayedWorkload, uid: str, restarts: int) -> None:
        """Draw what the server has counted since the last scrape."""
        count = self._counts.setdefault(uid, _PodCount())
        if restarts != count.restarts:  # a new process counts from 0
            self._counts[uid] = count = _PodCount(restarts)
        got, bad = self._serving.services[workload.name].taken(uid)
        if not got:
            return
        whole = got + count.whole
        number = math.floor(whole + 1e-9)
        count.whole = whole - number
        failed = binomial(self._chance, number, min(1.0, bad / got))
        count.bad += failed
        count.ok += number - failed
        histogram = SERVERS[workload.server or ""].histogram
        if histogram is not None and histogram.metric in self._wanted:
            timed = number if histogram.all else number - failed
            takes = workload.takes * self._serving.answers(uid).slower * histogram.scale
            drawn = spread(self._chance, timed, takes, histogram.edges)
            count.buckets = [old + new for old, new in zip(count.buckets or [0] * len(drawn), drawn, strict=True)]

    def _of_server(self, server: str, uid: str, about: Labels) -> _Found:
        exposed, count = SERVERS[server], self._counts[uid]
        found: _Found = {}
        for number, each in enumerate(exposed.counters):
            value = {OK: count.ok, BAD: count.bad}[each.counts]
            if each.metric in self._wanted and (value or not each.late):
                found[(each.metric, number)] = {NAME: each.metric, **about, **each.labels}, float(value)
        histogram = exposed.histogram
        if histogram is not None and histogram.metric in self._wanted:
            below = 0
            for edge, number in zip((*histogram.edges, math.inf), count.buckets or [0] * (len(histogram.edges) + 1), strict=True):
                below += number
                le = _INF if edge == math.inf else f"{edge:.12g}"
                found[(histogram.metric, le)] = {NAME: histogram.metric, **about, **histogram.labels, "le": le}, float(below)
        return found


def binomial(chance: random.Random, number: int, share: float) -> int:
    """How many of so many happen, each with the same chance. Above 500 that are expected, as the normal distribution has it."""
    if number <= 0 or share <= 0:
        return 0
    if share >= 1:
        return number
    if share > 0.5:
        return number - binomial(chance, number, 1 - share)
    if number * share > _MANY:
        drawn = chance.gauss(number * share, math.sqrt(number * share * (1 - share)))
        return min(number, max(0, round(drawn)))
    found, at, of_gap = 0, 0, math.log1p(-share)
    draw, log = chance.random, math.log
    while (at := at + 1 + int(log(1 - draw()) / of_gap)) <= number:  # the gaps are geometric
        found += 1
    return found


def spread(chance: random.Random, number: int, takes: float, edges: Sequence[float]) -> list[int]:
    """How many of so many requests fall below each edge and above the one before it; the last: above all edges."""
    left, below, found = number, 0.0, []
    for share in _shares(takes, tuple(edges)):
        drawn = binomial(chance, left, (share - below) / (1 - below)) if left and below < 1 else 0
        found.append(drawn)
        left, below = left - drawn, share
    return [*found, left]


@lru_cache(512)
def _shares(takes: float, edges: tuple[float, ...]) -> tuple[float, ...]:
    """Which share of all requests falls below each edge."""
    return tuple(0.5 * (1 + math.erf(math.log(edge / takes) / (_SPREAD * math.sqrt(2)))) for edge in edges)
