"""The view: its indices agree with its objects, whatever was put and dropped."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.model.kube import (
    BudgetSpec,
    KubeObject,
    LabelSelector,
    Meta,
    Namespace,
    OwnerReference,
    Pod,
    PodDisruptionBudget,
    PodSpec,
    ReplicaSet,
)
from healer.model.node import Node, WatchedNodeMeta
from healer.model.target import Target
from healer.model.view import View
from healer.workloads.deployment import Deployment
from healer.workloads.registry import WORKLOADS


def meta(name: str, uid: str = "", *, owner: KubeObject | None = None, namespace: str = "ns", app: str = "a") -> Meta:
    owners: tuple[OwnerReference, ...] = ()
    if owner is not None:
        owners = (OwnerReference(type(owner).__name__, owner.metadata.name, owner.metadata.uid, controller=True),)
    return Meta(name=name, uid=uid or f"uid-{name}", namespace=namespace, labels={"app": app}, owner_references=owners)


def filled(*objects: KubeObject) -> View:
    view = View(WORKLOADS)
    for obj in objects:
        view.put(obj)
    return view


DEPLOYMENT = Deployment(meta("serving"))
OLD, NEW = ReplicaSet(meta("serving-1", owner=DEPLOYMENT)), ReplicaSet(meta("serving-2", owner=DEPLOYMENT))
WORKLOAD = Target("Deployment", "ns", "serving", "uid-serving")


def names(pods: Iterable[Pod]) -> list[str]:
    return sorted(pod.metadata.name for pod in pods)


def test_put_and_drop_give_what_was_held_before() -> None:
    view = View(WORKLOADS)
    first, second = Pod(meta("a")), Pod(meta("a", app="b"))
    assert view.put(first) is None
    assert view.put(second) is first
    assert view.drop(Pod, "uid-a") is second
    assert view.drop(Pod, "uid-a") is None
    assert view.count(Pod) == 0


def test_a_pod_belongs_to_the_deployment_of_its_replica_set() -> None:
    pod = Pod(meta("a", owner=NEW))
    assert filled(DEPLOYMENT, NEW, pod).workload_of(pod) == WORKLOAD


def test_a_pod_whose_replica_set_is_not_known_belongs_to_nobody_yet() -> None:
    pod = Pod(meta("a", owner=NEW))
    assert filled(DEPLOYMENT, pod).workload_of(pod) is None


def test_owners_are_followed_by_uid_not_by_name() -> None:
    pod = Pod(meta("a", owner=NEW))
    namesake = ReplicaSet(meta("serving-2", "another-uid", owner=DEPLOYMENT))
    assert filled(DEPLOYMENT, namesake, pod).workload_of(pod) is None


def test_other_owners() -> None:
    bare, lone = Pod(meta("bare")), ReplicaSet(meta("lone"))
    view = filled(bare, lone)
    assert view.workload_of(bare) is None
    assert view.workload_of(Pod(meta("a", owner=lone))) == Target("ReplicaSet", "ns", "lone", "uid-lone")
    owned = Meta(
        name="b", uid="b", namespace="ns", owner_references=(OwnerReference("StatefulSet", "db", "uid-db", controller=True),)
    )
    assert view.workload_of(Pod(owned)) == Target("StatefulSet", "ns", "db", "uid-db")
    watched = Meta(name="c", uid="c", namespace="ns", owner_references=(OwnerReference("StatefulSet", "db", "uid-db"),))
    assert view.workload_of(Pod(watched)) is None, "an owner that is no controller does not count"


def test_pods_of_a_workload_are_those_of_all_its_revisions() -> None:
    view = filled(DEPLOYMENT, OLD, NEW, Pod(meta("a", owner=OLD)), Pod(meta("b", owner=NEW)), Pod(meta("c")))
    assert names(view.pods_of(WORKLOAD)) == ["a", "b"]
    view.drop(ReplicaSet, OLD.metadata.uid)
    assert names(view.pods_of(WORKLOAD)) == ["b"]
    assert view.pods_of(Target("Deployment", "ns", "serving", "")) == []


@pytest.mark.parametrize(
    ("kind", "name", "namespace"),
    [("StatefulSet", "serving", "ns"), ("Deployment", "other", "ns"), ("Deployment", "serving", "apart")],
)
def test_a_reference_that_names_another_object_than_its_uid_is_no_owner(kind: str, name: str, namespace: str) -> None:
    """Anybody may write a reference; it is believed only where all of it fits the workload that has the uid."""
    reference = OwnerReference(kind, name, WORKLOAD.uid, controller=True)
    view = filled(DEPLOYMENT, Pod(Meta(name="a", uid="a", namespace=namespace, owner_references=(reference,))))
    pod = view.pod("a")
    assert pod is not None
    assert view.workload_of(pod) is None


def test_a_replica_set_of_another_namespace_belongs_to_no_workload() -> None:
    """Anybody can write such a reference."""
    forged = ReplicaSet(meta("forged", owner=DEPLOYMENT, namespace="theirs"))
    view = filled(DEPLOYMENT, OLD, forged)
    assert view.replica_sets_of(WORKLOAD) == [OLD]
    assert view.workload_of_replica_set(OLD.metadata.uid) == DEPLOYMENT.workload()
    assert view.workload_of_replica_set(forged.metadata.uid) is None


def test_a_pod_that_changes_hands() -> None:
    """A ReplicaSet releases a pod whose labels were changed; another may adopt it."""
    view = filled(DEPLOYMENT, OLD, NEW, Pod(meta("a", owner=OLD)))
    view.put(Pod(meta("a", owner=NEW)))
    assert names(view.pods_of(DEPLOYMENT.workload().target)) == ["a"]
    view.put(Pod(meta("a")))
    assert view.pods_of(WORKLOAD) == []


def test_a_successor_keeps_the_name_when_its_predecessor_is_dropped() -> None:
    view = filled(Pod(meta("db-0", "one")), Pod(meta("db-0", "two")))
    view.drop(Pod, "one")
    found = view.pod_named("ns", "db-0")
    assert found is not None
    assert found.metadata.uid == "two"
    view.drop(Pod, "two")
    assert view.pod_named("ns", "db-0") is None


def test_names_are_of_a_kind_and_a_namespace() -> None:
    view = filled(Pod(meta("x", "p")), Deployment(meta("x", "d")), Namespace(Meta(name="x", uid="n")))
    pod, deployment, namespace = view.pod_named("ns", "x"), view.workload_named("Deployment", "ns", "x"), view.namespace("x")
    assert [obj and obj.metadata.uid for obj in (pod, deployment, namespace)] == ["p", "d", "n"]
    assert view.pod_named("other", "x") is None
    assert view.pod("d") is None
    assert view.workload("p") is None


def test_budgets_over_a_pod() -> None:
    def budget(name: str, selector: LabelSelector | None, namespace: str = "ns") -> PodDisruptionBudget:
        return PodDisruptionBudget(meta(name, namespace=namespace), BudgetSpec(selector))

    view = filled(
        budget("mine", LabelSelector({"app": "a"})),
        budget("other", LabelSelector({"app": "b"})),
        budget("all", LabelSelector()),
        budget("none", None),
        budget("elsewhere", LabelSelector(), namespace="elsewhere"),
    )
    pod = Pod(meta("p"))
    assert sorted(found.metadata.name for found in view.budgets_matching(pod)) == ["all", "mine"]
    view.drop(PodDisruptionBudget, "uid-all")
    assert [found.metadata.name for found in view.budgets_matching(pod)] == ["mine"]


def test_uids_of_a_namespace() -> None:
    view = filled(Pod(meta("a")), Pod(meta("b", namespace="other")), Deployment(meta("c")))
    assert view.uids(Pod) == {"uid-a", "uid-b"}
    assert view.uids(Pod, "other") == {"uid-b"}


NUMBERS = st.integers(0, 3)


@given(st.lists(st.tuples(st.booleans(), NUMBERS, NUMBERS, NUMBERS), max_size=40))
def test_indices_agree_with_the_objects_after_any_history(history: list[tuple[bool, int, int, int]]) -> None:
    """Against a dictionary of the pods held. Owner 0 is none; a name has one holder at a time, as in a cluster."""
    replica_sets = [ReplicaSet(meta(f"rs-{number}", owner=DEPLOYMENT)) for number in range(1, 4)]
    view = filled(DEPLOYMENT, *replica_sets)
    model: dict[str, Pod] = {}
    for put, number, generation, owner in history:
        uid = f"{number}-{generation}"
        if put:
            for other in [held for held in model if held != uid and held.startswith(f"{number}-")]:
                assert view.drop(Pod, other) is model.pop(other)
            pod = Pod(meta(f"pod-{number}", uid, owner=replica_sets[owner - 1] if owner else None))
            assert view.put(pod) is model.get(uid)
            model[uid] = pod
        else:
            assert view.drop(Pod, uid) is model.pop(uid, None)
    assert {pod.metadata.uid for pod in view.pods()} == view.uids(Pod) == set(model)
    owned = [pod for pod in model.values() if pod.metadata.owner_references]
    assert names(view.pods_of(WORKLOAD)) == names(owned)
    for number in range(4):
        found = view.pod_named("ns", f"pod-{number}")
        assert found is next((pod for pod in model.values() if pod.metadata.name == f"pod-{number}"), None)


def test_a_node_is_gone_that_was_seen_and_then_deleted_while_pods_were_on_it() -> None:
    """One that was never seen is not, and one that is back is not; it is forgotten with its last pod."""
    view = View(WORKLOADS)
    view.put(pod := Pod(meta("one", owner=OLD), PodSpec("a")))
    first, second = (Node(WatchedNodeMeta("a", uid=uid)) for uid in ("n1", "n2"))
    assert not view.node_gone("a")
    view.put(first)
    view.drop(Node, "n1")
    assert (view.node_gone("a"), view.node_gone("b")) == (True, False)
    view.put(second)
    assert not view.node_gone("a")
    view.put(first)
    view.drop(Node, "n2")  # its successor came first
    assert not view.node_gone("a")
    view.drop(Node, "n1")
    assert view.node_gone("a")
    view.drop(Pod, pod.metadata.uid)
    assert not view.node_gone("a")


def test_how_many_pods_are_on_a_node() -> None:
    first, second = (Pod(meta(name, owner=OLD), PodSpec(node)) for name, node in (("one", "a"), ("two", "")))
    view = filled(first, second)
    assert [view.count_on(node) for node in ("a", "b", "")] == [1, 0, 0]
    view.put(Pod(second.metadata, PodSpec("a")))
    view.put(Pod(second.metadata, PodSpec("a")))
    assert view.count_on("a") == 2
    view.put(Pod(first.metadata, PodSpec("b")))
    assert [view.count_on(node) for node in ("a", "b")] == [1, 1]
    view.drop(Pod, first.metadata.uid)
    view.drop(Pod, first.metadata.uid)
    assert [view.count_on(node) for node in ("a", "b")] == [1, 0]
