"""What follows from the way in which an action ended."""

from dataclasses import replace

from healer.engine.incidents.transitions import Context, Transitions
from healer.engine.safety.ledger import made_good
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason
from healer.model.target import ActsOn, Target
from healer.model.text import cut
from healer.rules.schema import Mode, PageParams, Severity

_DENIED = 100
"""Evictions that were not granted that an incident keeps."""
_ANSWER = 300
"""Characters that it keeps of an answer."""


class Outcomes(Transitions):
    """The transitions out of `acting`."""

    def acted(self, incident: Incident, outcome: Outcome, context: Context) -> Incident:
        """What follows from an action's outcome."""
        target = incident.acting_on
        if target is None:
            raise ValueError(f"{incident.id} is acting on nothing")
        reason = Reason(outcome.reason, outcome.text)
        if outcome.denied:
            incident = _denied(incident, target, reason.text)
            if incident.mode != Mode.OBSERVE:  # what a dry run was told stops nobody else
                self._ledger.was_denied(target.uid, reason.text)
        match outcome.kind:
            case OutcomeKind.DONE:
                if outcome.ready and incident.disruption is not None:
                    incident = replace(incident, disruption=replace(incident.disruption, ready=True))
                return self._accepted(incident, target, reason, context)
            case OutcomeKind.GONE if incident.failures:
                # a try whose answer was lost did take effect
                return self._accepted(incident, target, reason, context)
            case OutcomeKind.GONE:
                return self._watch(_treated(_undone(incident), target), context, reason)
            case OutcomeKind.RECOVERED:
                # nothing was done to it, so that it may still be treated in this step, should it stay sick
                return self._retry(_undone(incident), target, reason, self._tuning.retry, context)
            case OutcomeKind.REFUSED:
                self._decide(context, Verb.REFUSE, reason, target, incident)
                return self._climb(_undone(incident), context, reason)
            case OutcomeKind.FAILED:
                return self._failed(incident, target, outcome, context)
            case OutcomeKind.DEFERRED:
                if not incident.failures:
                    incident = _undone(incident)
                return self._retry(incident, target, reason, outcome.retry_after or self._tuning.retry, context)

    def _accepted(self, incident: Incident, target: Target, reason: Reason, context: Context) -> Incident:
        step, disruption = self._step(incident, context), incident.disruption
        incident = _treated(incident, target)
        taken = disruption if disruption is not None and disruption.target == target else None
        if taken is not None:
            incident = replace(incident, known=incident.known or taken.known)
        if context.rule.rule.mode is Mode.OBSERVE:
            return self._watch(incident, context, reason)
        if isinstance(step.params, PageParams):
            incident = paged(incident, step.params.channels)
        if not self._actions[step.action].changes:
            return self._watch(incident, context, reason)
        self._ledger.acted(incident, context.now)
        if self._actions[step.action].disrupts and taken is not None:
            self._ledger.disrupted(taken)
            if taken.ready:
                down = tuple(each for each in incident.down if not made_good(each, context.view))
                incident = replace(incident, down=(*down, taken))
        return self._watch(replace(incident, acted_at=(*incident.acted_at, context.now)), context, reason)

    def _failed(self, incident: Incident, target: Target, outcome: Outcome, context: Context) -> Incident:
        failures = incident.failures + 1
        if failures >= self._tuning.attempts:
            if (done := self._done_after_all(incident, context)) is not None:
                return done
            return self._climb(incident, context, Reason(outcome.reason, f"{outcome.text}; tried {failures} times"))
        pause = outcome.retry_after or self._tuning.retry * 2 ** (failures - 1)
        reason = Reason(outcome.reason, outcome.text)
        return self._retry(replace(incident, failures=failures), target, reason, pause, context)

    def _done_after_all(self, incident: Incident, context: Context) -> Incident | None:
        """What follows when the answer to the last try was lost, and its target is seen to go; None when it is not."""
        if incident.disruption is None or incident.disruption.target.kind != "Pod" or incident.storming:
            return None
        target = incident.disruption.target
        pod = context.view.pod(target.uid)
        if pod is not None and not pod.terminating:
            return None
        reason = Reason("AnswerLost", f"no answer came, but {target} is gone or on its way: counted as done")
        return self._accepted(incident, target, reason, context)

    def _perhaps_done(self, incident: Incident, context: Context) -> Incident | None:
        """What follows when all signals are gone, and the answer to the last try on the workload was lost: perhaps that is why.

        None when there was no such try. What an action on a pod came to, the pod itself shows.
        """
        if not incident.failures or ActsOn.POD in self._actions[self._step(incident, context).action].targets:
            return None
        text = "all signals are gone, and no answer to the last try came: it is counted as done"
        return self._accepted(incident, incident.workload, Reason("AnswerLost", text), context)


def paged(incident: Incident, channels: tuple[str, ...]) -> Incident:
    """The incident after people were called: it is critical, and told in these channels too."""
    notify = (*incident.notify, *(channel for channel in channels if channel not in incident.notify))
    return replace(incident, severity=Severity.CRITICAL, notify=notify, paged=channels)


def _treated(incident: Incident, target: Target) -> Incident:
    """The incident after its step was taken on a target; onStorm is no step of the ladder, and runs once."""
    if incident.storming:
        return replace(incident, failures=0, stormed=True)
    return replace(incident, treated=incident.treated | {target.uid}, failures=0)


def _denied(incident: Incident, target: Target, answer: str) -> Incident:
    """The incident after an eviction that was not granted; of so many pods the latest are kept, for an object has its limits."""
    others = [(uid, said) for uid, said in incident.denied.items() if uid != target.uid]
    return replace(incident, denied=dict([*others, (target.uid, cut(answer, _ANSWER))][-_DENIED:]))


def _undone(incident: Incident) -> Incident:
    """The incident after a try that did nothing, and a look that showed so."""
    tried = incident.disruption is not None and incident.disruption.target == incident.acting_on
    return replace(incident, failures=0, disruption=None if tried else incident.disruption)
