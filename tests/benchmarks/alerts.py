"""Alerts in, evictions out: how soon, and how many a second."""

import asyncio
import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.benchmarks.apiserver import health
from tests.benchmarks.daemon import ApiServer, Healer, api_server, healer
from tests.benchmarks.machine import Cores, Unmeasurable, pinned
from tests.benchmarks.objects import REPLICAS, Workload
from tests.benchmarks.report import Figure

SAMPLES = 250
BACKGROUND = 1_000
"""Pod events a second."""
PACE = 0.015
"""Seconds between two alerts, on average."""
WORKLOADS = 600
CONNECTIONS = 8
POSTS = {1: 6_000, 50: 400}
"""Alerts in a POST -> how many POSTs."""


@dataclass(slots=True)
class Sent:
    """What became of alerts: accepted with 200, put off with 503 and sent again."""

    accepted: int = 0
    again: int = 0
    seconds: float = 0.0


def reaction(cores: Cores, runs: int) -> list[Figure]:
    """From the POST of an alert to the POST of the eviction, each of a pod of another workload, amid other events."""
    found: list[list[float]] = []
    lost: list[int] = []
    busy: list[float] = []
    robbed: list[float] = []
    for _ in range(runs):
        with api_server(cores, WORKLOADS * REPLICAS) as api, healer(cores, api) as daemon, pinned(cores.load):
            api.ask("POST", f"/bench/background?rate={BACKGROUND}")
            time.sleep(1)  # the pace is to settle
            used, since = daemon.child.cpu(), time.monotonic()
            time.sleep(1)
            busy.append((daemon.child.cpu() - used) / (time.monotonic() - since) * 100)
            waited, since = daemon.child.waited(), time.monotonic()
            sent = asyncio.run(_one_by_one(daemon, _calm()[:SAMPLES]))
            robbed.append((daemon.child.waited() - waited) / (time.monotonic() - since) * 100)
            evicted = _evictions(api, len(sent))
            api.ask("POST", "/bench/background?rate=0")
            found.append(sorted(evicted[name] - at for name, at in sent.items() if name in evicted))
            lost.append(len(sent.keys() - evicted.keys()))
    if not all(found):
        raise Unmeasurable("not one alert led to an eviction")
    return [
        Figure("alert posted to eviction requested, p50", "ms", tuple(_quantile(times, 0.50) * 1e3 for times in found)),
        Figure(
            "alert posted to eviction requested, p99", "ms", tuple(_quantile(times, 0.99) * 1e3 for times in found), ("<", 50)
        ),
        Figure("alert posted to eviction requested, worst", "ms", tuple(times[-1] * 1e3 for times in found)),
        Figure(f"signals lost, of {SAMPLES}", "", tuple(map(float, lost)), ("=", 0)),
        Figure("the daemon was ready to run, but other processes used its core", "% of the time", tuple(robbed)),
        Figure(f"CPU at {BACKGROUND:,} pod events/s alone", "% of a core", tuple(busy)),
    ]


def intake(cores: Cores, runs: int) -> list[Figure]:
    """Alerts a second that the webhook takes: each is about a pod, a rule is about it, and it is decided before the answer."""
    rates: dict[int, list[float]] = {size: [] for size in POSTS}
    lost: list[float] = []
    for _ in range(runs):
        with api_server(cores, WORKLOADS * REPLICAS) as api, healer(cores, api) as daemon, pinned(cores.load):
            pods = [(workload, replica) for workload in _calm() for replica in range(REPLICAS)]
            asyncio.run(_flood(daemon, _posts(pods, 50, len(pods) // 50)))  # opens the incidents, and lets them act
            _evictions(api, len(_calm()))
            gone = 0.0
            for size, posts in POSTS.items():
                before = daemon.counted("healer_signals_total", source="alert")
                sent = asyncio.run(_flood(daemon, _posts(pods, size, posts)))
                gone += size * posts - (daemon.counted("healer_signals_total", source="alert") - before)
                rates[size].append(sent.accepted / sent.seconds)
            lost.append(gone)
    return [
        *(Figure(f"alerts taken and decided, {size} a POST", "alerts/s", tuple(rates[size])) for size in POSTS),
        Figure("alerts lost", "", tuple(lost), ("=", 0)),
    ]


def _calm() -> list[Workload]:
    """The workloads of which no pod is sick by itself."""
    sick = {n // REPLICAS for n in range(WORKLOADS * REPLICAS) if any(health(n, v) == "crashing" for v in range(2))}
    return [Workload(f"tfs-{number:05}") for number in range(WORKLOADS) if number not in sick]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank."""
    return ordered[math.ceil(len(ordered) * share) - 1]


async def _one_by_one(daemon: Healer, workloads: Sequence[Workload]) -> dict[str, float]:
    """An alert on a pod of each workload, at random intervals; returns when each was posted, by namespace/name of the pod."""
    sent: dict[str, float] = {}
    dice = random.Random(1)
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    for workload in workloads:
        request = _post([(workload, 0)])
        await asyncio.sleep(dice.expovariate(1 / PACE))
        sent[f"{workload.namespace}/{workload.pod(0)}"] = time.monotonic()
        status, body = await _exchange(reader, writer, request)
        if status != 200:
            raise Unmeasurable(f"an alert was answered {status}: {body!r}")
    writer.close()
    return sent


def _evictions(api: ApiServer, wanted: int) -> dict[str, float]:
    """When each eviction came; waits until all have, or none came for two seconds."""
    found: dict[str, float] = {}
    grew = time.monotonic()
    while len(found) < wanted and time.monotonic() < grew + 2:
        now = {name: at for name, at in api.ask("GET", "/bench/evictions").items() if name.startswith("production/")}
        if len(now) > len(found):
            found, grew = now, time.monotonic()
        time.sleep(0.1)
    return found


async def _flood(daemon: Healer, posts: list[bytes]) -> Sent:
    """All POSTs as fast as they are answered; one that is put off is sent again, as Alertmanager would."""
    sent = Sent()
    left = iter(posts)

    async def sender() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        for request in left:
            while (answer := await _exchange(reader, writer, request))[0] == 503:
                sent.again += 1
                await asyncio.sleep(0.05)
            if answer[0] != 200:
                raise Unmeasurable(f"alerts were answered {answer[0]}: {answer[1]!r}")
            sent.accepted += json.loads(answer[1])["accepted"]
        writer.close()

    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(sender())
    sent.seconds = time.monotonic() - begun
    return sent


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """One request on a connection that stays open. By hand, for an HTTP client costs more than what is measured."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
    return int(head.split(None, 2)[1]), await reader.readexactly(length)


def _posts(pods: Sequence[tuple[Workload, int]], size: int, count: int) -> list[bytes]:
    """POSTs of `size` alerts, going round the pods."""
    return [_post([pods[(number * size + offset) % len(pods)] for offset in range(size)]) for number in range(count)]


def _post(pods: Sequence[tuple[Workload, int]]) -> bytes:
    """A request as Alertmanager sends it, with an alert that fires for each pod."""
    begun = datetime.now(UTC).isoformat()
    alerts = [
        {
            "status": "firing",
            "labels": {
                "alertname": "HighLatency",
                "namespace": workload.namespace,
                "pod": workload.pod(replica),
                "job": "serving",
            },
            "annotations": {"summary": "p99 latency above 500 ms for 5 minutes"},
            "startsAt": begun,
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph",
            "fingerprint": f"{workload.uid}-{replica}",
        }
        for workload, replica in pods
    ]
    body = json.dumps({"version": "4", "groupKey": "{}", "status": "firing", "receiver": "healer", "alerts": alerts}).encode()
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return b"POST /webhooks/alertmanager HTTP/1.1\r\n" + head.encode() + body
