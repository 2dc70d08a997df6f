"""The vetoes before an action: each a small function that allows (None), defers, or refuses, always with its reason in words.

They are asked in the order of `GUARDS`; the first veto counts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from healer.engine.ledger import Ledger
from healer.engine.verify import rollout_in_progress
from healer.model.action import ActionSpec
from healer.model.incident import Incident, Reason, State
from healer.model.rule import Limits, Mode
from healer.model.target import Target
from healer.model.view import View


@dataclass(frozen=True, slots=True)
class Veto:
    """Not now, or (refused) never as things stand. `until` is when to ask again, in seconds since the epoch, where known.

    `patient` vetoes do not use up the time that a step may wait: a human or a limit asked for the delay. `of_target` ones speak
    against this target alone, so that another may do.
    """

    reason: Reason
    refused: bool = False
    until: float | None = None
    patient: bool = False
    of_target: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """May this action be taken on this target now?"""

    incident: Incident
    action: ActionSpec
    target: Target
    limits: Limits
    view: View
    ledger: Ledger
    others: Iterable[Incident]
    """The other incidents on the same workload."""
    now: float


def ask(question: Question) -> Veto | None:
    """The first veto, or None: go ahead."""
    for guard in GUARDS:
        if (veto := guard(question)) is not None:
            return veto
    return None


def can_act_on(q: Question) -> Veto | None:
    """The action must fit the target, and the workload must be one that healer knows how to judge."""
    if q.target.kind not in q.action.targets:
        wanted = " or a ".join(sorted(q.action.targets))
        text = f"{q.action.name} acts on a {wanted}, and the signal names {q.target}"
        return Veto(Reason("WrongTarget", text), refused=True, of_target=True)
    if q.incident.workload.kind != "Deployment":
        workload = q.incident.workload
        return Veto(
            Reason("UnsupportedWorkload", f"{q.target} belongs to {workload}; healer acts on Deployments only"), refused=True
        )
    return None


def not_paused(q: Question) -> Veto | None:
    """`healer.dev/paused: "true"` on the pod, the workload or the namespace stops everything."""
    pod = q.view.pod(q.target.uid)
    deployment = q.view.deployment(q.incident.workload.uid)
    namespace = q.view.namespace(q.incident.workload.namespace)
    for obj, name in ((pod, f"{q.target}"), (deployment, f"{q.incident.workload}"), (namespace, "the namespace")):
        if obj is not None and obj.metadata.annotations.paused == "true":
            return Veto(Reason("Paused", f'healer.dev/paused is "true" on {name}'), patient=True, of_target=obj is pod)
    return None


def one_ladder(q: Question) -> Veto | None:
    """One ladder climbing on a workload at a time, whichever rules are open. One that only observes climbs nothing."""
    for other in q.others:
        if climbing(other):
            return Veto(Reason("OtherIncident", f"{other.id} ({other.rule}) is {other.state} on {q.incident.workload}"))
    return None


def climbing(incident: Incident) -> bool:
    """Whether an incident keeps others off its workload: it acts, looks whether that helped, or does not know if it has acted."""
    return incident.mode != Mode.OBSERVE and (incident.state in (State.ACTING, State.VERIFYING) or incident.failures > 0)


def no_rollout(q: Question) -> Veto | None:
    """Nothing while a rollout is in progress: the pods are on their way already."""
    deployment = q.view.deployment(q.incident.workload.uid)
    if deployment is None:
        return Veto(Reason("WorkloadGone", f"{q.incident.workload} is not in the cluster (any more)"))
    reason = rollout_in_progress(deployment)
    return None if reason is None else Veto(Reason("RolloutInProgress", f"a rollout is in progress: {reason.text}"))


def one_disruption(q: Question) -> Veto | None:
    """One pod down at a time: the pod taken last must be gone and replaced by a ready one."""
    if not q.action.disrupts:
        return None
    flying = q.ledger.in_flight(q.incident.workload.uid, q.view)
    if not flying:
        return None
    return Veto(Reason("DisruptionInFlight", f"{flying[0].target} was taken down and is not replaced by a ready pod yet"))


def cooled_down(q: Question) -> Veto | None:
    """Time must pass between two incidents of a rule on a workload in which healer acted."""
    if q.incident.acted_at:
        return None
    ended = q.ledger.last_end((q.incident.rule, q.incident.workload.uid))
    if ended is None or q.now >= ended + q.limits.cooldown:
        return None
    left = ended + q.limits.cooldown - q.now
    return Veto(
        Reason("Cooldown", f"the last healing ended {q.now - ended:.0f} s ago; {left:.0f} s of cooldown left"),
        until=ended + q.limits.cooldown,
        patient=True,
    )


def within_budget(q: Question) -> Veto | None:
    """At most so many actions in a sliding window."""
    budget = q.limits.budget
    spent = q.ledger.actions_since((q.incident.rule, q.incident.workload.uid), q.now - budget.per)
    if len(spent) < budget.actions:
        return None
    return Veto(
        Reason("BudgetSpent", f"{len(spent)} actions in the last {budget.per:.0f} s; the budget is {budget.actions}"),
        until=spent[-budget.actions] + budget.per,
    )


def above_floor(q: Question) -> Veto | None:
    """Never take the last ready replica: ready - in flight - (1 if the target is ready) >= max(minReady, 1).

    A single replica that is not ready is the exception: taking it loses nothing.
    """
    if not q.action.disrupts:
        return None
    deployment = q.view.deployment(q.incident.workload.uid)
    pods = q.view.pods_of(q.incident.workload)
    return floor(
        ready=sum(pod.ready for pod in pods),
        in_flight=sum(1 for d in q.ledger.in_flight(q.incident.workload.uid, q.view) if _ready(q.view, d.target)),
        target_ready=_ready(q.view, q.target),
        desired=0 if deployment is None else deployment.spec.replicas,
        min_ready=q.limits.min_ready,
    )


def floor(*, ready: int, in_flight: int, target_ready: bool, desired: int, min_ready: int) -> Veto | None:
    """The floor itself, in plain numbers; also asked again with fresh ones right before acting."""
    if desired <= 1 and not target_ready:
        return None
    left, wanted = ready - in_flight - int(target_ready), max(min_ready, 1)
    if left >= wanted:
        return None
    return Veto(Reason("BelowFloor", f"it would leave {max(left, 0)} ready replicas; minReady asks for {wanted}"))


def _ready(view: View, target: Target) -> bool:
    pod = view.pod(target.uid)
    return pod is not None and pod.ready


GUARDS: tuple[Callable[[Question], Veto | None], ...] = (
    can_act_on,
    not_paused,
    one_ladder,
    no_rollout,
    one_disruption,
    cooled_down,
    within_budget,
    above_floor,
)
