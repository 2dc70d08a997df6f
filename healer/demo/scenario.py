"""What happens to the cluster: one pod crash-loops, another is reported slow, a third is gone when its alert arrives."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from healer.demo.timeline import Timeline
from healer.lab import Lab

NAMESPACE = "production"
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it happens. `webhook` is the daemon's URL for Alertmanager."""

    lab: Lab
    timeline: Timeline
    http: aiohttp.ClientSession
    webhook: str


async def play(stage: Stage) -> None:
    """The scenario. Raises TimeoutError when the cluster does not get where a healing would bring it."""
    crashing, slow, gone = ready_pods(stage.lab)
    await stage.lab.behave(NAMESPACE, crashing, "crash")
    stage.timeline.say("lab", f"pod {crashing} begins to crash")
    await _until(stage, lambda lab: is_gone(lab, crashing))
    await _alert(stage, "TFServingLatencyHigh", slow, "firing", "p99 latency is 2.1 s, the objective is 0.4 s")
    await _until(stage, lambda lab: is_gone(lab, slow) and len(ready_pods(lab)) == 3)
    await _alert(stage, "TFServingLatencyHigh", slow, "resolved", "p99 latency is 2.1 s, the objective is 0.4 s")
    await _delete(stage, gone)
    await _until(stage, lambda lab: is_gone(lab, gone) and len(ready_pods(lab)) == 3)
    await _alert(stage, "TFServingErrorsHigh", gone, "firing", "12 % of its requests fail")


def ready_pods(lab: Lab) -> list[str]:
    """The names of the pods that are ready, oldest first."""
    found = [
        (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"])
        for pod in lab.objects("pods", NAMESPACE)
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]
    return [name for _, name in sorted(found)]


def is_gone(lab: Lab, pod: str) -> bool:
    """Whether no pod has that name any more."""
    return all(found["metadata"]["name"] != pod for found in lab.objects("pods", NAMESPACE))


async def _until(stage: Stage, predicate: Callable[[Lab], bool]) -> None:
    await stage.lab.wait_for(predicate, timeout=_PATIENCE)


async def _alert(stage: Stage, name: str, pod: str, status: str, summary: str) -> None:
    """Post what Alertmanager would post."""
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
    """What a colleague would do with kubectl."""
    stage.timeline.say("lab", f"someone deletes pod {pod} by hand")
    async with stage.http.delete(f"{stage.lab.url}/api/v1/namespaces/{NAMESPACE}/pods/{pod}") as response:
        response.raise_for_status()
