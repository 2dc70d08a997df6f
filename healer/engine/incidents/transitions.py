"""The transitions of an incident from one state to another: each makes the incident that follows, with its line and its record.

When which of them is made is said in the other files of this folder (`ladder` calls them).
"""

from dataclasses import replace

from healer.engine.incidents.facts import IncidentFacts, Transition
from healer.engine.incidents.opening import noted
from healer.engine.safety.guards.question import Veto
from healer.model.effects import Act, Decided, Decision, Record, Verb
from healer.model.incident import Disruption, Incident, Reason, SickTarget, State
from healer.model.target import Target
from healer.model.text import without_figures
from healer.rules.schema import Mode

_ENDS = frozenset({State.HEALED, State.ESCALATED, State.CLOSED})
"""What is told in any case."""


def act(incident: Incident, candidate: SickTarget, facts: IncidentFacts) -> Transition:
    """Take the step on a target."""
    step, action, target = facts.step(incident), facts.action(incident), candidate.target
    dry_run = facts.rule.rule.mode is Mode.OBSERVE
    doing = f"{'would (observe)' if dry_run else 'will'} {action.verb}"
    along = facts.view.going_along(target) if action.disrupts else ""
    reason = Reason(
        "Allowed", f"nothing speaks against it: {doing} {target} ({candidate.what})" + (f"; {along}" if along else "")
    )
    acting, effects = move(
        replace(
            incident,
            attempt=incident.attempt + 1,
            acting_on=target,
            disruption=_disruption(incident, target, facts),
            stable_since=None,
            not_before=None,
            wake_at=None,
        ),
        facts,
        State.ACTING,
        reason,
    )
    request = Act(
        incident=acting,
        step=acting.step,
        attempt=acting.attempt,
        action=step.action,
        params=step.params,
        target=target,
        dry_run=dry_run,
        min_ready=facts.rule.rule.limits.min_ready,
        seen_at=facts.now,
        alone=not facts.guard_state.ledger.in_flight(incident.workload.uid, facts.view),
    )
    return acting, (decided(incident, facts, Verb.ALLOW, reason, target), *effects, request)


def _disruption(incident: Incident, target: Target, facts: IncidentFacts) -> Disruption | None:
    """What the action takes down, where that is a pod; else what was taken down last."""
    if not target.is_pod or not facts.action(incident).disrupts:
        return incident.disruption
    pod = facts.view.pod(target.uid)
    pods = frozenset(pod.metadata.uid for pod in facts.view.pods_of(incident.workload))
    if pod is None:
        return Disruption(target, incident.workload, pods, facts.now, ready=False)
    unit = facts.view.unit_of(pod)
    along = frozenset(each.metadata.uid for each in unit.replaced_with(target.uid)) - {target.uid}
    return Disruption(target, incident.workload, pods, facts.now, unit.ready, along)


def defer(incident: Incident, target: Target, veto: Veto, facts: IncidentFacts) -> Transition:
    """Wait until the guard's veto may be gone."""
    wake = facts.now + facts.tuning.engine.retry if veto.until is None else veto.until
    since = None  # however long a human or a limit asks for a delay, the step does not fail by it
    if not veto.unlimited:
        since = facts.now if incident.waiting_since is None else incident.waiting_since
        wake = min(wake, since + facts.tuning.engine.max_wait)
    if incident.state is State.WAITING and incident.reason.code == veto.reason.code:
        # still the same reason: nobody needs to be told again
        due = incident.wake_at is None or incident.wake_at <= facts.now
        return (replace(incident, wake_at=wake, waiting_since=since) if due and wake > facts.now else incident), ()
    asked = facts.now if veto.asks and incident.asked_at is None else incident.asked_at
    waiting = replace(incident, waiting_since=since, wake_at=wake, asked_at=asked)
    return decide_to(incident, facts, Verb.DEFER, veto.reason, waiting, State.WAITING, target)


def retry(incident: Incident, target: Target, reason: Reason, pause: float, facts: IncidentFacts) -> Transition:
    """Try the same step again after a pause, in seconds."""
    since = facts.now if incident.waiting_since is None else incident.waiting_since
    until = facts.now + pause
    wake = min(until, since + facts.tuning.engine.max_wait)
    waiting = replace(incident, wake_at=wake, not_before=until, waiting_since=since, acting_on=None)
    return decide_to(incident, facts, Verb.DEFER, reason, waiting, State.WAITING, target)


def verify(incident: Incident, facts: IncidentFacts, reason: Reason) -> Transition:
    """Begin to look whether the step has helped."""
    deadline = facts.now + facts.step(incident).verify.within
    verifying = replace(incident, deadline=deadline, wake_at=deadline, stable_since=None, acting_on=None)
    return move(replace(verifying, waiting_since=None, asked_at=None), facts, State.VERIFYING, reason)


def close(incident: Incident, facts: IncidentFacts, reason: Reason) -> Transition:
    """Nothing is left to do."""
    ended = facts.now if incident.ended_at is None else incident.ended_at
    closed = replace(incident, ended_at=ended, wake_at=None, storm=False, storming=False)
    return decide_to(incident, facts, Verb.CLOSE, reason, closed, State.CLOSED)


# what they are made of


def decide_to(
    incident: Incident,
    facts: IncidentFacts,
    verb: Verb,
    reason: Reason,
    after: Incident,
    state: State,
    target: Target | None = None,
    *,
    stormed: bool = False,
) -> Transition:
    """Change state by a decision: about `target`, or about the workload."""
    moved, effects = move(after, facts, state, reason, stormed=stormed)
    return moved, (decided(incident, facts, verb, reason, target or incident.workload), *effects)


def move(incident: Incident, facts: IncidentFacts, state: State, reason: Reason, *, stormed: bool = False) -> Transition:
    """Change state, with a line in the history and a record.

    onStorm is no step of the ladder, and its lines name none; `stormed`: it is what has just ended.
    """
    moved = replace(incident, state=state, reason=reason)
    if state not in _ENDS and _is_repeated(incident, reason):  # nobody needs to read it again
        return moved, (Record(moved, None),)
    moved = noted(moved, reason, facts.now, step=None if incident.storming or stormed else incident.step)
    return moved, (Record(moved, moved.history[-1]),)


def decided(incident: Incident, facts: IncidentFacts, verb: Verb, reason: Reason, target: Target) -> Decided:
    """A decision about an incident, as it is before what is decided changes it."""
    return Decided(Decision(facts.now, verb, reason, target, incident.rule, incident.id), again=_is_repeated(incident, reason))


def _is_repeated(incident: Incident, reason: Reason) -> bool:
    """Whether a line of the history since the current step began has the same reason, apart from its figures."""
    words = without_figures(reason.text)
    for entry in reversed(incident.history):
        if entry.step is not None and entry.step != incident.step:
            return False
        if entry.reason.code == reason.code and without_figures(entry.reason.text) == words:
            return True
    return False


def fresh_step(incident: Incident) -> Incident:
    """The incident without what belongs to one step only."""
    return replace(fresh_try(incident), attempt=0, treated=frozenset(), known=frozenset())


def fresh_try(incident: Incident) -> Incident:
    """The incident without what belongs to one way of trying a step only; what the step has acted on is kept."""
    return replace(
        incident,
        failures=0,
        disruption=None if incident.failures else incident.disruption,
        acting_on=None,
        waiting_since=None,
        not_before=None,
        deadline=None,
        stable_since=None,
        unknown_since=None,
        wake_at=None,
        asked_at=None,
    )
