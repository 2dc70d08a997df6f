"""Approval by a human for the steps of a rule in mode approve: which incidents wait for it, how it is given, and its effect."""

from dataclasses import replace

from healer.engine.incidents.opening import noted
from healer.model.annotations import APPROVED_BY
from healer.model.incident import Approved, Incident, Reason, State
from healer.rules.schema import Mode


def is_approved(incident: Incident) -> bool:
    """Whether the next step has the approval that it needs, if any."""
    return incident.mode != Mode.APPROVE or any(
        (approved.step, approved.storm) == (incident.step, incident.storming) for approved in incident.approvals
    )


def waits(incident: Incident) -> bool:
    """Whether the incident has asked for approval of its step and waits for it."""
    open_ = not incident.state.settled and incident.state is not State.ESCALATED
    return open_ and incident.asked_at is not None and not is_approved(incident)


def how(incident: Incident) -> str:
    """The commands that approve the step."""
    place = f"{incident.id} -n {incident.workload.namespace}"
    return f'"healer approve incident/{place}" or "kubectl annotate incident {place} {APPROVED_BY}=YOU"'


def granted(incident: Incident, by: str, now: float) -> Incident:
    """The incident with its step approved."""
    approved = Approved(incident.step, by, now, incident.storming)
    reason = Reason("Approved", f"approved by {by}")
    return noted(replace(incident, approvals=(*incident.approvals, approved)), reason, now, step=incident.step)


def rule_changed(incident: Incident, when: str = "") -> Reason:
    """Why an incident closes when its rule was changed or removed, and what happens to its approvals."""
    named = ", ".join(dict.fromkeys(approved.by for approved in incident.approvals))
    void = f"; the approval by {named} was for the rule as it was, and counts for nothing any more" if named else ""
    return Reason("RuleChanged", f"its rule was changed or removed{when}; healer acts no further on it{void}")


def undone(incident: Incident, by: str, now: float) -> Incident:
    """The incident with a line that a human has undone what healer did for it; the same object when it has the line already."""
    reason = Reason("Undone", f"{by} has taken back what healer did for it (healer undo)")
    if any(entry.reason == reason for entry in incident.history):
        return incident
    return noted(incident, reason, now)


def is_undone(incident: Incident) -> bool:
    """Whether a human has undone what healer did for it."""
    return any(entry.reason.code == "Undone" for entry in incident.history)


def step_asked(incident: Incident) -> str:
    """The step that an approval is for, as a word: an approval of another one counts for nothing."""
    return f"{incident.step}{'-storm' if incident.storming else ''}"
