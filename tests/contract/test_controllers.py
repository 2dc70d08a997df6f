"""What a cluster's controllers make of Deployments, ReplicaSets and PodDisruptionBudgets, with the kubelets of rollout.py."""

from __future__ import annotations

import pytest

from tests.contract.client import STRATEGIC, Client, Object, budget
from tests.contract.rollout import UNREADY, alive, by_revision, kubelet, pods, progress, settled, up


async def test_a_deployment_comes_up(managed: Client) -> None:
    async with kubelet(managed):
        made = await up(managed)
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    status = {key: value for key, value in made["status"].items() if key != "conditions"}
    assert status == {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "terminatingReplicas": 0,
    }
    [replicaset] = (await managed.get(f"{managed.apps}/replicasets")).body["items"]
    conditions = {item["type"]: (item["status"], item["reason"], item["message"]) for item in made["status"]["conditions"]}
    name = replicaset["metadata"]["name"]
    assert conditions == {
        "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        "Progressing": ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'),
    }
    digest = replicaset["metadata"]["labels"]["pod-template-hash"]
    assert name == f"serving-{digest}"
    assert replicaset["spec"]["selector"]["matchLabels"] == {"app": "serving", "pod-template-hash": digest}
    assert replicaset["metadata"]["annotations"] == {
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
        "deployment.kubernetes.io/revision": "1",
    }
    [owner] = replicaset["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Deployment", made["metadata"]["uid"], True)
    for pod in await pods(managed):
        assert pod["metadata"]["generateName"] == f"{name}-"
        assert pod["metadata"]["labels"] == {"app": "serving", "version": "v1", "pod-template-hash": digest}
        assert pod["metadata"]["ownerReferences"][0]["uid"] == replicaset["metadata"]["uid"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (3, 3, 2, 1)),
        ({"minAvailable": "50%"}, (3, 3, 2, 1)),
        ({"minAvailable": None, "maxUnavailable": 2}, (3, 3, 1, 2)),
        ({"minAvailable": None, "maxUnavailable": "30%"}, (3, 3, 2, 1)),
        ({"minAvailable": 5}, (3, 3, 5, 0)),
    ],
)
async def test_a_budget_is_counted(managed: Client, spec: Object, expected: tuple[int, ...]) -> None:
    async with kubelet(managed):
        await up(managed)
        await managed.make(f"{managed.policy}/poddisruptionbudgets", budget(**spec))
        counts = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")

        def counted(found: list[Object]) -> bool:
            return bool(found) and tuple(found[0]["status"].get(name) for name in counts) == expected

        [found] = await managed.until(f"{managed.policy}/poddisruptionbudgets", counted)
    [condition] = found["status"]["conditions"]
    allowed = expected[-1] > 0
    assert (condition["type"], condition["status"]) == ("DisruptionAllowed", "True" if allowed else "False")
    assert condition["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


async def _budgeted(managed: Client, allowed: int) -> Object:
    def counted(found: list[Object]) -> bool:
        status = found[0]["status"] if found else {}
        return status.get("expectedPods") == 3 and status.get("disruptionsAllowed") == allowed

    return (await managed.until(f"{managed.policy}/poddisruptionbudgets", counted))[0]


async def test_an_unready_pod_costs_the_budget(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        await managed.make(f"{managed.policy}/poddisruptionbudgets", budget())
        await _budgeted(managed, 1)
        [pod, *_] = await pods(managed)
        await managed.patch(f"{managed.core}/pods/{pod['metadata']['name']}/status", UNREADY, STRATEGIC)
        found = await _budgeted(managed, 0)
    assert found["status"]["currentHealthy"] == 2


async def test_an_evicted_pod_is_replaced_and_the_budget_recovers(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        await managed.make(f"{managed.policy}/poddisruptionbudgets", budget())
        await _budgeted(managed, 1)
        [pod, *_] = await pods(managed)
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        answer = await managed.post(f"{managed.core}/pods/{name}/eviction", {"metadata": {"name": name}})
        assert answer.code == 201

        def replaced(pods: list[Object]) -> bool:
            return len(pods) == 3 and uid not in [item["metadata"]["uid"] for item in pods]

        await managed.until(f"{managed.core}/pods", replaced)
        found = await _budgeted(managed, 1)
        await settled(managed)
    assert "disruptedPods" not in found["status"]


async def test_a_budget_spent_in_vain_stays_spent(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        await managed.make(f"{managed.policy}/poddisruptionbudgets", budget())
        await _budgeted(managed, 1)
        [pod, *_] = await pods(managed)
        name = pod["metadata"]["name"]
        body = {"metadata": {"name": name}, "deleteOptions": {"preconditions": {"uid": "0" * 8}}}
        answer = await managed.post(f"{managed.core}/pods/{name}/eviction", body)
        assert answer.code == 409

        def recounted(found: list[Object]) -> bool:
            return bool(found[0]["status"]["currentHealthy"] == 2)

        [found] = await managed.until(f"{managed.policy}/poddisruptionbudgets", recounted)
    assert list(found["status"]["disruptedPods"]) == [name]
    assert found["status"]["disruptionsAllowed"] == 0


async def test_a_bad_rollout_halts_and_passes_its_deadline(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed, progressDeadlineSeconds=2)
        bad = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "tensorflow/serving:bad"}]}}}}
        await managed.patch(f"{managed.apps}/deployments/serving", bad, STRATEGIC)

        def overdue(found: list[Object]) -> bool:
            return bool(progress(found[0])["reason"] == "ProgressDeadlineExceeded")

        [found] = await managed.until(f"{managed.apps}/deployments", overdue)
        replicasets = by_revision((await managed.get(f"{managed.apps}/replicasets")).body["items"])
    status = {key: value for key, value in found["status"].items() if key not in ("conditions", "observedGeneration")}
    assert status == {
        "replicas": 4,
        "updatedReplicas": 1,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "unavailableReplicas": 1,
        "terminatingReplicas": 0,
    }
    late, name = progress(found), replicasets["2"]["metadata"]["name"]
    assert late["status"] == "False"
    assert late["message"] == f'ReplicaSet "{name}" has timed out progressing.'
    assert {key: item["spec"]["replicas"] for key, item in replicasets.items()} == {"1": 3, "2": 1}


async def test_a_rollback_takes_the_old_replicaset_under_a_new_revision(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        for image in ("tensorflow/serving:bad", "tensorflow/serving:2.16.1"):
            before = {item["metadata"]["uid"] for item in (await managed.get(f"{managed.apps}/replicasets")).body["items"]}
            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
            await managed.patch(f"{managed.apps}/deployments/serving", change, STRATEGIC)
            if image.endswith(":bad"):
                await managed.until(
                    f"{managed.apps}/replicasets",
                    lambda found: len(found) == 2 and all(item["status"]["replicas"] for item in found),
                )
        made = await settled(managed)
        replicasets = await managed.until(
            f"{managed.apps}/replicasets", lambda found: sorted(it["spec"]["replicas"] for it in found) == [0, 3]
        )
    assert {item["metadata"]["uid"] for item in replicasets} == before
    assert made["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    revisions = by_revision(replicasets)
    assert {key: item["spec"]["replicas"] for key, item in revisions.items()} == {"2": 0, "3": 3}
    history = revisions["3"]["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"]
    assert history == "1"


async def test_a_restart_keeps_within_surge_and_unavailability(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        revision = (await managed.get(f"{managed.apps}/deployments")).body["metadata"]["resourceVersion"]
        stamp = {"kubectl.kubernetes.io/restartedAt": "2026-11-22T10:00:00Z"}
        change = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
        await managed.patch(f"{managed.apps}/deployments/serving", change, STRATEGIC)
        await settled(managed)
        path = f"{managed.apps}/deployments?watch=1&resourceVersion={revision}&timeoutSeconds=1"
        seen = [event["object"]["status"] for event in await managed.watched(path)]
    assert max(status["replicas"] for status in seen) == 4
    assert min(status["availableReplicas"] for status in seen) >= 3


async def test_a_paused_deployment_does_not_roll(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        change = {
            "paused": True,
            "template": {"spec": {"containers": [{"name": "c", "image": "tensorflow/serving:2.17.0"}]}},
        }
        await managed.patch(f"{managed.apps}/deployments/serving", {"spec": change}, STRATEGIC)

        def paused(found: list[Object]) -> bool:
            seen = found[0]["status"].get("observedGeneration") == found[0]["metadata"]["generation"]
            return bool(seen and progress(found[0])["reason"] == "DeploymentPaused")

        [found] = await managed.until(f"{managed.apps}/deployments", paused)
        assert progress(found)["status"] == "Unknown"
        assert found["status"].get("updatedReplicas") is None
        assert len((await managed.get(f"{managed.apps}/replicasets")).body["items"]) == 1
        await managed.patch(f"{managed.apps}/deployments/serving", {"spec": {"paused": False}})
        await settled(managed)


async def test_a_pod_whose_labels_leave_is_released_and_one_that_matches_is_adopted(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        [pod, *_] = await pods(managed)
        path, digest = f"{managed.core}/pods/{pod['metadata']['name']}", pod["metadata"]["labels"]["pod-template-hash"]
        await managed.patch(path, {"metadata": {"labels": {"app": None, "pod-template-hash": None}}})
        released = await managed.until(
            f"{managed.core}/pods",
            lambda pods: len(pods) == 4 and any(not item["metadata"].get("ownerReferences") for item in pods),
        )
        [free] = [item for item in released if not item["metadata"].get("ownerReferences")]
        assert free["metadata"]["uid"] == pod["metadata"]["uid"]
        await settled(managed)
        await managed.patch(path, {"metadata": {"labels": {"app": "serving", "pod-template-hash": digest}}})
        left = await managed.until(f"{managed.core}/pods", lambda pods: len(pods) == 3)
    assert all(item["metadata"]["ownerReferences"] for item in left)


async def test_scaling_down_takes_the_unready_pod(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        found = await pods(managed)
        sick = found[1]["metadata"]
        await managed.patch(f"{managed.core}/pods/{sick['name']}/status", UNREADY, STRATEGIC)
        await managed.until(f"{managed.apps}/deployments", lambda found: found[0]["status"].get("readyReplicas") == 2)
        await managed.patch(f"{managed.apps}/deployments/serving/scale", {"spec": {"replicas": 2}})
        left = await managed.until(f"{managed.core}/pods", lambda found: len(found) == 2)
    assert sick["uid"] not in [pod["metadata"]["uid"] for pod in left]


async def test_a_failed_pod_is_replaced_and_stays(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        [pod, *_] = await pods(managed)
        name = pod["metadata"]["name"]
        await managed.patch(f"{managed.core}/pods/{name}/status", {"status": {"phase": "Failed", "reason": "Evicted"}})
        await managed.until(f"{managed.core}/pods", lambda pods: len(alive(pods)) == 4)
        found = await settled(managed)
    assert found["status"]["replicas"] == 3


async def test_what_is_owned_goes_with_its_owner(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        await managed.delete(f"{managed.apps}/deployments/serving")
        await managed.until(f"{managed.apps}/replicasets", lambda found: not found)
        await managed.until(f"{managed.core}/pods", lambda found: not found)


async def test_a_namespace_takes_everything_with_it(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        answer = await managed.delete(f"/api/v1/namespaces/{managed.namespace}")
        assert (answer.code, answer.body["status"]["phase"]) == (200, "Terminating")
        names = {managed.namespace}
        await managed.until("/api/v1/namespaces", lambda found: not names & {item["metadata"]["name"] for item in found})
        assert (await pods(managed)) == []
