"""The source of nodes: which pods a sick node makes patients, and until when."""

from healer.model.kube import KubeObject
from healer.model.node import Node
from healer.model.signal import Signal
from healer.rules.rulebook import Rulebook
from healer.settings import Settings
from healer.sources.base import WatchContext
from healer.sources.nodes import NodeSource
from tests.support.world import START, World, rule, rulebook
from tests.unit.rules.test_nodes import node


class Seen:
    """The small world, whose pods are on node-1, and a source."""

    def __init__(self, *names: str) -> None:
        self.world = World(2)
        self.world.add(node="node-2")
        self.rules: Rulebook = rulebook(rule(when={"node": list(names or ("KernelDeadlock",))}))
        self.source = NodeSource(WatchContext(Settings(), self.world.view, lambda: self.rules))

    def put(self, obj: KubeObject) -> list[str]:
        """What begins as "+serving-1", and what ends as "-serving-1"."""
        return said(self.source.put(obj, self.world.view.put(obj), START))


def said(signals: list[Signal]) -> list[str]:
    return [f"{'+' if each.firing else '-'}{each.target.name}" for each in signals]


SICK: Node = node(("KernelDeadlock", "True"))


def test_the_pods_on_a_sick_node_are_patients_until_it_is_well() -> None:
    seen = Seen()
    assert seen.put(node()) == []
    assert seen.put(SICK) == ["+serving-1", "+serving-2"]
    assert seen.put(SICK) == []
    assert seen.put(node()) == ["-serving-1", "-serving-2"]
    assert not seen.source._sick
    assert not seen.source._patients


def test_a_pod_that_comes_to_a_sick_node_and_one_that_is_gone_are_seen() -> None:
    seen = Seen()
    seen.put(SICK)
    new = seen.world.pod(seen.world.add())
    assert seen.put(new) == ["+serving-4"]
    assert seen.put(seen.world.pod("serving-3")) == [], "it is on another node"
    seen.world.remove("serving-4")
    assert said(seen.source.drop(new, START)) == ["-serving-4"]
    seen.world.view.drop(Node, "n")
    assert said(seen.source.drop(SICK, START)) == ["-serving-1", "-serving-2"]


def test_what_no_rule_names_is_not_told() -> None:
    seen = Seen("ReadonlyFilesystem")
    assert seen.put(SICK) == []


def test_other_rules_are_asked_about_the_nodes_as_they_are() -> None:
    """A condition that lasts is seen by a rule that comes later, and ends for one that goes."""
    seen = Seen("ReadonlyFilesystem")
    seen.put(SICK)
    assert seen.source.next_due() is None
    seen.rules = rulebook(rule(when={"node": ["KernelDeadlock"]}))
    assert seen.source.next_due() == 0.0
    assert said(seen.source.due(START)) == ["+serving-1", "+serving-2"]
    assert seen.source.next_due() is None
    seen.rules = rulebook(rule())
    assert said(seen.source.due(START)) == ["-serving-1", "-serving-2"]


def test_whether_a_pod_that_was_read_afresh_is_still_a_patient_is_its_nodes_word() -> None:
    seen = Seen()
    seen.put(SICK)
    assert seen.source.still(seen.world.pod("serving-1"), "KernelDeadlock", START)
    seen.put(node())
    assert not seen.source.still(seen.world.pod("serving-1"), "KernelDeadlock", START)
