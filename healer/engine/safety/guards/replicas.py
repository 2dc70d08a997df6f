"""Guards in numbers: what would be left of a workload. They are asked twice, for the view may be stale.

First with what the view has, by the engine; then with what is read right before acting, by the action.
"""

from collections.abc import Callable
from dataclasses import dataclass

from healer.engine.safety.guards.question import Guards, Question, Veto
from healer.model.incident import Reason
from healer.model.target import Target
from healer.model.view import View
from healer.model.workload import STUCK


@dataclass(frozen=True, slots=True)
class Replicas:
    """A target and its workload in numbers, which count units: pods, or groups of pods.

    `fresh`: just read, after the guards have allowed the action.
    """

    target: Target
    rollout: Reason | None
    """Why the workload is not settled on its current revision, where the action may not be taken before."""
    takes_one: bool
    """Whether the workload has one unit less afterwards; to delete the record of a finished pod takes nothing from it."""
    target_ready: bool
    """Whether the target's unit is ready."""
    down: str
    """What was taken down and is not replaced by a ready unit yet; "" for nothing."""
    in_flight: int
    """How many ready units were taken down and are not seen to go yet."""
    count_ready: Callable[[], int]
    """How many of its units are ready: counted only when a guard wants to know."""
    desired: int
    min_ready: int
    fresh: bool = False


def no_rollout(replicas: Replicas) -> Veto | None:
    """Nothing while a rollout is in progress: the pods are on their way already. But it may be rolled back."""
    return None if replicas.rollout is None else rollout_veto(replicas.rollout, fresh=replicas.fresh)


def rollout_veto(rollout: Reason, *, fresh: bool) -> Veto:
    """The veto of a rollout; `fresh`: it has begun since the guards allowed the action."""
    if rollout.code == STUCK:
        return Veto(rollout)
    return Veto(Reason("RolloutInProgress", f"a rollout {'has begun' if fresh else 'is in progress'}: {rollout.text}"))


def one_disruption(replicas: Replicas) -> Veto | None:
    """One ready pod down at a time: the one taken last must be going, and replaced by a ready one.

    A pod that is not ready may be taken whatever is in flight: the workload has no less afterwards.
    """
    if not (replicas.takes_one and replicas.target_ready and replicas.down):
        return None
    if replicas.fresh:  # else the guard would have objected before
        return Veto(Reason("ReadyAgain", f"{replicas.target} was not ready and is ready now: healer looks again"))
    return Veto(Reason("DisruptionInFlight", f"{replicas.down} was taken down and is not replaced by a ready pod yet"))


def above_floor(replicas: Replicas) -> Veto | None:
    """Never take the last ready replica: ready - in flight - (1 if the target is ready) >= max(minReady, 1).

    A single replica that is not ready is the exception: taking it loses nothing.
    """
    if not replicas.takes_one or (replicas.desired <= 1 and not replicas.target_ready):
        return None
    left = replicas.count_ready() - replicas.in_flight - int(replicas.target_ready)
    wanted = max(replicas.min_ready, 1)
    if left >= wanted:
        return None
    replicas_left = "1 ready replica" if left == 1 else f"{max(left, 0)} ready replicas"
    text = f"it would leave {replicas_left}; minReady asks for {wanted}"
    return Veto(Reason("BelowFloor", f"read afresh: {text}" if replicas.fresh else text))


@dataclass(frozen=True, slots=True)
class InNumbers:
    """A guard in numbers, in the registry: before acting it is asked about the workload that the view has."""

    guard: Callable[[Replicas], Veto | None]

    def __call__(self, question: Question) -> Veto | None:
        """The guard's answer by the view."""
        return self.guard(_in_view(question))


def ask_again(guards: Guards, fresh: Replicas) -> Veto | None:
    """The first veto of the guards in numbers right before acting, by what was just read; None: go ahead."""
    for guard in guards.acting:
        if isinstance(guard, InNumbers) and (veto := guard.guard(fresh)) is not None:
            return veto
    return None


def _in_view(q: Question) -> Replicas:
    uid, workload = q.incident.workload.uid, q.view.workload(q.incident.workload.uid)
    takes_one = q.action.disrupts and not q.view.finished(q.target.uid)
    going = q.state.ledger.going(uid, q.view) if takes_one else []
    return Replicas(
        target=q.target,
        rollout=None if workload is None or _may_interrupt(q) else workload.rollout,
        takes_one=takes_one,
        target_ready=_ready_unit(q.view, q.target),
        down=next((str(disruption.target) for disruption in going if disruption.ready), ""),
        in_flight=sum(_ready_unit(q.view, disruption.target) for disruption in going),
        count_ready=lambda: sum(unit.ready for unit in q.view.units_of(q.incident.workload)),
        desired=0 if workload is None else workload.desired,
        min_ready=q.limits.min_ready,
    )


def workload_exists(q: Question) -> Veto | None:
    """Whether a rollout is in progress must be known."""
    if _may_interrupt(q) or q.view.workload(q.incident.workload.uid) is not None:
        return None
    return Veto(Reason("WorkloadGone", f"{q.incident.workload} is not in the cluster (any more)"))


def _may_interrupt(q: Question) -> bool:
    return not q.action.changes or q.action.in_rollout


def _ready_unit(view: View, target: Target) -> bool:
    pod = view.pod(target.uid)
    return pod is not None and view.unit_of(pod).ready
