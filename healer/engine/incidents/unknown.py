"""What is not known is neither bad nor good: nothing is done, nothing is given up, and no time limit runs meanwhile."""

from dataclasses import replace

from healer.engine.incidents.climbing import escalate
from healer.engine.incidents.facts import IncidentFacts, Transition
from healer.engine.incidents.observing import asks, is_observing
from healer.engine.incidents.transitions import close, decide_to, move
from healer.engine.incidents.verification import unhealthy
from healer.engine.matching.firing import UNKNOWN
from healer.engine.safety.counting import UNKNOWN_TOO_LONG
from healer.model.duration import about
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason, State


def known_or_not(incident: Incident, facts: IncidentFacts) -> Transition:
    """Wait while it is not known whether the incident's signals fire; go on when it is known again.

    People are told when it lasts, and asked for help when it lasts too long.
    """
    verifying = incident.state is State.VERIFYING
    if not (verifying or incident.state in (State.OPEN, State.WAITING)) or not facts.in_force:
        return incident, ()
    doubt = facts.unknown if incident.sick or verifying else None
    if doubt is None:
        return (incident, ()) if incident.unknown_since is None else _known_again(incident, facts)
    serving = facts.serving(incident) if verifying else None
    wrong = None if serving is None else unhealthy(facts.view, serving)
    if wrong is not None and wrong.code == "WorkloadGone":
        return close(incident, facts, wrong)
    return _not_known(incident, facts, doubt)


def _not_known(incident: Incident, facts: IncidentFacts, doubt: Reason) -> Transition:
    tuning, now = facts.tuning, facts.now
    since = now if incident.unknown_since is None else incident.unknown_since
    end = since + tuning.engine.max_wait
    if is_observing(incident) and now >= end:
        due = incident.wake_at is None or incident.wake_at <= now
        return (replace(incident, wake_at=now + tuning.engine.max_wait) if due else incident), ()
    if now >= end:
        text = f"nothing has been known for {about(end - since)}, so nothing is done and {asks(incident)}: {doubt.text}"
        return escalate(incident, facts, Reason(UNKNOWN_TOO_LONG, text))
    said_at = min(since + tuning.engine.retry, end)
    unsure = replace(incident, unknown_since=since, stable_since=None, wake_at=said_at if now < said_at else end)
    if now < said_at or incident.reason.code == doubt.code:
        return (incident if unsure == incident else unsure), ()
    text = f"{doubt.text}; no step is taken until it is, and after {about(end - now)} {asks(incident)}"
    reason = Reason(doubt.code, text)
    state = State.VERIFYING if incident.state is State.VERIFYING else State.WAITING
    return decide_to(incident, facts, Verb.DEFER, reason, unsure, state)


def _known_again(incident: Incident, facts: IncidentFacts) -> Transition:
    """Its time limits are as long as if nothing had happened in between."""
    gap = facts.now - (facts.now if incident.unknown_since is None else incident.unknown_since)
    deadline = None if incident.deadline is None else incident.deadline + gap
    since = None if incident.waiting_since is None else incident.waiting_since + gap
    sure = replace(incident, unknown_since=None, deadline=deadline, waiting_since=since, wake_at=deadline)
    if incident.state is not State.VERIFYING or incident.reason.code != UNKNOWN:
        return sure, ()
    return move(sure, facts, State.VERIFYING, Reason("KnownAgain", "what it is about is known again: verifying goes on"))
