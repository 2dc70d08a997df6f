"""What 200 rules with a query cost a pod event: how much later the daemon's loop gets to read it."""

import json
import os
import random
import struct
import time
import urllib.request
from collections.abc import Sequence

from tests.benchmarks.daemon import Healer, api_server, healer
from tests.benchmarks.machine import Cores, Unmeasurable, pinned, process
from tests.benchmarks.objects import REPLICAS
from tests.benchmarks.report import Figure

QUERIES = 200
PODS = 600
BACKGROUND = 200
"""Pod events a second, beside which the delays are measured."""
PACE = 0.002
"""Seconds between two stamps, on average."""
SECONDS = 20.0
"""Of measuring, for each way; queries every 30 s are spread, so that two thirds of them fall into it."""
WAYS: dict[str, float | None] = {"no queries": None, "every 30 s": 30.0, "every 3 s": 3.0}
STAMPED = "from tests.benchmarks.stamps import main; main()"


def delays(cores: Cores, runs: int) -> list[Figure]:
    """How long after it was sent the loop reads a stamp: without queries, with them, and with them ten times as often."""
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    robbed: list[float] = []
    for _ in range(runs):
        for way, every in WAYS.items():
            late, other = _measured(cores, every)
            found[way].append(late)
            robbed.append(other)
    figures: list[Figure] = []
    for way, measured in found.items():
        name = way if way == "no queries" else f"{QUERIES} queries {way}"
        for label, share in (("p50", 0.5), ("p99", 0.99), ("worst", 1.0)):
            figures.append(Figure(f"loop delay, {name}, {label}", "ms", tuple(_quantile(each, share) for each in measured)))
    for way in list(WAYS)[1:]:
        added = [
            _quantile(loaded, 0.99) - _quantile(calm, 0.99) for loaded, calm in zip(found[way], found["no queries"], strict=True)
        ]
        figures.append(Figure(f"added by {QUERIES} queries {way}, p99", "ms", tuple(added), ("<", 5)))
    return [
        *figures,
        Figure("the loop was ready to run, but another thread or process used its core", "% of the time", tuple(robbed)),
    ]


def _measured(cores: Cores, every: float | None) -> tuple[list[float], float]:
    """Delays in ms, sorted, and in percent of the time how long the loop could have run and was not let.

    Raises Unmeasurable when too few queries were asked to have cost anything.
    """
    with (
        api_server(cores, PODS) as api,
        process(cores.load, "-m", "tests.benchmarks.prometheus", str(PODS // REPLICAS)) as prometheus,
        pinned(cores.load),
    ):
        url = f"http://127.0.0.1:{json.loads(prometheus.said())['port']}"
        rules = "" if every is None else _rules(every)
        with healer(cores, api, further=rules, main=STAMPED, settings={"HEALER_PROMETHEUS__URL": url}) as daemon:
            api.ask("POST", f"/bench/background?rate={BACKGROUND}")
            stamp(daemon, 7.0)  # the first looks come within five seconds
            before, waited = _asked(url), daemon.child.waited()
            late = sorted(stamp(daemon, SECONDS))
            robbed = (daemon.child.waited() - waited) / SECONDS * 100
            if every is not None and _asked(url) - before < QUERIES * SECONDS / every / 2:
                raise Unmeasurable(f"only {_asked(url) - before} queries came within {SECONDS:g} s")
            return late, robbed


def _asked(url: str) -> int:
    with urllib.request.urlopen(f"{url}/asked", timeout=10) as answer:
        return int(answer.read())


def stamp(daemon: Healer, seconds: float) -> list[float]:
    """Send stamps at random intervals for so long; returns how late each was read, in ms."""
    stdin = daemon.child.running.stdin
    assert stdin is not None  # a pipe, see process()
    dice, until = random.Random(1), time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(dice.expovariate(1 / PACE))
        os.write(stdin.fileno(), struct.pack("q", time.monotonic_ns()))
    os.write(stdin.fileno(), struct.pack("q", 0))
    found: list[float] = json.loads(daemon.child.said())
    return found


def _rules(every: float) -> str:
    rules = [
        {
            "name": f"query-{number}",
            "when": {"query": {"expr": f'errors{{number="{number}"}}', "above": 0.5, "every": f"{every:g}s"}},
            "heal": [{"page": {}}],
        }
        for number in range(QUERIES)
    ]
    spec = {"scope": {"namespaces": ["production"]}, "rules": rules}
    return json.dumps({"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": "queries"}, "spec": spec})


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
