"""Events of Kubernetes in a flood: 10,000 at once, from the socket to the engine, and what they hold up meanwhile."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from tests.benchmarks.daemon import ApiServer, Healer, api_server, healer
from tests.benchmarks.machine import Cores, pinned
from tests.benchmarks.objects import REPLICAS, Object, Workload
from tests.benchmarks.queries import STAMPED, stamp
from tests.benchmarks.report import Figure

COUNT = 10_000
PODS = 1_200
FLOODS = {
    "nobodys": "that no rule looks for",
    "own": "of a rule, about 1,200 pods",
    "series": "of a rule, one Event with a series",
}
_SETTLED = 3.0
"""Seconds for which the loop is watched after the last of them: incidents are written."""
_RULES = """
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: bench-happenings}
spec:
  scope: {namespaces: [production, bench]}
  rules:
    - {name: mount, when: {event: {reasons: [FailedMount]}}, heal: [{evict: {}}], mode: observe}
    - {name: last, when: {event: {reasons: [Last]}}, heal: [{evict: {}}], mode: enforce}
"""


def flood(kind: str, workloads: Sequence[Workload]) -> Iterator[tuple[str, bytes]]:
    """The changes of a flood: each with its verb and its Event."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for number in range(COUNT):
        workload = workloads[number // REPLICAS % len(workloads)]
        if kind == "series":
            happened = happening(workloads[0], 0, "series", "FailedMount", now, number + 1)
            yield "MODIFIED" if number else "ADDED", happened
        else:
            reason = "FailedMount" if kind == "own" else "Pulled"
            yield "ADDED", happening(workload, number % REPLICAS, f"{kind}-{number}", reason, now)


def happening(workload: Workload, replica: int, name: str, reason: str, at: str, count: int = 1) -> bytes:
    """An Event about a pod, as the kubelet reports it and a new API server shows it."""
    pod = workload.pod(replica)
    event: Object = {
        "metadata": {
            "name": f"{pod}.{name}",
            "namespace": workload.namespace,
            "uid": f"event-{workload.namespace}-{name}",
            "resourceVersion": "2",
            "creationTimestamp": at,
            "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": at, "fieldsV1": {}}],
        },
        "eventTime": f"{at[:-1]}.000000Z",
        "reportingController": "kubelet",
        "reportingInstance": "node-1",
        "action": "Mounting",
        "reason": reason,
        "type": "Normal" if reason == "Pulled" else "Warning",
        "note": f'MountVolume.SetUp failed for volume "models" : {count} of pod {pod}: timed out waiting for the condition',
        "regarding": {"kind": "Pod", "namespace": workload.namespace, "name": pod, "uid": f"{workload.uid}-{replica}"},
    }
    if count > 1:
        event["series"] = {"count": count, "lastObservedTime": f"{at[:-1]}.000000Z"}
    return msgspec.json.encode(event)


@dataclass(slots=True)
class _Seen:
    """What was seen of one flood, a run each: events/s, ms, MB, seconds of CPU, % of the time."""

    rate: list[float] = field(default_factory=list)
    hold: list[float] = field(default_factory=list)
    grown: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    robbed: list[float] = field(default_factory=list)


def floods(cores: Cores, runs: int) -> list[Figure]:
    """Each flood comes to a daemon of its own."""
    seen = {kind: _Seen() for kind in FLOODS}
    for _ in range(runs):
        for kind, found in seen.items():
            with (
                api_server(cores, PODS) as api,
                healer(cores, api, further=_RULES, main=STAMPED) as daemon,
                pinned(cores.load),
            ):
                _measure(api, daemon, kind, found)
    figures: list[Figure] = []
    for kind, found in seen.items():
        figures += [
            Figure(f"{COUNT:,} Events {FLOODS[kind]}: socket to engine", "events/s", tuple(found.rate)),
            Figure("longest hold of the loop meanwhile and after", "ms", tuple(found.hold), ("<", 50)),
            Figure("CPU that they took", "s", tuple(found.cpu)),
            Figure("memory grown by them", "MB", tuple(found.grown), ("<", 50)),
            Figure("the daemon was ready to run, but other processes used its core", "% of the time", tuple(found.robbed)),
        ]
    return figures


def _measure(api: ApiServer, daemon: Healer, kind: str, found: _Seen) -> None:
    stamp(daemon, 2.0)
    before, busy = daemon.child.memory(), daemon.child.cpu()
    waited, since = daemon.child.waited(), time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(api.ask, "POST", f"/bench/happen?kind={kind}")
        late = [0.0]
        while not sending.done():
            late += stamp(daemon, 0.5)
        sent = sending.result()
    late += stamp(daemon, _SETTLED)
    found.rate.append(float(sent["events"] / sent["seconds"]))
    found.hold.append(max(late))
    found.grown.append(daemon.child.memory() - before)
    found.cpu.append(daemon.child.cpu() - busy)
    found.robbed.append((daemon.child.waited() - waited) / (time.monotonic() - since) * 100)
