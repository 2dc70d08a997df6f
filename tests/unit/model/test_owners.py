"""From a pod up to its workload, by uid: a leader's workers belong to the LeaderWorkerSet, and to the group of their leader."""

import msgspec

from healer.model.kube import Meta, Pod
from healer.model.target import Target
from healer.workloads.deployment import Deployment
from healer.workloads.statefulset import StatefulSet, StatefulSetSpec
from tests.support.groups import Groups, reference
from tests.support.world import NAMESPACE, World

LWS = Target("LeaderWorkerSet", NAMESPACE, "vllm", "lws-1")


def test_leaders_and_workers_belong_to_the_leader_worker_set() -> None:
    world = Groups(2, 3)
    assert [world.view.workload_of(pod) for pod in world.pods] == [LWS] * 6
    assert sorted(pod.metadata.name for pod in world.view.pods_of(LWS)) == sorted(pod.metadata.name for pod in world.pods)


def test_a_stateful_set_of_a_leader_worker_set_is_a_part_of_it() -> None:
    world = Groups(2, 3)
    sets = [each for each in world.view.workloads() if each.kind == "StatefulSet"]
    assert [world.view.workload_of(each) for each in sets] == [LWS] * 3


def test_the_units_are_groups_by_their_leader() -> None:
    world = Groups(2, 3)
    units = world.view.units_of(LWS)
    assert [[pod.metadata.name for pod in unit.pods] for unit in units] == [world.members(0), world.members(1)]
    assert world.view.unit_of(world.pod("vllm-1-2")) == units[1]
    assert all(unit.ready for unit in units)
    world.unready("vllm-1-2")
    assert [unit.ready for unit in world.view.units_of(LWS)] == [True, False]


def test_labels_put_no_pod_into_a_group() -> None:
    world = Groups(2, 3)
    labels = {"leaderworkerset.sigs.k8s.io/name": "vllm", "leaderworkerset.sigs.k8s.io/group-index": "0"}
    alien = Pod(Meta("alien", "pod-99", NAMESPACE, labels=labels))
    world.view.put(alien)
    assert world.view.workload_of(alien) is None
    assert len(world.view.units_of(LWS)) == 2
    assert world.view.unit_of(alien).pods == (alien,)


def test_a_group_has_the_size_that_the_stateful_set_of_its_workers_has() -> None:
    """A rollout of another size changes one group after the other."""
    world = Groups(2, 3)
    (workers,) = [s for s in world.view.objects(StatefulSet) if s.metadata.name == "vllm-0"]
    assert isinstance(workers, StatefulSet)
    world.view.put(msgspec.structs.replace(workers, spec=StatefulSetSpec(3)))
    assert [unit.ready for unit in world.view.units_of(LWS)] == [False, True]


def test_a_leader_whose_workers_are_not_there_yet_is_no_ready_group() -> None:
    world = Groups(1, 3)
    world.end(0)
    world.begin(0, ready=True)
    world.end(0)
    assert world.view.units_of(LWS) == []
    leader = Pod(Meta("vllm-0", "pod-90", NAMESPACE, owner_references=(reference(world._leaders),)))
    world.view.put(leader)
    (unit,) = world.view.units_of(LWS)
    assert (unit.group and unit.group.size, unit.ready) == (3, False)


def test_nobody_is_the_workload_while_an_owner_between_is_not_known() -> None:
    world = Groups(1, 3)
    worker = world.pod("vllm-0-1")
    world.view.drop(Pod, world.pod("vllm-0").metadata.uid)
    assert world.view.workload_of(worker) is None
    world = Groups(1, 3)
    world.view.drop(type(world.lws), "lws-1")
    assert {world.view.workload_of(pod) for pod in world.pods} == {None}


def test_an_owner_of_another_namespace_or_name_is_none() -> None:
    world = Groups(1, 3)
    foreign = reference(world.pod("vllm-0"))
    for meta in (
        Meta("x", "sts-x", "elsewhere", owner_references=(foreign,)),
        Meta("x", "sts-x", NAMESPACE, owner_references=(msgspec.structs.replace(foreign, name="vllm-9"),)),
    ):
        owned = StatefulSet(meta, StatefulSetSpec(1))
        pod = Pod(Meta("x-0", "pod-91", meta.namespace, owner_references=(reference(owned),)))
        world.view.put(owned)
        world.view.put(pod)
        assert world.view.workload_of(pod) is None
        assert len(world.view.pods_of(LWS)) == 3


def test_owners_in_a_circle_are_no_workload() -> None:
    world = Groups(1, 2)
    one, two = (StatefulSet(Meta(name, name, NAMESPACE), StatefulSetSpec(1)) for name in ("one", "two"))
    led = Pod(Meta("led", "pod-92", NAMESPACE, owner_references=(reference(one),)))
    for owned, owner in ((one, led), (two, led)):
        meta = msgspec.structs.replace(owned.metadata, owner_references=(reference(owner),))
        world.view.put(msgspec.structs.replace(owned, metadata=meta))
    world.view.put(led)
    assert world.view.workload_of(led) is None
    assert world.view.pods_of(Target("StatefulSet", NAMESPACE, "one", "one")) == []


def test_a_stateful_set_that_a_pod_without_groups_owns_is_a_workload_of_its_own() -> None:
    world = World(2)
    owned = StatefulSet(
        Meta("cache", "cache", NAMESPACE, owner_references=(reference(world.pod("serving-1")),)), StatefulSetSpec(1)
    )
    pod = Pod(Meta("cache-0", "pod-93", NAMESPACE, owner_references=(reference(owned),)))
    world.view.put(owned)
    world.view.put(pod)
    assert world.view.workload_of(pod) == Target("StatefulSet", NAMESPACE, "cache", "cache")
    assert len(world.view.pods_of(world.workload)) == 2
    assert world.view.unit_of(pod).pods == (pod,)
    assert world.view.unit_uid(pod) == "pod-93"


def test_a_deployment_that_an_unknown_kind_owns_stays_the_workload() -> None:
    world = World(1)
    owner = msgspec.structs.replace(reference(world.deployment), kind="InferenceService", uid="isvc")
    meta = msgspec.structs.replace(world.deployment.metadata, owner_references=(owner,))
    world.view.put(Deployment(meta))
    assert world.view.workload_of(world.pod("serving-1")) == world.workload
