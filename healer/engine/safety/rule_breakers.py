"""The breaker of a rule: what stops it after too much has gone wrong, and lets it go on later."""

from collections.abc import Iterable
from dataclasses import dataclass

from healer.model.duration import about
from healer.model.incident import Incident, Reason, State
from healer.rules.schema import Breaker


@dataclass(slots=True)
class _FailureRow:
    """What a rule has failed at in a row; `probe` is the incident that may act when the breaker is half open."""

    failures: int = 0
    last: float = 0.0
    probe: str = ""


class RuleBreakers:
    """One breaker a rule: closed, open for `reset`, then half open, when one incident may act. Kept by rule."""

    def __init__(self) -> None:
        self._rows: dict[str, _FailureRow] = {}

    def rows(self) -> Iterable[tuple[str, "_FailureRow"]]:
        """The rules that have failed since they healed last, and at what."""
        return self._rows.items()

    def failed(self, rule: str, at: float) -> None:
        """An incident in which healer acted has escalated."""
        row = self._rows.setdefault(rule, _FailureRow())
        row.failures, row.last, row.probe = row.failures + 1, max(row.last, at), ""

    def healed(self, rule: str) -> None:
        """An incident was healed: the row of failures is broken."""
        self._rows.pop(rule, None)

    def acts(self, incident: Incident) -> None:
        """An incident acts. When its breaker is half open it is the one that may."""
        row = self._rows.get(incident.rule)
        if row is not None:
            row.probe = incident.id

    def left(self, incident: Incident) -> None:
        """An incident has ended, and shows nothing for or against its rule."""
        row = self._rows.get(incident.rule)
        if row is not None and row.probe == incident.id:
            row.probe = ""

    def objection(self, incident: Incident, breaker: Breaker, now: float) -> Reason | None:
        """Why an incident may not act now; None when it may."""
        row = self._rows.get(incident.rule)
        if row is None or row.failures < breaker.failures or (row.probe == incident.id and now >= row.last + breaker.reset):
            return None
        failed = f"{row.failures} incidents of {incident.rule} in a row were acted upon and needed a human in the end"
        if now < row.last + breaker.reset:
            left = about(row.last + breaker.reset - now)
            return Reason("RuleBreaker", f"{failed}: its breaker is open, one may act in {left}")
        if row.probe:
            return Reason("RuleBreaker", f"{failed}: its breaker is half open, and {row.probe} has the one try")
        return None

    def learn(self, incidents: Iterable[Incident]) -> None:
        """Take in what a journal says of incidents that ended, and of those that act still."""
        known = list(incidents)
        ended = [(incident.ended_at, incident) for incident in known if incident.acted_at and incident.ended_at is not None]
        for at, incident in sorted(ended, key=lambda each: each[0]):
            match _ending(incident):
                case State.ESCALATED:
                    self.failed(incident.rule, at)
                case State.HEALED:
                    self.healed(incident.rule)
        for incident in known:
            row = self._rows.get(incident.rule)
            acts = incident.state is State.ACTING or any(at > row.last for at in incident.acted_at) if row else False
            if row is not None and acts and incident.ended_at is None:
                row.probe = incident.id


def _ending(incident: Incident) -> State | None:
    """How an incident ended before it was closed, as its history has it."""
    return next((e.state for e in reversed(incident.history) if e.state in (State.HEALED, State.ESCALATED)), None)
