"""What of a journal is believed: an incident that was read is input, as an alert is, and anybody may have written it.

One that is odd in itself, or that speaks of what is not its own, is set aside: healer does not act on it, counts nothing of it,
and does not write to it. Of the others, healer takes from the rule what the rule says (mode, severity, channels), not from the
object. Whether their signals still hold is asked again elsewhere (`fit`, `Firing.confirmed`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from healer.engine.safety.wide import BREAKER, ENDED_ALERTS, NAMESPACE_BREAKER, NODE_STORM, SET_ASIDE
from healer.model.duration import LONGEST, about
from healer.model.incident import Incident, Reason, State
from healer.model.target import Target
from healer.model.view import View
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Mode, Severity

SKEW = 300.0
"""Seconds by which the clock of a healer that led before may have been ahead of ours."""
_WIDE = {
    NODE_STORM: "Node",
    BREAKER: "Cluster",
    NAMESPACE_BREAKER: "Namespace",
    SET_ASIDE: "Journal",
    ENDED_ALERTS: "Journal",
}
"""The rules of healer's own, and what their incidents are about."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """The incidents of a journal, in its order: those that are believed, and those that are not, with the reason."""

    believed: tuple[Incident, ...]
    doubted: tuple[tuple[Incident, Reason], ...]


def sift(incidents: Iterable[Incident], rules: Mapping[str, BoundRule], view: View, home: str, now: float) -> Sifted:
    """Tell the incidents that may be healer's own from those that cannot be.

    `home` is the namespace of healer's own incidents; `now` in seconds since the epoch.
    """
    believed: list[Incident] = []
    doubted: list[tuple[Incident, Reason]] = []
    channels = frozenset(_channels(rules.values()))
    for incident in incidents:
        reason = _odd(incident, now) or _elsewhere(incident, view, home)
        if reason is None:
            believed.append(_as_ruled(incident, rules.get(incident.rule), channels, now))
        else:
            doubted.append((incident, reason))
    return Sifted(tuple(believed), tuple(doubted))


def counts_for(incident: Incident, rules: Mapping[str, BoundRule], view: View) -> bool:
    """Whether budgets and breakers count an incident that was read: it is about a workload that is there, by a rule for it."""
    rule, workload = rules.get(incident.rule), incident.workload
    return rule is not None and rule.scope.covers(workload.namespace) and view.workload(workload.uid) is not None


def openings(incidents: Iterable[Incident]) -> Iterator[tuple[float, str, str]]:
    """When incidents opened, for the breakers: one a rule and workload, the latest, of which something was decided.

    That many objects say the same is no sign of an outage. All rules of a namespace's own RuleSets count as one rule, and come
    with that namespace; others with "". The last is the workload's uid.
    """
    latest: dict[tuple[str, str, str], float] = {}
    for incident in incidents:
        if incident.history:
            key = "" if incident.tenant else incident.rule, incident.workload.uid, incident.tenant
            latest[key] = max(incident.opened_at, latest.get(key, 0.0))
    yield from ((at, tenant, uid) for (_, uid, tenant), at in latest.items())


# odd in itself


def _odd(incident: Incident, now: float) -> Reason | None:
    """What healer never writes."""
    if min(incident.step, incident.attempt, incident.failures) < 0 or incident.step >= max(len(incident.steps), 1):
        figures = f"step {incident.step} of {len(incident.steps)}, attempt {incident.attempt}, failures {incident.failures}"
        return Reason("Impossible", f"its ladder has no such step: {figures}")
    if incident.state is State.ACTING and incident.acting_on is None:
        return Reason("Impossible", "it is acting, but on no target")
    if any(uid != sick.target.uid for uid, sick in incident.targets.items()):
        return Reason("Impossible", "a target is listed under another's uid")
    if (latest := max(_past(incident))) > now + SKEW:
        return Reason("FromTheFuture", f"it tells of what happens in {about(latest - now)}: look at the clocks")
    if max(_future(incident), default=now) > now + LONGEST + SKEW:
        return Reason("FromTheFuture", f"it waits for longer than {about(LONGEST)}, which no rule can ask for")
    return None


def _past(incident: Incident) -> Iterator[float]:
    """The times of what has happened."""
    yield from (incident.opened_at, incident.changed_at, *incident.acted_at)
    since = (incident.ended_at, incident.waiting_since, incident.asked_at, incident.stable_since)
    yield from (at for at in since if at is not None)
    yield from (entry.at for entry in incident.history)
    yield from (approved.at for approved in incident.approvals)
    for sick in incident.targets.values():
        yield sick.since
        yield from (symptom.at for symptom in sick.signals.values())
    if incident.disruption is not None:
        yield incident.disruption.at


def _future(incident: Incident) -> list[float]:
    """The times that it waits for."""
    return [at for at in (incident.not_before, incident.deadline, incident.wake_at) if at is not None]


# about what is not its own


def _elsewhere(incident: Incident, view: View, home: str) -> Reason | None:
    """Why it is not about one workload, in one namespace, and what belongs to that. healer's own may name any pods."""
    workload = incident.workload
    if incident.rule in _WIDE or workload.kind in _WIDE.values():
        if (workload.kind, workload.namespace, incident.steps) == (_WIDE.get(incident.rule), home, ()):
            return None
        return Reason("NotHealers", f"incidents about a {workload.kind.lower()} are kept in {home}, without a ladder")
    there = view.workload(workload.uid)
    if there is not None and there.target != workload:
        return Reason("OtherWorkload", f"uid {workload.uid} is that of another {there.kind} than {workload}")
    for target in _spoken_of(incident):
        if target.namespace != workload.namespace:
            return Reason("OtherNamespace", f"{target} is in {target.namespace}, its workload in {workload.namespace}")
        if not target.is_pod and (target.kind, target.name, target.uid) != (workload.kind, workload.name, workload.uid):
            return Reason("OtherWorkload", f"{target} is not {workload}")
        pod = view.pod(target.uid) if target.is_pod else None
        if pod is None or incident.state is State.CLOSED:
            continue
        if (pod.metadata.namespace, pod.metadata.name) != (target.namespace, target.name):
            return Reason("OtherPod", f"uid {target.uid} is that of another pod than {target}")
        owner = view.workload_of(pod)
        if owner is not None and owner.uid != workload.uid:
            return Reason("OtherWorkload", f"{target} belongs to {owner}, not to {workload}")
    return None


def _spoken_of(incident: Incident) -> Iterator[Target]:
    """Every target that healer could act on, or that counts as taken."""
    yield from (sick.target for sick in incident.targets.values())
    if incident.acting_on is not None:
        yield incident.acting_on
    if incident.disruption is not None:
        yield from (incident.disruption.target, incident.disruption.workload)


# as the rule has it


def _as_ruled(incident: Incident, rule: BoundRule | None, channels: frozenset[str], now: float) -> Incident:
    """The incident with the mode, the severity and the channels that its rule has now, and no time ahead of ours.

    Without a rule it is told where it may have been told, and healer acts no further on it.
    """
    paged = None if incident.paged is None else tuple(channel for channel in incident.paged if channel in channels)
    channels_kept = tuple(channel for channel in incident.notify if channel in channels)
    mode, severity, notify = (Mode.OBSERVE, incident.severity, channels_kept)
    if incident.rule in _WIDE:
        severity = {SET_ASIDE: Severity.WARNING, ENDED_ALERTS: Severity.INFO}.get(incident.rule, Severity.CRITICAL)
    elif rule is not None:
        mode, severity, notify = rule.rule.mode, rule.rule.severity, rule.rule.notify
    return replace(
        incident,
        mode=mode,
        severity=severity,
        notify=notify,
        paged=paged,
        opened_at=min(incident.opened_at, now),
        changed_at=min(incident.changed_at, now),
        ended_at=None if incident.ended_at is None else min(incident.ended_at, now),
        acted_at=tuple(min(at, now) for at in incident.acted_at),
    )


def _channels(rules: Iterable[BoundRule]) -> Iterator[str]:
    """Every channel that a rule names."""
    for bound in rules:
        yield from bound.rule.notify
        yield from bound.rule.paged
