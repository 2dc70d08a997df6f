"""Objects from the series of kube-state-metrics."""

from healer.model.kube import KubeObject, Pod
from healer.model.node import Node
from healer.rehearsal.replay.history.asking import Point
from healer.rehearsal.replay.history.cluster import RebuiltCluster
from healer.rehearsal.replay.history.history import _gaps
from healer.workloads.statefulset import StatefulSet

AT = 1_800_000_000.0
IN = {"namespace": "production"}


def point(metric: str, value: float | None = 1.0, after: float = 0.0, **labels: str) -> Point:
    return Point(AT + after, metric, labels, value)


def taken(cluster: RebuiltCluster, *points: Point) -> list[KubeObject | str]:
    for each in points:
        cluster.point(each)
    return list(cluster.take())


def info(uid: str, value: float | None = 1.0, after: float = 0.0) -> Point:
    owner = {"created_by_kind": "StatefulSet", "created_by_name": "llm"}
    return point("kube_pod_info", value, after, pod="llm-0", uid=uid, node="node-1", **owner, **IN)


def test_a_successor_of_the_same_name_is_another_pod() -> None:
    cluster = RebuiltCluster()
    (_, first) = taken(cluster, info("a"))
    gone, second = taken(cluster, info("a", None, 60), info("b", 1.0, 60))
    assert isinstance(first, Pod)
    assert isinstance(second, Pod)
    assert (first.metadata.uid, gone, second.metadata.uid) == ("a", "a", "b")
    assert second.restarts == 0


def test_what_is_said_of_a_predecessor_is_not_said_of_its_successor() -> None:
    cluster = RebuiltCluster()
    taken(cluster, info("b"))
    old = point("kube_pod_status_ready", 0.0, 30, pod="llm-0", uid="a", condition="true", **IN)
    assert taken(cluster, old) == []


def test_a_crash_loop_begins_and_ends() -> None:
    cluster = RebuiltCluster()
    of = {"pod": "llm-0", "uid": "a", "container": "llm", **IN}
    taken(cluster, info("a"))
    waiting = point("kube_pod_container_status_waiting_reason", 1.0, 60, reason="CrashLoopBackOff", **of)
    (pod,) = taken(cluster, waiting, point("kube_pod_container_status_restarts_total", 5.0, 60, **of))
    assert isinstance(pod, Pod)
    assert pod.status.container_statuses[0].state.waiting is not None
    assert pod.status.container_statuses[0].state.waiting.reason == "CrashLoopBackOff"
    assert pod.restarts == 5
    ended = point("kube_pod_container_status_waiting_reason", None, 120, reason="CrashLoopBackOff", **of)
    (pod,) = taken(cluster, ended)
    assert isinstance(pod, Pod)
    assert pod.status.container_statuses[0].state.running is not None


def test_a_workload_and_a_node_are_as_their_series_say() -> None:
    cluster = RebuiltCluster()
    found = taken(
        cluster,
        point("kube_statefulset_replicas", 3.0, statefulset="llm", namespace="production"),
        point("kube_statefulset_status_replicas_ready", 2.0, statefulset="llm", namespace="production"),
        point("kube_node_info", 1.0, node="node-1"),
        point("kube_node_status_condition", 1.0, node="node-1", condition="Ready", status="unknown"),
    )
    (workload,) = [each.workload() for each in found if isinstance(each, StatefulSet)]
    assert (workload.desired, workload.ready) == (3, 2)
    (node,) = [each for each in found if isinstance(each, Node)]
    assert [(each.type, each.status) for each in node.status.conditions] == [("Ready", "Unknown")]


def test_moments_without_data_that_follow_each_other_are_one_gap() -> None:
    assert _gaps([0.0, 30.0, 60.0, 300.0], 30.0) == [(0.0, 60.0), (300.0, 300.0)]
