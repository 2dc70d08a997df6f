"""Guards that stop healer for now: a pause, a storm, a breaker, a verdict that is not known, an approval that is awaited."""

from collections.abc import Iterable
from math import isfinite

from healer.engine.incidents.approval import how, is_approved
from healer.engine.incidents.observing import asks
from healer.engine.safety.guards.question import Question, Veto
from healer.model.annotations import PAUSED
from healer.model.duration import about
from healer.model.incident import Reason
from healer.model.kube import Annotations, Pod, ends
from healer.model.view import View, target_of
from healer.model.workload import Workload
from healer.rules.probe import UNKNOWN_VERDICT


def not_paused(q: Question) -> Veto | None:
    """Pausing all of healer, or `healer.dev/paused: "true"` on the pod, the workload or the namespace, stops everything."""
    workload = q.incident.workload
    taken = q.view.replaced_with(q.target) if q.action.disrupts else (q.target.uid,)
    seen = [obj for obj in (*map(q.view.pod, taken), q.view.workload(workload.uid)) if obj is not None]
    return pause(q.view, workload.namespace, seen, q.now)


def pause(view: View, namespace: str, seen: Iterable[Pod | Workload], now: float) -> Veto | None:
    """The veto of a pause: of all of healer, on one of these objects as they were seen, or on the namespace in the view."""
    if view.paused_everywhere:
        return Veto(Reason("Paused", f"healer is paused everywhere: {view.paused_everywhere}"), unlimited=True)
    on = [(obj.metadata.annotations, f"{target_of(obj)}", isinstance(obj, Pod)) for obj in seen]
    if (around := view.namespace(namespace)) is not None:
        on.append((around.metadata.annotations, "the namespace", False))
    for annotations, name, is_pod in on:
        if annotations.pauses(now):
            text = f'{PAUSED} is "true" on {name}{_pauser(annotations)}'
            until = ends(annotations.paused_until)
            return Veto(Reason("Paused", text), until=until if isfinite(until) else None, unlimited=True, of_target=is_pod)
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
    taken = q.view.replaced_with(q.target) if q.target.is_pod else ()
    storms = (q.state.node_storms.storm_of(uid, q.view) for uid in taken)
    storm = next((each for each in storms if each is not None), None)
    if storm is None:
        return None
    who = q.target if len(taken) == 1 else f"the group of {q.target}"
    text = f"{who} is on {storm.workload}, where many pods are sick at once: see {storm.id}"
    return Veto(Reason("NodeStorm", text), unlimited=True, of_target=True)


def cluster_breaker(q: Question) -> Veto | None:
    """Nothing anywhere after too many incidents opened at once."""
    opened = q.state.cluster_breaker.incident
    if opened is None:
        return None
    return Veto(Reason("ClusterBreaker", f"healer acts nowhere for now: see {opened.id}"), unlimited=True)


def tenant_breaker(q: Question) -> Veto | None:
    """Nothing by the RuleSets of a namespace after too many of their incidents opened at once."""
    objection = q.state.tenant_breakers.objection(q.incident)
    return None if objection is None else Veto(objection, unlimited=True)


def rule_breaker(q: Question) -> Veto | None:
    """Nothing by a rule that has failed too often in a row, but one try after a while."""
    objection = q.state.rule_breakers.objection(q.incident, q.limits.breaker, q.now)
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
