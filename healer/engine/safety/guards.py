"""The vetoes before an action: each a small function that allows (None), defers, or refuses, always with its reason in words.

They are asked in the order of `GUARDS`; the first veto counts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite

from healer.engine.incidents.approval import how, is_approved
from healer.engine.incidents.observing import asks
from healer.engine.matching.firing import NOT_REPEATED
from healer.engine.safety.cluster_breaker import ClusterBreaker
from healer.engine.safety.ledger import Ledger, key_of, made_good
from healer.engine.safety.node_storms import NodeStorms
from healer.engine.safety.rule_breakers import RuleBreakers
from healer.engine.safety.storms import Storm
from healer.engine.tuning import Tuning
from healer.model.action import ActionSpec
from healer.model.annotations import PAUSED
from healer.model.duration import about
from healer.model.incident import Incident, Reason, State
from healer.model.kube import Annotations, ends
from healer.model.target import ActsOn, Target
from healer.model.view import View
from healer.model.workload import STUCK
from healer.rules.probe import UNKNOWN_VERDICT
from healer.rules.schema import Limits, Mode


@dataclass(frozen=True, slots=True)
class Veto:
    """Not now, or (refused) never as things stand. `until` is when to ask again, in seconds since the epoch, where known.

    `unlimited` ones do not use up the time that a step may wait: a human or a limit asked for the delay. `of_target` ones speak
    against this target alone, so that another may do. `asks`: a human's approval lifts it; `final`: no further step is left.
    """

    reason: Reason
    refused: bool = False
    until: float | None = None
    unlimited: bool = False
    of_target: bool = False
    asks: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guards look at besides the workload: what was done lately, and what stops more than one incident."""

    tuning: Tuning
    ledger: Ledger
    nodes: NodeStorms
    rules: RuleBreakers
    cluster: ClusterBreaker


@dataclass(frozen=True, slots=True)
class Question:
    """May this action be taken on this target now?"""

    incident: Incident
    action: ActionSpec
    target: Target
    what: str
    """What is wrong with the target, for people."""
    limits: Limits
    view: View
    state: GuardState
    storm: Storm | None
    """The storm on the workload."""
    competing: Iterable[Incident]
    """The other incidents on the same workload that keep others off it."""
    judged_within: float
    """Seconds for which a canary that cannot be judged is left as it is, before a human is asked."""
    now: float
    unfit: Callable[[Target], Reason | None]
    """Why nothing is to be done to a target: its rule does not cover it any more, or its condition is not met now."""

    @property
    def ledger(self) -> Ledger:
        """What was done lately."""
        return self.state.ledger


def ask(question: Question) -> Veto | None:
    """The first veto, or None: go ahead. To tell people is held by nothing but a pause."""
    for guard in GUARDS if question.action.changes else TELLING:
        if (veto := guard(question)) is not None:
            return veto
    return None


def can_act_on(q: Question) -> Veto | None:
    """The action must fit the target, and the workload must be one that healer knows how to judge; any may be told of."""
    if not q.action.changes:
        return None
    if (ActsOn.POD if q.target.is_pod else ActsOn.WORKLOAD) not in q.action.targets:
        wanted = " or a ".join(sorted(q.action.targets))
        text = f"{q.action.name} acts on a {wanted}, and the signal names {q.target}"
        return Veto(Reason("WrongTarget", text), refused=True, of_target=True)
    if q.incident.workload.kind not in q.view.treated:
        acts_on = " and ".join(f"{kind}s" for kind in q.view.treated)
        text = f"{q.target} belongs to {q.incident.workload}; healer acts on {acts_on} only"
        return Veto(Reason("UnsupportedWorkload", text), refused=True)
    return None


def covered(q: Question) -> Veto | None:
    """What was true when the rule matched must be true when healer acts: the scope, the owner, the condition."""
    reason = q.unfit(q.target)
    if reason is None or (reason.code == NOT_REPEATED and not q.action.changes):
        return None  # people may be paged for an alert that was not repeated: it changes nothing
    return Veto(reason, unlimited=True, of_target=True)


def not_paused(q: Question) -> Veto | None:
    """Pausing all of healer, or `healer.dev/paused: "true"` on the pod, the workload or the namespace, stops everything."""
    if q.view.paused_everywhere:
        return Veto(Reason("Paused", f"healer is paused everywhere: {q.view.paused_everywhere}"), unlimited=True)
    pod = q.view.pod(q.target.uid)
    workload = q.view.workload(q.incident.workload.uid)
    namespace = q.view.namespace(q.incident.workload.namespace)
    for obj, name in ((pod, f"{q.target}"), (workload, f"{q.incident.workload}"), (namespace, "the namespace")):
        if obj is not None and obj.metadata.annotations.pauses(q.now):
            text = f'{PAUSED} is "true" on {name}{_pauser(obj.metadata.annotations)}'
            until = ends(obj.metadata.annotations.paused_until)
            return Veto(Reason("Paused", text), until=until if isfinite(until) else None, unlimited=True, of_target=obj is pod)
    return None


def _pauser(annotations: Annotations) -> str:
    """Who paused and why, where the annotations say so: " (by ann: the store is moved)"."""
    by = f"by {annotations.paused_by}" if annotations.paused_by else ""
    until = f"until {annotations.paused_until}" if annotations.paused_until else ""
    said = ": ".join(part for part in (" ".join(part for part in (by, until) if part), annotations.paused_reason) if part)
    return f" ({said})" if said else ""


def known_verdict(q: Question) -> Veto | None:
    """Unknown is not bad: nothing is done about a canary that cannot be judged, but a human is asked after a while."""
    sick = q.incident.sick
    if any(symptom.name != UNKNOWN_VERDICT for target in sick for symptom in target.signals.values()) or not sick:
        return None
    since = min(target.since for target in sick)
    if q.now >= since + q.judged_within:
        text = f"nothing could be judged for {about(q.judged_within)} ({q.what}): the traffic stays as it is, {asks(q.incident)}"
        return Veto(Reason("HeldTooLong", text), refused=True, final=True)
    text = f"{q.what}; the traffic stays as it is, for at most {about(q.judged_within)} before a human is asked"
    return Veto(Reason("UnknownVerdict", text), until=since + q.judged_within, unlimited=True)


def no_storm(q: Question) -> Veto | None:
    """In a storm one incident speaks for the workload, and even that takes no pod. But traffic may be taken off it."""
    if q.storm is None or q.action.diverts:
        return None
    if not q.storm.known and (q.incident.storming or q.incident.left_step is not None):
        return Veto(Reason("Storm", f"{q.storm}: nothing is done to the workload for that"), unlimited=True)
    if q.storm.has_another(q.incident):
        return Veto(Reason("Storm", f"{q.storm}: {q.storm.taker} has taken over"), unlimited=True)
    if q.target.is_pod:
        return Veto(Reason("Storm", f"{q.storm}: they are not treated one by one"), unlimited=True)
    return None


def no_node_storm(q: Question) -> Veto | None:
    """Pods on a node that is sick itself are left alone."""
    storm = q.state.nodes.storm_of(q.target.uid, q.view) if q.target.is_pod else None
    if storm is None:
        return None
    text = f"{q.target} is on {storm.workload}, where many pods are sick at once: see {storm.id}"
    return Veto(Reason("NodeStorm", text), unlimited=True, of_target=True)


def not_denied(q: Question) -> Veto | None:
    """No pod is deleted whose eviction was denied, by whichever incident; nor any other in an incident that was told no."""
    if not q.action.deletes:
        return None
    answer = q.ledger.denial(q.target.uid)
    own = answer is not None
    if answer is None and (answer := next(iter(q.incident.denied.values()), None)) is None:
        return None
    what = f"the eviction of {q.target}" if own else "an eviction in this incident"
    text = f"{what} was not granted, so that healer does not {q.action.verb} it instead ({answer})"
    return Veto(Reason("EvictionDenied", text), refused=True, of_target=own and not q.incident.denied)


def cluster_breaker(q: Question) -> Veto | None:
    """Nothing anywhere after too many incidents opened at once."""
    opened = q.state.cluster.incident
    if opened is None:
        return None
    return Veto(Reason("ClusterBreaker", f"healer acts nowhere for now: see {opened.id}"), unlimited=True)


def rule_breaker(q: Question) -> Veto | None:
    """Nothing by a rule that has failed too often in a row, but one try after a while."""
    objection = q.state.rules.objection(q.incident, q.limits.breaker, q.now)
    return None if objection is None else Veto(objection, unlimited=True)


def approved(q: Question) -> Veto | None:
    """In mode approve a human says yes before each step that changes anything."""
    if not q.action.changes or is_approved(q.incident):
        return None
    within = q.limits.approve_within
    asked = q.now if q.incident.asked_at is None else q.incident.asked_at
    if q.now >= asked + within:
        text = f"nobody approved within {about(within)} to {q.action.verb} {q.target} ({q.what})"
        return Veto(Reason("ApprovalExpired", text), refused=True, final=True)
    text = f"a human must approve within {about(within)} to {q.action.verb} {q.target} ({q.what}): {how(q.incident)}"
    return Veto(Reason("NeedsApproval", text), until=asked + within, unlimited=True, asks=True)


def one_ladder(q: Question) -> Veto | None:
    """One ladder climbing on a workload at a time, whichever rules are open. One that observes, or tells people, climbs nothing.

    Taking traffic off a workload takes none of its pods: those who are served by a bad version need not wait for another ladder.
    A ladder that waits for the replacement of the pod that it took does not keep others off that replacement.
    """
    for other in q.competing if q.action.changes and not q.action.diverts else ():
        if not _waits_for(other, q):
            return Veto(Reason("OtherIncident", f"{other.id} ({other.rule}) is {other.state} on {q.incident.workload}"))
    return None


def _waits_for(incident: Incident, q: Question) -> bool:
    """Whether an incident has nothing left but to see a pod ready that came after it acted, and the target is that pod; or to see
    the end of the pod that it took, and all else is well."""
    down = incident.disruption
    if incident.state is not State.VERIFYING or incident.any_sick or down is None or down.target.uid not in incident.treated:
        return False
    pod, taken = q.view.pod(q.target.uid), q.view.pod(down.target.uid)
    if taken is not None and taken.terminating and incident.stable_since is not None:
        return True
    return pod is not None and not pod.ready and pod.metadata.uid not in down.known


def competes(incident: Incident, view: View) -> bool:
    """Whether an incident keeps others off its workload: it acts, looks whether that helped, or does not know if it has acted."""
    if incident.mode == Mode.OBSERVE or (incident.state is State.VERIFYING and _found_nothing(incident, view)):
        return False
    return incident.state in (State.ACTING, State.VERIFYING) or incident.failures > 0


def _found_nothing(incident: Incident, view: View) -> bool:
    """Whether its step found nothing left to do on the pods that it was taken on, and all that earlier ones took is made good."""
    if incident.storming or incident.failures or incident.known or not incident.treated:
        return False
    return incident.workload.uid not in incident.treated and all(made_good(taken, view) for taken in incident.down)


def no_rollout(q: Question) -> Veto | None:
    """Nothing while a rollout is in progress: the pods are on their way already. But it may be rolled back."""
    if not q.action.changes or q.action.in_rollout:
        return None
    workload = q.view.workload(q.incident.workload.uid)
    if workload is None:
        return Veto(Reason("WorkloadGone", f"{q.incident.workload} is not in the cluster (any more)"))
    reason = workload.rollout
    if reason is None:
        return None
    if reason.code == STUCK:
        return Veto(reason)
    return Veto(Reason("RolloutInProgress", f"a rollout is in progress: {reason.text}"))


def one_disruption(q: Question) -> Veto | None:
    """One ready pod down at a time: the one taken last must be going, and replaced by a ready one.

    A pod that is not ready may be taken whatever is in flight: the workload has no less afterwards.
    """
    if not _takes_a_pod(q) or not _ready(q.view, q.target):
        return None
    flying = q.ledger.in_flight(q.incident.workload.uid, q.view)
    if not flying:
        return None
    return Veto(Reason("DisruptionInFlight", f"{flying[0].target} was taken down and is not replaced by a ready pod yet"))


def cooled_down(q: Question) -> Veto | None:
    """Time must pass between two incidents of a rule on a workload in which healer acted."""
    if q.incident.acted_at or not q.action.changes:
        return None
    ended = q.ledger.last_end(key_of(q.incident))
    if ended is None or q.now >= ended + q.limits.cooldown:
        return None
    left = ended + q.limits.cooldown - q.now
    return Veto(
        Reason("Cooldown", f"the last healing ended {about(q.now - ended)} ago; {about(left)} of cooldown left"),
        until=ended + q.limits.cooldown,
        unlimited=True,
    )


def within_budget(q: Question) -> Veto | None:
    """At most so many actions of the rule on a revision of the workload, in a sliding window."""
    if not q.action.changes:
        return None
    budget = q.limits.budget
    spent = q.ledger.actions_since(key_of(q.incident), q.now - budget.per)
    if len(spent) < budget.actions:
        return None
    text = f"{len(spent)} actions in the last {about(budget.per)}; the budget is {budget.actions}"
    return Veto(Reason("BudgetSpent", text), until=spent[-budget.actions] + budget.per)


def within_caps(q: Question) -> Veto | None:
    """At most so many actions of all rules on the workload, in its namespace, and in the cluster.

    An action of another incident that may be on its way counts: several workloads may be acted on at the same time.
    """
    if not q.action.changes:
        return None
    tuning, workload = q.state.tuning, q.incident.workload
    since = q.now - tuning.budget_per
    on_its_way = q.ledger.in_doubt(q.incident.id, workload.namespace)
    for code, where, most, spent, doubtful in (
        ("WorkloadBudget", f"on {workload}", tuning.budget_workload, q.ledger.on_workload(workload.uid, since), 0),
        (
            "NamespaceBudget",
            f"in the namespace {workload.namespace}",
            tuning.budget_namespace,
            q.ledger.in_namespace(workload.namespace, since),
            on_its_way,
        ),
        (
            "ClusterBudget",
            "in the cluster",
            tuning.budget_cluster,
            q.ledger.anywhere(since, tuning.budget_namespace),
            q.ledger.in_doubt(q.incident.id),
        ),
    ):
        if len(spent) + doubtful >= most:
            until = spent[-most] + tuning.budget_per if len(spent) >= most else None
            text = f"{len(spent) + doubtful} actions {where} in the last {about(tuning.budget_per)}; the budget is {most}"
            return Veto(Reason(code, text), until=until)
    return None


def above_floor(q: Question) -> Veto | None:
    """Never take the last ready replica: ready - in flight - (1 if the target is ready) >= max(minReady, 1).

    A single replica that is not ready is the exception: taking it loses nothing.
    """
    if not _takes_a_pod(q):
        return None
    workload = q.view.workload(q.incident.workload.uid)
    pods = q.view.pods_of(q.incident.workload)
    return floor(
        ready=sum(pod.ready for pod in pods),
        in_flight=sum(1 for d in q.ledger.going(q.incident.workload.uid, q.view) if _ready(q.view, d.target)),
        target_ready=_ready(q.view, q.target),
        desired=0 if workload is None else workload.desired,
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


def _takes_a_pod(q: Question) -> bool:
    """Whether the workload has one pod less afterwards; to delete the record of a finished pod takes nothing from it."""
    return q.action.disrupts and not q.view.finished(q.target.uid)


def _ready(view: View, target: Target) -> bool:
    pod = view.pod(target.uid)
    return pod is not None and pod.ready


TELLING: tuple[Callable[[Question], Veto | None], ...] = (can_act_on, covered, known_verdict, not_paused)
"""The guards of an action that changes nothing: a pause is a stop for all that healer does on its own."""

GUARDS: tuple[Callable[[Question], Veto | None], ...] = (
    can_act_on,
    known_verdict,
    not_paused,
    covered,
    no_storm,
    no_node_storm,
    not_denied,
    cluster_breaker,
    rule_breaker,
    approved,
    one_ladder,
    no_rollout,
    one_disruption,
    cooled_down,
    within_budget,
    within_caps,
    above_floor,
)
