"""What one POST can do: 1,000 alerts on the pods of one workload, and 20,000 that no rule is about."""

import contextlib
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from healer.lab import serving
from tests.benchmarks.daemon import ApiServer, Healer, healer
from tests.benchmarks.machine import Cores, Unmeasurable, pinned, process
from tests.benchmarks.queries import STAMPED, stamp
from tests.benchmarks.report import Figure
from tests.support.healer import alert

PODS = 1_000
NOBODYS, AT_ONCE = 20_000, 2_000
"""Alerts that no rule is about, and how many of them are in a POST."""
_AFTER = 5.0
"""Seconds after the last answer for which the loop is watched: the journal is written, the lease is renewed."""
_DEFINITION = Path(__file__).parents[2] / "deploy" / "healer" / "crd.yaml"
_LIMITS = {"HEALER_LIMITS__NODE_STORM_PODS": "5", "HEALER_LIMITS__BREAKER_INCIDENTS": "20"}
"""As they are by default: a storm is what they are for."""


@dataclass(slots=True)
class _Run:
    """What was seen of a daemon in a storm: ms, MB."""

    answered: float = 0.0
    hold: float = 0.0
    nobodys: float = 0.0
    nobodys_hold: float = 0.0
    grown: float = 0.0
    cpu: float = 0.0
    refused: int = 0
    leases: int = 0
    robbed: float = 0.0


def storm(cores: Cores, runs: int) -> list[Figure]:
    """Each run has a daemon, and a cluster, of its own."""
    seen = [_measured(cores) for _ in range(runs)]

    def each(name: str) -> tuple[float, ...]:
        return _each(seen, name)

    return [
        Figure(f"{PODS:,} alerts on one workload, one POST: answered after", "ms", each("answered"), ("<", 1000)),
        Figure("longest hold of the loop meanwhile and after", "ms", each("hold"), ("<", 50)),
        Figure(f"{NOBODYS:,} alerts that no rule is about, {AT_ONCE:,} a POST: answered after", "ms", each("nobodys")),
        Figure("longest hold of the loop meanwhile and after", "ms", each("nobodys_hold"), ("<", 50)),
        Figure("memory grown by them", "MB", each("grown"), ("<", 50)),
        Figure("POSTs not answered 200", "", each("refused"), ("=", 0)),
        Figure("leases lost", "", each("leases"), ("=", 0)),
        Figure("the daemon was ready to run, but other processes used its core", "% of the time", each("robbed")),
    ]


def recording(cores: Cores, runs: int) -> list[Figure]:
    """What the same costs with a record of it and without, in turn."""
    pairs = [(_measured(cores), _measured(cores, record=True)) for _ in range(runs)]
    plain, recorded = ([pair[side] for pair in pairs] for side in (0, 1))
    more = tuple(with_it.cpu - without.cpu for without, with_it in pairs)
    return [
        Figure(f"{PODS:,} alerts on one workload, one POST: CPU that they took, meanwhile and after", "ms", _each(plain, "cpu")),
        Figure("the same with `healer run --record`", "ms", _each(recorded, "cpu")),
        Figure("the difference, run by run", "ms", more),
        Figure("longest hold of the loop with it", "ms", _each(recorded, "hold"), ("<", 50)),
        Figure("the daemon was ready to run, but other processes used its core", "% of the time", _each(recorded, "robbed")),
    ]


def _each(runs: Sequence[_Run], name: str) -> tuple[float, ...]:
    return tuple(float(getattr(run, name)) for run in runs)


def _measured(cores: Cores, *, record: bool = False) -> _Run:
    with tempfile.TemporaryDirectory() as folder:
        return _run(cores, _LIMITS | ({"HEALER_RECORD__FOLDER": folder} if record else {}))


def _run(cores: Cores, settings: Mapping[str, str]) -> _Run:
    run = _Run()
    with _lab(cores) as (api, names), healer(cores, api, main=STAMPED, settings=settings) as daemon, pinned(cores.load):
        stamp(daemon, 2.0)
        before = daemon.child.memory()
        waited, since = daemon.child.waited(), time.monotonic()
        run.nobodys, run.nobodys_hold = _watched(daemon, [_body(_nobodys(names, part)) for part in _parts()], run)
        run.grown = daemon.child.memory() - before
        busy = daemon.child.cpu()
        run.answered, run.hold = _watched(daemon, [_body([alert("HighLatency", pod=name) for name in names])], run)
        run.cpu = (daemon.child.cpu() - busy) * 1e3
        run.robbed = (daemon.child.waited() - waited) / (time.monotonic() - since) * 100
        run.leases = daemon.child.log.read_text("utf-8").count('"lease lost"')
    return run


def _parts() -> list[range]:
    return [range(begin, begin + AT_ONCE) for begin in range(0, NOBODYS, AT_ONCE)]


def _nobodys(names: Sequence[str], numbers: range) -> list[Any]:
    return [alert("NobodysAlert", pod=names[number % PODS], n=str(number)) for number in numbers]


def _watched(daemon: Healer, bodies: Sequence[bytes], run: _Run) -> tuple[float, float]:
    """Post them one after the other; returns how long that took, and the longest delay of the loop meanwhile and after, in ms."""

    def post() -> float:
        begun = time.monotonic()
        for body in bodies:
            run.refused += _post(daemon.port, body) != 200
        return (time.monotonic() - begun) * 1e3

    with ThreadPoolExecutor(1) as pool:
        posting = pool.submit(post)
        late = [0.0]
        while not posting.done():
            late += stamp(daemon, 0.5)
        late += stamp(daemon, _AFTER)
        return posting.result(), max(late)


@contextlib.contextmanager
def _lab(cores: Cores) -> Iterator[tuple[ApiServer, list[str]]]:
    """A lab with one Deployment of many pods, all running; and their names."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "serving.yaml"
        manifest.write_text(yaml.safe_dump_all(serving(replicas=PODS)), "utf-8")
        options = ("--nodes", "50", "--apply", str(_DEFINITION), "--apply", str(manifest))
        with process(cores.server, "-m", "healer.lab", *options) as child:
            url = json.loads(child.said())["url"]
            for _ in range(300):
                pods = [pod for pod in _items(f"{url}/api/v1/namespaces/production/pods") if pod["status"].get("podIP")]
                if len(pods) == PODS:
                    yield ApiServer(int(url.rpartition(":")[2])), [pod["metadata"]["name"] for pod in pods]
                    return
                time.sleep(0.2)
    raise Unmeasurable(f"the lab did not get {PODS} pods to run")


def _items(url: str) -> list[Any]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        items: list[Any] = json.loads(answer.read())["items"]
        return items


def _body(alerts: list[Any]) -> bytes:
    return json.dumps({"version": "4", "groupKey": "{}", "status": "firing", "receiver": "healer", "alerts": alerts}).encode()


def _post(port: int, body: bytes) -> int:
    """The status of a POST, without an opinion on it."""
    url = f"http://127.0.0.1:{port}/webhooks/alertmanager"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
