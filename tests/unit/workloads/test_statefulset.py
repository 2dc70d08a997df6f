"""How a StatefulSet stands: whether it is settled on its newest revision, and what a new template would do."""

import pytest

from healer.model.kube import Meta
from healer.workloads.statefulset import (
    StatefulRollingUpdate,
    StatefulSet,
    StatefulSetSpec,
    StatefulSetStatus,
    StatefulStrategy,
)

ON_DELETE = StatefulStrategy("OnDelete")


def standing(
    *,
    updated: int = 3,
    revisions: tuple[str, str] = ("db-1", "db-1"),
    strategy: StatefulStrategy | None = None,
    seen: int = 2,
    policy: str = "OrderedReady",
) -> StatefulSet:
    """Three replicas, of which `updated` are of the newest revision; `seen` is the generation that the controller has seen."""
    spec = StatefulSetSpec(3, strategy or StatefulStrategy(), policy)
    status = StatefulSetStatus(seen, 3, updated, 3, *revisions)
    return StatefulSet(Meta(name="db", uid="1", generation=2), spec, status)


def partition(number: int) -> StatefulStrategy:
    return StatefulStrategy(rolling_update=StatefulRollingUpdate(number))


@pytest.mark.parametrize(
    ("sts", "said"),
    [
        (standing(), ""),
        (standing(seen=1), "has not seen its newest spec yet"),
        (standing(updated=1, revisions=("db-1", "db-2")), "2 replicas of an older revision remain"),
        (standing(updated=3, revisions=("db-1", "db-2"), strategy=ON_DELETE), ""),
        (standing(updated=1, revisions=("db-1", "db-2"), strategy=ON_DELETE), "a pod that is taken gets the newest (OnDelete)"),
        (standing(updated=1, revisions=("db-1", "db-2"), strategy=partition(2)), ""),
        (standing(updated=0, revisions=("db-1", "db-2"), strategy=partition(2)), "1 replicas of an older revision remain"),
        (standing(updated=0, revisions=("db-1", "db-2"), strategy=partition(7)), ""),
        (standing(updated=2), ""),
    ],
    ids=["settled", "unseen", "rolling", "on delete, all taken", "on delete", "partition", "rolling to it", "beyond", "put back"],
)
def test_whether_it_is_settled(sts: StatefulSet, said: str) -> None:
    """A partition keeps the two revisions of the status apart for ever; a rollout that was put back names one alone."""
    rollout = sts.workload().rollout
    assert (rollout is not None) is bool(said)
    assert rollout is None or said in rollout.text


def test_what_a_new_template_would_do() -> None:
    """A pod at a time from the last; nothing below the partition, and nothing at all on delete."""
    rolls = [standing(strategy=each).workload().roll for each in (None, partition(2), partition(3), ON_DELETE)]
    assert [(roll.takes, bool(roll.idle)) for roll in rolls] == [(1, False), (1, False), (0, True), (0, True)]
    assert "partition (3)" in rolls[2].idle
    assert "OnDelete" in rolls[3].idle
    assert [bool(standing(policy=each).workload().roll.waits) for each in ("OrderedReady", "Parallel")] == [True, False]


def test_its_revision_is_the_one_that_new_pods_get() -> None:
    """Budgets and the last well revision are kept by it."""
    workload = standing(updated=1, revisions=("db-1", "db-2")).workload()
    assert (workload.revision, workload.desired, workload.existing, workload.updated, workload.ready) == ("db-2", 3, 3, 1, 3)
