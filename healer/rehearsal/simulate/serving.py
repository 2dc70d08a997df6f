"""The requests of a scenario: how many come, and how many are answered.

A workload gets r(t) requests a second: its rate, times 1 + daily * cos(2 pi (t - 14:00) / 24 h), times the factors of the bursts
at t. r is evaluated at each full minute and at the edges of bursts, and stays until the next one.

Its Service spreads them evenly over its endpoints: the n pods that are ready and not being deleted, sick or not. A pod p answers
at most its capacity, and a sick one fails a share of what it gets:

    answered(p) = min(r / n, capacity * left(p)) * (1 - fail(p)) * (1 - fails)
    failed      = r - sum of answered(p); all of r when there is no endpoint

`fails` is the share that fails when all is well. A canary's r is its share of the r of its stable workload, as their route has it
at that moment, and the stable workload gets the rest.

There are no retries, no queues and no timeouts: what is over the capacity fails at once. The rates are constant between two
changes, so that the sums over time are exact.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from healer.lab.apiserver.store import StoreEvent
from healer.lab.kinds import POD
from healer.lab.objects import is_ready
from healer.rehearsal.simulate.cluster_spec import PlayedWorkload, TrafficSpec
from healer.rehearsal.simulate.played import workload_of
from healer.rehearsal.simulate.scenario import SickAnswers
from healer.rehearsal.simulate.splitting import Splits

_PEAK = 14 * 3600.0
_DAY = 86400.0
_MINUTE = 60.0


@dataclass(slots=True)
class ServiceSample:
    """A workload at one time; requests and failures are those since the sample before."""

    at: float
    requests: float
    failed: float
    ready: int
    rate: float


@dataclass(slots=True)
class Service:
    """The requests to one workload."""

    spec: PlayedWorkload
    endpoints: dict[str, SickAnswers] = field(default_factory=dict)
    """The pods that get requests, by uid, and how each answers."""
    rate: float = 0.0
    requests: float = 0.0
    failed: float = 0.0
    degraded: float = 0.0
    """Seconds in which any request failed."""
    since: float = 0.0
    samples: list[ServiceSample] = field(default_factory=list)
    sampled: tuple[float, float] = (0.0, 0.0)
    """The requests and the failures up to the last sample."""
    stale: bool = True
    failing: float = 0.0
    """Requests a second that fail now, unless it is stale."""
    counts: bool = False
    """Whether the requests of each pod are counted."""
    counted: dict[str, list[float]] = field(default_factory=dict)
    """By the uid of the pod: the requests that it got since they were taken, and how many of them failed."""

    @property
    def availability(self) -> float:
        """The share of the requests that was answered."""
        return 1 - self.failed / self.requests if self.requests else 1.0

    def settle(self, now: float) -> None:
        """Count what came since the last time, at the rates as they were."""
        elapsed = now - self.since
        if elapsed > 0:
            failing = self.failing_now()
            if self.counts:
                self._count(elapsed)
            self.requests += self.rate * elapsed
            self.failed += failing * elapsed
            self.degraded += elapsed if failing > 0 else 0.0
        self.since = now

    def failing_now(self) -> float:
        """Requests a second that fail."""
        if self.stale:
            self.failing = self._failing()
            self.stale = False
        return self.failing

    def _failing(self) -> float:
        if not self.endpoints or not self.rate:
            return self.rate
        each = self.rate / len(self.endpoints)
        known: dict[int, float] = {}  # most pods answer alike
        for how in self.endpoints.values():
            if id(how) not in known:
                known[id(how)] = self._lost(each, how)
        return math.fsum(known[id(how)] for how in self.endpoints.values())

    def _lost(self, each: float, how: SickAnswers) -> float:
        """How many of the requests that come to one pod fail."""
        return each - min(each, self.spec.capacity * how.capacity) * (1 - how.fail) * (1 - self.spec.fails)

    def _count(self, elapsed: float) -> None:
        if not self.endpoints or not self.rate:
            return
        each = self.rate / len(self.endpoints)
        for uid, how in self.endpoints.items():
            sums = self.counted.setdefault(uid, [0.0, 0.0])
            sums[0] += each * elapsed
            sums[1] += self._lost(each, how) * elapsed

    def taken(self, uid: str) -> tuple[float, float]:
        """The requests that a pod got since this was asked last, and how many of them failed."""
        got, failed = self.counted.pop(uid, (0.0, 0.0))
        return got, failed

    def measured(self, uid: str, what: str, *, ready: bool) -> float:
        """Of one pod: the share of its requests that fail, its requests over its capacity, or whether it is not ready."""
        if what == "unready":
            return 0.0 if ready else 1.0
        how = self.endpoints.get(uid)
        if how is None or not self.rate:
            return 0.0
        each, able = self.rate / len(self.endpoints), self.spec.capacity * how.capacity
        if what == "saturation":
            return each / able if able else math.inf
        return self._lost(each, how) / each

    def load(self) -> float:
        """The requests over what its endpoints can answer; infinite when they can answer none."""
        able = math.fsum(self.spec.capacity * how.capacity for how in self.endpoints.values())
        return self.rate / able if able else math.inf


class Serving:
    """All Services. `clock` gives seconds from the beginning of the scenario; `answers` says how a pod (by uid) answers."""

    def __init__(
        self,
        workloads: Sequence[PlayedWorkload],
        starts: float,
        clock: Callable[[], float],
        answers: Callable[[str], SickAnswers],
    ) -> None:
        self.services: Mapping[str, Service] = {each.name: Service(each) for each in workloads}
        self.splits = Splits(workloads, self._shifted)
        self.answers = answers
        self._canaries = {each.canary.of: each.name for each in workloads if each.canary is not None}
        self._starts = starts
        self._clock = clock
        self._began = False

    def observe(self, collection: str, change: StoreEvent) -> None:
        """Take a change of the store."""
        if collection != POD.stored_in:
            self.splits.observe(collection, change)
            return
        pod = change.now.object
        service = self.services.get(workload_of(pod))
        if service is None:
            return
        uid = pod["metadata"]["uid"]
        gone = change.type == "DELETED" or "deletionTimestamp" in pod["metadata"]
        serves = not gone and is_ready(pod) and pod["status"].get("phase") == "Running" and _selected(pod, service.spec)
        if serves is (uid in service.endpoints):
            return
        service.settle(self._clock())
        if serves:
            service.endpoints[uid] = self.answers(uid)
        else:
            del service.endpoints[uid]
        service.stale = True

    def answered_otherwise(self, uid: str) -> None:
        """A pod answers in another way from now on."""
        for service in self.services.values():
            if uid in service.endpoints and service.endpoints[uid] != self.answers(uid):
                service.settle(self._clock())
                service.endpoints[uid] = self.answers(uid)
                service.stale = True

    def tick(self) -> None:
        """The traffic of this moment, which stays until the next tick."""
        now = self._clock()
        self._began = True
        for name, service in self.services.items():
            if service.spec.canary is None:
                rate = rate_at(service.spec.traffic, now, self._starts)
                canary = self._canaries.get(name)
                share = 0.0 if canary is None else self.splits.share(canary)
                self._set(service, rate * (1 - share), now)
                if canary is not None:
                    self._set(self.services[canary], rate * share, now)

    def _shifted(self) -> None:
        """A route has other weights: they count at once."""
        if self._began:
            self.tick()

    @staticmethod
    def _set(service: Service, rate: float, now: float) -> None:
        if rate != service.rate:
            service.settle(now)
            service.rate, service.stale = rate, True

    def begin(self) -> None:
        """Count from now on."""
        now = self._clock()
        for service in self.services.values():
            service.settle(now)
            service.requests = service.failed = service.degraded = 0.0

    def served(self, workload: str) -> bool:
        """Whether clients may send it requests: a canary without a share gets none."""
        return self.services[workload].spec.canary is None or self.splits.share(workload) > 0

    def sample(self) -> None:
        """Keep a sample of each Service for the report."""
        now = self._clock()
        for service in self.services.values():
            service.settle(now)
            requests, failed = service.requests - service.sampled[0], service.failed - service.sampled[1]
            service.samples.append(ServiceSample(now, requests, failed, len(service.endpoints), service.rate))
            service.sampled = service.requests, service.failed


def _selected(pod: dict[str, object], spec: PlayedWorkload) -> bool:
    """Whether the Service still selects the pod: a quarantined one has lost the label."""
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    labels = metadata.get("labels") or {}
    return bool(labels.get("app") == spec.labels.get("app", spec.name) and labels.get("version") == spec.labels.get("version"))


def rate_at(traffic: TrafficSpec, now: float, starts: float) -> float:
    """Requests a second at a time of the scenario, which begins at `starts` (seconds) of a day."""
    rate = traffic.rate * (1 + traffic.daily * math.cos(2 * math.pi * (now + starts - _PEAK) / _DAY))
    for burst in traffic.bursts:
        if burst.at <= now < burst.at + burst.lasts:
            rate *= burst.times
    return rate


def edges(workloads: Sequence[PlayedWorkload], lasts: float) -> list[float]:
    """The times at which some rate may change."""
    found = {0.0}
    for traffic in (each.traffic for each in workloads):
        found |= {edge for burst in traffic.bursts for edge in (burst.at, burst.at + burst.lasts)}
        if traffic.rate and traffic.daily:
            found |= {minute * _MINUTE for minute in range(math.ceil(lasts / _MINUTE))}
    return sorted(edge for edge in found if edge < lasts)
