"""What `kubectl get` prints of the lab's pods, Deployments and Events, as the API server's printers have it."""

import re
from typing import Any

import aiohttp
import pytest

from healer.lab import Lab, serving
from healer.lab.apiserver.tables import age
from healer.lab.objects import condition, timestamp

SPACE = "production"
FINISHED = {"complete", "evicted"}
"""Such a pod is gone at once when it is deleted."""
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


async def printed(lab: Lab, path: str) -> tuple[list[str], list[list[Any]]]:
    """The columns that kubectl shows, and the rows."""
    async with aiohttp.ClientSession(headers=TABLE) as session, session.get(f"{lab.url}{path}") as answer:
        body = await answer.json()
    shown = [number for number, column in enumerate(body["columnDefinitions"]) if not column["priority"]]
    names = [column["name"] for column in body["columnDefinitions"]]
    return [names[number] for number in shown], [[row["cells"][number] for number in shown] for row in body["rows"]]


@pytest.mark.parametrize(
    ("behaviour", "ready", "status"),
    [
        ("ok", "1/1", "Running"),
        ("crash", "0/1", "CrashLoopBackOff"),
        ("oom", "0/1", "CrashLoopBackOff"),
        ("image", "0/1", "ImagePullBackOff"),
        ("config", "0/1", "CreateContainerConfigError"),
        ("complete", "0/1", "Completed"),
        ("evicted", "0/1", "Error"),
        ("hang", "0/1", "Running"),
    ],
)
async def test_a_pod_is_printed_as_kubectl_prints_it(behaviour: str, ready: str, status: str) -> None:
    async with Lab(start_delay=0.005, termination_delay=60) as lab:
        spec = {"containers": [{"name": "a", "image": "b", "readinessProbe": {"httpGet": {"path": "/", "port": 1}}}]}
        meta = {"name": "one", "namespace": SPACE, "annotations": {"lab.healer.dev/behaviour": behaviour}}
        await lab.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        path = f"/api/v1/namespaces/{SPACE}/pods"
        row: list[Any] = []
        async with aiohttp.ClientSession() as session:
            watched = session.get(f"{lab.url}{path}?watch=1")
            async with watched as stream:
                async for _ in stream.content:
                    columns, (row,) = await printed(lab, path)
                    if row[1:3] == [ready, status]:
                        break
            assert columns == ["Name", "Ready", "Status", "Restarts", "Age"]
            assert row[:3] == ["one", ready, status]
            assert re.fullmatch(r"\d+", row[3])
            assert re.fullmatch(r"\d+s", row[4])
            async with session.delete(f"{lab.url}{path}/one"):
                _, rows = await printed(lab, path)
            assert [row[2] for row in rows] == ([] if behaviour in FINISHED else ["Terminating"])


async def test_a_deployment_and_an_event_are_printed_so_too() -> None:
    async with Lab(start_delay=0.005) as lab:
        await lab.apply(serving("llm", SPACE, replicas=2))
        available = "MinimumReplicasAvailable"
        await lab.wait_for(
            lambda lab: (
                (lab.objects("deployments")[0].get("status") or {}).get("readyReplicas") == 2
                and (condition(lab.objects("deployments")[0], "Available") or {}).get("reason") == available
            )
        )
        columns, (row,) = await printed(lab, "/apis/apps/v1/deployments")
        assert columns == ["Name", "Ready", "Up-to-date", "Available", "Age"]
        assert row[:4] == ["llm", "2/2", 2, 2]
        about = {"kind": "Pod", "namespace": SPACE, "name": "llm-0"}
        event = {"metadata": {"name": "e", "namespace": SPACE}, "involvedObject": about, "reason": "Evicted", "type": "Normal"}
        await lab.apply(event | {"apiVersion": "v1", "kind": "Event", "message": "by healer\n", "lastTimestamp": timestamp()})
        columns, (row,) = await printed(lab, "/api/v1/events?fieldSelector=reason=Evicted")
        assert columns == ["Last Seen", "Type", "Reason", "Object", "Message"]
        assert row[1:] == ["Normal", "Evicted", "pod/llm-0", "by healer"]
        assert re.fullmatch(r"\d+s", row[0])
        assert age(None) == "<unknown>"
