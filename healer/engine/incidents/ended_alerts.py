"""Stores when alerts ended, for a restart: in the incident that had them, otherwise in an incident of healer's own.

That incident is closed from the start, and nobody is notified of it.
"""

from collections.abc import Mapping
from dataclasses import replace

from healer.engine.incidents.opening import with_ends
from healer.engine.parts import Parts
from healer.engine.safety.wide import ENDED_ALERTS, wide_incident
from healer.engine.turn import Turn
from healer.model.effects import Loss, Remember
from healer.model.incident import Incident, Reason, State
from healer.model.signal import Signal
from healer.model.target import Target
from healer.rules.schema import Severity


class EndedAlerts:
    """The end times of alerts, in seconds since the epoch, by the clock of the sender."""

    def __init__(self, parts: Parts) -> None:
        self._ended = parts.matcher.ended
        self._cases = parts.cases
        self._tuning = parts.tuning
        self._number = parts.number
        self._incident: Incident | None = None

    def incidents_of(self, key: str) -> list[str]:
        """The incident of healer's own that stores the end of that alert."""
        return [] if self._incident is None or key not in self._incident.ended else [self._incident.id]

    def alone(self, signal: Signal, target: Target, workload: str, turn: Turn) -> Mapping[str, float]:
        """The ends of an alert that no incident has, by key; none where the open incident keeps them that let go of its target.

        So it does when healer took the pod.
        """
        ends = self._ended.of({signal.key, signal.trouble or signal.key})
        for case in self._cases.on(workload) if ends else ():
            if target.uid in case.incident.targets:
                self._cases.note(case, with_ends(case.incident, ends))
                turn.record(case.incident, line=False)
                return {}
        return ends

    def keep(self, ends: Mapping[str, float], turn: Turn) -> None:
        """Store the ends that no other incident has."""
        if not ends:
            return
        since = turn.now - self._tuning.alert_expiry
        after = _kept(self._incident, ends, since, self._tuning.home, turn.now, self._number())
        if after is not self._incident:
            self._incident = after
            turn.effects.append(Remember(after))

    def begin_anew(self, lost: str, how: Loss, turn: Turn) -> None:
        """Store the ends in a new incident when somebody deleted or edited the one that has them."""
        if self._incident is not None and self._incident.id == lost:
            ends, self._incident = self._incident.ended, None
            if how is not Loss.NO_NAMESPACE:
                self.keep(ends, turn)

    def restore(self, incident: Incident) -> None:
        """Take over the incident from the journal."""
        self._incident = incident


def _kept(before: Incident | None, ends: Mapping[str, float], since: float, home: str, now: float, number: int) -> Incident:
    """The incident that stores the ends of alerts that no other incident has; `before` itself when it has them already.

    Ends before `since` are dropped, because healer does not act on an alert that was last reported so long ago.
    """
    known = {} if before is None else before.ended
    if before is not None and all(known.get(key, 0.0) >= at for key, at in ends.items()):
        return before
    if before is None:
        before = wide_incident(ENDED_ALERTS, Target("Journal", home, "journal", "journal"), (), now, number)
    recent = replace(before, ended={key: at for key, at in known.items() if at >= since})
    after = with_ends(recent, {key: max(at, known.get(key, at)) for key, at in ends.items()})
    alerts = "1 alert" if len(after.ended) == 1 else f"{len(after.ended)} alerts"
    text = f"{alerts} ended while no incident had them: a report of them that comes late is no news"
    reason = Reason("EndedAlerts", text)
    return replace(after, severity=Severity.INFO, state=State.CLOSED, reason=reason, changed_at=now, ended_at=now)
