"""A world changes as the kubelet and the controllers change a cluster, and tells of each change."""

import pytest

from healer.cluster.watch import ObjectChange
from healer.model.kube import Pod
from healer.model.unit import PodGroup
from healer.model.workload import Workload
from healer.rehearsal.kinds import KEPT_KINDS
from healer.rehearsal.world import Kept, World
from healer.workloads.registry import WORKLOADS

KINDS = sorted(struct.__name__ for struct in KEPT_KINDS)


@pytest.fixture
def world() -> World:
    return World("production")


def shown(world: World, kept: Kept) -> Workload:
    """The workload as the view has it."""
    workload = world.view.workload(kept.obj.metadata.uid)
    assert workload is not None
    return workload


def ready(world: World, kept: Kept) -> tuple[int, int, int]:
    workload = shown(world, kept)
    return workload.desired, workload.existing, workload.ready


@pytest.mark.parametrize("kind", KINDS)
def test_a_workload_is_served_by_pods_of_its_own_that_are_ready(world: World, kind: str) -> None:
    kept = world.serve("llm", 3, kind=kind, revision="1", labels={"app": "x"})
    workload = shown(world, kept)
    assert (workload.kind, ready(world, kept), workload.rollout, workload.observed) == (kind, (3, 3, 3), None, True)
    pods = world.view.pods_of(workload.target)
    assert {pod.metadata.uid for pod in pods} == set(kept.pods)
    assert all(pod.metadata.labels["app"] == "x" for pod in pods)
    assert {WORKLOADS[kind].pod_revision(world.view, pod) for pod in pods} <= {workload.revision, ""}


@pytest.mark.parametrize("kind", KINDS)
def test_its_status_follows_its_pods(world: World, kind: str) -> None:
    kept = world.serve("llm", 3, kind=kind)
    first, second, third = [pod.metadata.name for pod in kept.pods.values()]
    world.crash(first)
    assert ready(world, kept) == (3, 3, 2)
    world.terminate(second)
    assert ready(world, kept) == (3, 2, 1)
    world.remove(second)
    world.finish(third)
    assert ready(world, kept) == (3, 2, 1), "its successor is ready, and a record of the finished one counts as nothing"
    world.mend(first)
    assert ready(world, kept) == (3, 2, 2)
    world.own(first)
    assert ready(world, kept) == (3, 1, 1), "it was released"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_revision_is_rolled_out_when_its_pods_are_replaced(world: World, kind: str) -> None:
    kept = world.serve("llm", 2, kind=kind, revision="1")
    before = shown(world, kept).revision
    pods = [pod.metadata.name for pod in kept.pods.values()]
    world.roll_out(kept, "2")
    workload = shown(world, kept)
    assert (workload.updated, workload.observed) == (0, True)
    assert workload.rollout is not None
    if kind != "LeaderWorkerSet":  # which shows none
        assert workload.revision != before != ""
    world.replace(pods[0])
    assert shown(world, kept).rollout is not None
    world.replace(pods[1])
    assert (shown(world, kept).rollout, ready(world, kept)) == (None, (2, 2, 2))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KEPT_KINDS[WORKLOADS[kind].struct].pause])
def test_a_rollout_is_paused_as_its_controller_knows_it(world: World, kind: str) -> None:
    kept = world.serve("llm", 2, kind=kind, revision="1")
    pause = KEPT_KINDS[WORKLOADS[kind].struct].pause
    assert pause is not None
    world.put(pause(kept.obj, True))
    rollout = shown(world, kept).rollout
    assert (shown(world, kept).paused, rollout and rollout.code) == (True, "RolloutPaused")
    world.put(pause(kept.obj, False))
    assert (shown(world, kept).paused, shown(world, kept).rollout) == (False, None)


def test_the_groups_of_a_leaderworkerset_are_units_that_serve_whole(world: World) -> None:
    kept = world.serve("llm", 2, kind="LeaderWorkerSet", size=3)
    names = ["llm-0", "llm-0-1", "llm-0-2", "llm-1", "llm-1-1", "llm-1-2"]
    assert sorted(pod.metadata.name for pod in world.view.pods_of(shown(world, kept).target)) == names
    assert (ready(world, kept), shown(world, kept).group) == ((2, 2, 2), PodGroup(3, together=True))
    world.unready("llm-0-2")
    assert ready(world, kept) == (2, 2, 1)
    group = world.view.unit_of(world.pod("llm-0-1"))
    assert [pod.metadata.name for pod in group.replaced_with(group.pods[1].metadata.uid)] == names[:3]
    world.remove("llm-0")
    assert world.view.workload_named("StatefulSet", "production", "llm-0") is None, "its leader has taken it along"
    for worker in names[1:3]:
        world.remove(worker)
    assert ready(world, kept) == (2, 1, 1)
    assert world.add_unit(kept) == names[:3]
    assert ready(world, kept) == (2, 2, 2)


def test_the_successor_of_a_pod_has_another_name_but_in_a_stateful_set(world: World) -> None:
    world.serve("a", 2)
    world.serve("b", 2, kind="StatefulSet")
    uid = world.pod("b-1").metadata.uid
    assert (world.replace("a-1"), world.replace("b-1")) == ("a-3", "b-1")
    assert world.pod("b-1").metadata.uid != uid
    assert sorted(pod.metadata.name for pod in world.view.pods()) == ["a-2", "a-3", "b-0", "b-1"]


def test_pods_of_other_namespaces_are_named_with_them(world: World) -> None:
    world.serve("llm", 1)
    other = world.serve("llm", 1, namespace="staging")
    world.crash("staging/llm-1")
    assert (world.pod("llm-1").ready, ready(world, other)) == (True, (1, 1, 0))
    assert world.replace("staging/llm-1") == "staging/llm-2"
    with pytest.raises(KeyError, match="staging/llm-9"):
        world.pod("staging/llm-9")


def test_each_change_is_told_that_of_a_pod_before_that_of_its_workload(world: World) -> None:
    kept = world.serve("llm", 2)
    told: list[ObjectChange] = []
    world.listeners.append(told.append)
    world.unready("llm-1")
    assert [(change.verb, type(change.obj).__name__) for change in told] == [("put", "Pod"), ("put", "Deployment")]
    assert isinstance(told[0].before, Pod)
    assert (told[0].before.ready, told[1].before, told[1].obj) == (True, told[1].before, kept.obj)
    told.clear()
    world.remove("llm-1")
    assert [(change.verb, type(change.obj).__name__) for change in told] == [("drop", "Pod"), ("put", "Deployment")]
    told.clear()
    world.drop(kept.obj)
    world.remove("llm-2")
    assert [(change.verb, type(change.obj).__name__) for change in told] == [("drop", "Deployment"), ("drop", "Pod")]


def test_a_workload_of_an_unknown_kind_is_an_error(world: World) -> None:
    with pytest.raises(KeyError, match="CronJob"):
        world.serve("llm", 1, kind="CronJob")
