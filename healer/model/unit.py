"""The units of a workload: what its counts count. Of most kinds that is a pod, of some a group of pods."""

from dataclasses import dataclass, replace

from healer.model.kube import Pod


@dataclass(frozen=True, slots=True)
class PodGroup:
    """The groups of a workload whose unit is a group of pods: a leader, and the workers that it owns."""

    size: int
    """The pods of a group, leader included."""
    together: bool
    """Whether a group is replaced as a whole when any of its pods is deleted, or a container of it restarts. Otherwise only the
    deletion of its leader replaces all of it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A pod, or the pods of a group. A group serves only when all its pods are ready."""

    uid: str
    """The uid of the pod, or of the leader of the group."""
    pods: tuple[Pod, ...]
    """The pods that exist, the leader first where it exists."""
    group: PodGroup | None = None

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return sum(pod.ready for pod in self.pods) >= (1 if self.group is None else self.group.size)

    def seen(self, pod: Pod) -> "Unit":
        """The unit with one of its pods as it was just read."""
        return replace(self, pods=tuple(pod if each.metadata.uid == pod.metadata.uid else each for each in self.pods))

    def replaced_with(self, pod: str) -> tuple[Pod, ...]:
        """The pods that are replaced when a pod of the unit (by uid) is deleted, that pod included."""
        whole = self.group is not None and (self.group.together or pod == self.uid)
        return self.pods if whole else tuple(each for each in self.pods if each.metadata.uid == pod)

    def going_along(self, pod: str) -> str:
        """What else goes when a pod of the unit (by uid) is deleted, for people; "" for nothing."""
        others = len(self.replaced_with(pod)) - 1
        if others < 1:
            return ""
        return f"its group, that of leader pod/{self.pods[0].metadata.name}, is replaced as a whole ({others + 1} pods)"
