"""The moves of an incident from one state to another: each makes the incident that follows, with its line and its record.

When which of them is made is said in `climb` (by what is seen) and `outcomes` (by how an action ended).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from healer.engine.incidents.approval import rule_changed
from healer.engine.incidents.observing import WATCHES_ON, asks, is_observing
from healer.engine.incidents.opening import noted
from healer.engine.safety.guards import GuardState, Question, Veto, ask
from healer.engine.safety.storms import Storm
from healer.model.action import ActionSpec
from healer.model.effects import Act, Decided, Decision, Effect, Record, Verb
from healer.model.incident import Disruption, Incident, Reason, SickTarget, State
from healer.model.target import ActsOn, Target
from healer.model.text import but_for_figures
from healer.model.view import View
from healer.rules.probe import DEPLOYMENT, diverted_to
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Mode, Rule, Step
from healer.rules.triggers import CANARY


@dataclass(frozen=True, slots=True)
class Context:
    """What a transition may look at, and where its effects go."""

    rule: BoundRule
    in_force: bool
    """Whether the rule is still loaded, unchanged."""
    view: View
    climbing: list[Incident]
    storm: Storm | None
    """The storm on the workload."""
    unfit: Callable[[Target], Reason | None]
    """Why nothing is to be done to a target: see the guard `covered`."""
    unknown: Reason | None
    """Why it is not known whether the incident's signals still fire; None when it is."""
    now: float
    effects: list[Effect]


class Transitions:
    """Each takes an incident and returns the one that follows, adding its effects to the context."""

    def __init__(self, actions: Mapping[str, ActionSpec], watch: GuardState) -> None:
        self._actions = actions
        self._looks = watch
        self._ledger = watch.ledger
        self._tuning = watch.tuning

    # on the ladder

    def _act(self, incident: Incident, patient: SickTarget, context: Context) -> Incident:
        step = self._step(incident, context)
        dry = context.rule.rule.mode is Mode.OBSERVE
        doing = f"{'would (observe)' if dry else 'will'} {self._actions[step.action].verb}"
        reason = Reason("Allowed", f"no guard objects: {doing} {patient.target} ({patient.what})")
        self._decide(context, Verb.ALLOW, reason, patient.target, incident)
        pod, disruption = context.view.pod(patient.target.uid), incident.disruption
        ready = pod is not None and pod.ready
        if patient.target.kind == "Pod" and ActsOn.POD in self._actions[step.action].targets:
            pods = frozenset(pod.metadata.uid for pod in context.view.pods_of(incident.workload))
            disruption = Disruption(patient.target, incident.workload, pods, context.now, ready)
        acting = replace(
            incident,
            attempt=incident.attempt + 1,
            acting_on=patient.target,
            disruption=disruption,
            stable_since=None,
            not_before=None,
            wake_at=None,
        )
        if not dry:
            self._looks.rules.acts(acting)
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
                alone=not self._ledger.in_flight(incident.workload.uid, context.view),
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
        asked = context.now if veto.asks and incident.asked_at is None else incident.asked_at
        return self._move(
            replace(incident, waiting_since=since, wake_at=wake, asked_at=asked), context, State.WAITING, veto.reason
        )

    def _retry(self, incident: Incident, target: Target, reason: Reason, pause: float, context: Context) -> Incident:
        since = context.now if incident.waiting_since is None else incident.waiting_since
        until = context.now + pause
        self._decide(context, Verb.DEFER, reason, target, incident)
        wake = min(until, since + self._tuning.max_wait)
        waiting = replace(incident, wake_at=wake, not_before=until, waiting_since=since, acting_on=None)
        return self._move(waiting, context, State.WAITING, reason)

    def _watch(self, incident: Incident, context: Context, reason: Reason) -> Incident:
        deadline = context.now + self._step(incident, context).verify.within
        watched = replace(incident, deadline=deadline, wake_at=deadline, stable_since=None, acting_on=None)
        watched = replace(watched, waiting_since=None, asked_at=None)
        return self._move(watched, context, State.VERIFYING, reason)

    def _climb(self, incident: Incident, context: Context, why: Reason) -> Incident:
        """Go on to the next step; after the last one, to a human. What onStorm did not mend is held until the storm is over."""
        if not context.in_force:
            return self._close(incident, context, rule_changed(incident))
        if is_observing(incident):
            return self._would_climb(incident, context, why)
        if incident.storming:
            return self._hold(incident, context, why)
        done, following = incident.steps[incident.step], incident.step + 1
        if context.storm is not None and context.storm.known and context.storm.taker == incident.id:
            without = self._without_pods(incident, context, following)
            following = following if without is None else without
        if following < len(incident.steps):
            reason = Reason(why.code, f"step {following} ({done}) did not help: {why.text}; next is {incident.steps[following]}")
            self._decide(context, Verb.CLIMB, reason, incident.workload, incident)
            return self._move(replace(fresh_step(incident), step=following), context, State.OPEN, reason)
        return self._escalate(incident, context, Reason(why.code, f"the ladder is spent, a human is needed: {done}: {why.text}"))

    def _escalate(self, incident: Incident, context: Context, reason: Reason, *, failed: bool = True) -> Incident:
        """To a human. `failed`: what healer has done did not help; else it is not known whether it did."""
        if is_observing(incident):
            return self._watch_on(incident, context, Reason(reason.code, f"{reason.text}; {WATCHES_ON}"))
        self._decide(context, Verb.ESCALATE, reason, incident.workload, incident)
        if incident.acted_at:
            self._ledger.ended(incident, context.now)
        if incident.acted_at and failed:
            self._looks.rules.failed(incident.rule, context.now)
        escalated = replace(fresh_step(incident), storming=False, ended_at=context.now)
        return self._move(escalated, context, State.ESCALATED, reason)

    # observing

    def _would_climb(self, incident: Incident, context: Context, why: Reason) -> Incident:
        """The step would not have been taken, so that the next one would have been tried. Whether one would have helped is not
        known, and none is said to have failed."""
        action, following = self._step(incident, context).action, incident.step + 1
        if incident.storming or incident.treated or following >= len(incident.steps):
            reason = Reason(why.code, f"{action} would not have been taken: {why.text}; {WATCHES_ON}")
            return self._watch_on(incident, context, reason)
        text = f"step {following} ({action}) would not have been taken: {why.text}; next would be {incident.steps[following]}"
        reason = Reason(why.code, text)
        self._decide(context, Verb.CLIMB, reason, incident.workload, incident)
        return self._move(replace(fresh_step(incident), step=following), context, State.OPEN, reason)

    def _watch_on(self, incident: Incident, context: Context, reason: Reason) -> Incident:
        """Nothing more would be done for what is sick now: what becomes of it is watched, for as long as it takes."""
        seen = incident.treated | {sick.target.uid for sick in incident.sick} | {incident.workload.uid}
        watched = replace(_fresh_try(incident), treated=seen, wake_at=context.now + self._tuning.max_wait, storming=False)
        return self._move(replace(watched, stormed=True), context, State.VERIFYING, reason)

    def _close(self, incident: Incident, context: Context, reason: Reason) -> Incident:
        self._decide(context, Verb.CLOSE, reason, incident.workload, incident)
        if incident.acted_at and incident.ended_at is None:
            self._ledger.ended(incident, context.now)
        self._looks.rules.left(incident)
        ended = context.now if incident.ended_at is None else incident.ended_at
        closed = replace(incident, ended_at=ended, wake_at=None, storm=False, storming=False)
        return self._move(closed, context, State.CLOSED, reason)

    # in a storm

    def _take_over(self, incident: Incident, storm: Storm, context: Context) -> Incident:
        """The ladder takes no pods from here: onStorm is next, if there is one that has not run yet; else the steps that take
        none. Without either the incident holds.
        """
        on_storm, following = context.rule.rule.on_storm, self._without_pods(incident, context)
        taking = replace(incident, storm=True)
        if on_storm is not None and not incident.stormed:
            text, taking = f"next is {on_storm.action}", replace(_fresh_try(taking), storming=True)
        elif following == incident.step and incident.state is not State.ESCALATED:
            text = f"{incident.steps[following]} acts on the workload, and goes on"
            return self._taken_over(taking, storm, text, incident.state, context)
        elif following is not None and incident.state is not State.ESCALATED:
            left = incident.step if incident.attempt == 0 else None
            text, taking = f"next is {incident.steps[following]}", replace(fresh_step(taking), step=following, left_step=left)
        else:
            text, taking = f"holding until it is over, no step acts on the workload: {asks(incident)}", _fresh_try(taking)
        return self._taken_over(taking, storm, text, State.WAITING, context)

    def _taken_over(self, incident: Incident, storm: Storm, text: str, state: State, context: Context) -> Incident:
        reason = Reason("Storm", f"{storm}: pods are not treated one by one; {text}")
        self._decide(context, Verb.DEFER, reason, incident.workload, incident)
        return self._move(incident, context, state, reason)

    def _without_pods(self, incident: Incident, context: Context, begin: int | None = None) -> int | None:
        """The first step of the ladder from `begin` (its present one) on that takes no pods."""
        steps = context.rule.rule.heal
        begin = incident.step if begin is None else begin
        return next((n for n in range(begin, len(steps)) if not self._takes_pods(steps[n])), None)

    def _takes_pods(self, step: Step) -> bool:
        return ActsOn.POD in self._actions[step.action].targets

    def _hold(self, incident: Incident, context: Context, why: Reason) -> Incident:
        """onStorm is over, and has not helped."""
        action = self._step(incident, context).action
        held = replace(_fresh_try(incident), storming=False, stormed=True)
        if not held.storm:
            return self._go_on(held, context, Reason(why.code, f"onStorm ({action}) is over: {why.text}"))
        text = f"onStorm ({action}) did not help: {why.text}; holding until the storm is over, a human is needed"
        reason = Reason("Storm", text)
        self._decide(context, Verb.DEFER, reason, incident.workload, incident)
        return self._move(held, context, State.WAITING, reason)

    def _let_up(self, incident: Incident, context: Context) -> Incident:
        """The storm is over, or another incident speaks for the workload: the ladder goes on where it was.

        An onStorm that has changed something is given its time to help what is still sick, as any step is.
        """
        step = self._step(incident, context)
        patient = not (incident.storming and incident.sick) or self._actions[step.action].changes
        stays = incident.state is State.ESCALATED or (incident.state is State.VERIFYING and patient)
        then = "a human is needed still" if incident.state is State.ESCALATED else f"{step.action} is still being verified"
        reason = Reason("StormOver", f"the storm is over: {then if stays else 'the ladder goes on'}")
        if context.storm is not None:
            reason = Reason("Storm", f"{context.storm}: {context.storm.taker} takes over from here")
        calm = replace(incident, storm=False, left_step=None)
        if stays:
            return self._move(calm, context, incident.state, reason)
        if incident.left_step is not None and incident.attempt == 0:
            calm = replace(fresh_step(calm), step=incident.left_step)
        return self._go_on(replace(_fresh_try(calm), storming=False), context, reason)

    def _go_on(self, incident: Incident, context: Context, reason: Reason) -> Incident:
        """Go on with the ladder: with looking whether its step has helped, if that has acted on something."""
        if incident.treated:
            return self._watch(incident, context, reason)
        return self._move(incident, context, State.OPEN, reason)

    # helpers

    def _ask(self, incident: Incident, patient: SickTarget, context: Context) -> Veto | None:
        return ask(
            Question(
                incident=incident,
                action=self._actions[self._step(incident, context).action],
                target=patient.target,
                what=patient.what,
                limits=context.rule.rule.limits,
                view=context.view,
                watch=self._looks,
                storm=context.storm,
                climbing=context.climbing,
                hold=0.0 if (canary := context.rule.rule.when.get(CANARY)) is None else canary.hold,
                now=context.now,
                unfit=context.unfit,
            )
        )

    def changes(self, rule: BoundRule, incident: Incident) -> bool:
        """Whether the step that an incident is on changes anything in the cluster."""
        return self._actions[step_of(rule.rule, incident).action].changes

    def ever_changes(self, rule: Rule) -> bool:
        """Whether any step of a rule changes anything in the cluster."""
        return any(self._actions[step.action].changes for step in (*rule.heal, rule.on_storm) if step is not None)

    def _step(self, incident: Incident, context: Context) -> Step:
        return step_of(context.rule.rule, incident)

    def _serving(self, incident: Incident, context: Context) -> Target | None:
        """The workload that must be well for the step to have helped: the other one, when traffic was taken off this one.

        None for one whose health healer cannot judge: what fires for it is all that is known.
        """
        if incident.workload.kind not in context.view.treated:
            return None
        step = self._step(incident, context)
        other = diverted_to(step.params) if self._actions[step.action].diverts else None
        serving = (
            None if other is None else context.view.workload_named(DEPLOYMENT, incident.workload.namespace, other.deployment)
        )
        return incident.workload if serving is None else serving.target

    def _move(self, incident: Incident, context: Context, state: State, reason: Reason, *, stormed: bool = False) -> Incident:
        """Change state, with a line in the history and a record.

        onStorm is no step of the ladder, and its lines name none; `stormed`: it is what has just ended.
        """
        step = None if incident.storming or stormed else incident.step
        moved = replace(incident, state=state, reason=reason)
        if state not in _ENDS and self._is_said(incident, reason):  # nobody needs to read it again
            context.effects.append(Record(moved, None))
            return moved
        moved = noted(moved, reason, context.now, step=step)
        context.effects.append(Record(moved, moved.history[-1]))
        return moved

    def _is_said(self, incident: Incident, reason: Reason) -> bool:
        """Whether the history has the reason, but for its figures, in a line since the present step began."""
        words = but_for_figures(reason.text)
        for entry in reversed(incident.history):
            if entry.step is not None and entry.step != incident.step:
                return False
            if entry.reason.code == reason.code and but_for_figures(entry.reason.text) == words:
                return True
        return False

    def _decide(self, context: Context, verb: Verb, reason: Reason, target: Target, incident: Incident) -> None:
        decision = Decision(context.now, verb, reason, target, incident.rule, incident.id)
        context.effects.append(Decided(decision, again=self._is_said(incident, reason)))


_ENDS = frozenset({State.HEALED, State.ESCALATED, State.CLOSED})
"""What is told in any case."""


def step_of(rule: Rule, incident: Incident) -> Step:
    """The step of its rule that the incident is on."""
    return rule.on_storm if incident.storming and rule.on_storm is not None else rule.heal[incident.step]


def fresh_step(incident: Incident) -> Incident:
    """The incident without what belongs to one step only."""
    return replace(
        _fresh_try(incident),
        attempt=0,
        treated=frozenset(),
        known=frozenset(),
    )


def _fresh_try(incident: Incident) -> Incident:
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
