"""What happened in a rehearsal, line by line: events, actions, and the states of incidents in the words of `healer explain`.

Tests, simulations and replays of rules show the same lines.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from healer.model.effects import Act, Decided, Decision, Effect, Record, Verb

_WITHOUT_STATE = frozenset({Verb.PEND, Verb.IGNORE, Verb.JOIN})

EVENT = "event"
"""The kind of what was played."""
ACT = "act"
"""The kind of what was done."""


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One line. `at` is in seconds, from the beginning unless the lines are of a record. `kind` is `act`, a state of incidents, a
    verb, or what was played: `event`, and in a simulation `fault`, `cured`, `alert`, `resolved`, `operation`."""

    at: float
    kind: str
    text: str
    workload: str = ""
    rule: str = ""
    code: str = ""
    """The reason's, as `healer explain` has it; of an act the action."""
    fault: str = ""
    asks: str = ""
    """The action that people are asked to approve."""
    effect: Effect | None = None
    quiet: bool = False
    """Whether it says nothing that was not said before."""

    def __str__(self) -> str:
        return "  ".join(self.columns())

    @property
    def said(self) -> str:
        """What the line says: the rule, the reason's code, and the text."""
        code = "" if self.kind == ACT else self.code  # the text of an act begins with it
        return ": ".join(part for part in (self.rule, code, self.text) if part)

    def columns(self, time: Callable[[float], str] | None = None) -> tuple[str, str, str]:
        """The line for people: when, what, and what it says. `time` writes the time, by default as a clock."""
        return (time or clock)(self.at).rjust(9), self.kind.ljust(9), self.said

    def plain(self) -> dict[str, object]:
        """The line for programs, with what it has."""
        named = {"workload": self.workload, "rule": self.rule, "code": self.code, "fault": self.fault, "asks": self.asks}
        more = {key: value for key, value in named.items() if value}
        return {"at": round(self.at, 3), "kind": self.kind, "text": self.text, **more}


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
                state, why = (incident.state, incident.reason) if entry is None else (entry.state, entry.reason)
                workload, quiet = incident.workload.name, entry is None
                yield TimelineLine(at, state, why.text, workload, incident.rule, why.code, effect=effect, quiet=quiet)
            case Decided(decision, again):
                why, target, quiet = decision.reason, str(decision.target), again or not _has_a_line(decision)
                text = why.text if target in why.text else f"{target}: {why.text}"
                yield TimelineLine(at, decision.verb, text, "", decision.rule, why.code, effect=effect, quiet=quiet)
            case Act():
                would = "would " if effect.dry_run else ""
                step = (
                    "its onStorm step" if effect.incident.storming else f"step {effect.step + 1} of {len(effect.incident.steps)}"
                )
                said = f"{would}{effect.action} {effect.target} ({step})"
                incident = effect.incident
                yield TimelineLine(at, ACT, said, incident.workload.name, incident.rule, effect.action, effect=effect)
