"""How a LeaderWorkerSet stands, from what the API server sends: in groups, and in a rollout only when its controller says so."""

from typing import Any

import msgspec
import pytest

from healer.model.unit import PodGroup
from healer.workloads.leaderworkerset import LEADER_WORKER_SET, LeaderWorkerSet, WholeLeaderWorkerSet

CONTAINERS = {"containers": [{"name": "vllm", "image": "vllm/vllm-openai:v0.11.0"}]}


def lws(status: dict[str, Any] | None = None, update: dict[str, Any] | None = None, **template: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "vllm", "namespace": "production", "uid": "lws-1", "generation": 2},
        "spec": {
            "replicas": 4,
            "leaderWorkerTemplate": {"size": 3, "workerTemplate": {"spec": CONTAINERS}} | template,
            "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdateConfiguration": update or {}},
        },
        "status": {"observedGeneration": 2, "replicas": 4, "readyReplicas": 3, "updatedReplicas": 4} | (status or {}),
    }


def decoded(obj: dict[str, Any]) -> LeaderWorkerSet:
    return msgspec.convert(obj, LeaderWorkerSet)


def condition(kind: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status}


def test_its_numbers_are_groups() -> None:
    workload = decoded(lws()).workload()
    assert (workload.desired, workload.existing, workload.ready, workload.units) == (4, 4, 3, "groups")
    assert (workload.rollout, workload.observed) == (None, True)


@pytest.mark.parametrize(
    ("policy", "together"),
    [
        ("RecreateGroupOnPodRestart", True),
        ("RecreateGroupAfterStart", True),
        ("", True),
        ("None", False),
        ("Default", False),
    ],
)
def test_the_restart_policy_says_whether_a_group_is_replaced_as_a_whole(policy: str, together: bool) -> None:
    obj = lws(restartPolicy=policy) if policy else lws()
    assert decoded(obj).workload().group == PodGroup(3, together)


def test_a_group_that_is_replaced_is_no_rollout() -> None:
    """Its controller counts it as not updated until its workers are there."""
    conditions = [condition("Progressing"), condition("UpdateInProgress", "False")]
    assert decoded(lws({"updatedReplicas": 3, "conditions": conditions})).workload().rollout is None


def test_the_condition_of_its_controller_says_that_a_rollout_is_in_progress() -> None:
    workload = decoded(lws({"updatedReplicas": 1, "conditions": [condition("UpdateInProgress")]})).workload()
    assert workload.rollout is not None
    assert workload.rollout.text == "3 of 4 groups are of an older revision"


def test_groups_of_a_surge_that_are_not_gone_are_a_rollout() -> None:
    workload = decoded(lws({"replicas": 5})).workload()
    assert workload.rollout is not None
    assert "1 groups more" in workload.rollout.text


def test_a_spec_that_its_controller_has_not_seen_is_a_rollout() -> None:
    workload = decoded(lws({"observedGeneration": 1})).workload()
    assert not workload.observed
    assert workload.rollout is not None


def test_a_controller_that_reports_no_generation_has_seen_it_once_it_has_conditions() -> None:
    assert not decoded(lws({"observedGeneration": 0})).workload().observed
    assert decoded(lws({"observedGeneration": 0, "conditions": [condition("Available")]})).workload().observed


@pytest.mark.parametrize(
    ("update", "takes", "idle"),
    [
        ({"maxUnavailable": 2}, 2, False),
        ({"maxUnavailable": "60%"}, 2, False),
        ({"maxUnavailable": 0, "maxSurge": 1}, 0, False),
        ({"maxUnavailable": 9}, 4, False),
        ({"partition": 4}, 0, True),
    ],
)
def test_a_rollout_takes_so_many_groups_at_once(update: dict[str, Any], takes: int, idle: bool) -> None:
    roll = decoded(lws(update=update)).workload().roll
    assert (roll.takes, bool(roll.idle)) == (takes, idle)


def test_it_is_restarted_by_its_workers_template() -> None:
    mark = LEADER_WORKER_SET.restart
    patch = mark.patch("2026-11-29T10:00:00Z", "incident-1")
    annotations = patch["spec"]["leaderWorkerTemplate"]["workerTemplate"]["metadata"]["annotations"]
    marked = lws(workerTemplate={"metadata": {"annotations": annotations}, "spec": CONTAINERS})
    assert mark.found(msgspec.convert(marked, WholeLeaderWorkerSet)) == ("2026-11-29T10:00:00Z", "incident-1")


def test_it_is_not_rolled_back_and_the_reason_says_what_to_do() -> None:
    reason = LEADER_WORKER_SET.instead(msgspec.convert(lws(), WholeLeaderWorkerSet))
    assert reason is not None
    assert reason.code == "NoEarlierRevision"
    assert reason.text.endswith("apply the earlier manifest")
