"""StatefulSets, DaemonSets and Jobs: what their controllers make of them, with the kubelets of rollout.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client import Client, Object
from tests.contract.owners import free_nodes, names, owner, statefulset, whole
from tests.contract.rollout import kubelet, pods

BATCH = "/apis/batch/v1"


async def test_a_statefulset_makes_its_pods_in_order(managed: Client) -> None:
    """The second only when the first is ready: without a kubelet there is one pod alone."""
    made = await managed.make(f"{managed.apps}/statefulsets", statefulset())
    found = await managed.until(f"{managed.core}/pods", lambda found: len(found) == 1)
    assert names(found) == ["db-0"]
    async with kubelet(managed):
        [whole_] = await managed.until(f"{managed.apps}/statefulsets", whole(3, updatedReplicas=3))
        found = await pods(managed)
    assert names(sorted(found, key=lambda pod: str(pod["metadata"]["name"]))) == ["db-0", "db-1", "db-2"]
    assert whole_["status"]["currentRevision"] == whole_["status"]["updateRevision"]
    for pod in found:
        labels, number = pod["metadata"]["labels"], pod["metadata"]["name"].rpartition("-")[2]
        assert labels["statefulset.kubernetes.io/pod-name"] == pod["metadata"]["name"]
        assert labels["apps.kubernetes.io/pod-index"] == number
        assert labels["controller-revision-hash"] == whole_["status"]["updateRevision"]
        assert pod["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]


async def test_a_statefulset_in_parallel_waits_for_none(managed: Client) -> None:
    await managed.make(f"{managed.apps}/statefulsets", statefulset(podManagementPolicy="Parallel"))
    await managed.until(f"{managed.core}/pods", lambda found: names(found) == ["db-0", "db-1", "db-2"])


async def test_a_statefulset_is_rolled_from_the_last_to_the_first(managed: Client) -> None:
    async with kubelet(managed):
        await managed.make(f"{managed.apps}/statefulsets", statefulset())
        await managed.until(f"{managed.apps}/statefulsets", whole(3, updatedReplicas=3))
        async with managed.watch(f"{managed.core}/pods?watch=1") as events:
            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "serving:2"}]}}}}
            await managed.patch(f"{managed.apps}/statefulsets/db", change)
            taken: list[str] = []
            async for event in events:
                if event["type"] == "DELETED":
                    taken.append(event["object"]["metadata"]["name"])
                if len(taken) == 3:
                    break
        [after] = await managed.until(f"{managed.apps}/statefulsets", whole(3, updatedReplicas=3, observedGeneration=2))
    assert taken == ["db-2", "db-1", "db-0"]
    assert after["status"]["currentRevision"] == after["status"]["updateRevision"]


async def test_a_statefulset_makes_a_pod_of_the_same_name_anew(managed: Client) -> None:
    """Also where the old one is a record."""
    async with kubelet(managed):
        await managed.make(f"{managed.apps}/statefulsets", statefulset())
        await managed.until(f"{managed.apps}/statefulsets", whole(3))
        uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in await pods(managed)}
        await managed.patch(f"{managed.core}/pods/db-1/status", {"status": {"phase": "Failed", "reason": "Evicted"}})

        def replaced(found: list[Object]) -> bool:
            return names(found) == ["db-0", "db-1", "db-2"] and found[1]["metadata"]["uid"] != uids["db-1"]

        found = await managed.until(f"{managed.core}/pods", replaced)
    assert found[0]["metadata"]["uid"] == uids["db-0"]


async def test_a_statefulset_that_is_scaled_down_loses_its_last_pods(managed: Client) -> None:
    async with kubelet(managed):
        await managed.make(f"{managed.apps}/statefulsets", statefulset())
        await managed.until(f"{managed.apps}/statefulsets", whole(3))
        await managed.patch(f"{managed.apps}/statefulsets/db", {"spec": {"replicas": 1}})
        await managed.until(f"{managed.core}/pods", lambda found: names(found) == ["db-0"])


async def test_a_daemonset_has_a_pod_for_each_node(managed: Client) -> None:
    """Each is bound to its node by an affinity, which a scheduler reads; there is none here."""
    nodes = await free_nodes(managed)
    body = owner("agent", {})
    del body["spec"]["template"]["spec"]["nodeName"]
    await managed.make(f"{managed.apps}/daemonsets", body)
    found = await managed.until(f"{managed.core}/pods", lambda found: len(found) == len(nodes))
    wanted = []
    for pod in found:
        affinity = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        [term] = affinity["nodeSelectorTerms"]
        [field] = term["matchFields"]
        assert (field["key"], field["operator"]) == ("metadata.name", "In")
        wanted += field["values"]
        assert pod["metadata"]["generateName"] == "agent-"
        tolerated = {(item["key"], item["effect"]) for item in pod["spec"]["tolerations"]}
        assert ("node.kubernetes.io/unreachable", "NoExecute") in tolerated
    assert sorted(wanted) == sorted(nodes)
    [after] = await managed.until(
        f"{managed.apps}/daemonsets", lambda found: found[0]["status"].get("currentNumberScheduled") == len(nodes)
    )
    assert after["status"]["desiredNumberScheduled"] == len(nodes)
    assert after["status"]["numberReady"] == 0


def job(**spec: Any) -> Object:
    body = owner("train", spec, restartPolicy="Never")
    del body["spec"]["selector"]
    return body


def _ended(found: list[Object]) -> bool:
    ends = [it["type"] for it in (found[0]["status"] or {}).get("conditions", [])] if found else []
    return "Complete" in ends or "Failed" in ends


async def _finish(managed: Client, phase: str, *, code: int = 1) -> None:
    """Have the one pod that is active end so."""

    def active(found: list[Object]) -> bool:
        return any((it["status"].get("phase") or "Pending") in ("Pending", "Running") for it in found)

    found = await managed.until(f"{managed.core}/pods", active)
    [name] = [it["metadata"]["name"] for it in found if it["status"].get("phase", "Pending") in ("Pending", "Running")]
    stamp = "2026-01-01T00:00:00Z"
    end = {"exitCode": code, "reason": "Error" if code else "Completed", "startedAt": stamp, "finishedAt": stamp}
    container = {
        "name": "c",
        "state": {"terminated": end},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "serving:1",
        "imageID": "",
    }
    await managed.patch(f"{managed.core}/pods/{name}/status", {"status": {"phase": phase, "containerStatuses": [container]}})


async def test_a_job_is_complete_when_its_pods_have_succeeded(managed: Client) -> None:
    jobs = f"{BATCH}/namespaces/{managed.namespace}/jobs"
    made = await managed.make(jobs, job(completions=2, parallelism=1))
    for _ in range(2):
        await _finish(managed, "Succeeded", code=0)
    [done] = await managed.until(jobs, _ended)
    assert done["status"]["succeeded"] == 2
    ends = {it["type"]: (it["status"], it["reason"], it["message"]) for it in done["status"]["conditions"]}
    assert ends["Complete"] == ("True", "CompletionsReached", "Reached expected number of succeeded pods")
    for pod in await pods(managed):
        assert pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "train"
        assert pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == made["metadata"]["uid"]
        assert pod["metadata"]["generateName"] == "train-"


async def test_a_job_fails_beyond_its_backoff_limit(managed: Client) -> None:
    jobs = f"{BATCH}/namespaces/{managed.namespace}/jobs"
    await managed.make(jobs, job(backoffLimit=1))
    for _ in range(2):
        await _finish(managed, "Failed")
    [done] = await managed.until(jobs, _ended)
    ends = {it["type"]: (it["status"], it["reason"], it["message"]) for it in done["status"]["conditions"]}
    assert done["status"]["failed"] == 2
    assert ends["Failed"] == ("True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


@pytest.mark.parametrize(("code", "failed"), [(42, True), (7, False)])
async def test_a_pod_failure_policy_reads_exit_codes(managed: Client, code: int, failed: bool) -> None:
    """One code fails the Job at once; another one is not counted against its backoff limit."""
    jobs = f"{BATCH}/namespaces/{managed.namespace}/jobs"
    rules = [
        {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
    ]
    await managed.make(jobs, job(backoffLimit=0, podFailurePolicy={"rules": rules}))
    await _finish(managed, "Failed", code=code)
    if not failed:
        await _finish(managed, "Succeeded", code=0)
    [done] = await managed.until(jobs, _ended)
    ends = {it["type"]: (it["reason"], it["message"]) for it in done["status"]["conditions"]}
    if failed:
        reason, message = ends["Failed"]
        assert reason == "PodFailurePolicy"
        assert message.endswith("failed with exit code 42 matching FailJob rule at index 0")
    else:
        assert "Complete" in ends
        assert not done["status"].get("failed")


async def test_a_job_whose_pods_always_restart_is_refused(api: Client) -> None:
    body = job()
    body["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    answer = await api.post(f"{BATCH}/namespaces/{api.namespace}/jobs", body)
    assert answer.code == 422
    assert 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"' in answer.body["message"]
