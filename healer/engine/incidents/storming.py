"""A storm that comes or goes: the incident that takes over leaves the ladder where it is, and comes back to it."""

from dataclasses import replace

from healer.engine.incidents.climbing import resume_ladder
from healer.engine.incidents.facts import IncidentFacts, Transition
from healer.engine.incidents.observing import NOTHING_MORE, asks
from healer.engine.incidents.outcomes import done_after_all
from healer.engine.incidents.transitions import decide_to, fresh_step, fresh_try, move
from healer.engine.safety.storms import Storm
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason, State


def storm_changes(incident: Incident, facts: IncidentFacts) -> Transition:
    """Take over the workload, or give it back; an action that is under way is awaited first."""
    storm = facts.storm
    if not facts.in_force or incident.state is State.ACTING or incident.state.settled:
        return incident, ()
    if storm is not None and storm.taker == incident.id:
        if incident.storm:
            return incident, ()
        if incident.failures and (done := done_after_all(incident, facts)) is not None:
            return done
        return _take_over(incident, storm, facts)
    return _give_back(incident, facts) if incident.storm else (incident, ())


def _take_over(incident: Incident, storm: Storm, facts: IncidentFacts) -> Transition:
    """The ladder takes no pods from here: onStorm is next, if there is one that has not run yet; else the steps that take none.

    Without either the incident waits. A storm that is back before it is known whether onStorm helped finds it being verified: it
    is given its time, and does not run again.
    """
    on_storm, following = facts.rule.rule.on_storm, facts.next_without_pods(incident.step)
    taking, state = replace(incident, storm=True), State.WAITING
    if on_storm is not None and not incident.stormed:
        text, taking = f"next is {on_storm.action}", replace(fresh_try(taking), storming=True)
    elif incident.storming and incident.state is State.VERIFYING:
        text, state = "what onStorm did is still being verified", State.VERIFYING
    elif following == incident.step and incident.state is not State.ESCALATED:
        text, state = f"{incident.steps[following]} acts on the workload, and goes on", incident.state
    elif following is not None and incident.state is not State.ESCALATED:
        left = incident.step if incident.attempt == 0 else None
        text, taking = f"next is {incident.steps[following]}", replace(fresh_step(taking), step=following, left_step=left)
    else:
        text = f"{NOTHING_MORE}, because no step acts on the workload: {asks(incident)}"
        taking = fresh_try(taking)
    if state is not State.VERIFYING and incident.stormed:
        taking = replace(taking, storming=False)
    reason = Reason("Storm", f"{storm}: pods are not treated one by one; {text}")
    return decide_to(taking, facts, Verb.DEFER, reason, taking, state)


def _give_back(incident: Incident, facts: IncidentFacts) -> Transition:
    """The storm has passed, or another incident speaks for the workload: the ladder goes on where it was.

    An onStorm that has changed something is given its time to help what is still sick, as any step is.
    """
    given_time = not (incident.storming and incident.sick) or facts.action(incident).changes
    stays = incident.state is State.ESCALATED or (incident.state is State.VERIFYING and given_time)
    verified = f"{facts.step(incident).action} is still being verified"
    then = "a human is needed still" if incident.state is State.ESCALATED else verified
    reason = Reason("StormOver", f"the storm is over: {then if stays else 'the ladder goes on'}")
    if facts.storm is not None:
        reason = Reason("Storm", f"{facts.storm}: {facts.storm.taker} takes over from here")
    calm = replace(incident, storm=False, left_step=None)
    if stays:
        return move(calm, facts, incident.state, reason)
    if incident.left_step is not None and incident.attempt == 0:
        calm = replace(fresh_step(calm), step=incident.left_step)
    return resume_ladder(replace(fresh_try(calm), storming=False), facts, reason)
