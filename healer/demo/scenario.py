"""The demo's scenarios: failing pods, an engine that hangs beside one that is saturated, and a failing canary."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from healer.demo.cluster import CANARY, LLM, NAMESPACE, REPLICAS, STABLE, WEIGHT, canary, is_gone, ready_pods, split, weight
from healer.demo.engines import Engines
from healer.demo.timeline import Timeline
from healer.demo.traffic import Traffic
from healer.lab import Lab

_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The objects that a scenario acts on. `webhook` is the daemon's URL for Alertmanager."""

    lab: Lab
    traffic: Traffic
    timeline: Timeline
    http: aiohttp.ClientSession
    webhook: str

    async def until(self, predicate: Callable[[Lab], bool]) -> None:
        """Return when the predicate holds for the cluster. Raises TimeoutError if it does not in time."""
        await self.lab.wait_for(predicate, timeout=_PATIENCE)


async def play(stage: Stage) -> None:
    """Run the scenario of failing pods. Raises TimeoutError if the cluster is not healed in time."""
    crashing, slow, gone = ready_pods(stage.lab, STABLE)
    await stage.lab.behave(NAMESPACE, crashing, "crash")
    stage.timeline.say("lab", f"pod {crashing} begins to crash")
    await stage.until(lambda lab: is_gone(lab, crashing))
    await _alert(stage, "TFServingLatencyHigh", slow, "firing", "p99 latency is 2.1 s, the objective is 0.4 s")
    await stage.until(lambda lab: is_gone(lab, slow) and len(ready_pods(lab, STABLE)) == REPLICAS)
    await _alert(stage, "TFServingLatencyHigh", slow, "resolved", "p99 latency is 2.1 s, the objective is 0.4 s")
    await _delete(stage, gone)
    await stage.until(lambda lab: is_gone(lab, gone) and len(ready_pods(lab, STABLE)) == REPLICAS)
    await _alert(stage, "TFServingErrorsHigh", gone, "firing", "12 % of its requests fail")


async def _alert(stage: Stage, name: str, pod: str, status: str, summary: str) -> None:
    """Post an alert to the daemon as Alertmanager does."""
    stage.timeline.say("lab", f"Alertmanager: {name} is {status} for pod {pod}")
    labels = {"alertname": name, "namespace": NAMESPACE, "pod": pod}
    now = datetime.now(UTC).isoformat()
    alert = {
        "status": status,
        "labels": labels,
        "annotations": {"summary": summary},
        "startsAt": now,
        "fingerprint": f"{name}{pod}",
    }
    body = {"version": "4", "receiver": "healer", "status": status, "groupKey": "{}", "truncatedAlerts": 0, "alerts": [alert]}
    async with stage.http.post(stage.webhook, json=body) as response:
        response.raise_for_status()


async def _delete(stage: Stage, pod: str) -> None:
    """Delete a pod as a user of kubectl does."""
    stage.timeline.say("lab", f"someone deletes pod {pod} by hand")
    async with stage.http.delete(f"{stage.lab.url}/api/v1/namespaces/{NAMESPACE}/pods/{pod}") as response:
        response.raise_for_status()


async def hang(stage: Stage, engines: Engines) -> str:
    """Run the scenario of a hanging engine. Returns the pod that is only saturated. Raises TimeoutError if nothing is healed."""
    hanging, saturated, _ = ready_pods(stage.lab, LLM)
    busy = engines.of(saturated)
    busy.running, busy.waiting, busy.cache = 64, 212, 0.98
    stage.timeline.say("lab", f"pod {saturated} is saturated: its KV cache is 98 % full, 212 requests wait, and its engine works")
    engine = engines.of(hanging)
    engine.hung_at = time.monotonic()
    stage.timeline.say("lab", f"the engine of pod {hanging} hangs with 8 requests in work; /health still answers 200")
    await stage.until(lambda lab: is_gone(lab, hanging) and len(ready_pods(lab, LLM)) == REPLICAS)
    return saturated


FAILING = 0.2
"""The share of its requests that the canary fails at the end, from 0 to 1."""
_GOOD = 25_000
"""Requests that the canary answers without errors first: enough for the verdict that it is good."""
_BEFORE = 30_000
"""Requests that only stable gets first, so that its series are scraped when the canary starts."""


async def trial(stage: Stage) -> None:
    """Run the scenario of a failing canary. Raises TimeoutError if the canary does not start or keeps its traffic."""
    await stage.lab.apply(canary())
    await stage.until(lambda lab: bool(ready_pods(lab, CANARY)))
    async with stage.traffic as traffic:
        await traffic.until(STABLE, _BEFORE)
        stage.timeline.say("lab", f"an Ingress gives {WEIGHT} % of the requests to {CANARY}, {STABLE} gets the rest")
        await stage.lab.apply(split())
        await traffic.until(CANARY, _GOOD)
        stage.timeline.say("lab", f"{CANARY} begins to fail {100 * FAILING:.0f} % of its requests")
        traffic.versions[CANARY].failing = FAILING
        await stage.until(lambda lab: weight(lab) == 0)
        stage.timeline.say("lab", f"the Ingress gives no more requests to {CANARY}")
