"""What follows when a step has not helped: the next one, the step that a storm interrupted, or a human."""

from dataclasses import replace

from healer.engine.incidents.approval import rule_changed
from healer.engine.incidents.facts import IncidentFacts, Transition
from healer.engine.incidents.observing import NOTHING_MORE, OBSERVES_ON, is_observing
from healer.engine.incidents.transitions import close, decide_to, fresh_step, fresh_try, move, verify
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason, State
from healer.rules.schema import Mode


def climb(incident: Incident, facts: IncidentFacts, why: Reason) -> Transition:
    """Go on to the next step; after the last one, to a human. What onStorm did not mend waits for the end of the storm."""
    if not facts.in_force:
        return close(incident, facts, rule_changed(incident))
    if is_observing(incident):
        return _would_climb(incident, facts, why, _next_of(incident))
    if incident.storming:
        return _storm_step_failed(incident, facts, why)
    done, following = incident.steps[incident.step], _following(incident, facts)
    if following < len(incident.steps):
        text = f"step {following} ({done}) did not help: {why.text}; next is {incident.steps[following]}"
        return _next_step(incident, facts, following, Reason(why.code, text))
    return escalate(incident, facts, Reason(why.code, f"no step is left after {done}, a human is needed: {why.text}"))


def give_up(incident: Incident, facts: IncidentFacts, why: Reason) -> Transition:
    """Go on from a step that had to wait for too long.

    One that was never tried has not failed to help, and is no reason for a stronger one: what follows it only tells people, or
    waits for their approval. Where nothing does, a human is asked.
    """
    if incident.attempt or incident.storming or facts.rule.rule.mode is Mode.APPROVE or not facts.in_force:
        return climb(incident, facts, why)
    following = facts.next_without_changes(incident.step + 1)
    if is_observing(incident):
        return _would_climb(incident, facts, why, following)
    untried = f"{incident.steps[incident.step]} was never tried: {why.text}; healer takes no stronger step in its place"
    if following is None:
        return escalate(incident, facts, Reason(why.code, f"{untried}: a human is needed"))
    text = f"step {incident.step + 1}: {untried}; next is {incident.steps[following]}"
    return _next_step(incident, facts, following, Reason(why.code, text))


def go_on(incident: Incident, facts: IncidentFacts, done: Reason) -> Transition | None:
    """Go on at once after a step that is done and can heal nothing; None for the last step, and for onStorm."""
    following = _following(incident, facts)
    if incident.storming or not facts.in_force or following >= len(incident.steps):
        return None
    text = f"step {incident.step + 1} is done: {done.text}; next is {incident.steps[following]}"
    return _next_step(incident, facts, following, Reason(done.code, text))


def _following(incident: Incident, facts: IncidentFacts) -> int:
    """The number of the next step: in a storm the next one that takes no single pods, where there is one."""
    following = incident.step + 1
    if facts.storm is not None and facts.storm.known and facts.storm.taker == incident.id:
        without = facts.next_without_pods(following)
        following = following if without is None else without
    return following


def _next_step(incident: Incident, facts: IncidentFacts, following: int, reason: Reason) -> Transition:
    return decide_to(incident, facts, Verb.CLIMB, reason, replace(fresh_step(incident), step=following), State.OPEN)


def escalate(incident: Incident, facts: IncidentFacts, reason: Reason) -> Transition:
    """To a human."""
    if is_observing(incident):
        return observe_on(incident, facts, Reason(reason.code, f"{reason.text}; {OBSERVES_ON}"))
    return to_human(incident, facts, reason)


def to_human(incident: Incident, facts: IncidentFacts, reason: Reason) -> Transition:
    """To a human, whatever the mode of its rule."""
    escalated = replace(fresh_step(incident), storming=False, ended_at=facts.now)
    return decide_to(incident, facts, Verb.ESCALATE, reason, escalated, State.ESCALATED)


# observing


def _next_of(incident: Incident) -> int | None:
    return incident.step + 1 if incident.step + 1 < len(incident.steps) else None


def _would_climb(incident: Incident, facts: IncidentFacts, why: Reason, following: int | None) -> Transition:
    """The step would not have been taken, so that the next one would have been tried. Whether one would have helped is not
    known, and none is said to have failed."""
    action = facts.step(incident).action
    if incident.storming or incident.treated or following is None:
        return observe_on(incident, facts, Reason(why.code, f"{action} would not have been taken: {why.text}; {OBSERVES_ON}"))
    text = f"step {incident.step + 1} ({action}) would not have been taken: {why.text}; next would be {incident.steps[following]}"
    return _next_step(incident, facts, following, Reason(why.code, text))


def observe_on(incident: Incident, facts: IncidentFacts, reason: Reason) -> Transition:
    """Nothing more would be done for what is sick now: what becomes of it is observed, for as long as it takes."""
    seen = incident.treated | {sick.target.uid for sick in incident.sick} | {incident.workload.uid}
    observed = replace(fresh_try(incident), treated=seen, wake_at=facts.now + facts.tuning.engine.max_wait, storming=False)
    return move(replace(observed, stormed=True), facts, State.VERIFYING, reason)


# after onStorm


def _storm_step_failed(incident: Incident, facts: IncidentFacts, why: Reason) -> Transition:
    """onStorm has not helped."""
    action = facts.step(incident).action
    waiting = replace(fresh_try(incident), storming=False, stormed=True)
    if not waiting.storm:
        return resume_ladder(waiting, facts, Reason(why.code, f"onStorm ({action}) is over: {why.text}"))
    done = f"{action} has not ended the storm"
    if incident.paged and not facts.action(incident).changes:
        done = "people were paged, and it is not over"
    text = f"{done}: {why.text}; {NOTHING_MORE}, a human is needed"
    return decide_to(incident, facts, Verb.DEFER, Reason("Storm", text), waiting, State.WAITING)


def resume_ladder(incident: Incident, facts: IncidentFacts, reason: Reason) -> Transition:
    """Go on with the ladder: with looking whether its step has helped, if that has acted on something."""
    if incident.treated:
        return verify(incident, facts, reason)
    return move(incident, facts, State.OPEN, reason)
