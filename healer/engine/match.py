"""Which rules the firing signals match: in scope, condition met, held long enough, seen often enough."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from healer.engine.condition import ConditionFailed, facts
from healer.engine.rulebook import BoundRule, Rulebook
from healer.model.incident import Reason
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View


@dataclass(slots=True)
class Firing:
    """A signal that fires. `signal` is the newest report of it; its target stays the one of the first report."""

    signal: Signal
    verdicts: dict[str, str] = field(default_factory=dict)
    """The last reason code for each rule that was asked, so that only changes are decisions."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule makes of a signal: matched when `reason` is None; else `wake_at` is when time alone may change that.

    `news` says that the verdict differs from the last one for this rule and signal.
    """

    rule: BoundRule
    firing: Firing
    workload: Target | None
    reason: Reason | None = None
    pending: bool = False
    wake_at: float | None = None
    news: bool = True


class Matcher:
    """The signals that fire now, and what each rule has seen of them. Times in seconds since the epoch."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook
        self._firings: dict[str, Firing] = {}
        self._by_workload: dict[str, set[str]] = {}
        self._held: dict[tuple[str, str], tuple[float, set[str]]] = {}  # (rule, target's uid) -> since, keys
        self._seen: dict[tuple[str, str], deque[tuple[float, str]]] = {}  # (rule, workload's uid) -> occurrences

    @property
    def rulebook(self) -> Rulebook:
        """The rules in force."""
        return self._rulebook

    def use(self, rulebook: Rulebook) -> None:
        """Take other rules; what fires is kept and must be asked about again."""
        self._rulebook = rulebook
        self._held.clear()
        for firing in self._firings.values():
            firing.verdicts.clear()

    def get(self, key: str) -> Firing | None:
        """The firing signal of that key."""
        return self._firings.get(key)

    def waits(self) -> bool:
        """Whether time alone may change a verdict: some rule has not matched yet, or an alert may expire."""
        return any(f.signal.source == "alert" or any(f.verdicts.values()) for f in self._firings.values())

    def expired(self, before: float) -> list[Firing]:
        """The alerts that were last reported before that time."""
        return [f for f in self._firings.values() if f.signal.source == "alert" and f.signal.at < before]

    def firing(self, signal: Signal, view: View) -> Firing:
        """Note a firing signal. The same occurrence reported again keeps its target: names recur, a sick pod does not."""
        known = self._firings.get(signal.key)
        if known is not None and known.signal.occurrence == signal.occurrence and known.signal.target.exists:
            signal = replace(signal, target=known.signal.target)
        if known is None:
            known = self._firings[signal.key] = Firing(signal)
        else:
            known.signal = signal
        workload = workload_of(signal.target, view)
        if workload is not None:
            self._by_workload.setdefault(workload.uid, set()).add(signal.key)
        return known

    def resolved(self, key: str) -> Firing | None:
        """Note that a signal is gone; returns what was known of it."""
        firing = self._firings.pop(key, None)
        if firing is None:
            return None
        for rule in firing.verdicts:
            self._release(rule, firing)
        for uid in [uid for uid, keys in self._by_workload.items() if key in keys]:
            self._by_workload[uid].discard(key)
            if not self._by_workload[uid]:
                del self._by_workload[uid]
        return firing

    def concerns(self, workload: str) -> bool:
        """Whether a signal fires for that workload (by uid)."""
        return workload in self._by_workload

    def of_workload(self, workload: str) -> list[Firing]:
        """The signals that fire for a workload."""
        return [self._firings[key] for key in self._by_workload.get(workload, ())]

    def unmatched(self) -> list[Firing]:
        """The firing signals that some rule asked about has not matched yet."""
        return [firing for firing in self._firings.values() if any(firing.verdicts.values())]

    def all(self) -> list[Firing]:
        """Every firing signal."""
        return list(self._firings.values())

    def ask(self, firing: Firing, view: View, now: float, *, again: bool = False) -> Iterator[Match]:
        """What each rule that is concerned makes of the signal now; `again` leaves out the rules that it has matched."""
        signal = firing.signal
        for rule in self._rulebook.concerned(signal.source, signal.name, signal.target.namespace):
            if again and firing.verdicts.get(rule.name) == "":
                continue
            match = self._judge(rule, firing, view, now)
            code = "" if match.reason is None else match.reason.code
            news = firing.verdicts.get(rule.name) != code
            firing.verdicts[rule.name] = code
            if match.reason is not None and not match.pending:
                self._release(rule.name, firing)
            yield Match(rule, firing, match.workload, match.reason, match.pending, match.wake_at, news)

    def _judge(self, rule: BoundRule, firing: Firing, view: View, now: float) -> Match:
        signal, when = firing.signal, rule.rule.when
        labels = _labels(signal.target, view)
        if labels is None:
            return Match(rule, firing, None, Reason("TargetGone", f"{signal.target} is not in the cluster: nothing to heal"))
        if not rule.scope_covers(signal.target.namespace, labels):
            return Match(rule, firing, None, Reason("OutOfScope", f"{signal.target} is outside the rule's scope"))
        workload = workload_of(signal.target, view)
        if workload is None:
            return Match(rule, firing, None, Reason("NoWorkload", f"no known controller owns {signal.target}"))
        for label, value in when.labels.items():
            if signal.labels.get(label) != value:
                return Match(rule, firing, workload, Reason("LabelsDiffer", f"the alert's label {label} is not {value!r}"))
        if rule.condition is not None:
            try:
                if not rule.condition.holds(facts(signal, view, now)):
                    return Match(rule, firing, workload, Reason("ConditionUnmet", f"not so: {when.condition}"))
            except ConditionFailed as error:
                return Match(rule, firing, workload, Reason("ConditionFailed", f"{when.condition}: {error}"))
        return self._long_and_often_enough(rule, firing, workload, now)

    def _long_and_often_enough(self, rule: BoundRule, firing: Firing, workload: Target, now: float) -> Match:
        signal, when = firing.signal, rule.rule.when
        since, keys = self._held.setdefault((rule.name, signal.target.uid), (now, set()))
        keys.add(signal.key)
        if when.count is not None:
            seen = self._seen.setdefault((rule.name, workload.uid), deque(maxlen=max(when.count.at_least * 4, 64)))
            if all(occurrence != signal.occurrence for _, occurrence in seen):
                seen.append((signal.at, signal.occurrence))
            recent = sum(1 for at, _ in seen if at > now - when.count.within)
            if recent < when.count.at_least:
                text = f"seen {recent} of {when.count.at_least} times within {when.count.within:.0f} s"
                return Match(rule, firing, workload, Reason("NotOftenEnough", text), pending=True)
        if now < since + when.held_for:
            text = f"held for {now - since:.0f} of {when.held_for:.0f} s"
            return Match(rule, firing, workload, Reason("NotLongEnough", text), pending=True, wake_at=since + when.held_for)
        return Match(rule, firing, workload)

    def _release(self, rule: str, firing: Firing) -> None:
        held = self._held.get((rule, firing.signal.target.uid))
        if held is not None:
            held[1].discard(firing.signal.key)
            if not held[1]:
                del self._held[rule, firing.signal.target.uid]


def workload_of(target: Target, view: View) -> Target | None:
    """The workload that a target belongs to; a Deployment is its own."""
    if target.kind == "Deployment":
        return target if target.exists else None
    pod = view.pod(target.uid)
    return None if pod is None else view.workload_of(pod)


def _labels(target: Target, view: View) -> dict[str, str] | None:
    """The labels of a target; None when the cluster does not hold it."""
    obj = view.deployment(target.uid) if target.kind == "Deployment" else view.pod(target.uid)
    return None if obj is None else obj.metadata.labels
