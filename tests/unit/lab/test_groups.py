"""The lab's LeaderWorkerSets: groups that come, are replaced as a whole, and go, as with the real controller."""

from collections.abc import AsyncIterator, Callable

import pytest

from healer.lab import Lab
from healer.lab.groups import LEADER_WORKER_SET, PREFIX, serving_groups
from healer.lab.kinds import POD
from healer.lab.objects import Object, controller_of, is_ready, labels_of

NAMESPACE = "production"
pytestmark = pytest.mark.slow


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(start_delay=0, termination_delay=0, time_scale=0.01) as lab:
        yield lab


def status(lab: Lab) -> Object:
    (found,) = lab.objects(LEADER_WORKER_SET.resource, NAMESPACE)
    reported: Object = found.get("status") or {}
    return reported


def uids(lab: Lab) -> dict[str, str]:
    """Those of the pods, by name."""
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in lab.objects("pods", NAMESPACE)}


def ready(groups: int = 2) -> Callable[[Lab], bool]:
    """Whether so many groups are ready, and nothing is on its way out."""

    def holds(lab: Lab) -> bool:
        pods = lab.objects("pods", NAMESPACE)
        settled = all(is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)
        return settled and status(lab).get("readyReplicas") == groups

    return holds


async def have(lab: Lab, policy: str = "RecreateGroupOnPodRestart", size: int = 3) -> dict[str, str]:
    await lab.apply(serving_groups(size=size, restart_policy=policy))
    await lab.wait_for(ready())
    return uids(lab)


async def test_a_leader_owns_the_stateful_set_of_its_workers(lab: Lab) -> None:
    assert set(await have(lab)) == {"vllm-0", "vllm-0-1", "vllm-0-2", "vllm-1", "vllm-1-1", "vllm-1-2"}
    owners = {each["metadata"]["name"]: controller_of(each) for each in lab.objects("statefulsets", NAMESPACE)}
    assert {name: owner and (owner["kind"], owner["name"]) for name, owner in owners.items()} == {
        "vllm": ("LeaderWorkerSet", "vllm"),
        "vllm-0": ("Pod", "vllm-0"),
        "vllm-1": ("Pod", "vllm-1"),
    }
    places = {pod["metadata"]["name"]: labels_of(pod) for pod in lab.objects("pods", NAMESPACE)}
    assert {places["vllm-1-2"][f"{PREFIX}/{label}"] for label in ("group-index",)} == {"1"}
    assert (places["vllm-1-2"][f"{PREFIX}/worker-index"], places["vllm-1"][f"{PREFIX}/worker-index"]) == ("2", "0")


@pytest.mark.parametrize("deleted", ["vllm-1", "vllm-1-2"])
async def test_a_pod_that_is_deleted_takes_its_group_and_no_other(lab: Lab, deleted: str) -> None:
    before = await have(lab)
    lab.api.delete(POD, NAMESPACE, deleted)
    await lab.wait_for(lambda lab: len(uids(lab)) == 6 and ready()(lab) and uids(lab)[deleted] != before[deleted])
    after = uids(lab)
    assert {name for name in after if after[name] != before[name]} == {"vllm-1", "vllm-1-1", "vllm-1-2"}


async def test_a_container_that_restarts_takes_its_group(lab: Lab) -> None:
    before = await have(lab)
    await lab.behave(NAMESPACE, "vllm-0-1", "crash")
    await lab.wait_for(lambda lab: len(uids(lab)) == 6 and ready()(lab) and uids(lab)["vllm-0"] != before["vllm-0"])


async def test_without_the_restart_policy_a_worker_is_replaced_for_itself(lab: Lab) -> None:
    before = await have(lab, "None")
    lab.api.delete(POD, NAMESPACE, "vllm-1-2")
    await lab.wait_for(lambda lab: len(uids(lab)) == 6 and ready()(lab) and uids(lab)["vllm-1-2"] != before["vllm-1-2"])
    after = uids(lab)
    assert {name for name in after if after[name] != before[name]} == {"vllm-1-2"}


async def test_a_group_with_a_worker_down_is_not_ready(lab: Lab) -> None:
    await have(lab)
    await lab.behave(NAMESPACE, "vllm-0-1", "hang")
    await lab.wait_for(lambda lab: status(lab)["readyReplicas"] == 1)
    assert status(lab)["replicas"] == 2


async def test_a_new_template_replaces_all_groups(lab: Lab) -> None:
    before = await have(lab, size=2)

    def change(obj: Object) -> None:
        obj["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0]["image"] = "vllm/vllm-openai:v0.12.0"

    lab.api.modify(LEADER_WORKER_SET, NAMESPACE, "vllm", change)
    await lab.wait_for(lambda lab: len(uids(lab)) == 4 and not set(uids(lab).values()) & set(before.values()) and ready()(lab))
    assert status(lab)["updatedReplicas"] == 2
