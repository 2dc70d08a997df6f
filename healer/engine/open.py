"""How an incident begins, and how its sick targets join and leave."""

import hashlib
import re
from dataclasses import replace

from healer.engine.rulebook import BoundRule
from healer.model.incident import Entry, Incident, Reason, SickTarget, State, Symptom
from healer.model.signal import Signal
from healer.model.target import Target

MAX_HISTORY = 200
"""Lines kept of an incident's history; beyond, the oldest but the first go (an object in the cluster has a size limit)."""


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
        revision=revision,
        healthy=healthy,
        history=(Entry(now, State.OPEN, reason),),
    )


def join(incident: Incident, signal: Signal, now: float) -> Incident:
    """The incident with one more firing signal; the same object when it had that one already."""
    uid = signal.target.uid
    known = incident.targets.get(uid)
    if known is not None and signal.key in known.signals:
        return incident
    if known is None:
        sick = SickTarget(signal.target, {signal.key: symptom_of(signal)}, now, what_of(signal))
    else:
        since = known.since if known.signals else now
        sick = replace(known, signals={**known.signals, signal.key: symptom_of(signal)}, since=since, what=what_of(signal))
    reason = Reason(signal.name, f"{signal.target} is sick too: {what_of(signal)}")
    return noted(replace(incident, targets={**incident.targets, uid: sick}), reason, now)


def leave(incident: Incident, key: str, now: float, why: Reason | None = None) -> Incident:
    """The incident without a signal that no longer fires, or that is not its rule's business any more: `why` says so."""
    gone = next(t for t in incident.targets.values() if key in t.signals)
    targets = {uid: _without(t, key) if key in t.signals else t for uid, t in incident.targets.items()}
    left = sum(1 for t in targets.values() if t.signals)
    rest = "no signal is left" if left == 0 else f"{left} sick target{'s' if left > 1 else ''} left"
    if why is None:
        reason = Reason("Resolved", f"{gone.target}: {gone.what} is over; {rest}")
    else:
        reason = Reason(why.code, f"{why.text}: healer leaves it alone; {rest}")
    return noted(replace(incident, targets=targets), reason, now)


def noted(incident: Incident, reason: Reason, now: float, *, step: int | None = None) -> Incident:
    """The incident with one more line of history, in its present state."""
    history = (*incident.history, Entry(now, incident.state, reason, step))
    if len(history) > MAX_HISTORY:
        history = (history[0], *history[-(MAX_HISTORY - 1) :])
    return replace(incident, history=history, changed_at=now)


def symptom_of(signal: Signal) -> Symptom:
    """What is kept of a signal."""
    return Symptom(signal.source, signal.name, signal.occurrence, signal.at)


def _without(sick: SickTarget, key: str) -> SickTarget:
    return replace(sick, signals={other: symptom for other, symptom in sick.signals.items() if other != key})


def what_of(signal: Signal) -> str:
    """What a signal says, for people."""
    return signal.name if not signal.message or signal.message == signal.name else f"{signal.name}: {signal.message}"


def name(rule: str, workload: Target, now: float, number: int) -> str:
    """A DNS label (RFC 1123, at most 63 characters) that is the same for the same opening and differs for others."""
    digest = hashlib.sha256(f"{rule}/{workload.uid}/{now!r}/{number}".encode()).hexdigest()[:8]
    stem = re.sub(r"[^a-z0-9-]+", "-", f"{rule.rpartition('/')[2]}-{workload.name}".lower()).strip("-")[:54].rstrip("-")
    return f"{stem}-{digest}"
