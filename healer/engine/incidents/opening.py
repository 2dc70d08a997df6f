"""How an incident begins, and how its sick targets join and leave."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from healer.model.incident import Background, Entry, Incident, Reason, SickTarget, State, Symptom
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.text import free_text, without_figures
from healer.rules.rulebook import BoundRule

MAX_HISTORY = 200
"""Lines kept of an incident's history; beyond, the oldest but the first go (an object in the cluster has a size limit)."""
MAX_ENDED = 1000
"""Ends of alerts kept in an incident; beyond, the oldest go."""
_NAMED = 5
"""Signals that a line names when many come or go at once."""


def opened(
    rule: BoundRule, workload: Target, signal: Signal, now: float, number: int, revision: str = "", healthy: str = ""
) -> Incident:
    """A new incident of a rule on a workload; `number` tells openings at the same moment apart."""
    what = what_of(signal)
    reason = Reason(signal.name, f"{signal.target} is sick: {what}")
    return Incident(
        id=name(rule.name, workload, now, number),
        rule=rule.name,
        workload=workload,
        severity=rule.rule.severity,
        mode=rule.rule.mode,
        notify=rule.rule.notify,
        opened_at=now,
        changed_at=now,
        state=State.OPEN,
        reason=reason,
        targets={signal.target.uid: SickTarget(signal.target, {signal.key: symptom_of(signal)}, now, what)},
        steps=tuple(step.action for step in rule.rule.heal),
        background=background(rule, signal),
        revision=revision,
        ruled=rule.digest,
        healthy=healthy,
        history=(Entry(now, State.OPEN, reason),),
    )


def background(rule: BoundRule, signal: Signal) -> Background:
    """What a rule and the first signal say beside the course of the incident."""
    when = rule.rule.when
    return Background(" ".join((rule.rule.description or "").split()), when.trigger.asks(when.value), signal.links)


def join(incident: Incident, signals: Sequence[Signal], now: float) -> Incident:
    """The incident with further firing signals, or with what they say now, in one line of its history.

    The same object when it had them all already, and what they say.
    """
    targets = dict(incident.targets)
    new = [signal for signal in signals if not has(incident, signal)]
    for signal in new:
        known = targets.get(signal.target.uid)
        if known is None:
            known = SickTarget(signal.target, {}, now, "")
        since = known.since if known.signals else now
        signals_ = {**known.signals, signal.key: symptom_of(signal)}
        targets[signal.target.uid] = replace(known, signals=signals_, since=since, what=what_of(signal))
    if not new:
        return incident
    again = incident.targets.get(new[0].target.uid)
    state = "is still sick" if again is not None and new[0].key in again.signals else "is sick too"
    which = "the new " if again is None and incident.is_newer(new[0].target) else ""
    text = f"{which}{new[0].target} {state}: {what_of(new[0])}"
    if len(new) > 1:
        text = f"{len(new)} further signals fire: {_some([f'{each.target} ({what_of(each)})' for each in new])}"
    return noted(replace(incident, targets=targets), Reason(new[0].name, text), now)


def leave(
    incident: Incident, keys: Collection[str], now: float, why: Reason | None = None, ends: Mapping[str, float] | None = None
) -> Incident:
    """The incident without signals that no longer fire, or that are not its rule's business any more: `why` says so.

    In one line of its history; the same object when it has none of them. `ends` has the times at which alerts ended, by their
    senders' clocks, as far as they are known.
    """
    resolved = [f"{t.target}: {t.what}" for t in incident.targets.values() for key in t.signals if key in keys]
    if not resolved:
        return incident
    targets = {uid: _without(t, keys) for uid, t in incident.targets.items()}
    left = sum(1 for t in targets.values() if t.signals)
    calm = replace(with_ends(incident, ends or {}), targets=targets)
    rest = "no signal is left" if left == 0 else f"{left} sick target{'s' if left > 1 else ''} left"
    if why is not None:
        return noted(calm, Reason(why.code, f"{why.text}: healer leaves it alone; {rest}"), now)
    said = f"{resolved[0]} is resolved" if len(resolved) == 1 else f"{len(resolved)} signals are resolved: {_some(resolved)}"
    return noted(calm, Reason("Resolved", f"{said}; {rest}"), now)


def with_ends(incident: Incident, ends: Mapping[str, float]) -> Incident:
    """The incident with the times at which alerts ended, by their keys; of too many the oldest are forgotten."""
    ended = {key: at for key, at in incident.ended.items() if key not in ends} | dict(ends)
    return replace(incident, ended=dict(list(ended.items())[-MAX_ENDED:]))


def has(incident: Incident, signal: Signal) -> bool:
    """Whether a firing signal is part of the incident; with what it says, where that has changed."""
    known = incident.targets.get(signal.target.uid)
    if known is None or signal.key not in known.signals:
        return False
    return not signal.changed or without_figures(known.what) == without_figures(free_text(what_of(signal)))


def _some(named: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more


def noted(incident: Incident, reason: Reason, now: float, *, step: int | None = None) -> Incident:
    """The incident with one more line of history, in its present state."""
    history = (*incident.history, Entry(now, incident.state, reason, step))
    if len(history) > MAX_HISTORY:
        history = (history[0], *history[-(MAX_HISTORY - 1) :])
    return replace(incident, history=history, changed_at=now)


def symptom_of(signal: Signal) -> Symptom:
    """What is kept of a signal."""
    return Symptom(signal.source, signal.name, signal.occurrence, signal.at)


def _without(sick: SickTarget, keys: Collection[str]) -> SickTarget:
    left = {key: symptom for key, symptom in sick.signals.items() if key not in keys}
    return sick if len(left) == len(sick.signals) else replace(sick, signals=left)


def what_of(signal: Signal) -> str:
    """What a signal says, for people."""
    what = signal.name if not signal.message or signal.message == signal.name else f"{signal.name}: {signal.message}"
    return f"{what}; it said: {signal.last_words}" if signal.last_words else what


def name(rule: str, workload: Target, now: float, number: int) -> str:
    """A DNS label (RFC 1123, at most 63 characters) that is the same for the same opening and differs for others."""
    digest = hashlib.sha256(f"{rule}/{workload.uid}/{now!r}/{number}".encode()).hexdigest()[:8]
    stem = re.sub(r"[^a-z0-9-]+", "-", f"{rule.rpartition('/')[2]}-{workload.name}".lower()).strip("-")[:54].rstrip("-")
    return f"{stem}-{digest}"
