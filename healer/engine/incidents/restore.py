"""What a restart finds in the journal: incidents as they must be for the engine to go on with them, or to close them."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace

from healer.engine.incidents.opening import noted
from healer.engine.incidents.outcomes import paged
from healer.model.incident import Incident, Reason, SickTarget, State
from healer.model.signal import Signal
from healer.model.view import View
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import TRIGGERS


def as_it_was(incident: Incident, sick_now: Container[str], now: float) -> Incident:
    """The incident without the pods' symptoms that are over by now; what others said holds until they take it back.

    What a page has raised is raised again: the object that an incident is kept in has only how it was opened.
    """
    if incident.paged is not None:
        incident = paged(incident, incident.paged)
    targets: dict[str, SickTarget] = {}
    for uid, sick in incident.targets.items():
        kept = {key: s for key, s in sick.signals.items() if not TRIGGERS[s.source].read_off_target or key in sick_now}
        targets[uid] = sick if len(kept) == len(sick.signals) else replace(sick, signals=kept)
    if all(targets[uid] is sick for uid, sick in incident.targets.items()):
        return incident
    text = "read from the journal: some of its signals are over by now"
    return noted(replace(incident, targets=targets), Reason("Resolved", text), now)


def signals_of(incident: Incident) -> Iterator[Signal]:
    """What was firing for the incident, as signals, so that their end is understood when it comes."""
    return (
        Signal(
            s.source,
            s.name,
            sick.target,
            firing=True,
            at=s.at,
            key=key,
            occurrence=s.occurrence,
            message=sick.what,
            rule=incident.rule if TRIGGERS[s.source].asked else "",
        )
        for sick in incident.targets.values()
        for key, s in sick.signals.items()
    )


def rule_of(incident: Incident, rules: Mapping[str, BoundRule]) -> BoundRule | None:
    """The rule that the incident goes on with; None when it is gone, or its ladder is another one now."""
    rule = rules.get(incident.rule)
    if rule is None or tuple(step.action for step in rule.rule.heal) != incident.steps:
        return None
    return None if incident.storming and rule.rule.on_storm is None else rule


def ruled_by(incident: Incident, rule: BoundRule, now: float) -> Incident:
    """The incident with its rule's digest, where the healer that wrote it kept none: it goes on with the rule as it is now.

    What was approved then is not known to be what the rule says now: it is asked for again.
    """
    if incident.ruled:
        return incident
    ruled = replace(incident, ruled=rule.digest)
    if not incident.approvals:
        return ruled
    named = ", ".join(dict.fromkeys(approved.by for approved in incident.approvals))
    text = (
        f"the approval by {named} does not say which text of the rule it was for (an older healer kept it): it is asked for again"
    )
    return noted(replace(ruled, approvals=(), asked_at=None), Reason("ApprovalVoid", text), now)


def took_effect(incident: Incident, view: View) -> bool:
    """Whether the claimed action on a pod is seen to have happened: the pod is gone, or on its way."""
    if incident.acting_on is None or not incident.acting_on.is_pod:
        return False
    pod = view.pod(incident.acting_on.uid)
    return pod is None or pod.terminating


def to_be_tried_again(incident: Incident, now: float) -> Incident:
    """The incident whose claimed action was perhaps never sent: it counts as a failed try, and the next one looks first."""
    reason = Reason("Interrupted", f"healer stopped while it was acting on {incident.acting_on}: looking again")
    return noted(
        replace(incident, state=State.OPEN, reason=reason, failures=incident.failures + 1, acting_on=None),
        reason,
        now,
        step=None if incident.storming else incident.step,
    )


def not_for(incident: Incident, rule: BoundRule, view: View) -> Reason | None:
    """Why an incident is none of its rule's any more; None when it is."""
    workload = incident.workload
    if not rule.scope.covers(workload.namespace):
        text = f"the rule does not cover the namespace {workload.namespace} any more; healer acts no further on it"
        return Reason("OutOfScope", text)
    if workload.kind in view.treated and view.workload(workload.uid) is None:
        return Reason("WorkloadGone", f"{workload} is gone")
    return None


def closed_for(incident: Incident, reason: Reason, now: float) -> Incident:
    """The incident, closed because healer has nothing to do with it any more."""
    ended = now if incident.ended_at is None else incident.ended_at
    return noted(replace(incident, state=State.CLOSED, reason=reason, ended_at=ended, wake_at=None), reason, now)
