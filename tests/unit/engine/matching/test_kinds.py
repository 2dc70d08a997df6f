"""The kinds of workloads that a rule covers: all that healer treats, but those that its scope has to name."""

import pytest

from healer.model.effects import Verb
from healer.model.kube import Condition, Meta, OwnerReference, Pod, PodSpec, PodStatus
from healer.model.target import Target
from healer.model.view import target_of
from healer.workloads.daemonset import DaemonSet, DaemonSetStatus
from healer.workloads.statefulset import StatefulSet, StatefulSetSpec, StatefulSetStatus
from tests.support.world import NAMESPACE, Drill, World, codes, rule, rulebook

OBJECTS = {
    "StatefulSet": StatefulSet(
        Meta("db", "db", NAMESPACE),
        StatefulSetSpec(replicas=3),
        StatefulSetStatus(replicas=3, updated_replicas=3, ready_replicas=3, current_revision="db-1", update_revision="db-1"),
    ),
    "DaemonSet": DaemonSet(
        Meta("db", "db", NAMESPACE),
        status=DaemonSetStatus(
            desired_number_scheduled=3, current_number_scheduled=3, updated_number_scheduled=3, number_ready=3
        ),
    ),
}


def alarmed(kind: str, *kinds: str) -> Drill:
    """An alert for a pod of a workload of that kind, and a rule whose scope names these kinds."""
    where = {"namespaces": [NAMESPACE]} | ({"kinds": list(kinds)} if kinds else {})
    d = Drill(rulebook(rule("slow", when={"alert": ["HighLatency"]}, scope=where)), World(4))
    d.world.view.put(OBJECTS[kind])
    for number in range(3):
        owner = (OwnerReference(kind, "db", "db", controller=True),)
        meta = Meta(f"db-{number}", f"db-{number}", NAMESPACE, owner_references=owner)
        d.world.view.put(Pod(meta, PodSpec("node-1"), PodStatus("Running", conditions=(Condition("Ready", "True"),))))
    found = d.world.view.pod("db-1")
    assert found is not None
    d.alert(target_of(found), "HighLatency")
    return d


@pytest.mark.parametrize(
    ("kind", "named"), [("StatefulSet", ()), ("StatefulSet", ("StatefulSet",)), ("DaemonSet", ("DaemonSet",))]
)
def test_a_kind_that_is_covered_is_healed(kind: str, named: tuple[str, ...]) -> None:
    d = alarmed(kind, *named)
    assert d.acted_on == ["db-1"]
    assert d.incident.workload == Target(kind, NAMESPACE, "db", "db")


@pytest.mark.parametrize(
    ("kind", "named", "why"),
    [
        ("DaemonSet", (), "does not name its kind: list it in `scope.kinds`"),
        ("DaemonSet", ("StatefulSet", "Deployment"), "is for the kinds StatefulSet, Deployment"),
        ("StatefulSet", ("Deployment",), "is for the kinds Deployment"),
    ],
)
def test_a_kind_that_is_not_covered_is_out_of_scope(kind: str, named: tuple[str, ...], why: str) -> None:
    d = alarmed(kind, *named)
    assert d.engine.incidents() == []
    assert codes(d.effects, Verb.IGNORE) == ["OutOfScope"]
    assert any(why in str(effect) for effect in d.effects)
