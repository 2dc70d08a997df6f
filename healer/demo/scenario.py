"""What happens to the cluster: one pod crash-loops, another is reported slow, a third is gone when its alert arrives."""

from datetime import UTC, datetime

from healer.demo.cluster import NAMESPACE, REPLICAS, STABLE, is_gone, ready_pods
from healer.demo.stage import Stage


async def play(stage: Stage) -> None:
    """The scenario. Raises TimeoutError when the cluster does not get where a healing would bring it."""
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
