"""Whether an incident is still valid: its rule is in force, its signals are known, and the rule still covers their targets."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from healer.engine.incidents.cases import Case
from healer.engine.matching.firing import UNKNOWN, Firing, Weight, not_known
from healer.engine.matching.fit import UNREAD, TookDown, misfit
from healer.engine.matching.matcher import Matcher
from healer.engine.turn import Turn
from healer.model.incident import Incident, Reason, State
from healer.model.kube import Pod
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.text import says_more
from healer.model.workload import Workload
from healer.rules.probe import UNKNOWN_VERDICT


@dataclass(frozen=True, slots=True)
class Reread:
    """A target as it was just read. `says`: what a signal says of it now; "" when that cannot be read off it."""

    obj: Pod | Workload
    says: Callable[[Signal], str] = lambda _: ""

    def of(self, signal: Signal) -> Signal:
        """The signal as it would be told of the object now: what a rule's `if` reads."""
        said = self.says(signal)
        return replace(signal, message=said) if says_more(said, signal.message) else signal


class Validity:
    """`freshness`: the seconds for which a reported alert counts as firing when healer acts."""

    def __init__(self, matcher: Matcher, took_down: TookDown, freshness: float) -> None:
        self._matcher = matcher
        self._took_down = took_down
        self._freshness = freshness

    def in_force(self, case: Case) -> bool:
        """Whether its rule is still loaded and has not changed since the incident opened."""
        rule = self._matcher.rulebook.get(case.rule.name)
        if rule is None or case.incident.ruled != rule.digest:
            return False
        return rule is case.rule or rule.rule == case.rule.rule

    def misfit(self, case: Case, firing: Firing, turn: Turn, fresh: Reread | None = None) -> Reason | None:
        """Why the case's rule no longer covers a signal; None when it does. `fresh` is the signal's target, just read."""
        target = firing.signal.target
        if (sick := case.incident.targets.get(target.uid)) is None or firing.signal.key not in sick.signals:
            return Reason("OtherTarget", f"its source says that {firing.signal.name} is about {target}")
        signal, obj = (firing.signal, None) if fresh is None else (fresh.of(firing.signal), fresh.obj)
        reason = misfit(case.rule, signal, case.incident.workload, self._took_down, turn, obj)
        return None if reason is not None and reason.code in UNREAD and not firing.confirmed else reason

    def unwanted(self, case: Case, target: Target, turn: Turn, fresh: Reread | None = None) -> Reason | None:
        """Why healer must not act on a target of a case now; None when it may.

        One sick target that the rule covers is enough to act on the workload. `fresh` is the target, just read.
        """
        incident, itself = case.incident, target == case.incident.workload
        why = Reason("Resolved", f"{target} is no longer sick: nothing was done")
        for sick in incident.sick if itself else [incident.targets.get(target.uid)]:
            for key in () if sick is None else sick.signals:
                firing = self._matcher.get(key)
                reason = None if firing is None else self.misfit(case, firing, turn, _same(fresh, firing.signal.target))
                if firing is not None and reason is None:
                    reason = firing.doubt(turn.now, self._freshness)
                if firing is not None and reason is None:
                    return None
                why = reason or why
        return why

    def unknown(self, incident: Incident) -> Reason | None:
        """Why it is unknown whether the incident's signals still fire; None when one is known to fire, or all are resolved."""
        keys = [key for sick in incident.sick for key in sick.signals]
        firings = [firing for key in keys if (firing := self._matcher.get(key)) is not None]
        if firings:
            judged = [firing for firing in firings if firing.signal.name != UNKNOWN_VERDICT]
            if any(not firing.unknown for firing in judged) or not (judged or incident.state is State.VERIFYING):
                return None  # before healer acts, the guard `known_verdict` handles a canary that cannot be judged
            return not_known(firings[0])
        silent = self._matcher.silent(incident.rule)
        return Reason(UNKNOWN, f"whether it is well is not known: {silent}") if silent else None

    def weighs(self, incident: Incident, least: Weight) -> bool:
        """Whether a signal of an incident has at least that weight. True when no signal fires for it."""
        fires = False
        for key in (key for sick in incident.targets.values() for key in sick.signals):
            if (firing := self._matcher.get(key)) is not None:
                fires = True
                if firing.weight >= least:
                    return True  # usually the first one; a storm has many
        return not fires


def _same(fresh: Reread | None, target: Target) -> Reread | None:
    """The object that was just read, if it is that target."""
    return fresh if fresh is not None and fresh.obj.metadata.uid == target.uid else None
