"""The open incidents: found by id, rule or workload, woken when they asked for it, each led as far as it can go."""

import heapq
from dataclasses import dataclass, field

from healer.engine.incidents.ladder import Ladder
from healer.engine.incidents.transitions import Context
from healer.engine.matching.fit import UNREAD, misfit
from healer.engine.matching.matcher import UNKNOWN, Firing, Matcher, Weight, not_known
from healer.engine.safety.guards import climbing
from healer.engine.safety.ledger import Ledger
from healer.engine.safety.storms import FEWEST, Storm, able, storm_on
from healer.model.action import Outcome
from healer.model.effects import Effect, Loss, Record
from healer.model.incident import Incident, Reason, State
from healer.model.kube import Pod
from healer.model.target import Target
from healer.model.view import View
from healer.model.workload import Workload
from healer.rules.probe import UNKNOWN_VERDICT
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Mode


@dataclass(slots=True)
class Case:
    """An open incident and the rule as it was when the incident opened, or when it was read from the journal."""

    incident: Incident
    rule: BoundRule
    queued_wake: float | None = field(default=None)
    counted: bool = False
    """Whether the cluster-wide breaker has counted its opening."""
    lost: Reason | None = None
    """Why the object that it is kept in is not healer's any more."""
    loss: Loss | None = None
    """What became of that object."""


class Cases:
    """Times in seconds since the epoch."""

    def __init__(self, ladder: Ladder, matcher: Matcher, ledger: Ledger, freshness: float) -> None:
        self.held = False
        """Not all that fires is known (again) yet: until it is, only what its rule no longer speaks for goes on (`let_go`)."""
        self.outdated: list[Incident] = []
        """Incidents closed because their rule changed or their object is gone, since somebody last took them from here."""
        self._ladder = ladder
        self._matcher = matcher
        self._ledger = ledger
        self._freshness = freshness  # seconds for which an alert that was reported counts as firing when healer acts
        self._cases: dict[str, Case] = {}
        self._open: dict[tuple[str, str], str] = {}  # (rule, workload's uid) -> incident
        self._by_workload: dict[str, dict[str, None]] = {}  # workload's uid -> incidents, oldest first
        self._wakes: list[tuple[float, str]] = []  # when, incident
        self._to_go_on: dict[str, Incident] = {}  # those that would have gone on while held, as they were when they wanted to

    # looking

    def all(self) -> list[Case]:
        """All of them, oldest first."""
        return list(self._cases.values())

    def get(self, incident_id: str) -> Case | None:
        """The case of an incident."""
        return self._cases.get(incident_id)

    def of_rule(self, rule: str, workload: str) -> Case | None:
        """The unsettled case of a rule on a workload (by uid)."""
        incident_id = self._open.get((rule, workload))
        return None if incident_id is None else self._cases[incident_id]

    def on(self, workload: str) -> list[str]:
        """The incidents on a workload (by uid), oldest first."""
        return list(self._by_workload.get(workload, ()))

    def concerns(self, workload: str) -> bool:
        """Whether there are any."""
        return workload in self._by_workload

    def takers(self, workload: str) -> set[str]:
        """The incidents that have taken over the workload; "" where one waits for a storm that nobody speaks for."""
        cases = (self._cases[each] for each in self._by_workload.get(workload, ()))
        known = [case.incident for case in cases if self.in_force(case)]
        waits = any(each.state is State.WAITING and each.reason.code == "Storm" for each in known)
        return {each.id for each in known if each.storm} or ({""} if waits else set())

    def due_takers(self, workload: str, view: View) -> set[str]:
        """The incidents that should have."""
        storms = (self.storm(workload, view), self.storm(workload, view, observing=True))
        return {storm.taker for storm in storms if storm is not None}

    def storm(self, workload: str, view: View, *, observing: bool = False) -> Storm | None:
        """The storm on a workload, if there is one, as those that act see it: what only observing rules heed is none for them.

        Those that observe see that one, or their own where no other is open.
        """
        sick = view.workload(workload) if self._matcher.sick_counts.sick_in(workload) >= FEWEST else None
        if sick is None:
            return None
        cases = [self._cases[each] for each in self._by_workload.get(workload, ())]
        speaking = [case for case in cases if self.in_force(case) and not _of_records(case, view)]
        for weight in (Weight.FULL, Weight.CAUTION):
            heard = [case for case in speaking if self._is_heard(case.incident, weight)]
            storm = self._storm(heard, sick, observing=observing, known=weight is Weight.FULL)
            if storm is not None:
                return storm
        return None

    def _storm(self, speaking: list[Case], sick: Workload, *, observing: bool, known: bool) -> Storm | None:
        """The storm by what is known to be sick, or by what may be."""
        sick_counts, workload, desired = self._matcher.sick_counts, sick.metadata.uid, sick.desired
        acting = [(c.incident, c.rule.rule) for c in speaking if c.incident.mode != Mode.OBSERVE]
        changing = [each for each in acting if self._ladder.ever_changes(each[1])]
        if any(able(incident) for incident, _ in changing):
            acting = changing  # rules that only tell people hold back nobody: neither by their limit, nor by taking over
        storm = storm_on(sick_counts.to_treat_in(workload, known=known), desired, acting, known=known)
        if storm is not None or not observing:
            return storm
        if any(able(incident) for incident, _ in acting):
            return None
        watching = [(c.incident, c.rule.rule) for c in speaking if c.incident.mode == Mode.OBSERVE]
        return storm_on(sick_counts.sick_in(workload, known=known), desired, watching, known=known)

    def _is_heard(self, incident: Incident, least: Weight) -> bool:
        """Whether some signal of an incident counts for that much, where any fires for it."""
        fires = False
        for key in (key for sick in incident.targets.values() for key in sick.signals):
            if (firing := self._matcher.get(key)) is not None:
                fires = True
                if firing.weight >= least:
                    return True  # as a rule the first one: of a storm there are many
        return not fires

    def in_force(self, case: Case) -> bool:
        """Whether its rule is still loaded, unchanged: since the case is known here, and since the incident opened."""
        rule = self._matcher.rulebook.get(case.rule.name)
        if rule is None or case.incident.ruled != rule.digest:
            return False
        return rule is case.rule or rule.rule == case.rule.rule

    def misfit(self, case: Case, firing: Firing, view: View, now: float, fresh: Pod | Workload | None = None) -> Reason | None:
        """Why a signal is not the business of the case's rule any more; None when it is. `fresh` is its target, just read."""
        target = firing.signal.target
        if (sick := case.incident.targets.get(target.uid)) is None or firing.signal.key not in sick.signals:
            return Reason("OtherTarget", f"its source says that {firing.signal.name} is about {target}")
        reason = misfit(case.rule, firing.signal, case.incident.workload, self._ledger.took, view, now, fresh)
        return None if reason is not None and reason.code in UNREAD and not firing.confirmed else reason

    def unwanted(self, case: Case, target: Target, view: View, now: float, fresh: Pod | Workload | None = None) -> Reason | None:
        """Why nothing is to be done to a target of a case now; None when something is.

        One sick target that its rule covers is reason enough to act on the workload. `fresh` is the target as it was just read.
        """
        incident, itself = case.incident, target == case.incident.workload
        why = Reason("Resolved", f"{target} is no longer sick: nothing was done")
        for sick in incident.sick if itself else [incident.targets.get(target.uid)]:
            for key in () if sick is None else sick.signals:
                firing = self._matcher.get(key)
                reason = None if firing is None else self.misfit(case, firing, view, now, _same(fresh, firing.signal.target))
                if firing is not None and reason is None:
                    reason = firing.doubt(now, self._freshness)
                if firing is not None and reason is None:
                    return None
                why = reason or why
        return why

    def unknown(self, incident: Incident) -> Reason | None:
        """Why it is not known whether the incident's signals still fire; None when one is known to, or all are over."""
        keys = [key for sick in incident.sick for key in sick.signals]
        firings = [firing for key in keys if (firing := self._matcher.get(key)) is not None]
        if firings:
            told = [firing for firing in firings if firing.signal.name != UNKNOWN_VERDICT]
            if any(not firing.unknown for firing in told) or not (told or incident.state is State.VERIFYING):
                return None  # before healer acts, the guard `known_verdict` speaks of a canary that cannot be judged
            return not_known(firings[0])
        silent = self._matcher.silent(incident.rule)
        return Reason(UNKNOWN, f"whether it is well is not known: {silent}") if silent else None

    # changing

    def admit(self, case: Case) -> None:
        """Take in a new one."""
        incident = case.incident
        self._cases[incident.id] = case
        if not incident.state.settled:
            self._open[incident.rule, incident.workload.uid] = incident.id
        self._by_workload.setdefault(incident.workload.uid, {})[incident.id] = None
        self._ledger.saw(incident)
        self._queue(case)

    def take(self, case: Case, incident: Incident, effects: list[Effect]) -> None:
        """The incident is another one now, by a line in its history."""
        case.incident = incident
        effects.append(Record(incident, incident.history[-1]))

    def acted(self, case: Case, outcome: Outcome, view: View, now: float, effects: list[Effect]) -> None:
        """An action came back."""
        was = case.incident
        case.incident = self._ladder.acted(was, outcome, self._context(case, view, now, effects))
        self.advance(was.id, view, now, effects, was)

    def advance(self, incident_id: str, view: View, now: float, effects: list[Effect], was: Incident | None = None) -> None:
        """Let an incident go as far as it can now, then those that may have waited for it; `was` is what it was before."""
        case = self._cases.get(incident_id)
        if case is None:
            return
        was = was or case.incident
        context = self._context(case, view, now, effects)
        if self.held and context.in_force:
            self._to_go_on.setdefault(incident_id, was)
            return
        if case.lost is not None and case.incident.state is not State.ACTING:
            human = case.loss is Loss.EDITED
            self._settle(case, was, self._ladder.abandon(case.incident, case.lost, context, human=human), context)
            if case.loss is Loss.DELETED:
                self.outdated.append(case.incident)  # what still fires of it opens another one
            return
        self._settle(case, was, self._ladder.advance(case.incident, context), context)

    def end(self, case: Case, view: View, now: float, effects: list[Effect]) -> None:
        """Close a case that has done nothing, and that has nothing sick left, also while others are held."""
        context = self._context(case, view, now, effects)
        self._settle(case, case.incident, self._ladder.advance(case.incident, context), context)

    def let_go(self, view: View, now: float, effects: list[Effect], *, most: int | None = None) -> bool:
        """All that fires is known: what was held goes on, at most so many at this call; returns whether all did."""
        self.held = False
        for incident_id in list(self._to_go_on)[:most]:
            if (was := self._to_go_on.pop(incident_id, None)) is not None:
                self.advance(incident_id, view, now, effects, was)
        self.held = bool(self._to_go_on)
        return not self.held

    def lose(self, incident_id: str, why: str, how: Loss) -> None:
        """Nothing can be kept of an incident any more: what is under way is awaited, and without that nothing may be done."""
        if (case := self._cases.get(incident_id)) is not None:
            code = "JournalLost" if how is Loss.EDITED else "NotKept"
            case.lost, case.loss = Reason(code, f"{why}: healer acts no further on it"), how

    def absorb(self, case: Case, into: Incident, view: View, now: float, effects: list[Effect]) -> None:
        """Close a case that has done nothing, because a wider incident is about its pods as well."""
        context = self._context(case, view, now, effects)
        self._settle(case, case.incident, self._ladder.absorb(case.incident, into, context), context)

    def _settle(self, case: Case, was: Incident, after: Incident, context: Context) -> None:
        case.incident = after
        self._ledger.saw(after)
        if after.state.settled and self._open.get((after.rule, after.workload.uid)) == after.id:
            del self._open[after.rule, after.workload.uid]  # a successor may have opened meanwhile: it stays
        if after.state is State.CLOSED:
            self._drop(after)
            if not context.in_force:
                self.outdated.append(after)
        else:
            self._queue(case)
        let_go = self._climbs(case, was, context.view) and not self._climbs(case, after, context.view)
        if let_go or was.storm != after.storm:
            for other in self.on(after.workload.uid):
                if other != after.id:
                    self.advance(other, context.view, context.now, context.effects)

    def _drop(self, incident: Incident) -> None:
        del self._cases[incident.id]
        neighbours = self._by_workload.get(incident.workload.uid, {})
        neighbours.pop(incident.id, None)
        if not neighbours:
            self._by_workload.pop(incident.workload.uid, None)

    def _context(self, case: Case, view: View, now: float, effects: list[Effect]) -> Context:
        workload = case.incident.workload.uid
        return Context(
            rule=case.rule,
            in_force=self.in_force(case),
            view=view,
            climbing=[other.incident for other in self._climbing_on(workload, view) if other is not case],
            storm=self.storm(workload, view, observing=case.incident.mode == Mode.OBSERVE),
            unfit=lambda target: self.unwanted(case, target, view, now),
            unknown=self.unknown(case.incident),
            now=now,
            effects=effects,
        )

    def _climbing_on(self, workload: str, view: View) -> list[Case]:
        """The cases that keep others off a workload: one about records does not, unless it acts on the workload itself."""
        cases = [case for each in self.on(workload) if self._climbs(case := self._cases[each], case.incident, view)]
        return [case for case in cases if _acts_on_workload(case.incident) or not _of_records(case, view)]

    def _climbs(self, case: Case, incident: Incident, view: View) -> bool:
        """Whether a case, as that incident, is on a step that changes something: one that only tells people holds up nobody."""
        return climbing(incident, view) and self._ladder.changes(case.rule, incident)

    # waking

    def next_wake(self) -> float | None:
        """When one of them wants to be looked at, whatever happens."""
        return self._wakes[0][0] if self._wakes else None

    def due(self, now: float) -> str | None:
        """One that wants to be looked at by now."""
        if not self._wakes or self._wakes[0][0] > now:
            return None
        _, incident_id = heapq.heappop(self._wakes)
        if (case := self._cases.get(incident_id)) is not None:
            case.queued_wake = None
        return incident_id

    def _queue(self, case: Case) -> None:
        wake = case.incident.wake_at
        if wake is not None and wake != case.queued_wake:
            case.queued_wake = wake
            heapq.heappush(self._wakes, (wake, case.incident.id))


def _same(fresh: Pod | Workload | None, target: Target) -> Pod | Workload | None:
    """What was just read, where it is that target."""
    return fresh if fresh is not None and fresh.metadata.uid == target.uid else None


def _of_records(case: Case, view: View) -> bool:
    """Whether it is about records of finished pods alone: such an incident says nothing about the pods that live."""
    sick = case.incident.sick
    return case.rule.rule.when.of_records or (bool(sick) and all(view.finished(each.target.uid) for each in sick))


def _acts_on_workload(incident: Incident) -> bool:
    """Whether its present step changes the workload as a whole, or may have."""
    treated = bool(incident.acted_at) and incident.workload.uid in incident.treated
    return incident.acting_on == incident.workload or treated or incident.failures > 0
