"""One input's way through the engine: what was there, when it came, and what follows from it."""

from dataclasses import dataclass, field

from healer.model.effects import Decided, Decision, Effect, Record, Verb
from healer.model.incident import Incident, Reason
from healer.model.target import Target
from healer.model.view import View


@dataclass(frozen=True, slots=True)
class Turn:
    """`now` is in seconds since the epoch; `effects` are gathered in the order in which they are to be carried out."""

    view: View
    now: float
    effects: list[Effect] = field(default_factory=list)

    def decide(self, verb: Verb, reason: Reason, target: Target, rule: str = "", incident: str = "") -> None:
        """A decision was made."""
        self.effects.append(Decided(Decision(self.now, verb, reason, target, rule, incident)))

    def record(self, incident: Incident, *, line: bool = True) -> None:
        """An incident changed; `line`: the last line of its history is new."""
        self.effects.append(Record(incident, incident.history[-1] if line else None))

    def answer(self, verb: Verb, reason: Reason, incident_id: str, incident: Incident | None) -> None:
        """A decision about an incident that somebody names by its id; None: there is none of that id."""
        if incident is None:
            self.decide(verb, reason, Target("Incident", "", incident_id, ""), incident=incident_id)
        else:
            self.decide(verb, reason, incident.workload, incident.rule, incident_id)
