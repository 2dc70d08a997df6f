"""What goes wrong with a pod or a workload, as data. `drills` has how it shows in the engine's world, `lab` how in the lab."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from healer.rules.probe import QUERY_SIGNAL


class Symptom(Enum):
    """How a trouble shows."""

    CRASHING = auto()
    """A container waits in CrashLoopBackOff, after `times` restarts."""
    RESTARTING = auto()
    """A container restarts `times` times, and is ready in between."""
    OUT_OF_MEMORY = auto()
    """A container is killed `times` times because it used too much memory; from the second time on the kubelet backs off."""
    WAITING = auto()
    """A container waits for the reason `name`, and has never run."""
    FETCHING = auto()
    """Its init container was killed out of memory, and downloads the model from the beginning for more than an hour."""
    KILLED_FETCHING = auto()
    """It does not end its download, and is killed out of memory when healer has seen that; the download begins again."""
    UNREADY = auto()
    """The pod runs, and its probe fails."""
    NEVER_READY = auto()
    """The pod runs, and its probe has failed since it began."""
    RETIRED = auto()
    """The pod was ready, runs, and its probe fails, as that of a rank that its orchestrator has retired."""
    UNSCHEDULABLE = auto()
    """No node fits."""
    TERMINATING = auto()
    """The pod's deletion was accepted, its successor is ready, and it stays."""
    RECORDED = auto()
    """`times` pods have finished for the reason `name`, one after the other; their records stay."""
    DEVICE = auto()
    """A device of the pod is ill."""
    ALERT = auto()
    """Prometheus reports the alert `name`."""
    CONDITION = auto()
    """The workload's controller reports the condition `name`."""
    EVENT = auto()
    """The kubelet reports an event with the reason `name`, `times` times."""
    STATUS = auto()
    """The model server of the pod has the condition `name`."""
    WELL = auto()
    """The model server of the pod is in the situation `name`, and has no condition."""
    QUERY = auto()
    """Prometheus answers a query: the pod is over the threshold, and far from its peers where the rule compares them."""
    NODE = auto()
    """The pod's node has the condition `name`."""
    VERDICT = auto()
    """The judge says `name` of the workload, as the canary."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One trouble, of a pod or `of_workload`. `ready`: whether Kubernetes calls the pod ready all the same."""

    symptom: Symptom
    name: str = ""
    times: int = 1
    ready: bool = False
    of_workload: bool = False
    revisions: int = 1
    """It happens to one pod of each of so many revisions."""
    retired: bool = False
    """It was ready before, and is not."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name or self.symptom.name


FETCHING_AGAIN = Trouble(Symptom.FETCHING)
KILLED_FETCHING = Trouble(Symptom.KILLED_FETCHING)
UNREADY = Trouble(Symptom.UNREADY)
NEVER_READY = Trouble(Symptom.NEVER_READY)
RETIRED = Trouble(Symptom.RETIRED)
UNSCHEDULABLE = Trouble(Symptom.UNSCHEDULABLE)
TERMINATING = Trouble(Symptom.TERMINATING)
RESTARTING = Trouble(Symptom.RESTARTING, times=4, ready=True)
DEVICE_UNHEALTHY = Trouble(Symptom.DEVICE, ready=True)


def crashing(restarts: int = 5) -> Trouble:
    """It waits in CrashLoopBackOff after so many restarts."""
    return Trouble(Symptom.CRASHING, times=restarts)


def out_of_memory(times: int) -> Trouble:
    """A container is killed so often because it used too much memory."""
    return Trouble(Symptom.OUT_OF_MEMORY, times=times)


def out_of_memory_at_two_revisions() -> Trouble:
    """Two kills at the revision before, and two at the newest."""
    return Trouble(Symptom.OUT_OF_MEMORY, times=2, revisions=2)


def waiting(reason: str) -> Trouble:
    """A container of it waits for that reason and has never run."""
    return Trouble(Symptom.WAITING, reason)


def recorded(times: int, reason: str = "Evicted") -> Trouble:
    """Its node evicts so many pods, or they fail for another reason."""
    return Trouble(Symptom.RECORDED, reason, times)


def alerted(alert: str, **labels: str) -> Trouble:
    """Prometheus reports the pod, and Kubernetes calls it ready."""
    return Trouble(Symptom.ALERT, alert, ready=True, labels=labels)


def alerted_down(alert: str) -> Trouble:
    """Prometheus reports the pod, and Kubernetes calls it not ready."""
    return Trouble(Symptom.ALERT, alert)


def alerted_retired(alert: str) -> Trouble:
    """Prometheus reports the pod, and it was ready before."""
    return Trouble(Symptom.ALERT, alert, retired=True)


def alerted_workload(alert: str) -> Trouble:
    """Prometheus reports the Deployment as a whole."""
    return Trouble(Symptom.ALERT, alert, of_workload=True)


def of_workload(condition: str) -> Trouble:
    """The Deployment has that condition."""
    return Trouble(Symptom.CONDITION, condition, of_workload=True)


def reported(reason: str, times: int = 3) -> Trouble:
    """The kubelet reports that of the pod so often."""
    return Trouble(Symptom.EVENT, reason, times)


def asked(condition: str, *, ready: bool = True) -> Trouble:
    """The model server of the pod has that condition; Kubernetes calls the pod ready or not."""
    return Trouble(Symptom.STATUS, condition, ready=ready)


def well(situation: str) -> Trouble:
    """The model server of the pod is in a situation that looks like a condition, and has none."""
    return Trouble(Symptom.WELL, situation, ready=True)


def measured() -> Trouble:
    """The query of the rule finds the pod; Kubernetes calls it ready."""
    return Trouble(Symptom.QUERY, QUERY_SIGNAL, ready=True)


def on_node(condition: str) -> Trouble:
    """The node of the pod has that condition."""
    return Trouble(Symptom.NODE, condition, ready=True)


def judged(verdict: str) -> Trouble:
    """The judge says that of the Deployment, as the canary."""
    return Trouble(Symptom.VERDICT, verdict, of_workload=True)
