"""Targets: references to Kubernetes objects. The uid identifies the object, because names are reused."""

from dataclasses import dataclass
from enum import StrEnum


class ActsOn(StrEnum):
    """The kind of target that an action acts on, and that a trigger provides."""

    POD = "pod"
    WORKLOAD = "workload"


@dataclass(frozen=True, slots=True)
class Target:
    """An object by kind, namespace, name and uid.

    The uid is empty for an object that is not in the cluster, for example when an alert names a pod that was deleted.
    """

    kind: str
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    @property
    def is_pod(self) -> bool:
        """Whether it is a pod, not a workload or a node."""
        return self.kind == "Pod"

    @property
    def exists(self) -> bool:
        """Whether the object was in the cluster when the target was created."""
        return bool(self.uid)
