"""The page's stream of a large state, on the loop of the daemon: `python -m tests.benchmarks.page` serves it.

The state is put together by the daemon's own report from a view and from incidents, as in production. It prints its port, and
when a line comes the longest turn of its loop.
"""

import asyncio
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
from prometheus_client import CollectorRegistry

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import vocabulary
from healer.daemon.state import Sight, StateReport
from healer.engine.engine import Engine
from healer.http.health import Health
from healer.http.server import Server
from healer.http.state import StateRoutes
from healer.http.stream import STREAM_PATH
from healer.model.incident import Entry, Incident, Reason, SickTarget, State, Symptom
from healer.model.kube import Pod, ReplicaSet
from healer.model.target import Target
from healer.model.view import View
from healer.rules.loading import load_all
from healer.rules.rulebook import Rulebook
from healer.settings import Isolated
from healer.settings.http import HttpSettings
from healer.sinks.base import SinkMeters
from healer.sinks.group import Sinks
from healer.workloads.deployment import Deployment
from healer.workloads.registry import WORKLOADS
from tests.benchmarks.decisions import rules
from tests.benchmarks.machine import Cores, Unmeasurable, pinned, process
from tests.benchmarks.objects import REPLICAS, Workload, pod
from tests.benchmarks.report import Figure
from tests.support.world import tuned

FLEET, INCIDENTS, READERS = 500, 1_000, 5
_LOOKS = 3
"""Changes that each reader hears of before the end."""
_AT = 1_790_000_000.0
"""When the incidents began, in seconds since the epoch."""
_PAUSE = 0.001
"""Seconds between two looks at what the loop has used."""


def turns(cores: Cores, runs: int) -> list[Figure]:
    """How long the loop is held while pages read."""
    measured = [_measured(cores) for _ in range(runs)]
    beside = f"{READERS} pages, one incident changes with each look"
    return [
        Figure(
            f"longest turn of the loop, in its own CPU time; {beside}", "ms", tuple(longest for longest, _ in measured), ("<", 50)
        ),
        Figure("from a page's request to the whole state", "ms", tuple(whole for _, whole in measured)),
    ]


def _measured(cores: Cores) -> tuple[float, float]:
    """The longest turn, and how long the slowest page waits for the whole."""
    with process(cores.measured, "-m", "tests.benchmarks.page") as server, pinned(cores.load):
        url = f"http://127.0.0.1:{int(server.said())}{STREAM_PATH}"
        with ThreadPoolExecutor(READERS) as pages:
            wholes = list(pages.map(_read, [url] * READERS))
        assert server.running.stdin is not None  # a pipe, see process()
        server.running.stdin.write("\n")
        server.running.stdin.flush()
        return float(server.said()), max(wholes) * 1e3


def _read(url: str) -> float:
    """Read the whole and some changes, as a page does. Returns the seconds until the whole was there."""
    begun, seen, whole = time.perf_counter(), 0, 0.0
    with urllib.request.urlopen(url, timeout=60) as answer:
        while seen <= _LOOKS:
            if not (line := answer.readline()):
                raise Unmeasurable("the stream of a page has ended")
            if line.startswith(b"data: "):
                seen += 1
                whole = whole or time.perf_counter() - begun
    return whole


class _Cluster:
    """A view of workloads, and incidents of which one changes each time that they are asked for."""

    def __init__(self) -> None:
        loaded, problems = load_all({"many.yaml": rules(100, "same name, other namespaces")}, vocabulary())
        if problems:
            raise Unmeasurable(str(problems[0]))
        self.rules = Rulebook(loaded)
        self.workloads = [Workload(f"tfs-{number:05}") for number in range(FLEET)]
        self.view = View(WORKLOADS)
        for workload in self.workloads:
            for plural, obj in workload.objects():
                if plural in ("deployments", "replicasets"):
                    self.view.put(msgspec.convert(obj, Deployment if plural == "deployments" else ReplicaSet))
            for replica in range(REPLICAS):
                self.view.put(msgspec.json.decode(pod(workload, replica, 1), type=Pod))
        self.known = [self._incident(number) for number in range(INCIDENTS)]
        self._asked = 0

    def incidents(self) -> list[Incident]:
        """Those that are kept, after one of them has changed."""
        self._asked += 1
        number = self._asked % INCIDENTS
        self.known[number] = replace(self.known[number], changed_at=_AT + INCIDENTS + self._asked)
        return self.known

    def _incident(self, number: int) -> Incident:
        workload = self.workloads[number % FLEET]
        target = Target("Deployment", workload.namespace, workload.name, workload.uid)
        sick = Target("Pod", workload.namespace, workload.pod(0), f"{workload.uid}-0")
        ended = f"crashed {number} times, last exit 1 (Error); it said: no model at /models/{number}"
        what = f"CrashLoopBackOff: container serving {ended}"
        lines = [
            Entry(_AT + at, State.VERIFYING, Reason("CrashLoopBackOff", f"{sick} is still sick: {what} at {at}"))
            for at in range(60)
        ]
        return Incident(
            id=f"slow-{number}", rule="many/slow", workload=target, severity="critical", mode="enforce", notify=(),
            opened_at=_AT, changed_at=_AT + number, state=State.VERIFYING, reason=lines[-1].reason,
            targets={sick.uid: SickTarget(sick, {"k": Symptom("pod", "CrashLoopBackOff", "1", _AT)}, _AT, what)},
            steps=("evict", "page"), history=tuple(lines), acted_at=(_AT,),
        )  # fmt: skip


async def _serve() -> None:
    cluster = _Cluster()
    engine = Engine(cluster.rules, specs(ACTIONS), tuned())
    report = StateReport(
        settings=Isolated(),
        view=cluster.view,
        rulebook=lambda: cluster.rules,
        incidents=cluster.incidents,
        rows=tuple,
        health=Health,
        further=tuple,
        leader=lambda: "healer-1",
        sight=lambda: Sight(engine, lambda rules: iter(())),
        threads=Sinks([], SinkMeters(CollectorRegistry())),
        clock=time.time,
    )
    state = StateRoutes(report.whole, report.incident)
    settings = HttpSettings(host="127.0.0.1", port=0)
    async with Server(settings=settings, webhooks={}, health=Health, registry=CollectorRegistry(), state=state) as server:
        longest = [0.0]
        beats = asyncio.create_task(_beat(longest))
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        beats.cancel()
        sys.stdout.write(f"{longest[0] * 1e3}\n")
        sys.stdout.flush()


async def _beat(longest: list[float]) -> None:
    """Note what CPU time the loop has used between two turns of this task: another process that has the core meanwhile counts for
    nothing."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(_PAUSE)
        now = time.thread_time()
        longest[0] = max(longest[0], now - before)
        before = now


if __name__ == "__main__":
    asyncio.run(_serve())
