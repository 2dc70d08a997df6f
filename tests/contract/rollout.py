"""A cluster without kubelets, and the one who plays them: in the same way for the lab and for a real controller manager.

Pods are on a node from the start, so that their deletion waits for the one who plays the kubelet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from healer.lab.kubelet.behaviour import ANNOTATION
from tests.contract.client import Client, Object, deployment

CONDITIONS = ("Ready", "ContainersReady")
UNREADY: Object = {"status": {"conditions": [{"type": kind, "status": "False"} for kind in CONDITIONS]}}


def ready(address: str) -> Object:
    """The status of a pod that runs well, as a patch."""
    conditions = [{"type": kind, "status": "True"} for kind in CONDITIONS]
    return {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}}


def workload(**spec: Any) -> Object:
    """A Deployment whose pods the lab's own kubelet leaves alone."""
    body = deployment(**spec)
    template = body["spec"]["template"]
    template["metadata"]["annotations"] = {ANNOTATION: "manual"}
    template["spec"] |= {"nodeName": "node-0", "automountServiceAccountToken": False}
    return body


@asynccontextmanager
async def kubelet(managed: Client) -> AsyncIterator[None]:
    """Makes new pods ready, unless their image is bad, and confirms deletions."""
    addresses = (f"10.1.{number // 250}.{number % 250 + 1}" for number in count())

    async def play() -> None:
        async with managed.watch(f"{managed.core}/pods?watch=1") as events:
            async for event in events:
                pod = event["object"]
                path = f"{managed.core}/pods/{pod['metadata']['name']}"
                if event["type"] == "ADDED" and not pod["spec"]["containers"][0]["image"].endswith(":bad"):
                    await managed.patch(f"{path}/status", ready(next(addresses)))
                if event["type"] == "MODIFIED" and pod["metadata"].get("deletionGracePeriodSeconds"):
                    await managed.delete(path, {"gracePeriodSeconds": 0})

    task = asyncio.create_task(play())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def up(managed: Client, **spec: Any) -> Object:
    """A Deployment that is complete."""
    made = await managed.make(f"{managed.apps}/deployments", workload(**spec))
    return await settled(managed, made["spec"]["replicas"])


async def settled(managed: Client, replicas: int = 3) -> Object:
    def complete(found: list[Object]) -> bool:
        status = found[0]["status"] if found else {}
        counts = [status.get(name) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        current = bool(found) and status.get("observedGeneration") == found[0]["metadata"]["generation"]
        return current and counts == [replicas] * 3 and progress(found[0])["reason"] == "NewReplicaSetAvailable"

    return (await managed.until(f"{managed.apps}/deployments", complete))[0]


def progress(found: Object) -> Object:
    condition: Object = next((it for it in found["status"].get("conditions", []) if it["type"] == "Progressing"), {})
    return condition | {"reason": condition.get("reason")}


async def pods(managed: Client) -> list[Object]:
    pods: list[Object] = (await managed.get(f"{managed.core}/pods")).body["items"]
    return pods


def alive(pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def by_revision(replicasets: list[Object]) -> dict[str, Object]:
    return {item["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: item for item in replicasets}
