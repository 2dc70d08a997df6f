"""The revisions of StatefulSets and DaemonSets, and what decides which pods get the newest: with the kubelets of rollout.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.contract.client import Client, Object
from tests.contract.owners import free_nodes, names, owner, statefulset, whole
from tests.contract.rollout import kubelet, pods

HASH = "controller-revision-hash"


def image(tag: str) -> Object:
    """A change of the template."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": f"serving:{tag}"}]}}}}


async def revisions(managed: Client, numbers: list[int]) -> list[Object]:
    """The ControllerRevisions, by number, when there are those."""

    def there(found: list[Object]) -> bool:
        return sorted(item["revision"] for item in found) == numbers

    found = await managed.until(f"{managed.apps}/controllerrevisions", there)
    return sorted(found, key=lambda item: int(item["revision"]))


def told(**status: Any) -> Callable[[list[Object]], bool]:
    """Whether the status of the one object has these values; None for a field that is left out."""
    return lambda found: bool(found) and all(found[0]["status"].get(name) == value for name, value in status.items())


def seen(found: list[Object]) -> bool:
    """Whether the controller has seen the newest spec of the one object."""
    return bool(found) and found[0]["status"].get("observedGeneration") == found[0]["metadata"]["generation"]


def by_name(found: list[Object]) -> dict[str, str]:
    """The revision of each pod."""
    return {pod["metadata"]["name"]: pod["metadata"]["labels"][HASH] for pod in found}


async def test_a_template_that_comes_back_gets_the_newest_number(managed: Client) -> None:
    """The object that keeps it stays the same, so that its name lasts longer than its number."""
    body = statefulset(podManagementPolicy="Parallel")
    body["metadata"]["annotations"] = {"healer.dev/rolled-back-from": "db-1"}
    async with kubelet(managed):
        made = await managed.make(f"{managed.apps}/statefulsets", body)
        await managed.until(f"{managed.apps}/statefulsets", whole(3, updatedReplicas=3))
        [first] = await revisions(managed, [1])
        await managed.patch(f"{managed.apps}/statefulsets/db", image("2"))
        _, second = await revisions(managed, [1, 2])
        await managed.patch(f"{managed.apps}/statefulsets/db", image("1"))
        earlier, back = await revisions(managed, [2, 3])
        [after] = await managed.until(
            f"{managed.apps}/statefulsets", lambda found: seen(found) and whole(3, updatedReplicas=3)(found)
        )
    assert names([earlier, back]) == names([second, first])
    assert after["status"]["currentRevision"] == after["status"]["updateRevision"] == back["metadata"]["name"]
    assert back["metadata"]["name"].startswith("db-")
    assert back["metadata"]["annotations"] == {"healer.dev/rolled-back-from": "db-1"}
    assert back["metadata"]["labels"]["app"] == "db"
    [of] = back["metadata"]["ownerReferences"]
    assert (of["kind"], of["uid"], of["controller"]) == ("StatefulSet", made["metadata"]["uid"], True)
    template = back["data"]["spec"]["template"]
    assert template["$patch"] == "replace"
    assert template["spec"]["containers"][0]["image"] == "serving:1"


async def test_on_delete_a_pod_gets_the_newest_revision_when_it_is_taken(managed: Client) -> None:
    async with kubelet(managed):
        await managed.make(f"{managed.apps}/statefulsets", statefulset(updateStrategy={"type": "OnDelete"}))
        await managed.until(f"{managed.apps}/statefulsets", whole(3))
        await managed.patch(f"{managed.apps}/statefulsets/db", image("2"))
        [sts] = await managed.until(f"{managed.apps}/statefulsets", seen)
        old, new = sts["status"]["currentRevision"], sts["status"]["updateRevision"]
        assert old != new
        assert told(updatedReplicas=None, currentReplicas=3, readyReplicas=3)([sts])
        await managed.delete(f"{managed.core}/pods/db-1")
        await managed.until(f"{managed.apps}/statefulsets", told(updatedReplicas=1, currentReplicas=2, readyReplicas=3))
        assert by_name(await pods(managed)) == {"db-0": old, "db-1": new, "db-2": old}
        for name in ("db-0", "db-2"):
            await managed.delete(f"{managed.core}/pods/{name}")
        [after] = await managed.until(f"{managed.apps}/statefulsets", told(updatedReplicas=3, readyReplicas=3))
    assert after["status"]["currentRevision"] == old, "the status keeps the old name although no pod is of it"


async def test_a_partition_keeps_the_pods_below_it_at_their_revision(managed: Client) -> None:
    """The two revisions of the status differ for as long as the partition is there, when nothing is rolled any more."""
    partitioned = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    async with kubelet(managed):
        await managed.make(f"{managed.apps}/statefulsets", statefulset(updateStrategy=partitioned))
        await managed.until(f"{managed.apps}/statefulsets", whole(3))
        await managed.patch(f"{managed.apps}/statefulsets/db", image("2"))
        [sts] = await managed.until(f"{managed.apps}/statefulsets", whole(3, updatedReplicas=1))
        old, new = sts["status"]["currentRevision"], sts["status"]["updateRevision"]
        assert by_name(await pods(managed)) == {"db-0": old, "db-1": old, "db-2": new}
        uids = {pod["metadata"]["uid"] for pod in await pods(managed)}
        await managed.delete(f"{managed.core}/pods/db-1")

        def anew(found: list[Object]) -> bool:
            return names(found) == ["db-0", "db-1", "db-2"] and found[1]["metadata"]["uid"] not in uids

        found = await managed.until(f"{managed.core}/pods", anew)
    assert by_name(found) == {"db-0": old, "db-1": old, "db-2": new}


async def bad_rollout_put_back(managed: Client, policy: str) -> tuple[str, str]:
    """A rollout whose first pod never becomes ready, and the earlier template again: the good revision and the bad one."""
    await managed.make(f"{managed.apps}/statefulsets", statefulset(podManagementPolicy=policy))
    await managed.until(f"{managed.apps}/statefulsets", whole(3))
    await managed.patch(f"{managed.apps}/statefulsets/db", image("bad"))
    [sts] = await managed.until(f"{managed.apps}/statefulsets", told(readyReplicas=2, updatedReplicas=1))
    good, bad = sts["status"]["currentRevision"], sts["status"]["updateRevision"]
    await managed.until(f"{managed.core}/pods", lambda found: by_name(found) == {"db-0": good, "db-1": good, "db-2": bad})
    await managed.patch(f"{managed.apps}/statefulsets/db", image("1"))
    return good, bad


async def test_in_order_the_pod_of_a_bad_rollout_stays_when_the_template_comes_back(managed: Client) -> None:
    """The controller waits until somebody takes it, for it is never ready. The status calls both revisions the same."""
    async with kubelet(managed):
        good, bad = await bad_rollout_put_back(managed, "OrderedReady")
        [sts] = await managed.until(f"{managed.apps}/statefulsets", seen)
        assert told(readyReplicas=2, updatedReplicas=2, currentRevision=good, updateRevision=good)([sts])
        assert by_name(await pods(managed)) == {"db-0": good, "db-1": good, "db-2": bad}
        await managed.delete(f"{managed.core}/pods/db-2")
        await managed.until(f"{managed.apps}/statefulsets", whole(3, updatedReplicas=3))
        assert by_name(await pods(managed)) == {"db-0": good, "db-1": good, "db-2": good}


async def test_in_parallel_the_pod_of_a_bad_rollout_is_replaced_when_the_template_comes_back(managed: Client) -> None:
    async with kubelet(managed):
        good, _ = await bad_rollout_put_back(managed, "Parallel")
        await managed.until(f"{managed.apps}/statefulsets", whole(3, updatedReplicas=3, currentRevision=good))
        assert by_name(await pods(managed)) == {"db-0": good, "db-1": good, "db-2": good}


async def daemonset(managed: Client, **spec: Any) -> int:
    """Make one, and return on how many nodes it is to be."""
    nodes = await free_nodes(managed)
    body = owner("agent", spec)
    del body["spec"]["template"]["spec"]["nodeName"]
    await managed.make(f"{managed.apps}/daemonsets", body)
    return len(nodes)


async def test_the_server_counts_the_templates_of_a_daemonset(managed: Client) -> None:
    """Its status does not name its revision. Pods have that count as a label, and revisions as an annotation."""
    generation = "deprecated.daemonset.template.generation"
    async with kubelet(managed):
        nodes = await daemonset(managed)
        path = f"{managed.apps}/daemonsets"
        [first] = await managed.until(path, told(numberReady=nodes, updatedNumberScheduled=nodes))
        assert first["metadata"]["annotations"][generation] == "1"
        await managed.patch(f"{path}/agent", {"spec": {"minReadySeconds": 0, "revisionHistoryLimit": 5}})
        await managed.patch(f"{path}/agent", image("2"))
        [second] = await managed.until(
            path, lambda found: seen(found) and told(numberReady=nodes, updatedNumberScheduled=nodes)(found)
        )
        assert second["metadata"]["annotations"][generation] == "2"
        earlier, newest = await revisions(managed, [1, 2])
        assert [each["metadata"]["annotations"][generation] for each in (earlier, newest)] == ["1", "2"]
        found = await pods(managed)
        assert {pod["metadata"]["labels"]["pod-template-generation"] for pod in found} == {"2"}
        assert {f"agent-{digest}" for digest in by_name(found).values()} == {newest["metadata"]["name"]}


async def test_a_daemonset_that_is_rolled_on_delete_waits(managed: Client) -> None:
    async with kubelet(managed):
        nodes = await daemonset(managed, updateStrategy={"type": "OnDelete"})
        path = f"{managed.apps}/daemonsets"
        await managed.until(path, told(numberReady=nodes, updatedNumberScheduled=nodes))
        await managed.patch(f"{path}/agent", image("2"))
        [waiting] = await managed.until(path, seen)
        assert told(numberReady=nodes, updatedNumberScheduled=None, currentNumberScheduled=nodes)([waiting])
        for pod in await pods(managed):
            await managed.delete(f"{managed.core}/pods/{pod['metadata']['name']}", {"gracePeriodSeconds": 0})
        await managed.until(path, told(numberReady=nodes, updatedNumberScheduled=nodes))
