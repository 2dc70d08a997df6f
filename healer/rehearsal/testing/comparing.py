"""Compares what a test expects with what came out, and finds the first difference."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from healer.model.effects import Act, Decided, Decision, Record
from healer.model.incident import Incident
from healer.rehearsal.testing.schema import Checkpoint, ExpectedAct, ExpectedDecision, ExpectedIncident
from healer.rehearsal.testing.stage import rule_named
from healer.rehearsal.timeline import TimelineLine, clock
from healer.rules.positions import Path
from healer.rules.rulebook import Rulebook

DEFAULT = "default"
"""Who is told by the settings where a rule names nobody."""


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
        found = [(each, each.effect) for each in self.entries if isinstance(each.effect, Act) and each.effect.dry_run is dry_run]
        for number, (want, (entry, act)) in enumerate(zip(expected, found, strict=False)):
            if wrong := list(self._misfits(want, act, entry.at)):
                yield FirstDifference(entry.at, f"{key}[{number}]: {'; '.join(wrong)}", (key, number), entry)
                return
        if len(found) > len(expected):
            entry, act = found[len(expected)]
            yield FirstDifference(entry.at, f"{key}: {act.action} {act.target} is not expected", (key,), entry)
        elif len(expected) > len(found):
            want = expected[len(found)]
            of = f" {want.target}" if want.target else ""
            text = f"{key}[{len(found)}]: {want.action}{of} is expected by {clock(self.now)}, and was not done"
            yield FirstDifference(self.now, text, (key, len(found)))

    def _misfits(self, want: ExpectedAct, act: Act, at: float) -> Iterator[str]:
        pairs = (
            ("action", want.action, act.action),
            ("target", want.target, self._named(act.target.namespace, act.target.name, want.target)),
            ("rule", self._full(want.rule), act.incident.rule),
            ("step", want.step, act.step + 1),
        )
        for what, wanted, got in pairs:
            if wanted is not None and wanted != got:
                yield f"{what} is {got}, not {wanted}"
        if want.at is not None and abs(want.at - at) > _TOLERATED:
            yield f"it is done at {clock(at)}, not at {clock(want.at)}"

    def _decisions(self, expected: Sequence[ExpectedDecision]) -> Iterator[FirstDifference]:
        made = [each.effect.decision for each in self.entries if isinstance(each.effect, Decided)]
        index = 0
        for number, want in enumerate(expected):
            fits = self._fits(want)
            found = next((place for place in range(index, len(made)) if fits(made[place])), None)
            if found is None:
                of = f" of {want.rule}" if want.rule else ""
                seen = sorted({each.reason.code for each in made if want.rule is None or each.rule == self._full(want.rule)})
                said = f"the reasons were {', '.join(seen)}" if seen else "nothing was decided"
                text = f"decisions[{number}]: a decision{of} by {want.reason} is expected by {clock(self.now)}; {said}"
                yield FirstDifference(self.now, text, ("decisions", number))
                return
            index = found + 1

    def _fits(self, want: ExpectedDecision) -> Callable[[Decision], bool]:
        rule = self._full(want.rule)

        def fits(decision: Decision) -> bool:
            target = self._named(decision.target.namespace, decision.target.name, want.target)
            pairs = (
                (want.reason, decision.reason.code),
                (rule, decision.rule),
                (want.verb, decision.verb),
                (want.target, target),
            )
            return all(wanted is None or wanted == got for wanted, got in pairs)

        return fits

    def _incidents(self, expected: Sequence[ExpectedIncident]) -> Iterator[FirstDifference]:
        latest: dict[str, tuple[TimelineLine, Incident]] = {}
        for each in self.entries:
            if isinstance(each.effect, Record):
                latest[each.effect.incident.id] = (each, each.effect.incident)
        found = list(latest.values())
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
            text = f"incidents[{len(found)}]: one of {expected[len(found)].rule} is expected by {clock(self.now)}"
            yield FirstDifference(self.now, text, ("incidents", len(found)))

    def _told(self, expected: Sequence[str]) -> Iterator[FirstDifference]:
        told: dict[str, TimelineLine] = {}
        for each in self.entries:
            if isinstance(each.effect, Record) and each.effect.entry is not None:
                incident = each.effect.incident
                for address in (*incident.notify, *(incident.paged or ())) or (DEFAULT,):
                    told.setdefault(address, each)
        for address, entry in told.items():
            if address not in expected and address != DEFAULT:
                yield FirstDifference(entry.at, f"told: {address} is told, and is not expected", ("told",), entry)
                return
        for number, address in enumerate(expected):
            if address not in told:
                yield FirstDifference(self.now, f"told: {address} is not told by {clock(self.now)}", ("told", number))
                return

    def _full(self, rule: str | None) -> str | None:
        return None if rule is None else rule_named(rule, self._rules).name

    @staticmethod
    def _named(namespace: str, name: str, like: str | None) -> str:
        """The name of an object in the form in which it is expected: with its namespace, or without."""
        return f"{namespace}/{name}" if like is not None and "/" in like else name


_TOLERATED = 2.0
"""Seconds by which an action may be later than expected: what is done takes a second to be answered."""
