"""What happened in a rehearsal, line by line: events, actions, and the states of incidents in the words of `healer explain`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from healer.model.effects import Act, Decided, Decision, Effect, Record, Verb

_WITHOUT_STATE = frozenset({Verb.PEND, Verb.IGNORE, Verb.JOIN})

EVENT = "event"
"""The kind of what was played."""


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One line. `at` is in seconds from the beginning; `kind` is `event`, `acts`, a state of incidents, or a verb."""

    at: float
    kind: str
    text: str
    effect: Effect | None = None
    quiet: bool = False
    """Whether it says nothing that was not said before."""

    def __str__(self) -> str:
        return f"{clock(self.at):>9}  {self.kind:<9}  {self.text}"


def _has_a_line(decision: Decision) -> bool:
    """Whether it changes no state, so that no other line says it, and is about a rule."""
    return decision.verb in _WITHOUT_STATE and decision.rule != ""


def clock(at: float) -> str:
    """A time from the beginning: "1:02:03"."""
    minutes, seconds = divmod(round(at), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def entries(effects: Iterable[Effect], at: float) -> Iterator[TimelineLine]:
    """The lines of what the engine answered at a time. What was said before is not said again."""
    for effect in effects:
        match effect:
            case Record(incident, entry):
                said = f"{incident.rule}: {incident.reason.code}: {incident.reason.text}"
                yield TimelineLine(at, incident.state, said, effect, quiet=entry is None)
            case Decided(decision, again):
                said = f"{decision.rule}: {decision.reason.code}: {decision.reason.text}"
                yield TimelineLine(at, decision.verb, said, effect, quiet=again or not _has_a_line(decision))
            case Act():
                would = "would " if effect.dry_run else ""
                step = (
                    "its onStorm step" if effect.incident.storming else f"step {effect.step + 1} of {len(effect.incident.steps)}"
                )
                yield TimelineLine(at, "acts", f"{effect.incident.rule}: {would}{effect.action} {effect.target} ({step})", effect)
