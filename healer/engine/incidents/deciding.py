"""Open or waiting: whether the step is taken now, on what, and what follows when it is not."""

from healer.engine.incidents.approval import rule_changed
from healer.engine.incidents.climbing import climb, escalate, give_up, observe_on
from healer.engine.incidents.facts import IncidentFacts, Transition, on_pods
from healer.engine.incidents.observing import NOTHING_MORE, OBSERVES_ON, is_observing, recovered
from healer.engine.incidents.outcomes import done_after_all, perhaps_done
from healer.engine.incidents.transitions import act, close, decided, defer, verify
from healer.engine.safety.guards.question import Question, Veto
from healer.model.duration import about
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason, SickTarget
from healer.rules.triggers import CANARY


def decide(incident: Incident, facts: IncidentFacts) -> Transition:
    """Take the step, wait for what objects to it, or go on without it."""
    if incident.failures and (done := done_after_all(incident, facts)) is not None:
        return done
    if not facts.in_force:
        return close(incident, facts, rule_changed(incident))
    if not incident.any_sick:
        return _recovered(incident, facts)
    if _waits_for_storm(incident, facts):
        return defer(incident, incident.workload, storm_veto(incident, facts), facts)
    if incident.waiting_since is not None and facts.now >= incident.waiting_since + facts.tuning.engine.max_wait:
        waited = about(facts.now - incident.waiting_since)
        return give_up(incident, facts, Reason("WaitedTooLong", f"waited {waited}, most recently because {incident.reason.text}"))
    if incident.not_before is not None and facts.now < incident.not_before:
        return incident, ()
    return _take_step(incident, facts)


def _recovered(incident: Incident, facts: IncidentFacts) -> Transition:
    """Nothing fires for it any more."""
    if incident.acted_at:
        return verify(incident, facts, Reason("SignalsGone", "all signals are gone; verifying"))
    if (done := perhaps_done(incident, facts)) is not None:
        return done
    text = recovered(incident, facts.now) if is_observing(incident) else "all signals are gone before healer acted"
    return close(incident, facts, Reason("Recovered", text))


def _take_step(incident: Incident, facts: IncidentFacts) -> Transition:
    """Act on the first target that no guard objects to."""
    candidate, veto = find_candidate(incident, facts)
    if candidate is None:
        action = facts.step(incident).action
        if is_observing(incident):
            text = f"{action} would have been taken on every sick target; {OBSERVES_ON}"
            return observe_on(incident, facts, Reason("NothingLeft", text))
        return climb(incident, facts, Reason("NothingLeft", f"{action} was tried on every sick target"))
    if veto is None:
        return act(incident, candidate, facts)
    if not veto.refused:
        return defer(incident, candidate.target, veto, facts)
    follows = escalate if veto.final else climb
    after, effects = follows(incident, facts, veto.reason)
    return after, (decided(incident, facts, Verb.REFUSE, veto.reason, candidate.target), *effects)


def _waits_for_storm(incident: Incident, facts: IncidentFacts) -> bool:
    """Whether its step is not for a storm: it takes pods, or another incident speaks for the workload."""
    storm, action = facts.storm, facts.action(incident)
    if storm is None or incident.storming or action.diverts or not action.changes:
        return False
    return storm.has_another(incident) or on_pods(action)


def storm_veto(incident: Incident, facts: IncidentFacts) -> Veto:
    """Why an incident waits for the end of the storm on its workload."""
    storm = facts.storm
    another = storm is not None and storm.has_another(incident)
    text = f"{storm.taker} has taken over until the storm has passed" if storm is not None and another else NOTHING_MORE
    return Veto(Reason("Storm", f"{storm}: {text}"), unlimited=True)


def find_candidate(incident: Incident, facts: IncidentFacts) -> tuple[SickTarget | None, Veto | None]:
    """The target to act on: sick, not yet treated in this step, and not born after the step acted.

    The one sick longest that no guard objects to; else the first, with the veto against it. In a storm it is the workload, and so
    it is for an action that acts on workloads.
    """
    if incident.storming or not facts.takes_pods(incident):
        if incident.workload.uid in incident.treated and not incident.storming:
            return None, None
        workload = _workload_as_candidate(incident)
        return workload, _ask_guards(incident, workload, facts)
    first: tuple[SickTarget | None, Veto | None] = (None, None)
    for sick in incident.sick:
        uid = sick.target.uid
        if uid in incident.treated or incident.is_newer(sick.target):
            continue
        veto = _ask_guards(incident, sick, facts)
        if veto is None or not veto.of_target:
            return sick, veto
        if first[1] is None or first[1].refused:
            first = sick, veto
    return first


def _workload_as_candidate(incident: Incident) -> SickTarget:
    """The workload as what is acted on, and what is wrong with it."""
    if (itself := incident.targets.get(incident.workload.uid)) is not None and itself.signals:
        return itself
    sick = incident.sick
    what = f"{len(sick)} of its pods are sick" if len(sick) != 1 else f"{sick[0].target}: {sick[0].what}"
    return SickTarget(incident.workload, {}, incident.changed_at, what)


def _ask_guards(incident: Incident, candidate: SickTarget, facts: IncidentFacts) -> Veto | None:
    canary = facts.rule.rule.when.get(CANARY)
    return facts.guards.ask(
        Question(
            incident=incident,
            action=facts.action(incident),
            target=candidate.target,
            what=candidate.what,
            limits=facts.rule.rule.limits,
            view=facts.view,
            state=facts.guard_state,
            storm=facts.storm,
            competing=facts.competing,
            judged_within=0.0 if canary is None else canary.hold,
            now=facts.now,
            elsewhere=facts.action(incident).elsewhere(facts.step(incident).params),
            unfit=facts.unfit,
        )
    )
