"""The conditions and taints of nodes that a rule can look for: any that an agent sets, by its name."""

import re
from typing import Annotated

from pydantic import AfterValidator

from healer.model.kube import Condition
from healer.model.node import Node
from healer.model.view import epoch
from healer.rules.form import Text, fault
from healer.rules.pod_detectors import Finding

_NOT_READY = "NotReady"
_READY = "Ready"
_TAINT = "taint:"
_GOOD_WHEN_TRUE = ("Ready", "Healthy")
"""The ends of the types of conditions that are good when they are True: ContainerRuntimeReady, AcceleratedHardwareReady ..."""
_FORM = re.compile(r"(?P<type>[A-Za-z][-A-Za-z0-9_.]*(?:/[-A-Za-z0-9_.]+)?)(?:=(?P<status>True|False|Unknown))?")
_KEY = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./]*")


def _written(text: str) -> str:
    if text.startswith(_TAINT):
        if not _KEY.fullmatch(text.removeprefix(_TAINT)):
            raise fault(f"{text!r} names no taint", "taint:KEY, such as taint:nvidia.com/gpu-unhealthy")
        return text
    if text == _READY:
        raise fault("a node that is Ready is well", "write NotReady: the condition Ready is False or Unknown")
    if not _FORM.fullmatch(text):
        raise fault(f"{text!r} is no condition of a node", "a type, such as KernelDeadlock; or TYPE=False; or taint:KEY")
    return text


NodeConditionText = Annotated[Text, AfterValidator(_written)]
"""`NotReady`, the type of a condition, `TYPE=STATUS`, or `taint:KEY`."""


def node_finding(node: Node, name: str) -> Finding | None:
    """Whether a node shows the condition or the taint of that name, as a rule writes it."""
    if name.startswith(_TAINT):
        key = name.removeprefix(_TAINT)
        for taint in node.spec.taints:
            if taint.key == key:
                return Finding(f"node/{node.metadata.name} has the taint {key}:{taint.effect}", key)
        return None
    kind, statuses = meant(name)
    for condition in node.status.conditions:
        if condition.type == kind and condition.status in statuses:
            return Finding(_said(node, condition), f"{epoch(condition.last_transition_time)}")
    return None


def meant(name: str) -> tuple[str, tuple[str, ...]]:
    """The type of the condition, and the statuses in which it is bad. Unknown is bad only of Ready, or where a rule says so."""
    if name == _NOT_READY:
        return _READY, ("False", "Unknown")
    kind, equals, status = name.partition("=")
    if equals:
        return kind, (status,)
    return kind, ("False",) if kind.endswith(_GOOD_WHEN_TRUE) else ("True",)


def _said(node: Node, condition: Condition) -> str:
    text = f": {condition.message}" if condition.message else ""
    return f"node/{node.metadata.name}: {condition.type}={condition.status} ({condition.reason}){text}"
