"""One measurement of the watch in a process of its own, on one core; prints its figures as JSON.

Run as `python -m tests.benchmarks.watch_client WHO KUBECONFIG EVENTS CPU`. WHO is `healer` (a list, then so many events from
socket to view and listener) or `official` (kubernetes.aio.watch into V1Pod).
"""
# mypy: disable-error-code="no-untyped-call"
# (kubernetes.aio says that it is typed, and the functions used here are not.)

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

from healer.workloads.registry import WORKLOADS


def rss() -> tuple[float, float]:
    """Resident memory of this process in MB: now, and at its peak."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmHWM"].split()[0]) / 1024


async def healer(kubeconfig: str, events: int) -> dict[str, float]:
    """List, then so many changes from the watch."""
    from healer.cluster.api import Api
    from healer.cluster.resources import RESOURCES
    from healer.cluster.watch import ObjectChange, Reflector
    from healer.model.kube import Pod
    from healer.model.view import View

    view, done = View(WORKLOADS), asyncio.Event()
    api = await Api.connect(kubeconfig=kubeconfig)
    count = 0
    changed = lagged = 0.0

    def listener(change: ObjectChange) -> None:
        nonlocal count, changed
        if not reflector.synced.is_set():
            return
        if not count:
            changed = time.perf_counter()
        count += 1
        if count == events:
            done.set()

    async def lag() -> None:
        """How long another task has to wait for its turn, at worst."""
        nonlocal lagged
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lagged = max(lagged, time.perf_counter() - before - 0.001)

    reflector = Reflector(api, RESOURCES[Pod], view, listener)
    start = time.perf_counter()
    running = asyncio.create_task(reflector.run())
    await reflector.synced.wait()
    listed = time.perf_counter() - start
    listed_rss = rss()[0]
    lagging = asyncio.create_task(lag())
    await done.wait()
    seconds = time.perf_counter() - changed
    for task in (running, lagging):
        task.cancel()
    await asyncio.gather(running, lagging, return_exceptions=True)
    await api.aclose()
    gc.collect()
    now, peak = rss()
    return {
        "rate": (events - 1) / seconds,
        "list_s": listed,
        "lag_ms": lagged * 1e3,
        "pods": view.count(Pod),
        "listed_mb": listed_rss,
        "rss_mb": now,
        "peak_mb": peak,
    }


async def official(kubeconfig: str, events: int) -> dict[str, float]:
    """So many events by the official client's watch."""
    from kubernetes.aio import client, config, watch

    await config.load_kube_config(kubeconfig)
    first = 0.0
    async with client.ApiClient() as api, watch.Watch() as watcher:
        count = 0
        async for _ in watcher.stream(client.CoreV1Api(api).list_pod_for_all_namespaces, resource_version="1"):
            if not count:
                first = time.perf_counter()
            count += 1
            if count == events:
                break
        seconds = time.perf_counter() - first
    return {"rate": (events - 1) / seconds, "rss_mb": rss()[0]}


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[4])})
    measure = official if sys.argv[1] == "official" else healer
    sys.stdout.write(json.dumps(asyncio.run(measure(sys.argv[2], int(sys.argv[3])))) + "\n")
