"""The signals that fire, and which rules they match: in scope, condition true, for long enough, often enough."""

import heapq
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from math import inf

from healer.engine.matching.ended import Ended
from healer.engine.matching.firing import UNNAMED, Firing, Weight, not_known
from healer.engine.matching.fit import TookDown, fit, workload_of
from healer.engine.matching.timing import Timing
from healer.engine.safety.sick_counts import SickCounts, SickPlace
from healer.engine.tuning import Tuning
from healer.engine.turn import Turn
from healer.model.incident import Reason
from healer.model.signal import Signal
from healer.model.target import Target
from healer.rules.pod_conditions import of_living
from healer.rules.rulebook import BoundRule, Rulebook
from healer.rules.schema import Mode, Rule


@dataclass(frozen=True, slots=True)
class Match:
    """Whether a signal matches a rule: it does when `reason` is None. `wake_at` is when it matches if nothing changes.

    `pending`: the signal fits the rule, and only time or another occurrence is missing. `news`: the verdict differs from the last
    one for this rule and signal.
    """

    rule: BoundRule
    firing: Firing
    workload: Target | None
    reason: Reason | None = None
    pending: bool = False
    wake_at: float | None = None
    news: bool = True


MOST_UNMATCHED = 2000
"""Alerts that are kept although no rule looks for them, for rules may change. Beyond, the ones reported longest ago are
dropped."""
_MOST_LABELS = 2048
"""Characters of the labels of such an alert; of an alert with more, no labels are kept."""


class Matcher:
    """Keeps the signals that fire, and matches them with the rules. Times are in seconds since the epoch.

    `took_down` says whether healer has taken down a pod, by its uid. `changes` says whether a step of a rule changes anything in
    the cluster. `freshness`: seconds for which a report of a signal that fades counts.
    """

    def __init__(self, rulebook: Rulebook, took_down: TookDown, changes: Callable[[Rule], bool], freshness: float = inf) -> None:
        self._took_down = took_down
        self._freshness = freshness
        self._fading: list[tuple[float, str]] = []  # a heap: when a signal no longer counts, its key
        self._changes = changes
        self.sick_counts = SickCounts()
        self.ended = Ended()
        self._rulebook = rulebook
        self._firings: dict[str, Firing] = {}
        self._unmatched: dict[str, None] = {}  # keys of alerts that no rule looks for, reported longest ago first
        self._by_workload: dict[
            str, dict[str, None]
        ] = {}  # uid -> keys, in the order of their coming: decisions must be reproducible
        self._silent: dict[str, str] = {}  # rule -> why its source does not answer
        self._timing = Timing(self.ended)

    @property
    def rulebook(self) -> Rulebook:
        """The rules in force."""
        return self._rulebook

    def use(self, rulebook: Rulebook, turn: Turn) -> None:
        """Take other rules. Rules that are the same go on as they were; for the others, the caller matches every signal again."""
        same = {rule.name for rule in rulebook.rules if (old := self._rulebook.get(rule.name)) and old.rule == rule.rule}
        self._rulebook = rulebook
        self._timing.keep(same)
        self._silent = {rule: why for rule, why in self._silent.items() if rule in same}
        for firing in self._firings.values():
            firing.verdicts = {rule: verdict for rule, verdict in firing.verdicts.items() if rule in same}
            firing.live_rules &= same | {UNNAMED}
            firing.outside &= same
            self._count(firing, turn)

    def get(self, key: str) -> Firing | None:
        """The firing signal of that key."""
        return self._firings.get(key)

    def waits(self) -> bool:
        """Whether time alone may change something: a rule has not matched yet, a signal may expire, a count is remembered."""
        ends = any(f.trigger.fades or f.trigger.momentary or any(f.verdicts.values()) for f in self._firings.values())
        return self._timing.counts or ends

    def forget(self, now: float) -> None:
        """Drop the counts of workloads for which nothing fires, once all occurrences are outside the window."""
        self._timing.forget(self._rulebook, self._by_workload, now)

    def expired(self, now: float, tuning: Tuning) -> list[Firing]:
        """The signals that end by themselves: they were not repeated for so long, or are moments that have passed."""
        alerts, moments = now - tuning.alert_expiry, now - tuning.event_fade
        return [
            f
            for f in self._firings.values()
            if (f.trigger.fades and f.signal.at < alerts) or (f.trigger.momentary and f.signal.at < moments)
        ]

    def supersedes(self, signal: Signal) -> bool:
        """Whether a firing signal is another occurrence of a known one, on another object: the end of the first was not
        reported."""
        known = self._firings.get(signal.key)
        if known is None or not known.signal.target.exists:
            return False
        return known.signal.occurrence != signal.occurrence and known.signal.target.uid != signal.target.uid

    def outdated(self, signal: Signal) -> Reason | None:
        """Why a report is about an occurrence that has ended: a slower Alertmanager sends such. None for a current one.

        Notes the end that the signal reports.
        """
        known = self._firings.get(signal.key)
        if signal.firing and self.ended.spans(signal.key, signal.began, signal.target.namespace):
            return Reason("EndedBefore", f"{signal.name} has ended since it began so")
        if signal.firing or signal.ended is None:
            return None
        if known is not None and known.signal.began is not None and known.signal.began > signal.ended:
            return Reason("BegunSince", f"{signal.name} has begun anew since it ended so")
        if self._rulebook.concerned(signal.source, signal.name, signal.target.namespace, signal.rule):
            for key in {signal.key, signal.trouble or signal.key}:
                self.ended.note(key, signal.ended)
        return None

    def firing(self, signal: Signal) -> Firing:
        """Note a firing signal. When the same occurrence is reported again, it keeps its target: another pod may have the
        name."""
        known = self._firings.get(signal.key)
        if known is not None and known.signal.occurrence == signal.occurrence and _stays(known, signal.target):
            signal = replace(signal, target=known.signal.target)
        if known is None:
            known = self._firings[signal.key] = Firing(signal)
            self._timing.begins(signal)
        else:
            known.signal, known.confirmed = signal, True
            known.live_rules.discard(UNNAMED)  # its source has reported it: the rules are asked
            known.unknown = ""
        known.reported_at = signal.at
        return known

    def next_fade(self) -> float | None:
        """When the next signal no longer counts unless it is repeated; None when none fades."""
        return self._fading[0][0] if self._fading else None

    def fade(self, turn: Turn) -> None:
        """Take out of the sick counts what was not repeated in time."""
        while self._fading and self._fading[0][0] <= turn.now:
            firing = self._firings.get(heapq.heappop(self._fading)[1])
            if firing is not None:
                firing.fades = False
                self._count(firing, turn)

    # what is not known

    def ends(self, rule: str, keys: Container[str]) -> Iterator[Signal]:
        """The ends of the signals of a rule that have other keys than a whole answer."""
        return (replace(f.signal, firing=False) for f in self._of_rule(rule) if f.signal.key not in keys)

    def answered(self, rule: str) -> None:
        """Note that the source of a rule has answered in full."""
        self._silent.pop(rule, None)

    def unanswered(self, rule: str, why: str, keys: Container[str] | None) -> list[Firing]:
        """Note that it is not known whether the signals with these keys (None: all of the rule) still fire.

        Returns those of which it was known before.
        """
        if keys is None:
            self._silent[rule] = why
        firings = [firing for firing in self._of_rule(rule) if keys is None or firing.signal.key in keys]
        known = [firing for firing in firings if not firing.unknown]
        for firing in firings:
            firing.unknown = why
        for firing in known:
            self._timing.stop(firing, self._firings)
        return known

    def silent(self, rule: str) -> str:
        """Why the source of a rule does not answer; "" when it answers, or was not asked yet."""
        return self._silent.get(rule, "")

    def _of_rule(self, rule: str) -> list[Firing]:
        return [firing for firing in self._firings.values() if firing.signal.rule == rule]

    def resolved(self, key: str) -> Firing | None:
        """Note that a signal has ended. Returns what was known of it; None for an unknown one."""
        firing = self._firings.pop(key, None)
        if firing is None:
            return None
        self._unmatched.pop(key, None)
        self._timing.ends(firing.signal)
        for rule in firing.verdicts:
            self._timing.release(rule, firing.signal)
        self._locate(firing, "")
        if firing.sick_place is not None:
            self.sick_counts.remove(firing.sick_place, key)
            firing.sick_place = None
        return firing

    def keep_unmatched(self, firing: Firing) -> Signal | None:
        """Keep a signal that no rule looks for, shortened, for rules that come later. Returns the one that is dropped for it."""
        signal = firing.signal
        if not firing.trigger.pushed:
            return None
        small = sum(len(name) + len(value) for name, value in signal.labels.items()) <= _MOST_LABELS
        firing.signal = replace(signal, message=signal.name, labels=signal.labels if small else {}, annotations={})
        self._unmatched.pop(signal.key, None)
        self._unmatched[signal.key] = None
        if len(self._unmatched) <= MOST_UNMATCHED:
            return None
        oldest = self.resolved(next(iter(self._unmatched)))
        return None if oldest is None else oldest.signal

    def drop(self, firing: Firing, rule: str, incident: str, turn: Turn) -> None:
        """Note that a signal has left an incident, because the rule no longer covers it. The rule is asked again."""
        firing.incidents.pop(incident, None)
        firing.verdicts.pop(rule, None)
        firing.live_rules.discard(rule)
        self._timing.release(rule, firing.signal)
        self._count(firing, turn)

    def resume(self, signal: Signal, rule: str, incident: str, turn: Turn) -> None:
        """Note a signal that was part of an incident before a restart, as the journal says: `rule` had matched it."""
        firing = self.firing(signal)
        firing.confirmed, firing.reported_at = False, turn.now
        firing.incidents[incident] = None
        firing.live_rules.add(rule)
        if rule != UNNAMED:
            firing.verdicts[rule] = ""
        if firing.trigger.answers_whole:
            firing.unknown = "it has not been asked again since healer started"
        workload = workload_of(firing.signal.target, turn.view)
        if workload is not None:
            self._locate(firing, workload.uid)
        self._count(firing, turn)

    def concerns(self, workload: str) -> bool:
        """Whether a signal fires for that workload (by uid)."""
        return workload in self._by_workload

    def of_workload(self, workload: str, pod: str = "") -> list[Firing]:
        """The signals that fire for a workload (uid). With a pod (uid), those whose verdicts a change of that pod may alter.

        These are its own, and those that wait for a count: occurrences are counted over all pods of the workload.
        """
        firings = [self._firings[key] for key in self._by_workload.get(workload, ())]
        if not pod:
            return firings
        return [f for f in firings if f.signal.target.uid == pod or "NotOftenEnough" in f.verdicts.values()]

    def unmatched(self) -> list[Firing]:
        """The firing signals that some concerned rule does not match yet."""
        return [firing for firing in self._firings.values() if any(firing.verdicts.values())]

    def all(self) -> list[Firing]:
        """Every firing signal."""
        return list(self._firings.values())

    def ask(self, firing: Firing, turn: Turn, *, again: bool = False) -> Iterator[Match]:
        """Match a signal with each rule that is concerned.

        `again` leaves out the rules that it has matched, and those whose scopes do not cover its target, which has not changed.
        """
        signal = firing.signal
        workload = workload_of(signal.target, turn.view)
        if workload is not None:
            self._locate(firing, workload.uid)
        self._count(firing, turn)
        firing.look_at(target := turn.view.find(signal.target))
        for rule in self._rulebook.concerned(signal.source, signal.name, signal.target.namespace, signal.rule):
            name = rule.name
            if again and (firing.verdicts.get(name) == "" or firing.still_outside(name)):
                continue
            self._unmatched.pop(signal.key, None)
            match = self._match(rule, firing, turn)
            code = "" if match.reason is None else match.reason.code
            news = firing.verdicts.get(name) != code
            firing.verdicts[name] = code
            lives = match.reason is None or match.pending
            if not lives:
                self._timing.release(name, firing.signal)
                labels = None if target is None or code != "OutOfScope" else target.metadata.labels
                if labels is not None and not rule.scope_covers(signal.target.namespace, labels):
                    firing.outside.add(name)
            if lives is not (name in firing.live_rules):
                (firing.live_rules.add if lives else firing.live_rules.discard)(name)
                self._count(firing, turn)
            yield Match(rule, firing, match.workload, match.reason, match.pending, match.wake_at, news)

    def _match(self, rule: BoundRule, firing: Firing, turn: Turn) -> Match:
        found = fit(rule, firing.signal, self._took_down, turn)
        if found.workload is None or found.reason is not None:
            return Match(rule, firing, found.workload, found.reason)
        if firing.unknown:
            return Match(rule, firing, found.workload, not_known(firing), pending=True)
        revision = _revision(rule, firing.signal.target, found.workload, turn)
        reason, wake_at = self._timing.check(rule, firing.signal, found.workload, turn.now, revision)
        return Match(rule, firing, found.workload, reason, pending=reason is not None, wake_at=wake_at)

    def _count(self, firing: Firing, turn: Turn) -> None:
        """Update the sick counts by a signal: whether it makes its pod count as sick, and where.

        These pods do not count: one that is gone or has finished, one that the controller has replaced (StuckTerminating), one of
        whose rules no step changes anything, and one for which the signal counts for nothing now.
        """
        firing.weight = firing.weigh(turn.now, self._freshness)
        self._let_fade(firing)
        signal, target, sick_place = firing.signal, firing.signal.target, None
        replaced = firing.trigger.read_off_target and not of_living(signal.name)
        changing = [name for name in firing.live_rules if self._may_change(name)] if firing.weight else []
        if changing and target.kind == "Pod" and not replaced and (pod := turn.view.living(target.uid)) is not None:
            acts = turn.view.workload(firing.workload) is not None and any(map(self._may_act, changing))
            seen = firing.confirmed or UNNAMED in firing.live_rules  # a symptom that only a journal has says nothing of the node
            node, unit = pod.spec.node_name if seen else "", turn.view.unit_uid(pod)
            sick_place = SickPlace(firing.workload, unit, node, target.uid, acts, firing.weight is Weight.FULL)
        if sick_place != firing.sick_place:
            if firing.sick_place is not None:
                self.sick_counts.remove(firing.sick_place, firing.signal.key)
            if sick_place is not None:
                self.sick_counts.add(sick_place, firing.signal.key)
            firing.sick_place = sick_place

    def _let_fade(self, firing: Firing) -> None:
        """Schedule the time at which a signal no longer counts unless it is repeated."""
        if firing.trigger.fades and firing.weight and firing.live_rules and not firing.fades and self._freshness < inf:
            firing.fades = True
            heapq.heappush(self._fading, (firing.reported_at + self._freshness, firing.signal.key))

    def _may_change(self, name: str) -> bool:
        """Whether a rule has a step that changes something; True for a rule that is not in force."""
        rule = self._rulebook.get(name)
        return rule is None or self._changes(rule.rule)

    def _may_act(self, name: str) -> bool:
        """Whether a rule may act; True for a rule that is not in force."""
        rule = self._rulebook.get(name)
        return rule is None or rule.rule.mode is not Mode.OBSERVE

    def _locate(self, firing: Firing, workload: str) -> None:
        """Index a firing signal by its workload (uid); "" takes it out of the index."""
        if firing.workload == workload:
            return
        if keys := self._by_workload.get(firing.workload):
            keys.pop(firing.signal.key, None)
            if not keys:
                del self._by_workload[firing.workload]
        firing.workload = workload
        if workload:
            self._by_workload.setdefault(workload, {})[firing.signal.key] = None


def _stays(known: Firing, target: Target) -> bool:
    """Whether the target of the first report stays. A target from the journal stays only when the source reports its name."""
    was = known.signal.target
    return was.exists and (known.confirmed or (was.kind, was.namespace, was.name) == (target.kind, target.namespace, target.name))


def _revision(rule: BoundRule, target: Target, workload: Target, turn: Turn) -> str:
    """Which revision of its workload a signal is about, where the rule counts each one by itself; else ""."""
    count = rule.rule.when.count
    if count is None or not count.same_revision:
        return ""
    if (pod := turn.view.pod(target.uid)) is not None:
        return pod.template
    there = turn.view.workload(workload.uid)
    return "" if there is None or target.uid != workload.uid else there.revision
