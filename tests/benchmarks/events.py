"""Pod events a second, from the socket to the engine, against the official client's watch; and memory with many pods."""

import tempfile
import time
from pathlib import Path

from tests.benchmarks.daemon import ApiServer, Healer, api_server, healer, write_kubeconfig
from tests.benchmarks.decisions import pod_rules
from tests.benchmarks.machine import Cores, process
from tests.benchmarks.report import Figure

EVENTS = 40_000
OFFICIAL_EVENTS = 1_500
PODS = 1_200
MANY = 10_000


def throughput(cores: Cores, runs: int) -> list[Figure]:
    """The two clients in turn."""
    ours: list[float] = []
    theirs: list[float] = []
    robbed: list[float] = []
    for _ in range(runs):
        with api_server(cores, PODS) as api:
            with healer(cores, api) as daemon:
                waited, since = daemon.child.waited(), time.monotonic()
                ours.append(_rate(api, daemon))
                robbed.append((daemon.child.waited() - waited) / (time.monotonic() - since) * 100)
            theirs.append(_official(cores, api))
    return [
        Figure("healer: watched pods of 6 kB, socket to engine", "events/s", tuple(ours), (">=", 20_000)),
        Figure("kubernetes.aio.watch: the same, socket to V1Pod", "events/s", tuple(theirs)),
        Figure("ratio, run by run", "x", tuple(our / their for our, their in zip(ours, theirs, strict=True)), (">=", 15)),
        Figure("healer was ready to run, but other processes used its core", "% of the time", tuple(robbed)),
    ]


def by_rules(cores: Cores, runs: int) -> list[Figure]:
    """Pod events with few rules loaded and with many."""
    ratios: list[float] = []
    for _ in range(runs):
        cost = []
        for count in (10, 1_000):
            with api_server(cores, PODS) as api, healer(cores, api, further=pod_rules(count)) as daemon:
                cost.append(1 / _rate(api, daemon))
        ratios.append(cost[1] / cost[0])
    return [Figure("a pod event: 1,000 rules against 10, beside the rule pack", "x", tuple(ratios), ("<=", 2))]


def tracking(cores: Cores, runs: int) -> list[Figure]:
    """10,000 pods: memory once they are listed, and once 12,000 changes of them came."""
    listed: list[float] = []
    changed: list[float] = []
    peak: list[float] = []
    start: list[float] = []
    for _ in range(runs):
        with api_server(cores, MANY) as api, healer(cores, api) as daemon:
            start.append(daemon.start)
            listed.append(daemon.child.memory())
            api.ask("POST", "/bench/burst?events=12000")
            changed.append(daemon.child.memory())
            peak.append(daemon.child.memory("VmHWM"))
    return [
        Figure("10,000 pods: RSS when ready", "MB", tuple(listed), ("<", 200)),
        Figure("10,000 pods: RSS after 12,000 changes", "MB", tuple(changed), ("<", 200)),
        Figure("10,000 pods: peak RSS", "MB", tuple(peak)),
        Figure("10,000 pods: start to ready", "s", tuple(start)),
    ]


def starting(cores: Cores, runs: int) -> list[Figure]:
    """From `healer run` to readiness, in a small cluster."""
    start: list[float] = []
    idle: list[float] = []
    many: list[float] = []
    with api_server(cores, 3) as api:
        for _ in range(runs):
            with healer(cores, api) as daemon:
                start.append(daemon.start)
                idle.append(daemon.child.memory())
            with healer(cores, api, further=pod_rules(1_000)) as daemon:
                many.append(daemon.start)
    return [
        Figure("start to ready", "s", tuple(start)),
        Figure("start to ready with 1,000 rules", "s", tuple(many)),
        Figure("RSS, idle", "MB", tuple(idle)),
    ]


def _rate(api: ApiServer, daemon: Healer) -> float:
    api.ask("POST", f"/bench/burst?events={EVENTS}")  # before all that can fire does fire, events are cheaper
    sent = api.ask("POST", f"/bench/burst?events={EVENTS}")
    return float(sent["events"] / sent["seconds"])


def _official(cores: Cores, api: ApiServer) -> float:
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = write_kubeconfig(Path(folder), api)
        with process(cores.measured, "-m", "tests.benchmarks.official", str(kubeconfig)):
            sent = api.ask("POST", f"/bench/burst?events={OFFICIAL_EVENTS}")
    return float(sent["events"] / sent["seconds"])
