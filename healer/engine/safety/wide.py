"""Incidents of more than one workload, by rules of healer's own: what they have in common.

They have no ladder. A human is told once, and healer closes them when what they are about has passed.
"""

from dataclasses import replace

from healer.engine.incidents.opening import name, noted
from healer.engine.turn import Turn
from healer.model.effects import Verb
from healer.model.incident import Entry, Incident, Reason, State
from healer.model.target import Target
from healer.rules.schema import Mode, Severity

NODE_STORM = "healer/node-storm"
BREAKER = "healer/breaker"
NAMESPACE_BREAKER = "healer/namespace-breaker"
SET_ASIDE = "healer/set-aside"
ENDED_ALERTS = "healer/ended-alerts"
"""The names that stand for a rule in these incidents."""
BREAKERS = (BREAKER, NAMESPACE_BREAKER)
NAMED = 10
"""Workloads, or incidents, that a text names."""


def wide_incident(rule: str, target: Target, notify: tuple[str, ...], now: float, number: int) -> Incident:
    """A new one, without a word of what it is about; `number` tells openings at the same moment apart."""
    return Incident(
        id=name(rule, target, now, number),
        rule=rule,
        workload=target,
        severity=Severity.CRITICAL,
        mode=Mode.OBSERVE,
        notify=notify,
        opened_at=now,
        changed_at=now,
        state=State.ESCALATED,
        reason=Reason("", ""),
        targets={},
        steps=(),
    )


def telling(incident: Incident, reason: Reason, now: float) -> Incident:
    """The new incident, with what it tells a human."""
    return replace(incident, reason=reason, history=(Entry(now, State.ESCALATED, reason),))


def closed(incident: Incident, reason: Reason, now: float) -> Incident:
    """The incident, closed."""
    return noted(replace(incident, state=State.CLOSED, reason=reason, ended_at=now), reason, now)


def is_breaker(incident: Incident) -> bool:
    """Whether the incident is an open breaker, of the cluster or a namespace: it stops actions until somebody approves or it is
    quiet."""
    return incident.rule in BREAKERS and incident.state is not State.CLOSED


def open_wide(incident: Incident, turn: Turn) -> None:
    """Say that it opens."""
    turn.decide(Verb.OPEN, incident.reason, incident.workload, incident.rule, incident.id)
    turn.record(incident)


def close_wide(incident: Incident, reason: Reason, turn: Turn) -> None:
    """Close it, and say so."""
    turn.decide(Verb.CLOSE, reason, incident.workload, incident.rule, incident.id)
    turn.record(closed(incident, reason, turn.now))
