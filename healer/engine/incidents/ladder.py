"""How an incident climbs its ladder: from what is known to the next transition of one incident.

open, waiting --(guards allow)--> acting --(accepted)--> verifying --(well for long enough)--> healed --> closed
   ^   |                             |                        |
   |   +--(signals gone)--> closed   +--(deferred)--> waiting +--(deadline)--> next step, after the last: escalated --> closed

When a storm breaks, the incident that takes over leaves the ladder where it is, for onStorm or to wait, and comes back to it.
"""

from healer.engine.incidents.approval import rule_changed
from healer.engine.incidents.climbing import to_human
from healer.engine.incidents.deciding import decide
from healer.engine.incidents.facts import IncidentFacts, Transition
from healer.engine.incidents.storming import storm_changes
from healer.engine.incidents.transitions import close
from healer.engine.incidents.unknown import known_or_not
from healer.engine.incidents.verification import unhealthy
from healer.engine.incidents.verifying import recovery
from healer.model.incident import Incident, Reason, State


def following(incident: Incident, facts: IncidentFacts) -> Transition:
    """The next transition without another input; the same incident when there is none."""
    if (changed := storm_changes(incident, facts))[0] is not incident:
        return changed
    if (changed := known_or_not(incident, facts))[0] is not incident:
        return changed
    if facts.in_force and incident.unknown_since is not None:
        return incident, ()
    match incident.state:
        case State.OPEN | State.WAITING:
            return decide(incident, facts)
        case State.VERIFYING:
            return recovery(incident, facts)
        case State.ESCALATED:
            return _outlast(incident, facts)
        case State.HEALED:
            return _cool_down(incident, facts)
        case _:
            return incident, ()


def _outlast(incident: Incident, facts: IncidentFacts) -> Transition:
    if not facts.in_force:
        return close(incident, facts, rule_changed(incident))
    if incident.any_sick:
        return incident, ()
    serving = facts.serving(incident) if incident.acted_at else None
    wrong = None if serving is None else unhealthy(facts.view, serving)
    if wrong is not None and wrong.code != "WorkloadGone":
        return incident, ()  # what healer left behind is not well: a human is needed still
    return close(incident, facts, Reason("Recovered", "all signals are gone after the escalation"))


def _cool_down(incident: Incident, facts: IncidentFacts) -> Transition:
    if incident.wake_at is not None and facts.now < incident.wake_at:
        return incident, ()
    return close(incident, facts, Reason("CooledDown", "stayed healed for the whole cooldown"))


def absorb(incident: Incident, into: Incident, facts: IncidentFacts) -> Transition:
    """Close an incident that has done nothing, because a wider one is about its pods as well."""
    return close(incident, facts, Reason("Storm", f"{into.reason.text}: see {into.id}"))


def abandon(incident: Incident, why: Reason, facts: IncidentFacts, *, human: bool) -> Transition:
    """Do nothing more about an incident of which nothing can be kept: close it, or leave it to a `human` while it is sick."""
    if not human or incident.state is State.HEALED or not incident.any_sick:
        return close(incident, facts, why)
    if incident.state is State.ESCALATED:
        return incident, ()
    return to_human(incident, facts, why)
