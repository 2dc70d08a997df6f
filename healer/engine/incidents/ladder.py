"""How an incident climbs its ladder: from what is seen to the next move of one incident.

open, waiting --(guards allow)--> acting --(accepted)--> verifying --(well for long enough)--> healed --> closed
   ^   |                             |                        |
   |   +--(signals gone)--> closed   +--(deferred)--> waiting +--(deadline)--> next step, after the last: escalated --> closed

When a storm breaks, the incident that takes over leaves the ladder where it is, for onStorm or to hold, and comes back to it.
"""

from dataclasses import replace

from healer.engine.incidents.approval import rule_changed
from healer.engine.incidents.observing import WATCHES_ON, asks, is_observing, recovered, still_sick
from healer.engine.incidents.outcomes import Outcomes
from healer.engine.incidents.transitions import Context, fresh_step
from healer.engine.incidents.verification import unhealed, unhealthy
from healer.engine.matching.matcher import UNKNOWN
from healer.engine.safety.guards import Veto
from healer.model.duration import about
from healer.model.effects import Verb
from healer.model.incident import Incident, Reason, SickTarget, State
from healer.model.target import ActsOn


class Ladder(Outcomes):
    """The transitions. Each takes an incident and returns the one that follows, adding its effects to the context."""

    def advance(self, incident: Incident, context: Context) -> Incident:
        """As far as the incident can go without another input."""
        while True:
            after = self._next(incident, context)
            if after is incident or after.state is State.ACTING:
                return after
            incident = after

    def absorb(self, incident: Incident, into: Incident, context: Context) -> Incident:
        """Close an incident that has done nothing, because a wider one is about its pods as well."""
        return self._close(incident, context, Reason("Storm", f"{into.reason.text}: see {into.id}"))

    def abandon(self, incident: Incident, why: Reason, context: Context, *, human: bool) -> Incident:
        """Do nothing more about an incident of which nothing can be kept: close it, or leave it to a `human` while it is sick."""
        if not human or incident.state is State.HEALED or not incident.any_sick:
            return self._close(incident, context, why)
        if incident.state is State.ESCALATED:
            return incident
        self._decide(context, Verb.ESCALATE, why, incident.workload, incident)
        if incident.acted_at:
            self._ledger.ended(incident, context.now)
        self._looks.rules.left(incident)
        return self._move(replace(fresh_step(incident), storming=False, ended_at=context.now), context, State.ESCALATED, why)

    def _next(self, incident: Incident, context: Context) -> Incident:
        if (after := self._weather(incident, context)) is not incident:
            return after
        if (after := self._certain(incident, context)) is not incident:
            return after
        if context.in_force and incident.unknown_since is not None:
            return incident
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

    def _weather(self, incident: Incident, context: Context) -> Incident:
        """A storm that comes or goes; an action that is under way is awaited first."""
        storm = context.storm
        if not context.in_force or incident.state is State.ACTING or incident.state.settled:
            return incident
        if storm is not None and storm.taker == incident.id:
            if incident.storm:
                return incident
            if incident.failures and (done := self._done_after_all(incident, context)) is not None:
                return done
            return self._take_over(incident, storm, context)
        return self._let_up(incident, context) if incident.storm else incident

    # not known

    def _certain(self, incident: Incident, context: Context) -> Incident:
        """What is not known is neither bad nor good: nothing is done, nothing is given up, and no time limit runs meanwhile.

        People are told when it lasts, and asked for help when it lasts too long.
        """
        verifying = incident.state is State.VERIFYING
        if not (verifying or incident.state in (State.OPEN, State.WAITING)) or not context.in_force:
            return incident
        doubt = context.unknown if incident.sick or verifying else None
        if doubt is None:
            return incident if incident.unknown_since is None else self._known_again(incident, context)
        serving = self._serving(incident, context) if verifying else None
        wrong = None if serving is None else unhealthy(context.view, serving)
        if wrong is not None and wrong.code == "WorkloadGone":
            return self._close(incident, context, wrong)
        since = context.now if incident.unknown_since is None else incident.unknown_since
        if is_observing(incident) and context.now >= since + self._tuning.max_wait:
            due = incident.wake_at is None or incident.wake_at <= context.now
            return replace(incident, wake_at=context.now + self._tuning.max_wait) if due else incident
        told, end = min(since + self._tuning.retry, since + self._tuning.max_wait), since + self._tuning.max_wait
        if context.now >= end:
            text = f"nothing has been known for {about(end - since)}, so nothing is done and {asks(incident)}: {doubt.text}"
            return self._escalate(incident, context, Reason("UnknownTooLong", text), failed=False)
        unsure = replace(incident, unknown_since=since, stable_since=None, wake_at=told if context.now < told else end)
        if context.now < told or incident.reason.code == doubt.code:
            return incident if unsure == incident else unsure
        text = f"{doubt.text}; no step is taken until it is, and after {about(end - context.now)} {asks(incident)}"
        reason = Reason(doubt.code, text)
        self._decide(context, Verb.DEFER, reason, incident.workload, incident)
        return self._move(unsure, context, State.VERIFYING if verifying else State.WAITING, reason)

    def _known_again(self, incident: Incident, context: Context) -> Incident:
        """Its time limits are as long as if nothing had happened in between."""
        gap = context.now - (context.now if incident.unknown_since is None else incident.unknown_since)
        deadline = None if incident.deadline is None else incident.deadline + gap
        since = None if incident.waiting_since is None else incident.waiting_since + gap
        sure = replace(incident, unknown_since=None, deadline=deadline, waiting_since=since, wake_at=deadline)
        if incident.state is not State.VERIFYING or incident.reason.code != UNKNOWN:
            return sure
        reason = Reason("KnownAgain", "what it is about is known again: verifying goes on")
        return self._move(sure, context, State.VERIFYING, reason)

    # open, waiting

    def _consider(self, incident: Incident, context: Context) -> Incident:
        if incident.failures and (done := self._done_after_all(incident, context)) is not None:
            return done
        if not context.in_force:
            return self._close(incident, context, rule_changed(incident))
        if not incident.any_sick:
            if incident.acted_at:
                return self._watch(incident, context, Reason("SignalsGone", "all signals are gone; verifying"))
            if (done := self._perhaps_done(incident, context)) is not None:
                return done
            text = recovered(incident, context.now) if is_observing(incident) else "all signals are gone before healer acted"
            return self._close(incident, context, Reason("Recovered", text))
        if self._is_held(incident, context):
            return self._defer(incident, incident.workload, _held(incident, context), context)
        if incident.waiting_since is not None and context.now >= incident.waiting_since + self._tuning.max_wait:
            waited = about(context.now - incident.waiting_since)
            return self._climb(
                incident, context, Reason("WaitedTooLong", f"waited {waited}, at last because {incident.reason.text}")
            )
        if incident.not_before is not None and context.now < incident.not_before:
            return incident
        patient, veto = self._patient(incident, context)
        if patient is None and is_observing(incident):
            text = f"{self._step(incident, context).action} would have been taken on every sick target; {WATCHES_ON}"
            return self._watch_on(incident, context, Reason("NothingLeft", text))
        if patient is None:
            reason = Reason("NothingLeft", f"{self._step(incident, context).action} was tried on every sick target")
            return self._climb(incident, context, reason)
        if veto is None:
            return self._act(incident, patient, context)
        if veto.refused:
            self._decide(context, Verb.REFUSE, veto.reason, patient.target, incident)
            if veto.final:
                return self._escalate(incident, context, veto.reason)
            return self._climb(incident, context, veto.reason)
        return self._defer(incident, patient.target, veto, context)

    def _is_held(self, incident: Incident, context: Context) -> bool:
        """Whether its step is not for a storm: it takes pods, or another incident speaks for the workload."""
        storm, step = context.storm, self._step(incident, context)
        action = self._actions[step.action]
        if storm is None or incident.storming or action.diverts or not action.changes:
            return False
        return storm.has_another(incident) or self._takes_pods(step)

    def _patient(self, incident: Incident, context: Context) -> tuple[SickTarget | None, Veto | None]:
        """The target to act on: sick, not yet treated in this step, and not born after the step acted.

        The one sick longest that nothing speaks against; else the first, with the veto against it. In a storm it is the workload,
        and for an action that acts on workloads.
        """
        if incident.storming or ActsOn.POD not in self._actions[self._step(incident, context).action].targets:
            if incident.workload.uid in incident.treated and not incident.storming:
                return None, None
            workload = _as_patient(incident)
            return workload, self._ask(incident, workload, context)
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

    # verifying

    def _verify(self, incident: Incident, context: Context) -> Incident:
        serving = None if context.rule.rule.when.of_records else self._serving(incident, context)
        wrong = unhealed(context.view, incident, serving) or self._still_there(incident, context)
        if wrong is None:
            return self._settle(incident, context)
        if wrong.code == "WorkloadGone":
            return self._close(incident, context, wrong)
        more = context.in_force and not incident.storming  # onStorm is taken on the workload, which is one
        patient, veto = self._patient(incident, context) if more else (None, None)
        if patient is not None and veto is None:
            return self._act(incident, patient, context)
        if is_observing(incident) and (incident.deadline is None or context.now >= incident.deadline):
            return self._still_observed(incident, context, wrong)
        if incident.deadline is None or context.now >= incident.deadline:
            if context.in_force and context.storm is not None and context.storm.has_another(incident):
                return self._defer(incident, incident.workload, _held(incident, context), context)
            if patient is not None and veto is not None and veto.patient:
                return self._defer(incident, patient.target, veto, context)
            return self._climb(incident, context, wrong)
        wake = incident.deadline
        if veto is not None:
            wake = min(wake, context.now + self._tuning.retry if veto.until is None else veto.until)
        if incident.stable_since is None and incident.wake_at is not None and context.now < incident.wake_at <= wake:
            return incident
        return replace(incident, stable_since=None, wake_at=wake)

    def _still_observed(self, incident: Incident, context: Context, wrong: Reason) -> Incident:
        """Not well by the time at which the step would have been judged. That is told once; nobody knows what would have been."""
        if incident.deadline is not None:
            text = f"{still_sick(incident, context.now)}: {wrong.text}; {WATCHES_ON}"
            return self._watch_on(incident, context, Reason(wrong.code, text))
        if incident.stable_since is None and incident.wake_at is not None and context.now < incident.wake_at:
            return incident
        return replace(incident, stable_since=None, wake_at=context.now + self._tuning.max_wait)

    def _still_there(self, incident: Incident, context: Context) -> Reason | None:
        """The view may lag behind an action: a workload is not well before the pod that was taken down is seen to go."""
        for disruption in self._ledger.going(incident.workload.uid, context.view):
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
        if incident.deadline is not None and context.now < incident.deadline and self._is_going(incident, context):
            waits = replace(incident, wake_at=incident.deadline)  # what falls sick meanwhile is part of it still
            return incident if waits == incident else waits
        lasted = about(context.now - since)
        if is_observing(incident):
            return self._close(incident, context, Reason("Recovered", f"{recovered(incident, since)}; well for {lasted}"))
        if not incident.acted_at:
            return self._close(incident, context, Reason("Recovered", f"well for {lasted}, without an action of healer's"))
        serving = self._serving(incident, context)
        text = f"{serving} is at its desired ready count and no signal is left, stable for {lasted}"
        reason = Reason("Healed", text)
        self._decide(context, Verb.HEAL, reason, incident.workload, incident)
        self._ledger.ended(incident, context.now)
        self._looks.rules.healed(incident.rule)
        cooled = context.now + context.rule.rule.limits.cooldown
        healed = replace(incident, ended_at=context.now, wake_at=cooled, storm=False, storming=False)
        return self._move(healed, context, State.HEALED, reason, stormed=incident.storming)

    def _is_going(self, incident: Incident, context: Context) -> bool:
        """Whether the pod that it took is still there. It may stay so for ever, so that nothing fails by that."""
        uid = "" if incident.disruption is None else incident.disruption.target.uid
        return uid in incident.treated and self._ledger.took(uid) and context.view.pod(uid) is not None

    # escalated, healed

    def _outlast(self, incident: Incident, context: Context) -> Incident:
        if not context.in_force:
            return self._close(incident, context, rule_changed(incident))
        if incident.any_sick:
            return incident
        serving = self._serving(incident, context) if incident.acted_at else None
        wrong = None if serving is None else unhealthy(context.view, serving)
        if wrong is not None and wrong.code != "WorkloadGone":
            return incident  # what healer left behind is not well: that is not over
        return self._close(incident, context, Reason("Recovered", "all signals are gone after the escalation"))

    def _cool(self, incident: Incident, context: Context) -> Incident:
        if incident.wake_at is not None and context.now < incident.wake_at:
            return incident
        return self._close(incident, context, Reason("CooledDown", "stayed healed for the whole cooldown"))


def _as_patient(incident: Incident) -> SickTarget:
    """The workload as what is acted on, and what is wrong with it."""
    if (itself := incident.targets.get(incident.workload.uid)) is not None and itself.signals:
        return itself
    sick = incident.sick
    what = f"{len(sick)} of its pods are sick" if len(sick) != 1 else f"{sick[0].target}: {sick[0].what}"
    return SickTarget(incident.workload, {}, incident.changed_at, what)


def _held(incident: Incident, context: Context) -> Veto:
    """Why an incident waits for the storm on its workload to be over."""
    storm = context.storm
    who = f"{storm.taker} has taken over" if storm is not None and storm.has_another(incident) else "healer holds"
    return Veto(Reason("Storm", f"{storm}: {who} until it is over"), patient=True)
