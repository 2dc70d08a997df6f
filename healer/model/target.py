"""A Kubernetes object that healer speaks about, identified by uid because names recur."""

from dataclasses import dataclass
from enum import StrEnum


class ActsOn(StrEnum):
    """What an action acts on, and what a trigger can hand to it."""

    POD = "pod"
    WORKLOAD = "workload"


@dataclass(frozen=True, slots=True)
class Target:
    """An object by kind, namespace, name and uid.

    The uid is empty when something names an object that the cluster does not hold (an alert on a pod that is gone).
    """

    kind: str
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod, and no workload or node."""
        return self.kind == "Pod"

    @property
    def exists(self) -> bool:
        """Whether the cluster held the object when the target was made."""
        return bool(self.uid)
