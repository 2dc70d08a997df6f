"""How an incident climbs its ladder: the transitions of one incident, from one state to the next.

open, waiting --(guards allow)--> acting --(accepted)--> verifying --(well for long enough)--> healed --> closed
   ^   |                             |                        |
   |   +--(signals gone)--> closed   +--(deferred)--> waiting +--(deadline)--> next step, after the last: escalated --> closed
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from healer.engine.guards import Question, Veto, ask
from healer.engine.ledger import Ledger
from healer.engine.open import noted
from healer.engine.rulebook import BoundRule
from healer.engine.tuning import Tuning
from healer.engine.verify import unhealed, unhealthy
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.decision import Decision, Verb
from healer.model.effects import Act, Decided, Effect, Record
from healer.model.incident import Disruption, Incident, Reason, SickTarget, State
from healer.model.rule import Mode, Step
from healer.model.target import Target
from healer.model.view import View


@dataclass(frozen=True, slots=True)
class Context:
    """What a transition may look at, and where its effects go."""

    rule: BoundRule
    in_force: bool
    """Whether the rule is still loaded, unchanged."""
    view: View
    others: list[Incident]
    now: float
    effects: list[Effect]


class Climber:
    """The transitions. Each takes an incident and returns the one that follows, adding its effects to the context."""

    def __init__(self, actions: Mapping[str, ActionSpec], ledger: Ledger, tuning: Tuning) -> None:
        self._actions = actions
        self._ledger = ledger
        self._tuning = tuning

    def advance(self, incident: Incident, context: Context) -> Incident:
        """As far as the incident can go without another input."""
        while True:
            after = self._next(incident, context)
            if after is incident or after.state is State.ACTING:
                return after
            incident = after

    def _next(self, incident: Incident, context: Context) -> Incident:
        match incident.state:
            case State.OPEN | State.WAITING:
                return self._consider(incident, context)
            case State.VERIFYING:
                return self._verify(incident, context)
            case State.ESCALATED:
                return self._outlast(incident, context)
            case State.HEALED:
                return self._cool(incident, context)
            case _:
                return incident

    # open, waiting

    def _consider(self, incident: Incident, context: Context) -> Incident:
        if incident.failures and (done := self._done_after_all(incident, context)) is not None:
            return done
        if not context.in_force:
            return self._close(incident, context, _RULE_CHANGED)
        if not incident.sick:
            if incident.acted_at:
                return self._watch(incident, context, Reason("SignalsGone", "all signals are gone; verifying"))
            return self._close(incident, context, Reason("Recovered", "all signals are gone before healer acted"))
        if incident.waiting_since is not None and context.now >= incident.waiting_since + self._tuning.max_wait:
            waited = context.now - incident.waiting_since
            return self._climb(
                incident, context, Reason("WaitedTooLong", f"waited {waited:.0f} s, at last because {incident.reason.text}")
            )
        if incident.not_before is not None and context.now < incident.not_before:
            return incident
        patient, veto = self._patient(incident, context)
        if patient is None:
            reason = Reason("NothingLeft", f"{self._step(incident, context).action} was tried on every sick target")
            return self._climb(incident, context, reason)
        if veto is None:
            return self._act(incident, patient, context)
        if veto.refused:
            self._decide(context, Verb.REFUSE, veto.reason, patient.target, incident)
            return self._climb(incident, context, veto.reason)
        return self._defer(incident, patient.target, veto, context)

    def _patient(self, incident: Incident, context: Context) -> tuple[SickTarget | None, Veto | None]:
        """The target to act on: sick, not yet treated in this step, and not born after the step acted.

        The one sick longest that nothing speaks against; else the first, with the veto against it.
        """
        first: tuple[SickTarget | None, Veto | None] = (None, None)
        for sick in incident.sick:
            uid = sick.target.uid
            born_later = incident.known and sick.target.kind == "Pod" and uid not in incident.known
            if uid in incident.treated or born_later:
                continue
            veto = self._ask(incident, sick, context)
            if veto is None or not veto.of_target:
                return sick, veto
            if first[1] is None or first[1].refused:
                first = sick, veto
        return first

    def _ask(self, incident: Incident, patient: SickTarget, context: Context) -> Veto | None:
        return ask(
            Question(
                incident=incident,
                action=self._actions[self._step(incident, context).action],
                target=patient.target,
                limits=context.rule.rule.limits,
                view=context.view,
                ledger=self._ledger,
                others=context.others,
                now=context.now,
            )
        )

    def _act(self, incident: Incident, patient: SickTarget, context: Context) -> Incident:
        step = self._step(incident, context)
        dry = context.rule.rule.mode is Mode.OBSERVE
        would = "would (observe)" if dry else "will"
        reason = Reason("Allowed", f"no guard objects: {would} {step.action} {patient.target} ({patient.what})")
        self._decide(context, Verb.ALLOW, reason, patient.target, incident)
        pods = frozenset(pod.metadata.uid for pod in context.view.pods_of(incident.workload))
        acting = replace(
            incident,
            attempt=incident.attempt + 1,
            acting_on=patient.target,
            disruption=Disruption(patient.target, incident.workload, pods, context.now),
            stable_since=None,
            not_before=None,
            wake_at=None,
        )
        acting = self._move(acting, context, State.ACTING, reason)
        context.effects.append(
            Act(
                incident=acting,
                step=acting.step,
                attempt=acting.attempt,
                action=step.action,
                params=step.params,
                target=patient.target,
                dry_run=dry,
                min_ready=context.rule.rule.limits.min_ready,
                seen_at=context.now,
            )
        )
        return acting

    def _defer(self, incident: Incident, target: Target, veto: Veto, context: Context) -> Incident:
        wake = context.now + self._tuning.retry if veto.until is None else veto.until
        since = None  # however long a human or a limit asks for patience, the step does not fail by it
        if not veto.patient:
            since = context.now if incident.waiting_since is None else incident.waiting_since
            wake = min(wake, since + self._tuning.max_wait)
        if incident.state is State.WAITING and incident.reason.code == veto.reason.code:
            # still the same reason: nobody needs to be told again
            due = incident.wake_at is None or incident.wake_at <= context.now
            return replace(incident, wake_at=wake, waiting_since=since) if due and wake > context.now else incident
        self._decide(context, Verb.DEFER, veto.reason, target, incident)
        return self._move(replace(incident, waiting_since=since, wake_at=wake), context, State.WAITING, veto.reason)

    # acting

    def acted(self, incident: Incident, outcome: Outcome, context: Context) -> Incident:
        """What follows from an action's outcome."""
        target = incident.acting_on
        if target is None:
            raise ValueError(f"{incident.id} is acting on nothing")
        reason = Reason(outcome.reason, outcome.text)
        match outcome.kind:
            case OutcomeKind.DONE:
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
        disruption = incident.disruption
        incident = _treated(incident, target)
        if disruption is not None:
            incident = replace(incident, known=incident.known or disruption.known)
        if context.rule.rule.mode is Mode.OBSERVE:
            return self._watch(incident, context, reason)
        self._ledger.acted(_key(incident), context.now)
        if self._actions[self._step(incident, context).action].disrupts and disruption is not None:
            self._ledger.disrupted(disruption)
        return self._watch(replace(incident, acted_at=(*incident.acted_at, context.now)), context, reason)

    def _watch(self, incident: Incident, context: Context, reason: Reason) -> Incident:
        deadline = context.now + self._step(incident, context).verify.within
        watched = replace(incident, deadline=deadline, wake_at=deadline, stable_since=None, acting_on=None, waiting_since=None)
        return self._move(watched, context, State.VERIFYING, reason)

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
        if incident.disruption is None or incident.disruption.target.kind != "Pod":
            return None
        target = incident.disruption.target
        pod = context.view.pod(target.uid)
        if pod is not None and not pod.terminating:
            return None
        reason = Reason("AnswerLost", f"no answer came, but {target} is gone or on its way: counted as done")
        return self._accepted(incident, target, reason, context)

    def _retry(self, incident: Incident, target: Target, reason: Reason, pause: float, context: Context) -> Incident:
        since = context.now if incident.waiting_since is None else incident.waiting_since
        until = context.now + pause
        self._decide(context, Verb.DEFER, reason, target, incident)
        wake = min(until, since + self._tuning.max_wait)
        waiting = replace(incident, wake_at=wake, not_before=until, waiting_since=since, acting_on=None)
        return self._move(waiting, context, State.WAITING, reason)

    # verifying

    def _verify(self, incident: Incident, context: Context) -> Incident:
        wrong = unhealed(context.view, incident) or self._still_there(incident, context)
        if wrong is None:
            return self._settle(incident, context)
        if wrong.code == "WorkloadGone":
            return self._close(incident, context, wrong)
        patient, veto = self._patient(incident, context) if context.in_force else (None, None)
        if patient is not None and veto is None:
            return self._act(incident, patient, context)
        if incident.deadline is None or context.now >= incident.deadline:
            if patient is not None and veto is not None and veto.patient:
                return self._defer(incident, patient.target, veto, context)
            return self._climb(incident, context, wrong)
        wake = incident.deadline
        if veto is not None:
            wake = min(wake, context.now + self._tuning.retry if veto.until is None else veto.until)
        if incident.stable_since is None and incident.wake_at is not None and context.now < incident.wake_at <= wake:
            return incident
        return replace(incident, stable_since=None, wake_at=wake)

    def _still_there(self, incident: Incident, context: Context) -> Reason | None:
        """The view may lag behind an action: a workload is not well before the pod that was taken down is seen to go."""
        for disruption in self._ledger.in_flight(incident.workload.uid, context.view):
            pod = context.view.pod(disruption.target.uid)
            if pod is not None and not pod.terminating:
                return Reason("StillThere", f"{disruption.target} was taken down and is not seen to go yet")
        return None

    def _settle(self, incident: Incident, context: Context) -> Incident:
        """All is well now; healed once it has been so for as long as the step asks."""
        stable = self._step(incident, context).verify.stable
        since = context.now if incident.stable_since is None else incident.stable_since
        if context.now < since + stable:
            if incident.stable_since is not None:
                return incident
            return replace(incident, stable_since=since, wake_at=since + stable)
        if not incident.acted_at:
            text = f"well for {context.now - since:.0f} s, without an action of healer's"
            return self._close(incident, context, Reason("Recovered", text))
        text = f"{incident.workload} is at its desired ready count and no signal is left, stable for {context.now - since:.0f} s"
        reason = Reason("Healed", text)
        self._decide(context, Verb.HEAL, reason, incident.workload, incident)
        self._ledger.ended(_key(incident), context.now)
        cooled = context.now + context.rule.rule.limits.cooldown
        return self._move(replace(incident, ended_at=context.now, wake_at=cooled), context, State.HEALED, reason)

    # healed, escalated, closed

    def _climb(self, incident: Incident, context: Context, why: Reason) -> Incident:
        """Go on to the next step; after the last one, to a human."""
        if not context.in_force:
            return self._close(incident, context, _RULE_CHANGED)
        done, following = incident.steps[incident.step], incident.step + 1
        if following < len(incident.steps):
            reason = Reason(why.code, f"step {following} ({done}) did not help: {why.text}; next is {incident.steps[following]}")
            self._decide(context, Verb.CLIMB, reason, incident.workload, incident)
            return self._move(replace(_fresh_step(incident), step=following), context, State.OPEN, reason)
        reason = Reason(why.code, f"the ladder is spent, a human is needed: {done}: {why.text}")
        self._decide(context, Verb.ESCALATE, reason, incident.workload, incident)
        if incident.acted_at:
            self._ledger.ended(_key(incident), context.now)
        return self._move(replace(_fresh_step(incident), ended_at=context.now), context, State.ESCALATED, reason)

    def _outlast(self, incident: Incident, context: Context) -> Incident:
        if not context.in_force:
            return self._close(incident, context, _RULE_CHANGED)
        if incident.sick:
            return incident
        wrong = unhealthy(context.view, incident.workload) if incident.acted_at else None
        if wrong is not None and wrong.code != "WorkloadGone":
            return incident  # what healer left behind is not well: that is not over
        return self._close(incident, context, Reason("Recovered", "all signals are gone after the escalation"))

    def _cool(self, incident: Incident, context: Context) -> Incident:
        if incident.wake_at is not None and context.now < incident.wake_at:
            return incident
        return self._close(incident, context, Reason("CooledDown", "stayed healed for the whole cooldown"))

    def _close(self, incident: Incident, context: Context, reason: Reason) -> Incident:
        self._decide(context, Verb.CLOSE, reason, incident.workload, incident)
        if incident.acted_at and incident.ended_at is None:
            self._ledger.ended(_key(incident), context.now)
        ended = context.now if incident.ended_at is None else incident.ended_at
        return self._move(replace(incident, ended_at=ended, wake_at=None), context, State.CLOSED, reason)

    # helpers

    def _step(self, incident: Incident, context: Context) -> Step:
        return context.rule.rule.heal[incident.step]

    def _move(self, incident: Incident, context: Context, state: State, reason: Reason) -> Incident:
        """Change state, with a line in the history and a record."""
        moved = noted(replace(incident, state=state, reason=reason), reason, context.now, step=incident.step)
        context.effects.append(Record(moved, moved.history[-1]))
        return moved

    def _decide(self, context: Context, verb: Verb, reason: Reason, target: Target, incident: Incident) -> None:
        context.effects.append(Decided(Decision(context.now, verb, reason, target, incident.rule, incident.id)))


_RULE_CHANGED = Reason("RuleChanged", "its rule was changed or removed; healer acts no further on it")


def _key(incident: Incident) -> tuple[str, str]:
    return incident.rule, incident.workload.uid


def _treated(incident: Incident, target: Target) -> Incident:
    return replace(incident, treated=incident.treated | {target.uid}, failures=0)


def _undone(incident: Incident) -> Incident:
    """The incident after a try that did nothing, and a look that showed so."""
    return replace(incident, failures=0, disruption=None)


def _fresh_step(incident: Incident) -> Incident:
    """The incident without what belongs to one step only."""
    return replace(
        incident,
        attempt=0,
        failures=0,
        disruption=None if incident.failures else incident.disruption,
        treated=frozenset(),
        known=frozenset(),
        acting_on=None,
        waiting_since=None,
        not_before=None,
        deadline=None,
        stable_since=None,
        wake_at=None,
    )
