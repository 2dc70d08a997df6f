"""What a ResourceQuota refuses, and how a workload shows it; and how long generated names get."""

from __future__ import annotations

import pytest

from tests.contract.client import Client, Object, pod
from tests.contract.rollout import kubelet, pods, workload


def quota(**hard: str) -> Object:
    return {"metadata": {"name": "compute"}, "spec": {"hard": {name.replace("_", "."): limit for name, limit in hard.items()}}}


async def _counted(managed: Client, **hard: str) -> None:
    """A quota that its controller has counted."""
    await managed.make(f"{managed.core}/resourcequotas", quota(**hard))
    await managed.until(f"{managed.core}/resourcequotas", lambda found: bool(found and (found[0]["status"] or {}).get("used")))


async def test_one_pod_too_many_is_refused(managed: Client) -> None:
    await _counted(managed, pods="1")
    await managed.make(f"{managed.core}/pods", pod("first"))
    answer = await managed.post(f"{managed.core}/pods", pod("second"))
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden")
    assert answer.body["message"] == (
        'pods "second" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=1, limited: pods=1'
    )
    assert answer.body["details"] == {"name": "second", "kind": "pods"}


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            {"requests": {"cpu": "1500m", "memory": "2Gi"}},
            "exceeded quota: compute, requested: requests.cpu=1500m,requests.memory=2Gi, "
            "used: requests.cpu=0,requests.memory=0, limited: requests.cpu=1,requests.memory=1Gi",
        ),
        ({}, "failed quota: compute: must specify requests.cpu for: serving; requests.memory for: serving"),
    ],
)
async def test_what_a_pod_asks_for_is_counted(managed: Client, resources: Object, message: str) -> None:
    await _counted(managed, requests_cpu="1", requests_memory="1Gi")
    body = pod("large")
    body["spec"]["containers"][0] |= {"name": "serving", "resources": resources}
    answer = await managed.post(f"{managed.core}/pods", body)
    assert (answer.code, answer.body["message"]) == (403, f'pods "large" is forbidden: {message}')


async def test_a_replicaset_that_may_not_make_its_pods_says_so_and_its_deployment_too(managed: Client) -> None:
    await _counted(managed, pods="2")
    async with kubelet(managed):
        await managed.make(f"{managed.apps}/deployments", workload())

        def refused(found: list[Object]) -> bool:
            return any(item["type"] == "ReplicaFailure" for it in found for item in it["status"].get("conditions", []))

        [replicaset] = await managed.until(f"{managed.apps}/replicasets", refused)
        [deployment] = await managed.until(f"{managed.apps}/deployments", refused)
        [failure] = replicaset["status"]["conditions"]
        assert (failure["type"], failure["status"], failure["reason"]) == ("ReplicaFailure", "True", "FailedCreate")
        assert failure["message"].startswith(f'pods "{replicaset["metadata"]["name"]}-')
        assert failure["message"].endswith(
            "is forbidden: exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2"
        )
        [copied] = (item for item in deployment["status"]["conditions"] if item["type"] == "ReplicaFailure")
        assert (copied["status"], copied["reason"], copied["message"]) == ("True", "FailedCreate", failure["message"])
        assert len(await pods(managed)) == 2

        await managed.delete(f"{managed.core}/resourcequotas/compute")

        def whole(found: list[Object]) -> bool:
            return found[0]["status"].get("availableReplicas") == 3 and not refused(found)

        await managed.until(f"{managed.apps}/deployments", whole)


async def test_a_generated_name_is_cut_before_its_random_end(api: Client) -> None:
    body = pod("")
    body["metadata"]["generateName"] = "a" * 60 + "-"
    made = (await api.post(f"{api.core}/pods", body)).body["metadata"]
    assert made["name"].startswith("a" * 58)
    assert len(made["name"]) == 63
    assert made["generateName"] == "a" * 60 + "-"
