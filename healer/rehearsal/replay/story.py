"""What rules did in a replay, or a daemon in its record: its acts, what it held back and why, and what became of it."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from healer.daemon.recording.lines import ActLine, AnyLine, DecisionLine, OutcomeLine
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act, Decision, Verb
from healer.model.incident import Incident, State
from healer.model.target import Target

_HELD = frozenset({Verb.DEFER, Verb.REFUSE})
_REFUSED = frozenset({OutcomeKind.DEFERRED, OutcomeKind.REFUSED})
_UNDONE = _REFUSED | {OutcomeKind.GONE, OutcomeKind.RECOVERED}
_RECENT = 3600.0
"""Seconds for which a reason not to act counts as that of a moment."""
_MOST_HELD = 10_000
"""Reasons for not acting that are kept, each for a rule on a workload. Beyond, they are only counted."""


@dataclass(slots=True)
class ToldAct:
    """Something that was done, or would have been."""

    at: float
    rule: str
    incident: str
    workload: Target
    action: str
    target: Target
    step: int
    dry_run: bool
    why: str
    echo: bool = False
    """It follows only because the record does not answer to an earlier deed of the replay: the same trouble, counted once."""
    recorded: bool = True
    """Whether the record has it too, with its outcome."""
    outcome: Outcome | None = None
    opposed: str = ""
    """Why what it is compared with did not do it at that moment; "" where that is not known."""
    mode: str = ""
    """Why it is a dry run, where that is known."""
    times: int = 1
    """How often it was tried, one time after the other, with the same outcome."""

    @property
    def undone(self) -> bool:
        """Whether nothing was done by it: the attempt was refused, or there was nothing to do any more."""
        return self.outcome is not None and self.outcome.kind in _UNDONE and not self.outcome.begun

    @property
    def refused(self) -> bool:
        """Whether it was undone because the cluster refused it."""
        return self.undone and self.outcome is not None and self.outcome.kind in _REFUSED

    def retries(self, before: "ToldAct") -> bool:
        """Whether it is the attempt before once more: the same step on the same target, with the same outcome, and not done."""
        mine, other = self.outcome, before.outcome
        if mine is None or other is None or mine.kind is OutcomeKind.DONE:
            return False
        same = (mine.kind, mine.reason, self.step, self.rule, self.dry_run, self.echo, self.recorded)
        was = (other.kind, other.reason, before.step, before.rule, before.dry_run, before.echo, before.recorded)
        return same == was and self.what == before.what

    @property
    def what(self) -> tuple[str, str, str]:
        """What is the same deed in two stories."""
        return (self.action, self.workload.uid, self.target.uid)


@dataclass(slots=True)
class Hold:
    """Why a rule did not act on a workload, and how often that was decided."""

    at: float
    rule: str
    target: Target
    verb: Verb
    code: str
    text: str
    times: int = 1


@dataclass(slots=True)
class ToldTrouble:
    """An incident, as far as the story tells it."""

    rule: str
    workload: Target
    opened_at: float
    state: State
    changed_at: float


@dataclass(slots=True)
class Story:
    """What happened between `since` and `until`. Times are in seconds since the epoch."""

    since: float
    until: float
    deeds: list[ToldAct] = field(default_factory=list)
    holds: dict[tuple[str, str, str], Hold] = field(default_factory=dict)
    """By rule, workload or target, and code."""
    troubles: dict[str, ToldTrouble] = field(default_factory=dict)
    """By incident."""
    more_holds: int = 0

    def covers(self, at: float) -> bool:
        """Whether a time is told of."""
        return self.since <= at <= self.until

    @property
    def told(self) -> list[ToldAct]:
        """The deeds, where those that were tried again and again are one, at the time of the first."""
        found: list[ToldAct] = []
        last: dict[str, ToldAct] = {}  # by incident
        for deed in self.deeds:
            before = last.get(deed.incident)
            if before is not None and deed.retries(before):
                before.times += 1
            else:
                last[deed.incident] = one = replace(deed)
                found.append(one)
        return found

    @property
    def counted(self) -> list[ToldAct]:
        """What was done, without what was refused, and without what follows only because the record does not answer."""
        return [deed for deed in self.told if not deed.echo and not deed.undone]

    @property
    def by_state(self) -> Counter[State]:
        """How many troubles are in which state at the end."""
        return Counter(trouble.state for trouble in self.troubles.values())

    # of a replay

    def acted(self, act: Act, at: float, *, echo: bool) -> ToldAct:
        """The engine acts. What is returned is told where the story covers the time."""
        incident = act.incident
        deed = ToldAct(
            at=at,
            rule=incident.rule,
            incident=incident.id,
            workload=incident.workload,
            action=act.action,
            target=act.target,
            step=act.step,
            dry_run=act.dry_run,
            why=incident.reason.text,
            echo=echo,
            recorded=False,
        )
        if self.covers(at):
            self.deeds.append(deed)
        return deed

    def changed(self, incident: Incident) -> None:
        """An incident changed."""
        if self.covers(incident.changed_at):
            self.troubles[incident.id] = ToldTrouble(
                incident.rule, incident.workload, incident.opened_at, incident.state, incident.changed_at
            )

    def decided(self, decision: Decision) -> None:
        """The engine decided something; kept is why it does not act."""
        if decision.verb not in _HELD or not self.covers(decision.at):
            return
        key = (decision.rule, decision.incident or decision.target.uid, decision.reason.code)
        if (hold := self.holds.get(key)) is not None:
            hold.times += 1
        elif len(self.holds) < _MOST_HELD:
            reason = decision.reason
            self.holds[key] = Hold(decision.at, decision.rule, decision.target, decision.verb, reason.code, reason.text)
        else:
            self.more_holds += 1


class RecordedStory:
    """The story of the daemon itself, from the lines of its record."""

    def __init__(self, since: float, until: float) -> None:
        self.story = Story(since, until)
        self._held: dict[tuple[str, str], Hold] = {}  # by rule and target
        self.opposed: Callable[[ToldAct], str] = lambda deed: ""
        """Says why what the record is compared with does not do a deed at its moment."""

    def why_not(self, deed: ToldAct) -> str:
        """Why the daemon did not do a deed of others then, as far as it has recorded it."""
        for target in (deed.target, deed.workload):
            held = self._held.get((deed.rule, target.uid))
            if held is not None and deed.at - held.at <= _RECENT:
                return f"{held.rule} was held back: {held.code}: {held.text}"
        return ""

    def play(self, line: AnyLine) -> None:
        """The next line."""
        match line:
            case ActLine() if self.story.covers(line.at):
                deed = ToldAct(
                    at=line.at,
                    rule=line.rule,
                    incident=line.incident,
                    workload=line.workload,
                    action=line.action,
                    target=line.target,
                    step=line.step,
                    dry_run=line.dry_run,
                    why=line.reason.text,
                )
                deed.opposed = self.opposed(deed)
                self.story.deeds.append(deed)
            case OutcomeLine():
                open_ = (each for each in reversed(self.story.deeds) if each.outcome is None and each.incident == line.incident)
                if (ended := next(open_, None)) is not None:
                    ended.outcome = line.outcome
            case DecisionLine(decision=decision):
                self.story.decided(decision)
                if decision.verb in _HELD:
                    reason = decision.reason
                    key = (decision.rule, decision.target.uid)
                    self._held[key] = Hold(decision.at, decision.rule, decision.target, decision.verb, reason.code, reason.text)


def by_rule(deeds: Iterable[ToldAct]) -> Counter[str]:
    """How many deeds each rule has, the most first."""
    return Counter(dict(Counter(deed.rule for deed in deeds).most_common()))
