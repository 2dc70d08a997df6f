"""Verifying: whether the step has helped, and what follows when it has, or has not by its deadline."""

from dataclasses import replace

from healer.engine.incidents.climbing import climb, escalate, observe_on
from healer.engine.incidents.deciding import find_candidate, storm_veto
from healer.engine.incidents.facts import IncidentFacts, Transition
from healer.engine.incidents.observing import OBSERVES_ON, is_observing, recovered, still_sick
from healer.engine.incidents.transitions import act, close, decide_to, defer
from healer.engine.incidents.verification import unhealed
from healer.engine.safety.guards.question import Veto
from healer.model.duration import about
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason, SickTarget, State


def recovery(incident: Incident, facts: IncidentFacts) -> Transition:
    """Healed once all has been well for long enough; a further sick target is treated meanwhile."""
    serving = None if facts.rule.rule.when.of_records else facts.serving(incident)
    wrong = unhealed(facts.view, incident, serving) or _still_there(incident, facts)
    if wrong is None:
        return _well(incident, facts)
    if wrong.code == "WorkloadGone":
        return close(incident, facts, wrong)
    more = facts.in_force and not incident.storming  # onStorm is taken on the workload, which is one
    candidate, veto = find_candidate(incident, facts) if more else (None, None)
    if candidate is not None and veto is None:
        return act(incident, candidate, facts)
    if incident.deadline is None or facts.now >= incident.deadline:
        return _not_well_in_time(incident, facts, wrong, candidate, veto)
    wake = incident.deadline
    if veto is not None:
        wake = min(wake, facts.now + facts.tuning.engine.retry if veto.until is None else veto.until)
    if incident.stable_since is None and incident.wake_at is not None and facts.now < incident.wake_at <= wake:
        return incident, ()
    return replace(incident, stable_since=None, wake_at=wake), ()


def _not_well_in_time(
    incident: Incident, facts: IncidentFacts, wrong: Reason, candidate: SickTarget | None, veto: Veto | None
) -> Transition:
    """Not well by the deadline: wait for what a human or a storm delays, else go on to the next step."""
    if is_observing(incident):
        return _still_observed(incident, facts, wrong)
    if facts.in_force and facts.storm is not None and facts.storm.has_another(incident):
        return defer(incident, incident.workload, storm_veto(incident, facts), facts)
    if candidate is not None and veto is not None and veto.unlimited:
        return defer(incident, candidate.target, veto, facts)
    if facts.action(incident).adds and not incident.any_sick:
        text = f"no signal is left, but what healer has added is not all ready, a human is needed: {wrong.text}"
        return escalate(incident, facts, Reason(wrong.code, text))
    return climb(incident, facts, wrong)


def _still_observed(incident: Incident, facts: IncidentFacts, wrong: Reason) -> Transition:
    """Not well by the time at which the step would have been judged. That is told once; nobody knows what would have been."""
    if incident.deadline is not None:
        text = f"{still_sick(incident, facts.now)}: {wrong.text}; {OBSERVES_ON}"
        return observe_on(incident, facts, Reason(wrong.code, text))
    if incident.stable_since is None and incident.wake_at is not None and facts.now < incident.wake_at:
        return incident, ()
    return replace(incident, stable_since=None, wake_at=facts.now + facts.tuning.engine.max_wait), ()


def _still_there(incident: Incident, facts: IncidentFacts) -> Reason | None:
    """The view may lag behind an action: a workload is not well before the pod that was taken down is seen to go."""
    for disruption in facts.guard_state.ledger.going(incident.workload.uid, facts.view):
        pod = facts.view.pod(disruption.target.uid)
        if pod is not None and not pod.terminating:
            return Reason("StillThere", f"{disruption.target} was taken down and is not seen to go yet")
    return None


def _well(incident: Incident, facts: IncidentFacts) -> Transition:
    """All is well now; healed once it has been so for as long as the step asks."""
    now, stable = facts.now, facts.step(incident).verify.stable
    since = now if incident.stable_since is None else incident.stable_since
    if now < since + stable:
        if incident.stable_since is not None:
            return incident, ()
        return replace(incident, stable_since=since, wake_at=since + stable), ()
    if incident.deadline is not None and now < incident.deadline and _taken_is_going(incident, facts):
        waits = replace(incident, wake_at=incident.deadline)  # what falls sick meanwhile is part of it still
        return (incident if waits == incident else waits), ()
    lasted = about(now - since)
    if is_observing(incident):
        return close(incident, facts, Reason("Recovered", f"{recovered(incident, since)}; well for {lasted}"))
    if not incident.acted_at:
        return close(incident, facts, Reason("Recovered", f"well for {lasted}, without an action of healer's"))
    return _healed(incident, facts, lasted)


def _taken_is_going(incident: Incident, facts: IncidentFacts) -> bool:
    """Whether the pod that it took is still there. It may stay so for ever, so that nothing fails by that."""
    uid = "" if incident.disruption is None else incident.disruption.target.uid
    return uid in incident.treated and facts.guard_state.ledger.took_down(uid) and facts.view.pod(uid) is not None


def _healed(incident: Incident, facts: IncidentFacts, lasted: str) -> Transition:
    text = f"{facts.serving(incident)} is at its desired ready count and no signal is left, stable for {lasted}"
    reason = Reason("Healed", text)
    cooled = facts.now + facts.rule.rule.limits.cooldown
    healed = replace(incident, ended_at=facts.now, wake_at=cooled, storm=False, storming=False)
    return decide_to(incident, facts, Verb.HEAL, reason, healed, State.HEALED, stormed=incident.storming)
