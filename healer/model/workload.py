"""The workload, independent of its kind. The package `workloads` creates it from the decoded object."""

from dataclasses import dataclass
from typing import Protocol

from healer.model.incident import Reason
from healer.model.kube import KubeObject, Meta
from healer.model.target import Target
from healer.model.unit import PodGroup

STUCK = "RolloutStuck"
"""The reason code of a rollout whose controller reports that it makes no progress. A slow rollout has another code."""


class SupportedKind(Protocol):
    """A kind of workload whose health healer can judge, and which it acts on."""

    @property
    def only_named(self) -> bool:
        """Whether a rule covers it only when its scope names the kind."""


@dataclass(frozen=True, slots=True)
class Roll:
    """The effect of a rollout on a workload's units."""

    gradual: bool
    """Whether new pods start before all old ones are gone."""
    takes: int
    """The number of ready units that a gradual rollout may take down at once."""
    strategy: str
    """The strategy in the words of its kind: "Recreate", "maxUnavailable 25%"."""
    waits: str = ""
    """Why it stops at a pod that is not ready, whatever that pod's revision is; "" when it replaces such a pod."""
    idle: str = ""
    """Why a new template would take no pod at all; "" when it takes them."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload at one moment. Its counts are in units: pods, or groups of pods that start and end together."""

    kind: str
    metadata: Meta
    desired: int
    """The desired number of units."""
    existing: int
    """The number of units, of every revision."""
    updated: int
    """The number of units of the current revision."""
    ready: int
    """The number of ready units, as its controller counts them."""
    revision: str
    """The current revision; "" when its controller has not set one."""
    paused: bool
    """Whether its rollouts are paused. A pause of healer is an annotation instead (`metadata.annotations.pauses`)."""
    observed: bool
    """Whether its controller has seen the newest spec."""
    rollout: Reason | None
    """Why its rollout to the current revision is not complete; None when it is."""
    failure: str
    """Why it cannot have its desired units, in its controller's words; "" without such a failure."""
    overdue: str
    """The controller's message about a rollout that is past its deadline; "" for any other rollout."""
    roll: Roll
    refusal: str = ""
    """What its controller says of pods that it cannot create (a quota, admission); "" for nothing."""
    unavailable: str = ""
    """What its controller says where too few replicas are available; "" for nothing."""
    group: PodGroup | None = None
    """Its groups, where its unit is a group of pods; None where its unit is a pod."""

    @property
    def units(self) -> str:
        """What its counts count, for people."""
        return "pods" if self.group is None else "groups"

    stable: str = ""
    """The revision that serves while another one may be tried beside it; "" for a kind without canaries of its own."""

    @property
    def target(self) -> Target:
        """The target for this workload."""
        return Target(self.kind, self.metadata.namespace, self.metadata.name, self.metadata.uid)


class WorkloadObject(KubeObject, frozen=True):
    """The base class of the decoded objects of workload kinds."""

    def workload(self) -> Workload:
        """The workload that healer makes of the object."""
        raise NotImplementedError
