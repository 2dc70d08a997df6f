"""How a DaemonSet stands, and how its revisions are named."""

import pytest

from healer.model.kube import Annotations, LabelSelector, Meta
from healer.workloads.base import RolloutMarks, WholeMeta
from healer.workloads.controller_revisions import ControllerRevision, KeptData, KeptSpec, history_of
from healer.workloads.daemonset import (
    DaemonRollingUpdate,
    DaemonSet,
    DaemonSetSpec,
    DaemonSetStatus,
    DaemonStrategy,
    WholeDaemonSet,
    WholeDaemonSetSpec,
)

ON_DELETE = DaemonStrategy("OnDelete")


def standing(*, updated: int = 4, strategy: DaemonStrategy | None = None, seen: int = 2) -> DaemonSet:
    """On four nodes, `updated` pods of the newest template; `seen` is the generation that the controller has seen."""
    meta = Meta(name="agent", uid="1", generation=2, annotations=Annotations(template_generation="7"))
    return DaemonSet(meta, DaemonSetSpec(strategy or DaemonStrategy()), DaemonSetStatus(seen, 4, 4, updated, 3))


@pytest.mark.parametrize(
    ("daemons", "said"),
    [
        (standing(), ""),
        (standing(seen=1), "has not seen its newest spec yet"),
        (standing(updated=1), "3 of 4 pods are of an older revision"),
        (standing(updated=1, strategy=ON_DELETE), "a pod that is taken gets the newest (OnDelete)"),
    ],
    ids=["settled", "unseen", "rolling", "on delete"],
)
def test_whether_it_is_settled(daemons: DaemonSet, said: str) -> None:
    rollout = daemons.workload().rollout
    assert (rollout is not None) is bool(said)
    assert rollout is None or said in rollout.text


def test_its_numbers_are_those_of_its_nodes() -> None:
    workload = standing(updated=1).workload()
    assert (workload.desired, workload.existing, workload.updated, workload.ready) == (4, 4, 1, 3)
    assert workload.revision == "generation-7"


@pytest.mark.parametrize(("most", "taken"), [(1, 1), ("25%", 1), ("30%", 2), ("100%", 4), (9, 4)])
def test_what_a_roll_takes(most: int | str, taken: int) -> None:
    """A share of the nodes is rounded up."""
    assert standing(strategy=DaemonStrategy(rolling_update=DaemonRollingUpdate(most))).workload().roll.takes == taken


def test_on_delete_nothing_is_rolled() -> None:
    assert "OnDelete" in standing(strategy=ON_DELETE).workload().roll.idle


def kept(name: str, number: int, generation: str) -> ControllerRevision:
    meta = WholeMeta(name=name, uid=name, annotations=RolloutMarks(template_generation=generation))
    return ControllerRevision(metadata=meta, data=KeptData(KeptSpec({"$patch": "replace", "spec": name})), revision=number)


def test_a_template_that_came_back_is_the_newest_revision() -> None:
    """Its object was made at the first template, and says so still; the DaemonSet counts on."""
    meta = WholeMeta(name="agent", uid="1", annotations=RolloutMarks(template_generation="3"))
    whole = WholeDaemonSet(metadata=meta, spec=WholeDaemonSetSpec(selector=LabelSelector(), template={"spec": "agent-a"}))
    history = history_of(
        whole,
        [kept("agent-b", 2, "2"), kept("agent-a", 3, "1")],
        "generation-3",
        lambda each: f"generation-{each.metadata.annotations.template_generation}",
    )
    assert history.current == history.number_of("generation-3") == 3
    assert history.number_of("generation-2") == 2
    assert history.number_of("") == 0
    assert history.note == "agent-a"
    assert history.is_current(history.of_holder("agent-a"))
