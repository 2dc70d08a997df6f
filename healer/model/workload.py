"""The top controller of pods as healer sees it, whichever kind it is: `workloads` makes it from the decoded object."""

from dataclasses import dataclass

from healer.model.incident import Reason
from healer.model.kube import KubeObject, Meta
from healer.model.target import Target

STUCK = "RolloutStuck"
"""The code of a rollout whose controller says that it makes no progress. A rollout that takes its time has another code."""


@dataclass(frozen=True, slots=True)
class Roll:
    """What a rollout of a workload would take."""

    gradual: bool
    """Whether new pods start before all old ones are gone."""
    takes: int
    """How many of its ready units a gradual rollout may take at once."""
    strategy: str
    """The strategy in the words of its kind: "Recreate", "maxUnavailable 25%"."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload at one moment. Counts are of its units: pods, or groups of pods that start and end together."""

    kind: str
    metadata: Meta
    desired: int
    """The units that it is to have."""
    existing: int
    """The units that it has, of every revision."""
    updated: int
    """The units of the current revision."""
    ready: int
    """The units that are ready, as its controller counts them."""
    revision: str
    """The current revision; "" where its controller has not said one."""
    paused: bool
    """Whether somebody has paused its rollouts. A pause of healer's is an annotation (`metadata.annotations.pauses`)."""
    observed: bool
    """Whether its controller has seen the newest spec."""
    rollout: Reason | None
    """Why it is not settled on its current revision; None when it is."""
    failure: str
    """What keeps it from having its units, in the words of its controller; "" for nothing."""
    overdue: str
    """What its controller says of a rollout that is past its deadline; "" for any other."""
    roll: Roll

    @property
    def target(self) -> Target:
        """The target that names it."""
        return Target(self.kind, self.metadata.namespace, self.metadata.name, self.metadata.uid)


class WorkloadObject(KubeObject, frozen=True):
    """A decoded object that is a workload."""

    def workload(self) -> Workload:
        """What healer needs of it."""
        raise NotImplementedError
