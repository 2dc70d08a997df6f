"""Formats an incident's step, its target and its times as text."""

from datetime import UTC, datetime

from healer.engine.incidents.approval import waits
from healer.engine.safety.wide import NAMESPACE_BREAKER, is_breaker
from healer.model.duration import about
from healer.model.incident import Incident, State
from healer.model.target import Target

_GUARD = "NeedsApproval"


def waits_for_approval(incident: Incident) -> bool:
    """Whether the incident waits for approval and for nothing else."""
    return incident.state is State.WAITING and incident.reason.code == _GUARD


def takes_approval(incident: Incident) -> bool:
    """Whether an approval has an effect: the step waits for approval, or the incident is an open breaker."""
    return waits(incident) or is_breaker(incident)


def current_target(incident: Incident) -> Target:
    """Return the target of the present step: that of the action in progress, or the longest sick target without an action yet."""
    untreated = (sick.target for sick in incident.sick if sick.target.uid not in incident.treated)
    return incident.acting_on or next(untreated, incident.workload)


def step(incident: Incident) -> str:
    """Return the present step: "step 1 of 2 (evict)"."""
    if not incident.steps:
        return "no ladder"
    return "its onStorm step" if incident.storming else _step(incident, incident.step)


def step_done(incident: Incident) -> str:
    """Return what the present step does: "evict pod/x"."""
    if is_breaker(incident):
        if incident.rule == NAMESPACE_BREAKER:
            return f"let the RuleSets in {incident.workload.name} act again"
        return "let healer act again, everywhere"
    if incident.storming or not incident.steps:
        return f"what onStorm says, on {incident.workload}"
    return f"{incident.steps[incident.step]} {current_target(incident)}"


def next_step(incident: Incident) -> str:
    """Return what follows if the step does not help."""
    following = incident.step if incident.storming else incident.step + 1
    return _step(incident, following) if following < len(incident.steps) else "a human is asked"


def _step(incident: Incident, index: int) -> str:
    return f"step {index + 1} of {len(incident.steps)} ({incident.steps[index]})"


def clock(at: float, now: float) -> str:
    """Format a time of day in UTC, with its date if that is not the date of `now`. Both in seconds since the epoch."""
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    return moment.strftime("%H:%M:%SZ" if moment.date() == today.date() else "%Y-%m-%d %H:%M:%SZ")


def when(at: float, now: float) -> str:
    """Format a time as `clock` does, with its distance from `now`: "14:05:09Z (in 12 s)"."""
    return f"{clock(at, now)} ({f'in {about(at - now)}' if at > now else f'{about(now - at)} ago'})"
