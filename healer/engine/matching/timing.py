"""How long and how often rules see their conditions: `for` and `count`. Times are in seconds since the epoch."""

from collections import deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from healer.engine.matching.ended import Ended
from healer.engine.matching.firing import Firing
from healer.model.duration import about
from healer.model.incident import Reason
from healer.model.signal import Signal
from healer.model.target import Target
from healer.rules.rulebook import BoundRule, Rulebook

_MOST_OCCURRENCES = 64
"""Occurrences that are remembered for a count, or four times as many as the rule asks for."""


@dataclass(slots=True)
class _Spell:
    """The time for which a rule has seen a target sick."""

    since: float
    """When it began; later by the time for which nothing was known."""
    keys: set[str] = field(default_factory=set)
    """The signals that fire in it."""
    stopped: float | None = None
    """Since when it is not known of any of them whether it fires; None while it is known of one."""


@dataclass(slots=True)
class _Trouble:
    """What several replicas of one Prometheus report: the key and the occurrence of the first report, the keys that fire."""

    key: str
    occurrence: str
    firing: set[str] = field(default_factory=set)


class Timing:
    """The spells and the occurrences of signals, for each rule. `ended` are the alerts that have ended."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._spells: dict[tuple[str, str], _Spell] = {}  # (rule, target's uid)
        self._occurrences: dict[tuple[str, str, str], deque[tuple[float, str]]] = {}  # (rule, workload's uid, revision) -> each
        self._troubles: dict[str, _Trouble] = {}

    @property
    def counts(self) -> bool:
        """Whether occurrences are remembered."""
        return bool(self._occurrences)

    def keep(self, rules: Container[str]) -> None:
        """Forget all rules but these."""
        self._spells = {key: spell for key, spell in self._spells.items() if key[0] in rules}
        self._occurrences = {key: seen for key, seen in self._occurrences.items() if key[0] in rules}

    def forget(self, rulebook: Rulebook, sick: Container[str], now: float) -> None:
        """Drop the occurrences of workloads that are not `sick` (uids), once all of them are outside their window."""
        for (rule, workload, revision), seen in list(self._occurrences.items()):
            bound = rulebook.get(rule)
            count = None if bound is None else bound.rule.when.count
            if count is None or (workload not in sick and (not seen or seen[-1][0] <= now - count.within)):
                del self._occurrences[rule, workload, revision]

    def begins(self, signal: Signal) -> None:
        """Note that a signal begins to fire."""
        if signal.trouble:
            self._troubles.setdefault(signal.trouble, _Trouble(signal.key, signal.occurrence)).firing.add(signal.key)

    def ends(self, signal: Signal) -> None:
        """Note that a signal no longer fires."""
        trouble = self._troubles.get(signal.trouble)
        if trouble is not None:
            trouble.firing.discard(signal.key)
            if not trouble.firing:
                del self._troubles[signal.trouble]

    def release(self, rule: str, signal: Signal) -> None:
        """Note that a signal no longer counts for a rule: its spell ends with the last of its signals."""
        spell = self._spells.get((rule, signal.target.uid))
        if spell is not None:
            spell.keys.discard(signal.key)
            if not spell.keys:
                del self._spells[rule, signal.target.uid]

    def stop(self, firing: Firing, firings: Mapping[str, Firing]) -> None:
        """Stop the spells of a signal of which it is not known whether it fires, at the last report that any of theirs does."""
        for rule in firing.verdicts:
            spell = self._spells.get((rule, firing.signal.target.uid))
            if spell is None or spell.stopped is not None:
                continue
            known = [firings[key] for key in spell.keys if key in firings]
            if all(each.unknown for each in known):
                spell.stopped = max((each.signal.at for each in known), default=spell.since)

    def check(
        self, rule: BoundRule, signal: Signal, workload: Target, now: float, revision: str = ""
    ) -> tuple[Reason | None, float | None]:
        """Why a signal has not lasted long enough, or not come often enough, for a rule; None when it has.

        The second value is when it will have lasted long enough. `revision` is that of the signal's target, for a rule that
        counts each one by itself.
        """
        spell = self._spells.setdefault((rule.name, signal.target.uid), _Spell(now))
        spell.keys.add(signal.key)
        if spell.stopped is not None:
            spell.since += now - spell.stopped
            spell.stopped = None
        if (rare := self._not_often_enough(rule, signal, (rule.name, workload.uid, revision), now)) is not None:
            return rare, None
        held_for = rule.rule.when.held_for
        until = spell.since + held_for
        if now < until:
            text = f"{signal.name} held for {about(now - spell.since)} of {about(held_for)}"
            return Reason("NotLongEnough", text), until
        return None, None

    def _not_often_enough(self, rule: BoundRule, signal: Signal, key: tuple[str, str, str], now: float) -> Reason | None:
        count = rule.rule.when.count
        if count is None:
            return None
        most = max(count.at_least * 4, _MOST_OCCURRENCES)
        seen = self._occurrences.setdefault(key, deque(maxlen=most))
        occurrence = self._occurrence(signal)
        if occurrence and all(occurrence != counted for _, counted in seen):
            seen.extend([(signal.at, occurrence)] * min(signal.times, most))
        recent = sum(1 for at, _ in seen if at > now - count.within)
        if recent >= count.at_least:
            return None
        text = f"{signal.name} seen {recent} of {count.at_least} times within {about(count.within)}"
        text += " at its revision" if count.same_revision else ""
        return Reason("NotOftenEnough", text)

    def _occurrence(self, signal: Signal) -> str:
        """What a signal is counted as: several replicas of one Prometheus report one occurrence; "" for a late report."""
        first = self._troubles.get(signal.trouble)
        if first is None or first.key == signal.key:
            return "" if self._ended.spans(signal.trouble, signal.began, signal.target.namespace) else signal.occurrence
        return first.occurrence
