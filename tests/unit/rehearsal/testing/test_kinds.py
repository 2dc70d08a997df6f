"""Workloads of each kind in tests: how their pods are named and replaced, how rollouts go, and who scales them."""

from pathlib import Path
from typing import Any

import pytest

from healer.daemon.rulefiles import RulesError, vocabulary
from healer.rehearsal.kinds import KEPT_KINDS
from healer.rehearsal.testing.loading import load_tests
from healer.rehearsal.testing.running import CaseResult
from healer.rules.workload_conditions import WORKLOAD_CONDITIONS
from healer.workloads.registry import WORKLOADS
from tests.unit.rehearsal.testing.cases import GOOD, Yaml, passes, play_one, rule, why, write

PODS = {
    "Deployment": ("serving-2", "serving-4"),
    "StatefulSet": ("serving-1", "serving-1"),
    "DaemonSet": ("serving-2", "serving-4"),
    "Rollout": ("serving-2", "serving-4"),
    "CloneSet": ("serving-2", "serving-4"),
    "LeaderWorkerSet": ("serving-1-1", "serving-1-1"),
}
"""By kind: a pod of the second replica, and the one that comes after it."""
CONDITIONS = {
    "Deployment": {"ProgressDeadlineExceeded", "Unavailable", "ReplicaFailure"},
    "Rollout": {"ProgressDeadlineExceeded", "Unavailable", "ReplicaFailure"},
    "CloneSet": {"ProgressDeadlineExceeded", "ReplicaFailure"},
}
"""Those that the controller of a kind reports; any workload may have an autoscaler."""


def played(folder: Path, kind: str, events: list[Yaml], expect: list[Yaml], *rules: Yaml, **case: Any) -> CaseResult:
    workload: Yaml = {"name": "serving", "kind": kind} | case.pop("workload", {})
    every = [each | {"scope": {"namespaces": ["production"], "kinds": [kind]}} for each in rules or (rule(),)]
    whole = {"cluster": {"workloads": [workload]} | case.pop("cluster", {}), "events": events, "expect": expect}
    return play_one(folder, every, whole | case)


def test_each_kind_that_healer_heals_can_be_in_a_test() -> None:
    assert {kind.struct for kind in WORKLOADS.values()} == set(KEPT_KINDS)
    assert set(PODS) == set(WORKLOADS)


@pytest.mark.parametrize("kind", PODS)
def test_a_pod_of_each_kind_is_evicted_and_healed_by_what_comes_after_it(tmp_path: Path, kind: str) -> None:
    pod, after = PODS[kind]
    result = played(
        tmp_path,
        kind,
        [{"pod": {"name": pod, "shows": "CrashLoopBackOff"}}, {"at": "1h", "pod": {"name": after, "shows": "CrashLoopBackOff"}}],
        [
            {"at": "59m", "acts": [{"action": "evict", "target": pod}], "incidents": [{"rule": "crash", "state": "closed"}]},
            {"acts": [{"action": "evict", "target": pod}, {"action": "evict", "target": after, "at": "1h"}]},
        ],
    )
    passes(result)


def test_a_group_goes_as_a_whole_and_comes_back_as_a_whole(tmp_path: Path) -> None:
    events: list[Yaml] = [
        {"pod": {"name": "serving-0-1", "shows": "Gone"}},
        {"at": "1s", "pod": {"name": "serving-1", "shows": "NotReady"}},
        {"at": "10m", "pod": {"name": "serving-0-2", "shows": "CrashLoopBackOff"}},
    ]
    floor = rule("floor", when={"pod": ["NotReady"]}, limits={"minReady": 2, "maxUnhealthy": "100%"})
    expect: list[Yaml] = [
        {"at": "10s", "acts": [], "decisions": [{"rule": "floor", "reason": "BelowFloor", "says": "leave 1 ready"}]},
        {"at": "5m", "acts": [{"action": "evict", "target": "serving-1", "at": "1m"}]},
        {
            "acts": [
                {"action": "evict", "rule": "floor"},
                {"action": "evict", "target": "serving-0-2", "rule": "crash", "at": "10m"},
            ]
        },
    ]
    result = played(tmp_path, "LeaderWorkerSet", events, expect, floor, rule(), workload={"size": 3})
    passes(result)


def test_a_replaced_group_that_is_not_helped_has_what_its_pods_had(tmp_path: Path) -> None:
    events = [{"pod": {"name": "serving-0-1", "shows": "CrashLoopBackOff"}}]
    again = [{"action": "evict", "helps": False}]
    result = played(tmp_path, "LeaderWorkerSet", events, [{"incidents": [{"rule": "crash", "state": "escalated"}]}], after=again)
    passes(result)
    assert any("the new pod/serving-0-1 is sick too" in line.text for line in result.timeline), why(result)


@pytest.mark.parametrize("kind", PODS)
def test_a_rollout_of_each_kind_holds_evictions_until_it_is_over(tmp_path: Path, kind: str) -> None:
    names = {"LeaderWorkerSet": "serving-2", "StatefulSet": "serving-2"}
    events: list[Yaml] = [
        {"rollout": {"workload": "serving", "halts": True}},
        {"pod": {"name": names.get(kind, "serving-3"), "shows": "NotReady"}},
        {"at": "10m", "rollout": {"workload": "serving", "continues": True, "takes": "6m"}},
    ]
    expect: list[Yaml] = [
        {"at": "9m", "acts": [], "decisions": [{"reason": "RolloutInProgress"}]},
        {"at": "20m", "acts": [], "incidents": [{"rule": "crash", "state": "closed", "reason": "Recovered"}]},
    ]
    passes(played(tmp_path, kind, events, expect, rule(when={"pod": ["NotReady"]})))


@pytest.mark.parametrize("kind", PODS)
def test_a_rollout_is_paused_where_its_kind_can_be(tmp_path: Path, kind: str) -> None:
    pod = PODS[kind][0]
    events: list[Yaml] = [
        {"rollout": {"workload": "serving", "paused": True}},
        {"pod": {"name": pod, "shows": "CrashLoopBackOff"}},
        {"at": "10m", "rollout": {"workload": "serving", "continues": True}},
    ]
    expect: list[Yaml] = [
        {"at": "9m", "acts": [], "decisions": [{"reason": "RolloutInProgress", "says": "paused"}]},
        {"at": "30m", "acts": [], "incidents": [{"rule": "crash", "state": "closed"}]},
    ]
    result = played(tmp_path, kind, events, expect)
    if KEPT_KINDS[WORKLOADS[kind].struct].pause:
        passes(result)
    else:
        assert result.problem is not None
        assert result.problem.message == f"serving is a {kind}, whose rollouts cannot be paused"


def test_a_rollout_that_is_not_under_way_cannot_go_on(tmp_path: Path) -> None:
    events = [{"at": "1m", "rollout": {"workload": "serving", "continues": True}}]
    result = played(tmp_path, "Deployment", events, [{"acts": []}])
    assert result.problem is not None
    assert "no rollout of serving is under way" in result.problem.message
    both = GOOD | {"events": [{"rollout": {"workload": "serving", "halts": True, "paused": True}}]}
    with pytest.raises(RulesError, match="halts and paused are given"):
        load_tests(write(tmp_path, [rule()], both), vocabulary())


@pytest.mark.parametrize("kind", PODS)
@pytest.mark.parametrize("condition", WORKLOAD_CONDITIONS)
def test_the_controller_of_each_kind_reports_what_it_can(tmp_path: Path, kind: str, condition: str) -> None:
    events = [{"at": "1m", "workload": {"name": "serving", "shows": condition}}]
    expect = [{"at": "2m", "acts": [{"action": "page", "target": "serving", "at": "1m"}]}]
    result = played(tmp_path, kind, events, expect, rule(when={"workload": [condition]}, heal=[{"page": {}}]))
    if WORKLOAD_CONDITIONS[condition].of_autoscaler or condition in CONDITIONS.get(kind, ()):
        passes(result)
    else:
        assert result.problem is not None
        assert result.problem.message == f"the controller of a {kind} reports no {condition}"


# scaling


SCALED = {"cluster": {"autoscalers": [{"workload": "serving", "max": 5}]}}
AT_MAXIMUM = rule("full", when={"workload": ["HpaAtMaximum"]}, heal=[{"page": {}}])


@pytest.mark.parametrize("kind", [kind for kind in PODS if kind != "DaemonSet"])
def test_an_autoscaler_adds_pods_and_takes_the_youngest_away(tmp_path: Path, kind: str) -> None:
    ordinal = KEPT_KINDS[WORKLOADS[kind].struct].ordinal
    last = "serving-4" if ordinal else "serving-5"
    events: list[Yaml] = [
        {"at": "1m", "scale": {"workload": "serving", "replicas": 5, "takes": "2m"}},
        {"at": "4m", "workload": {"name": "serving", "shows": "HpaAtMaximum"}},
        {"at": "10m", "scale": {"workload": "serving", "replicas": 3}},
        {"at": "20m", "scale": {"workload": "serving", "replicas": 5}},
        {"at": "30m", "pod": {"name": last if ordinal else "serving-7", "shows": "CrashLoopBackOff"}},
    ]
    expect: list[Yaml] = [
        {"at": "29m", "acts": [{"action": "page", "rule": "full", "at": "4m"}]},
        {"acts": [{"action": "page"}, {"action": "evict", "target": last if ordinal else "serving-7", "at": "30m"}]},
    ]
    passes(played(tmp_path, kind, events, expect, rule(), AT_MAXIMUM, **SCALED))
    gone = [*events[:3], {"at": "15m", "pod": {"name": last, "shows": "CrashLoopBackOff"}}]
    result = played(tmp_path, kind, gone, [{"acts": []}], rule(), AT_MAXIMUM, **SCALED)
    assert result.problem is not None
    assert f"there is no pod '{last}'" in result.problem.message


def test_pods_that_are_on_their_way_count_as_wanted_and_not_as_ready(tmp_path: Path) -> None:
    """Four are wanted and three ready until the new one is: the eviction is verified no earlier."""
    crash = {"pod": {"name": "serving-1", "shows": "CrashLoopBackOff"}}
    events: list[Yaml] = [{"scale": {"workload": "serving", "replicas": 4, "takes": "5m"}}, crash]
    passes(
        played(
            tmp_path,
            "Deployment",
            events,
            [
                {"at": "5m59s", "incidents": [{"rule": "crash", "state": "verifying"}]},
                {"at": "6m1s", "incidents": [{"rule": "crash", "state": "healed"}]},
            ],
        )
    )


BEYOND: dict[str, tuple[str, list[Yaml], str]] = {
    "more than the autoscaler gives": (
        "Deployment",
        [{"scale": {"workload": "serving", "replicas": 6}}],
        "6 replicas are more than the autoscaler of serving gives it",
    ),
    "at its maximum before it is": (
        "Deployment",
        [{"workload": {"name": "serving", "shows": "HpaAtMaximum"}}],
        "serving has 3 replicas, and the `max` of its autoscaler is 5",
    ),
    "a kind that is not scaled": (
        "DaemonSet",
        [{"scale": {"workload": "serving", "replicas": 4}}],
        "serving is a DaemonSet, which is not scaled",
    ),
}


@pytest.mark.parametrize("what", BEYOND)
def test_what_no_autoscaler_does_is_an_error(tmp_path: Path, what: str) -> None:
    kind, events, said = BEYOND[what]
    result = played(tmp_path, kind, events, [{"acts": []}], **SCALED)
    assert result.problem is not None
    assert result.problem.message == said
    assert result.problem.hint


WRONG_CLUSTERS: dict[str, tuple[Yaml, str, str]] = {
    "a size of what has no groups": (
        {"workloads": [{"name": "a", "size": 2}]},
        "a Deployment has no groups",
        "workloads[0].size",
    ),
    "an autoscaler of nothing": (
        {"autoscalers": [{"workload": "b", "max": 2}]},
        "there is no workload 'production/b'",
        "autoscalers[0].workload",
    ),
    "two autoscalers": (
        {"autoscalers": [{"workload": "serving", "max": 4}, {"workload": "serving", "max": 5}]},
        "two autoscalers scale production/serving",
        "autoscalers[1].workload",
    ),
    "more replicas than the maximum": (
        {"autoscalers": [{"workload": "serving", "max": 2}]},
        "production/serving has 3 replicas, more than that",
        "autoscalers[0].max",
    ),
    "too many pods in groups": (
        {"workloads": [{"name": "a", "kind": "LeaderWorkerSet", "size": 100, "replicas": 21}]},
        "its workloads have 2100 pods, more than the 2000 that a test can have",
        "workloads",
    ),
}


@pytest.mark.parametrize("what", WRONG_CLUSTERS)
def test_clusters_that_cannot_be_are_told(tmp_path: Path, what: str) -> None:
    cluster, said, path = WRONG_CLUSTERS[what]
    with pytest.raises(RulesError) as raised:
        load_tests(write(tmp_path, [rule()], GOOD | {"cluster": cluster}), vocabulary())
    (problem,) = raised.value.problems
    assert (problem.message, problem.path) == (said, f"tests[0].cluster.{path}")
