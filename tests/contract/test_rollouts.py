"""Rollouts, restarts and rollbacks: which ReplicaSet has which revision, and what is written on it."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from itertools import groupby
from typing import Any

import pytest

from tests.contract.client import JSON_PATCH, MERGE, STRATEGIC, Client, Object
from tests.contract.rollout import by_revision, kubelet, progress, settled, up

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
RESTARTED = "kubectl.kubernetes.io/restartedAt"
HASH = "pod-template-hash"


async def _replicasets(managed: Client, *sizes: int) -> list[Object]:
    """The ReplicaSets, once they have these sizes in whatever order, and say so."""

    def sized(found: list[Object]) -> bool:
        wanted = [(size, size) for size in sorted(sizes)]
        return sorted((item["spec"]["replicas"], item["status"]["replicas"]) for item in found) == wanted

    return await managed.until(f"{managed.apps}/replicasets", sized)


async def _roll_to(managed: Client, image: str, replicas: int = 3) -> Object:
    """Another image, rolled out."""
    change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": f"tensorflow/serving:{image}"}]}}}}
    answer = await managed.patch(f"{managed.apps}/deployments/serving", change, STRATEGIC)
    assert answer.code == 200, answer
    return await settled(managed, replicas)


def _template_of(replicaset: Object) -> Object:
    """The template as a rollback puts it back: without the hash that the controller adds."""
    template: Object = deepcopy(replicaset["spec"]["template"])
    del template["metadata"]["labels"][HASH]
    return template


def _notes(replicaset: Object) -> dict[str, str]:
    prefix = "deployment.kubernetes.io/"
    return {
        key.removeprefix(prefix): value for key, value in replicaset["metadata"]["annotations"].items() if key.startswith(prefix)
    }


async def test_a_template_put_back_takes_its_replicaset_again(managed: Client) -> None:
    path = f"{managed.apps}/deployments/serving"
    async with kubelet(managed):
        await up(managed)
        [first] = await _replicasets(managed, 3)
        before = await _roll_to(managed, "2.17.0")
        second = by_revision(await _replicasets(managed, 0, 3))["2"]
        assert before["metadata"]["annotations"] == {REVISION: "2"}
        steps = [
            {"op": "test", "path": "/metadata/annotations/deployment.kubernetes.io~1revision", "value": "2"},
            {"op": "replace", "path": "/spec/template", "value": _template_of(first)},
        ]
        answer = await managed.patch(path, steps, JSON_PATCH)
        assert answer.code == 200, answer
        after = await settled(managed)
        revisions = by_revision(await _replicasets(managed, 0, 3))
    assert after["metadata"]["annotations"] == {REVISION: "3"}
    assert after["spec"]["template"] == _template_of(first)
    assert {key: item["metadata"]["uid"] for key, item in revisions.items()} == {
        "2": second["metadata"]["uid"],
        "3": first["metadata"]["uid"],
    }
    assert _notes(revisions["3"]) == {"revision": "3", "revision-history": "1", "desired-replicas": "3", "max-replicas": "4"}
    assert _notes(revisions["2"]) == {"revision": "2", "desired-replicas": "3", "max-replicas": "4"}
    assert revisions["3"]["metadata"]["labels"] == first["metadata"]["labels"]


async def test_the_history_of_revisions_grows(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        for image in ("2.17.0", "2.16.1", "2.17.0", "2.16.1"):
            made = await _roll_to(managed, image)
        revisions = by_revision(await _replicasets(managed, 0, 3))
    assert made["metadata"]["annotations"][REVISION] == "5"
    assert {key: item["metadata"]["annotations"].get(HISTORY) for key, item in revisions.items()} == {"4": "2", "5": "1,3"}


async def test_a_rollback_to_what_the_history_has_dropped_makes_a_new_replicaset(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed, revisionHistoryLimit=0)
        [first] = await _replicasets(managed, 3)
        await _roll_to(managed, "2.17.0")
        await managed.until(f"{managed.apps}/replicasets", lambda found: len(found) == 1)
        await managed.patch(f"{managed.apps}/deployments/serving", {"spec": {"template": _template_of(first)}})
        await settled(managed)
        [last] = await managed.until(
            f"{managed.apps}/replicasets", lambda found: [item["spec"]["replicas"] for item in found] == [3]
        )
    assert last["metadata"]["name"] == first["metadata"]["name"]
    assert last["metadata"]["uid"] != first["metadata"]["uid"]
    assert _notes(last) == {"revision": "3", "desired-replicas": "3", "max-replicas": "4"}


async def test_the_history_keeps_so_many_old_replicasets(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed, revisionHistoryLimit=1)
        for image in ("2.17.0", "2.18.0"):
            await _roll_to(managed, image)
        left = await managed.until(f"{managed.apps}/replicasets", lambda found: len(found) == 2)
    assert sorted(by_revision(left)) == ["2", "3"]


@pytest.mark.parametrize("form", [MERGE, STRATEGIC])
async def test_a_restart_is_a_rollout_of_its_own(managed: Client, form: str) -> None:
    path = f"{managed.apps}/deployments/serving"
    async with kubelet(managed):
        made = await up(managed)
        stamp = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: "2026-11-22T10:00:00Z"}}}}}
        answer = await managed.patch(path, stamp, form)
        assert (answer.code, answer.body["metadata"]["generation"]) == (200, made["metadata"]["generation"] + 1)
        again = await managed.patch(path, stamp, form)
        assert again.body["metadata"]["generation"] == made["metadata"]["generation"] + 1
        after = await settled(managed)
        revisions = by_revision(await _replicasets(managed, 0, 3))
    assert after["metadata"]["annotations"] == {REVISION: "2"}
    assert RESTARTED not in revisions["1"]["spec"]["template"]["metadata"]["annotations"]
    assert revisions["2"]["spec"]["template"]["metadata"]["annotations"][RESTARTED] == "2026-11-22T10:00:00Z"
    assert revisions["2"]["spec"]["template"]["spec"] == revisions["1"]["spec"]["template"]["spec"]
    assert RESTARTED not in revisions["2"]["metadata"]["annotations"]


async def test_a_dry_run_of_a_rollback_rolls_nothing(managed: Client) -> None:
    path = f"{managed.apps}/deployments/serving"
    async with kubelet(managed):
        await up(managed)
        [first] = await _replicasets(managed, 3)
        before = await _roll_to(managed, "2.17.0")
        steps = [{"op": "replace", "path": "/spec/template", "value": _template_of(first)}]
        answer = await managed.patch(f"{path}?dryRun=All", steps, JSON_PATCH)
        assert (answer.code, answer.body["metadata"]["generation"]) == (200, before["metadata"]["generation"] + 1)
        assert answer.body["spec"]["template"] == _template_of(first)
        after = (await managed.get(path)).body
    assert (after["metadata"]["generation"], after["spec"]) == (before["metadata"]["generation"], before["spec"])


async def test_annotations_of_a_deployment_are_those_of_its_newest_replicaset(managed: Client) -> None:
    path, cause = f"{managed.apps}/deployments/serving", "kubernetes.io/change-cause"
    async with kubelet(managed):
        await up(managed)
        await managed.patch(path, {"metadata": {"annotations": {cause: "second"}}})
        await _roll_to(managed, "2.17.0")
        await managed.patch(path, {"metadata": {"annotations": {cause: "third"}}})
        await _roll_to(managed, "2.18.0")
        revisions = by_revision(await _replicasets(managed, 0, 0, 3))
    assert {key: item["metadata"]["annotations"].get(cause) for key, item in revisions.items()} == {
        "1": "second",
        "2": "third",
        "3": "third",
    }


@pytest.mark.parametrize(
    ("strategy", "most"),
    [
        ({}, "5"),
        ({"rollingUpdate": {"maxSurge": "50%"}}, "6"),
        ({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}, "4"),
        ({"rollingUpdate": {"maxSurge": 3}}, "7"),
        ({"type": "Recreate"}, "4"),
    ],
)
async def test_how_many_replicas_there_may_be_is_noted(managed: Client, strategy: Object, most: str) -> None:
    async with kubelet(managed):
        made = await up(managed, replicas=4, strategy=strategy)
        [replicaset] = await _replicasets(managed, 4)
    assert _notes(replicaset) == {"revision": "1", "desired-replicas": "4", "max-replicas": most}
    if strategy.get("type") != "Recreate":
        quarter = {"maxSurge": "25%", "maxUnavailable": "25%"}
        wanted = {"type": "RollingUpdate", "rollingUpdate": quarter | strategy.get("rollingUpdate", {})}
        assert made["spec"]["strategy"] == wanted


async def test_recreate_ends_the_old_pods_first(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed, strategy={"type": "Recreate"})
        seen, known = await _images_over(managed, _roll_to(managed, "2.17.0"))
    assert known == {"tensorflow/serving:2.17.0"}
    assert not any(len(images) > 1 for images in seen)
    assert set() in seen


async def _images_over(managed: Client, rollout: Any) -> tuple[list[set[str]], set[str]]:
    """The images of the pods that there are, after each change until the rollout is over."""
    there: dict[str, str] = {}
    seen: list[set[str]] = []
    done = asyncio.create_task(rollout)
    async with managed.watch(f"{managed.core}/pods?watch=1") as events:
        async for event in events:
            name = event["object"]["metadata"]["name"]
            there[name] = event["object"]["spec"]["containers"][0]["image"]
            if event["type"] == "DELETED":
                del there[name]
            seen.append(set(there.values()))
            if len(there) == 3 and set(there.values()) == {"tensorflow/serving:2.17.0"}:
                break
    await done
    return seen, set(there.values())


@pytest.mark.parametrize("down", [1, "10%"])
async def test_a_rolling_update_stays_within_its_bounds(managed: Client, down: int | str) -> None:
    """Also when rounding leaves none to take down: one is, since it would never end."""
    bounds = {"maxSurge": 0, "maxUnavailable": down}
    async with kubelet(managed):
        await up(managed, strategy={"rollingUpdate": bounds})
        listed = (await managed.get(f"{managed.apps}/replicasets")).body
        sizes = {item["metadata"]["name"]: item["spec"]["replicas"] for item in listed["items"]}
        await _roll_to(managed, "2.17.0")
        await _replicasets(managed, 0, 3)
        path = f"{managed.apps}/replicasets?watch=1&resourceVersion={listed['metadata']['resourceVersion']}&timeoutSeconds=1"
        totals = []
        for event in await managed.watched(path):
            sizes[event["object"]["metadata"]["name"]] = event["object"]["spec"]["replicas"]
            totals.append(sum(sizes.values()))
    assert max(totals) == 3
    assert min(totals) == 2


async def _reasons(managed: Client, image: str) -> list[str]:
    """The reasons of the condition Progressing on the way to another image, each once in a row."""
    listed = (await managed.get(f"{managed.apps}/deployments")).body["metadata"]["resourceVersion"]
    await _roll_to(managed, image)
    events = await managed.watched(f"{managed.apps}/deployments?watch=1&resourceVersion={listed}&timeoutSeconds=1")
    reasons = [progress(event["object"])["reason"] for event in events]
    return [reason for reason, _ in groupby(reasons)]


async def test_how_a_rollout_and_a_rollback_are_told(managed: Client) -> None:
    async with kubelet(managed):
        await up(managed)
        forth = await _reasons(managed, "2.17.0")
        back = await _reasons(managed, "2.16.1")
    assert forth == ["NewReplicaSetAvailable", "NewReplicaSetCreated", "ReplicaSetUpdated", "NewReplicaSetAvailable"]
    assert back == ["NewReplicaSetAvailable", "ReplicaSetUpdated", "NewReplicaSetAvailable"]


async def test_a_rollback_out_of_a_rollout_that_missed_its_deadline(managed: Client) -> None:
    path = f"{managed.apps}/deployments/serving"
    async with kubelet(managed):
        await up(managed, progressDeadlineSeconds=1)
        [first] = await _replicasets(managed, 3)
        bad = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "tensorflow/serving:bad"}]}}}}
        await managed.patch(path, bad, STRATEGIC)
        await managed.until(
            f"{managed.apps}/deployments", lambda found: progress(found[0])["reason"] == "ProgressDeadlineExceeded"
        )
        await managed.patch(path, {"spec": {"template": _template_of(first)}})
        after = await settled(managed)
        revisions = by_revision(await _replicasets(managed, 0, 3))
    assert (progress(after)["status"], progress(after)["reason"]) == ("True", "NewReplicaSetAvailable")
    assert progress(after)["message"] == f'ReplicaSet "{first["metadata"]["name"]}" has successfully progressed.'
    assert {key: item["spec"]["replicas"] for key, item in revisions.items()} == {"2": 0, "3": 3}
