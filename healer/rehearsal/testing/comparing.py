"""Compares what a test expects with what came out, and finds the first difference."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from healer.model.effects import Act, Decided, Decision, Record, Verb
from healer.model.incident import Incident, Reason
from healer.rehearsal.testing.schema import Checkpoint, ExpectedAct, ExpectedDecision, ExpectedIncident
from healer.rehearsal.testing.stage import rule_named
from healer.rehearsal.timeline import TimelineLine, clock
from healer.rules.messages import nearest
from healer.rules.positions import Path
from healer.rules.rulebook import Rulebook

DEFAULT = "default"
"""Who is told by the settings where a rule names nobody."""
HOLDS = frozenset({Verb.DEFER, Verb.REFUSE, Verb.PEND, Verb.IGNORE})
"""The decisions by which healer does nothing for now."""


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Something that is not as expected. `at` is in seconds from the beginning, `entry` the line that differs,
    if any; `path` leads to the expectation, from the checkpoint on."""

    at: float
    text: str
    path: Path
    entry: TimelineLine | None = None


class Outcomes:
    """What came out of a test until a time, in seconds from the beginning."""

    def __init__(self, entries: Sequence[TimelineLine], now: float, rules: Rulebook) -> None:
        self.entries = entries
        self.now = now
        self._rules = rules

    def differences(self, check: Checkpoint) -> Iterator[FirstDifference]:
        """What is not as a checkpoint says. Raises CaseError where it names a rule that is not in force."""
        if check.acts is not None:
            yield from self._acts("acts", check.acts, dry_run=False)
        if check.would_act is not None:
            yield from self._acts("wouldAct", check.would_act, dry_run=True)
        yield from self._decisions(check.decisions)
        if check.incidents is not None:
            yield from self._incidents(check.incidents)
        if check.told is not None:
            yield from self._told(check.told)

    def _acts(self, key: str, expected: Sequence[ExpectedAct], *, dry_run: bool) -> Iterator[FirstDifference]:
        found = acts_of(self.entries, dry_run=dry_run)
        for number, (want, (entry, act)) in enumerate(zip(expected, found, strict=False)):
            if wrong := list(self._misfits(want, act, entry.at)):
                yield FirstDifference(entry.at, f"{key}[{number}]: {'; '.join(wrong)}", (key, number), entry)
                return
        if len(found) > len(expected):
            entry, act = found[len(expected)]
            text = f"{key}: {act.action} {act.target} by {act.incident.rule} is not expected"
            yield FirstDifference(entry.at, text, (key,), entry)
        elif len(expected) > len(found):
            want = expected[len(found)]
            of = f" {want.target}" if want.target else ""
            text = f"{key}[{len(found)}]: {want.action}{of} is expected by {clock(self.now)}, and was not done"
            text += f"; {self._why(want, dry_run=dry_run)}"
            yield FirstDifference(self.now, text, (key, len(found)))

    def _misfits(self, want: ExpectedAct, act: Act, at: float) -> Iterator[str]:
        pairs = (
            ("action", want.action, act.action),
            ("target", want.target, _named(act.target.namespace, act.target.name, want.target)),
            ("rule", self._full(want.rule), act.incident.rule),
            ("step", want.step, act.step + 1),
        )
        for what, wanted, got in pairs:
            if wanted is not None and wanted != got:
                yield f"{what} is {got}, not {wanted}"
        if want.at is not None and abs(want.at - at) > _TOLERATED:
            yield f"it is done at {clock(at)}, not at {clock(want.at)}"

    def _why(self, want: ExpectedAct, *, dry_run: bool) -> str:
        """Why an act was not done: that its rule observes, or does not; else what healer decided last of its rule, or of any."""
        rule = self._full(want.rule)
        others = [act for _, act in acts_of(self.entries, dry_run=not dry_run) if rule in (None, act.incident.rule)]
        if any(act.action == want.action for act in others):
            return "it was done: write acts" if dry_run else "its rule observes: write wouldAct, or mode: enforce"
        made = [each for each in _decided(self.entries, rule) if each[1].verb not in (Verb.OPEN, Verb.JOIN)]
        if not made:
            every = [each.effect.decision for each in self.entries if isinstance(each.effect, Decided)]
            heard = f": {_worded(every[-1].reason)}" if every else ", for it saw nothing of what rules are about"
            return f"healer decided nothing by {want.rule or 'any rule'}{heard}"
        entry, decision = made[-1]
        return f"at {clock(entry.at)} healer decided by {decision.rule}: {_worded(decision.reason)}"

    def _decisions(self, expected: Sequence[ExpectedDecision]) -> Iterator[FirstDifference]:
        made = [(each, each.effect.decision) for each in self.entries if isinstance(each.effect, Decided)]
        index = 0
        for number, want in enumerate(expected):
            fits = self._fits(want)
            found = next((place for place in range(index, len(made)) if fits(made[place][1])), None)
            if found is None:
                yield self._undecided(number, want, made[index:])
                return
            index = found + 1

    def _undecided(self, number: int, want: ExpectedDecision, later: Sequence[tuple[TimelineLine, Decision]]) -> FirstDifference:
        """A decision that was not made: what was decided in its place, and the first line by which healer held back."""
        rule = self._full(want.rule)
        of = f" of {want.rule}" if want.rule else ""
        verb = f" ({want.verb})" if want.verb else ""
        says = f" that says {want.says!r}" if want.says else ""
        text = f"decisions[{number}]: a decision{of} by {want.reason}{verb}{says} is expected by {clock(self.now)}"
        text += " after those before it" if number else ""
        others = [each for each in later if each[1].rule and rule in (None, each[1].rule)]
        seen: dict[str, float] = {}
        for each, decision in others:
            seen.setdefault(f"{decision.reason.code} ({decision.verb})", each.at)
        said = ", ".join(f"{code} at {clock(at)}" for code, at in seen.items())
        meant = nearest(want.reason, {decision.reason.code for _, decision in later} - {want.reason})
        text += f" ({meant})" if meant else ""
        text += f"; healer decided {said}" if said else "; nothing was decided"
        entry = next((each for each, decision in others if decision.verb in HOLDS), None)
        return FirstDifference(self.now if entry is None else entry.at, text, ("decisions", number), entry)

    def _fits(self, want: ExpectedDecision) -> Callable[[Decision], bool]:
        rule = self._full(want.rule)

        def fits(decision: Decision) -> bool:
            target = _named(decision.target.namespace, decision.target.name, want.target)
            pairs = (
                (want.reason, decision.reason.code),
                (rule, decision.rule),
                (want.verb, decision.verb),
                (want.target, target),
            )
            says = want.says is None or want.says in decision.reason.text
            return says and all(wanted is None or wanted == got for wanted, got in pairs)

        return fits

    def _incidents(self, expected: Sequence[ExpectedIncident]) -> Iterator[FirstDifference]:
        found = incidents_of(self.entries)
        for number, (want, (entry, incident)) in enumerate(zip(expected, found, strict=False)):
            pairs = (
                ("rule", self._full(want.rule), incident.rule),
                ("state", want.state, incident.state),
                ("workload", want.workload, incident.workload.name),
                ("reason", want.reason, incident.reason.code),
            )
            wrong = [f"{what} is {got}, not {wanted}" for what, wanted, got in pairs if wanted is not None and wanted != got]
            if wrong:
                text = f"incidents[{number}] at {clock(self.now)}: {'; '.join(wrong)}"
                yield FirstDifference(entry.at, text, ("incidents", number), entry)
                return
        if len(found) > len(expected):
            entry, incident = found[len(expected)]
            text = f"incidents: one of {incident.rule} is not expected"
            first = next(
                each for each in self.entries if isinstance(each.effect, Record) and each.effect.incident.id == incident.id
            )
            yield FirstDifference(first.at, text, ("incidents",), first)
        elif len(expected) > len(found):
            there = f"there were {len(found)}" if found else "there was none"
            text = f"incidents[{len(found)}]: one of {expected[len(found)].rule} is expected by {clock(self.now)}; {there}"
            yield FirstDifference(self.now, text, ("incidents", len(found)))

    def _told(self, expected: Sequence[str]) -> Iterator[FirstDifference]:
        told = told_of(self.entries)
        for address, entry in told.items():
            if address not in expected and address != DEFAULT:
                yield FirstDifference(entry.at, f"told: {address} is told, and is not expected", ("told",), entry)
                return
        for number, address in enumerate(expected):
            if address not in told:
                were = f"told were {', '.join(told)}" if told else "nobody was told"
                text = f"told: {address} is not told by {clock(self.now)}; {were}"
                yield FirstDifference(self.now, text, ("told", number))
                return

    def _full(self, rule: str | None) -> str | None:
        return None if rule is None else rule_named(rule, self._rules).name


def acts_of(entries: Sequence[TimelineLine], *, dry_run: bool) -> list[tuple[TimelineLine, Act]]:
    """What was done; with `dry_run` what would have been done."""
    return [(each, each.effect) for each in entries if isinstance(each.effect, Act) and each.effect.dry_run is dry_run]


def incidents_of(entries: Sequence[TimelineLine]) -> list[tuple[TimelineLine, Incident]]:
    """The incidents as they stand in the end, in the order in which they opened, each with its last line."""
    latest: dict[str, tuple[TimelineLine, Incident]] = {}
    for each in entries:
        if isinstance(each.effect, Record):
            latest[each.effect.incident.id] = (each, each.effect.incident)
    return list(latest.values())


def told_of(entries: Sequence[TimelineLine]) -> dict[str, TimelineLine]:
    """The addresses that were told, each with its first line."""
    told: dict[str, TimelineLine] = {}
    for each in entries:
        if isinstance(each.effect, Record) and each.effect.entry is not None:
            incident = each.effect.incident
            for address in (*incident.notify, *(incident.paged or ())) or (DEFAULT,):
                told.setdefault(address, each)
    return told


def _decided(entries: Sequence[TimelineLine], rule: str | None) -> list[tuple[TimelineLine, Decision]]:
    """What was decided of a rule; None: of any rule."""
    made = [(each, each.effect.decision) for each in entries if isinstance(each.effect, Decided)]
    return [each for each in made if each[1].rule and rule in (None, each[1].rule)]


def _worded(reason: Reason) -> str:
    return f"{reason.code}: {reason.text}"


def _named(namespace: str, name: str, like: str | None) -> str:
    """The name of an object in the form in which it is expected: with its namespace, or without."""
    return f"{namespace}/{name}" if like is not None and "/" in like else name


_TOLERATED = 2.0
"""Seconds by which an action may be later than expected: what is done takes a second to be answered."""
