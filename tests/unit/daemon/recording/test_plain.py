"""A line of a record: what comes back is what went in, and no secret goes in."""

from typing import Any

import msgspec
import pytest

from healer.daemon.recording.lines import DECODER, ChangedLine, HeldLine, IncidentLine, Line, SignalsLine
from healer.daemon.recording.plain import encoded, plain
from healer.model.kube import ContainerState, Pod, Terminated, Waiting
from healer.model.node import Node, Taint, WatchedNodeMeta, WatchedNodeSpec
from healer.model.signal import Signal
from healer.model.target import Target
from tests.support.world import NAMESPACE, Drill, World, rule, rulebook, status_of

TOKEN = "ghp_0123456789abcdefABCDEF0123456789abcd"
PASSWORD = "hunter2correcthorse"


def back(line: Line) -> Any:
    """The line as it is read."""
    return DECODER.decode(encoded(line))


def a_pod(message: str = "back-off 10s") -> Pod:
    waiting, last = (
        ContainerState(Waiting("CrashLoopBackOff", message)),
        ContainerState(terminated=Terminated(1, "Error", None, message)),
    )
    world = World(1)
    return msgspec.structs.replace(world.pods[0], status=status_of(world.now, ready=False, state=waiting, last=last, restarts=3))


def a_signal(**more: Any) -> Signal:
    return Signal("alert", "HighLatency", Target("Pod", NAMESPACE, "serving-1", "pod-1"), True, 1.5, "f1", "f1@1", **more)


def test_a_pod_comes_back_as_it_was() -> None:
    assert msgspec.convert(back(ChangedLine(1.0, "Pod", a_pod())).object, Pod) == a_pod()


def test_a_node_keeps_its_marks_and_taints() -> None:
    node = Node(WatchedNodeMeta("node-1", "node-uid"), WatchedNodeSpec(True, (Taint("gpu", "NoSchedule", "ill"),)))
    assert msgspec.convert(back(HeldLine(1.0, "Node", node)).object, Node) == node


def test_an_incident_comes_back_as_it_was() -> None:
    drill = Drill(rulebook(rule()))
    drill.world.crash("serving-2")
    (incident,) = drill.incidents.values()
    assert back(IncidentLine(2.0, incident)).incident == incident


def test_a_signal_comes_back_as_it_was() -> None:
    signal = a_signal(labels={"pod": "serving-1"}, began=1.0)
    assert back(SignalsLine(2.0, (signal,), False)) == SignalsLine(2.0, (signal,), False)


@pytest.mark.parametrize(
    "line",
    [
        ChangedLine(1.0, "Pod", a_pod(f"cannot pull: password={PASSWORD} for https://u:{PASSWORD}@registry/x")),
        SignalsLine(1.0, (a_signal(message=f"the token is {TOKEN}"),)),
        SignalsLine(1.0, (a_signal(labels={"api_key": PASSWORD}),)),
        SignalsLine(1.0, (a_signal(annotations={"how": f"curl -H 'Authorization: Bearer {TOKEN}'"}),)),
        SignalsLine(1.0, (a_signal(links={"runbook": f"https://u:{PASSWORD}@wiki/x"}),)),
    ],
)
def test_no_secret_is_written(line: Line) -> None:
    text = encoded(line).decode()
    assert PASSWORD not in text
    assert TOKEN not in text
    assert DECODER.decode(text)


def test_names_by_which_objects_refer_to_each_other_stay() -> None:
    """A pod that is named like a phone number is still found by its owner."""
    pod = msgspec.structs.replace(a_pod(), metadata=msgspec.structs.replace(a_pod().metadata, name="llm-0155512345678"))
    assert plain(pod)["metadata"]["name"] == "llm-0155512345678"
