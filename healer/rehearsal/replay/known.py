"""What a record can say to other rules: which of them it cannot judge, and which of them ask what was asked when it was made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from healer.daemon.recording.lines import HeadLine, RuleMark, RulesLine
from healer.daemon.recording.marks import asked
from healer.model.signal import Signal
from healer.rules.form import ANYWHERE
from healer.rules.rulebook import BoundRule, Rulebook
from healer.sources.base import Watched, source_of


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A rule that a record, or a part of it, says nothing about."""

    rule: str
    why: str
    whole: bool
    """Whether that is so for all of the record."""


class RecordKnowledge:
    """Follows the heads of the files."""

    def __init__(self, rules: Rulebook, lacks: Mapping[str, str] | None = None) -> None:
        """`lacks`: why rules are not judged, by the name of their trigger, where it is always so."""
        self._rules = rules
        self._lacks = lacks or {}
        self._asks = {rule.name: asked(rule) for rule in rules.rules}
        self._of: dict[str, tuple[str, ...]] = {}  # a rule of the record -> the rules that ask the same
        self._parts = 0
        self._missing: dict[tuple[str, str], int] = {}  # rule and why -> in how many parts
        self._now: dict[str, list[str]] = {}  # rule -> why, in this part
        self._namespaces: tuple[str, ...] = ()
        self.same: set[str] = set()
        """The rules that were in force as they are."""

    def head(self, head: HeadLine) -> None:
        """A file begins."""
        self._namespaces = head.namespaces
        self._take(head.rules, head.kinds)

    def other_rules(self, line: RulesLine) -> None:
        """Other rules were in force from then on."""
        self._take(line.rules, line.kinds)

    def _take(self, marks: Iterable[RuleMark], kinds: Iterable[str]) -> None:
        marks = list(marks)
        mine: dict[str, list[str]] = {}
        for name, digest in self._asks.items():
            if digest:
                mine.setdefault(digest, []).append(name)
        self._of = {mark.name: tuple(mine.get(mark.asks, ())) for mark in marks if mark.asks}
        answered = {name for names in self._of.values() for name in names}
        self.same |= {mark.name for mark in marks if (rule := self._rules.get(mark.name)) and rule.digest == mark.digest}
        self._parts += 1
        watched = frozenset(kinds)
        self._now = {}
        for rule in self._rules.rules:
            if why := self._why(rule, answered, watched):
                self._missing[rule.name, why] = self._missing.get((rule.name, why), 0) + 1
                self._now.setdefault(rule.name, []).append(why)

    def _why(self, rule: BoundRule, answered: set[str], kinds: frozenset[str]) -> str:
        """Why a rule cannot be judged; "" when it can."""
        trigger = rule.rule.when.trigger
        if why := self._lacks.get(trigger.name):
            return why
        if trigger.asked and rule.name not in answered:
            return f"the record has no answers about its {trigger.name}"
        source = source_of(trigger)
        if isinstance(source, Watched):
            lacking = [each.name for each in source.resources(rule.rule.when.value) if each.name not in kinds]
            if lacking:
                return f"the record has no {' and no '.join(lacking)}"
        outside = [each for each in rule.scope.namespaces if each != ANYWHERE and each not in self._namespaces]
        if self._namespaces and len(outside) == len(rule.scope.namespaces):
            return f"the record has only the namespaces {', '.join(self._namespaces)}"
        return ""

    @property
    def unjudged(self) -> list[Unjudged]:
        """The rules that cannot be judged."""
        return [Unjudged(rule, why, parts == self._parts) for (rule, why), parts in self._missing.items()]

    def missing(self, rule: str) -> list[str]:
        """Why a rule cannot be judged in the part of the record that is played now."""
        return self._now.get(rule, [])

    def asking(self, rule: str) -> tuple[str, ...]:
        """The rules that ask what a rule of the record asked."""
        return self._of.get(rule, ())

    def keys(self, recorded: str, rule: str, keys: Iterable[str]) -> frozenset[str]:
        """The keys of the signals of a rule of the record, as those of a rule that asks the same."""
        return frozenset(_key(recorded, rule, key) for key in keys)

    def mine(self, signals: Iterable[Signal]) -> list[Signal]:
        """The signals as they concern these rules: an answer for a rule is one for each that asks the same."""
        found: list[Signal] = []
        for signal in signals:
            if not signal.rule:
                found.append(signal)
            for rule in self.asking(signal.rule) if signal.rule else ():
                found.append(replace(signal, rule=rule, key=_key(signal.rule, rule, signal.key)))
        return found


def _key(recorded: str, rule: str, key: str) -> str:
    """The key of a signal that two rules may have asked for."""
    return key if recorded == rule else f"{rule} {key}"
