"""The watch: events a second from socket to view, against the official client's watch in the same run, and memory.

Run as `python -m tests.benchmarks.watch`; prints a table. Server and client are processes of their own, each on its own core.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

from tests.benchmarks.watch_pods import pod

RUNS = 5
SPEED_PODS, SPEED_ROUNDS = 2_000, 10
OFFICIAL_EVENTS = 1_000
MEMORY_PODS = 10_000


@contextmanager
def serving(pods: int, rounds: int, cpu: int) -> Iterator[str]:
    """The server; gives the path of a kubeconfig for it."""
    command = [sys.executable, "-m", "tests.benchmarks.watch_server", str(pods), str(rounds), str(cpu)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, tempfile.TemporaryDirectory() as folder:
        try:
            assert server.stdout is not None
            path = Path(folder) / "kubeconfig"
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            context = {"name": "it", "context": {"cluster": "it", "user": "it"}}
            cluster = {"name": "it", "cluster": {"server": url}}
            user = {"name": "it", "user": {"token": "t"}}
            config = {"current-context": "it", "contexts": [context], "clusters": [cluster], "users": [user]}
            path.write_text(json.dumps(config))
            yield str(path)
        finally:
            server.kill()


def measure(who: str, kubeconfig: str, events: int, cpu: int) -> dict[str, float]:
    """One run of the client."""
    command = [sys.executable, "-m", "tests.benchmarks.watch_client", who, kubeconfig, str(events), str(cpu)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return msgspec.json.decode(done.stdout, type=dict[str, float])


def main() -> None:
    """Measure and print."""
    cpus = sorted(os.sched_getaffinity(0))
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    with serving(SPEED_PODS, SPEED_ROUNDS, cpus[-1]) as kubeconfig:
        for _ in range(RUNS):
            ours.append(measure("healer", kubeconfig, SPEED_PODS * SPEED_ROUNDS, cpus[0]))
            theirs.append(measure("official", kubeconfig, OFFICIAL_EVENTS, cpus[0]))
    with serving(MEMORY_PODS, 1, cpus[-1]) as kubeconfig:
        memory = [measure("healer", kubeconfig, MEMORY_PODS, cpus[0]) for _ in range(RUNS)]

    size = len(msgspec.json.encode(pod(1234, 1_234_567)))
    table = Table("", "min", "median", "max", title=f"watch: pods of {size} bytes, {RUNS} runs, one core ({len(cpus)} here)")

    def row(name: str, values: list[float], digits: int = 0) -> None:
        table.add_row(name, *(f"{value:,.{digits}f}" for value in (min(values), median(values), max(values))))

    row("healer: events/s, socket to view and listener", [run["rate"] for run in ours])
    row("kubernetes.aio.watch: events/s, socket to V1Pod", [run["rate"] for run in theirs])
    row("ratio, run by run", [our["rate"] / their["rate"] for our, their in zip(ours, theirs, strict=True)], 1)
    row("longest wait of another task in the burst, ms", [run["lag_ms"] for run in ours], 1)
    row(f"{MEMORY_PODS:,} pods: listed after, s", [run["list_s"] for run in memory], 2)
    row(f"{MEMORY_PODS:,} pods: RSS when listed, MB", [run["listed_mb"] for run in memory])
    row(f"{MEMORY_PODS:,} pods: RSS when all have changed once, MB", [run["rss_mb"] for run in memory])
    row(f"{MEMORY_PODS:,} pods: peak RSS, MB", [run["peak_mb"] for run in memory])
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
