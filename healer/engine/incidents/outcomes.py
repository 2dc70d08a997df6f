"""What follows from the way in which an action ended."""

from dataclasses import replace

from healer.engine.incidents.climbing import climb, go_on
from healer.engine.incidents.facts import IncidentFacts, Transition
from healer.engine.incidents.transitions import decided, retry, verify
from healer.engine.safety.ledger import made_good
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason
from healer.model.target import Target
from healer.model.text import cut
from healer.rules.schema import Mode, Severity

_DENIED = 100
"""Evictions that were not granted that an incident keeps."""
_ANSWER = 300
"""Characters that it keeps of an answer."""


def acted(incident: Incident, outcome: Outcome, facts: IncidentFacts) -> Transition:
    """What follows from an action's outcome. Raises ValueError for an incident that is acting on nothing."""
    target = incident.acting_on
    if target is None:
        raise ValueError(f"{incident.id} is acting on nothing")
    reason = Reason(outcome.reason, outcome.text)
    if outcome.denied:
        incident = _denied(incident, target, reason.text)
    match outcome.kind:
        case OutcomeKind.DONE:
            if outcome.ready and incident.disruption is not None:
                incident = replace(incident, disruption=replace(incident.disruption, ready=True))
            return _accepted(incident, target, reason, facts)
        case OutcomeKind.GONE if incident.failures:
            # a try whose answer was lost did take effect
            return _accepted(incident, target, reason, facts)
        case OutcomeKind.GONE:
            return verify(_treated(_undone(incident), target), facts, reason)
        case OutcomeKind.RECOVERED:
            # nothing was done to it, so that it may still be treated in this step, should it stay sick
            begun = incident.failures and not facts.takes_pods(incident)  # perhaps that is why: see `perhaps_done`
            return retry(incident if begun else _undone(incident), target, reason, facts.tuning.engine.retry, facts)
        case OutcomeKind.REFUSED:
            after, effects = climb(_undone(incident), facts, reason)
            return after, (decided(incident, facts, Verb.REFUSE, reason, target), *effects)
        case OutcomeKind.FAILED:
            return _failed(incident, target, outcome, facts)
        case OutcomeKind.DEFERRED:
            if outcome.begun:
                incident = replace(incident, failures=max(incident.failures, 1))
            elif not incident.failures:
                incident = _undone(incident)
            return retry(incident, target, reason, outcome.retry_after or facts.tuning.engine.retry, facts)


def _accepted(incident: Incident, target: Target, reason: Reason, facts: IncidentFacts) -> Transition:
    step, action, disruption = facts.step(incident), facts.action(incident), incident.disruption
    if not action.heals and (next_step := go_on(incident, facts, reason)) is not None:
        return next_step
    incident = _treated(incident, target)
    taken = disruption if disruption is not None and disruption.target == target else None
    if taken is not None:
        incident = replace(incident, known=incident.known or taken.known)
    if facts.rule.rule.mode is Mode.OBSERVE:
        return verify(incident, facts, reason)
    if step.pages is not None:
        incident = paged(incident, step.pages)
    if not action.changes:
        return verify(incident, facts, reason)
    if action.disrupts and taken is not None and taken.ready:
        down = tuple(each for each in incident.down if not made_good(each, facts.view))
        incident = replace(incident, down=(*down, taken))
    return verify(replace(incident, acted_at=(*incident.acted_at, facts.now)), facts, reason)


def _failed(incident: Incident, target: Target, outcome: Outcome, facts: IncidentFacts) -> Transition:
    failures = incident.failures + 1
    if failures >= facts.tuning.engine.attempts:
        if (done := done_after_all(incident, facts)) is not None:
            return done
        return climb(incident, facts, Reason(outcome.reason, f"{outcome.text}; tried {failures} times"))
    pause = outcome.retry_after or facts.tuning.engine.retry * 2 ** (failures - 1)
    return retry(replace(incident, failures=failures), target, Reason(outcome.reason, outcome.text), pause, facts)


def done_after_all(incident: Incident, facts: IncidentFacts) -> Transition | None:
    """What follows when the answer to the last try was lost, and its target is seen to go; None when it is not."""
    if incident.disruption is None or not incident.disruption.target.is_pod or incident.storming:
        return None
    target = incident.disruption.target
    pod = facts.view.pod(target.uid)
    if pod is not None and not pod.terminating:
        return None
    reason = Reason("AnswerLost", f"no answer came, but {target} is gone or on its way: counted as done")
    return _accepted(incident, target, reason, facts)


def perhaps_done(incident: Incident, facts: IncidentFacts) -> Transition | None:
    """What follows when all signals are gone, and a try on the workload is not over, or its answer was lost: perhaps that is why.

    None when there was no such try. What an action on a pod came to, the pod itself shows.
    """
    if not incident.failures or facts.takes_pods(incident):
        return None
    text = "all signals are gone, and an earlier try may have taken effect: it is counted as done"
    return _accepted(incident, incident.workload, Reason("AnswerLost", text), facts)


def paged(incident: Incident, channels: tuple[str, ...]) -> Incident:
    """The incident after people were called: it is critical, and told in these channels too."""
    added = tuple(channel for channel in channels if channel not in incident.notify)
    asked = tuple(dict.fromkeys((*(incident.paged or ()), *added)))
    return replace(incident, severity=Severity.CRITICAL, notify=(*incident.notify, *added), paged=asked)


def _treated(incident: Incident, target: Target) -> Incident:
    """The incident after its step was taken on a target; onStorm is no step of the ladder, and runs once."""
    if incident.storming:
        return replace(incident, failures=0, stormed=True)
    taken = incident.disruption
    along = taken.along if taken is not None and taken.target == target else frozenset()
    return replace(incident, treated=incident.treated | {target.uid} | along, failures=0)


def _denied(incident: Incident, target: Target, answer: str) -> Incident:
    """The incident after an eviction that was not granted; of so many pods the latest are kept, for an object has its limits."""
    others = [(uid, said) for uid, said in incident.denied.items() if uid != target.uid]
    return replace(incident, denied=dict([*others, (target.uid, cut(answer, _ANSWER))][-_DENIED:]))


def _undone(incident: Incident) -> Incident:
    """The incident after a try that did nothing, and a look that showed so."""
    tried = incident.disruption is not None and incident.disruption.target == incident.acting_on
    return replace(incident, failures=0, disruption=None if tried else incident.disruption)
