"""How much of the limits is used up: what budgets, cooldowns and breakers count, for people. Nothing is decided here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from healer.engine.safety.guards.question import GuardState
from healer.model.target import Target
from healer.model.view import View
from healer.rules.rulebook import BoundRule

MOST_GAUGES = 1000
"""The most gauges of one kind that are shown: a cluster has more workloads than people look at."""


class LimitKind(StrEnum):
    """What a gauge is about."""

    RULE_BUDGET = "rule budget"
    WORKLOAD_BUDGET = "workload budget"
    NAMESPACE_BUDGET = "namespace budget"
    CLUSTER_BUDGET = "cluster budget"
    COOLDOWN = "cooldown"
    RULE_BREAKER = "rule breaker"
    NAMESPACE_BREAKER = "namespace breaker"
    CLUSTER_BREAKER = "cluster breaker"


@dataclass(frozen=True, slots=True)
class LimitGauge:
    """One limit. `used` of `most`: actions for a budget, failures or incidents for a breaker, seconds for a cooldown.

    `until`: when it allows more, in seconds since the epoch; None when it allows more now. `open`: it stops actions now.
    `workload` is None for a limit that is about no single one; `rule` and `namespace` are "" then.
    """

    kind: LimitKind
    used: float
    most: float
    open: bool
    rule: str = ""
    namespace: str = ""
    workload: Target | None = None
    until: float | None = None


def gauges(state: GuardState, rules: Mapping[str, BoundRule], view: View, now: float) -> Iterator[LimitGauge]:
    """The limits that have been used lately, and those of the whole cluster always. `now` in seconds since the epoch."""
    yield from _of_cluster(state, now)
    yield from _of_namespaces(state, now)
    yield from _of_workloads(state, view, now)
    yield from _of_rules(state, rules, view, now)
    yield from _of_breakers(state, rules, now)


def _of_breakers(state: GuardState, rules: Mapping[str, BoundRule], now: float) -> Iterator[LimitGauge]:
    for name, row in state.rule_breakers.rows():
        if (bound := rules.get(name)) is not None:
            breaker = bound.rule.limits.breaker
            full, reset = row.failures >= breaker.failures, row.last + breaker.reset
            stops = full and now < reset
            yield LimitGauge(LimitKind.RULE_BREAKER, row.failures, breaker.failures, stops, name, until=reset if stops else None)


def _of_cluster(state: GuardState, now: float) -> Iterator[LimitGauge]:
    limits, breaker = state.tuning.limits, state.cluster_breaker
    openings = breaker.openings_since(now - limits.breaker_window)
    stops = breaker.incident is not None
    yield LimitGauge(LimitKind.CLUSTER_BREAKER, openings, limits.breaker_incidents, stops, until=breaker.resumes_at)
    spent = state.ledger.anywhere(now - limits.budget_per, limits.budget_namespace)
    yield _budget(LimitKind.CLUSTER_BUDGET, spent, limits.budget_cluster, limits.budget_per)


def _of_namespaces(state: GuardState, now: float) -> Iterator[LimitGauge]:
    limits = state.tuning.limits
    breakers = sorted(state.tenant_breakers.rows(now), key=lambda row: row[1])[-MOST_GAUGES:]
    for namespace, used, until in breakers:
        most, stops = state.tenant_breakers.most, until is not None
        yield LimitGauge(LimitKind.NAMESPACE_BREAKER, used, most, stops, namespace=namespace, until=until)
    for namespace, spent in state.ledger.namespaces(now - limits.budget_per, MOST_GAUGES):
        yield _budget(LimitKind.NAMESPACE_BUDGET, spent, limits.budget_namespace, limits.budget_per, namespace=namespace)


def _of_workloads(state: GuardState, view: View, now: float) -> Iterator[LimitGauge]:
    limits = state.tuning.limits
    for uid, spent in state.ledger.workloads(now - limits.budget_per, MOST_GAUGES):
        if (workload := view.workload(uid)) is not None:
            on = workload.target
            most, per = limits.budget_workload, limits.budget_per
            yield _budget(LimitKind.WORKLOAD_BUDGET, spent, most, per, namespace=on.namespace, workload=on)


def _of_rules(state: GuardState, rules: Mapping[str, BoundRule], view: View, now: float) -> Iterator[LimitGauge]:
    for rule, uid, revision in state.ledger.attempted(MOST_GAUGES):
        bound, workload = rules.get(rule), view.workload(uid)
        if bound is None or workload is None or workload.revision != revision:
            continue  # what was done at an earlier revision counts no more
        limits, target, key = bound.rule.limits, workload.target, (rule, uid, revision)
        budget = limits.budget
        if spent := state.ledger.actions_since(key, now - budget.per):
            yield _budget(LimitKind.RULE_BUDGET, spent, budget.actions, budget.per, rule, target.namespace, target)
        ended = state.ledger.last_end(key)
        if ended is not None and now < (until := ended + limits.cooldown):
            yield LimitGauge(LimitKind.COOLDOWN, now - ended, limits.cooldown, True, rule, target.namespace, target, until)


def _budget(
    kind: LimitKind,
    spent: list[float],
    most: int,
    per: float,
    rule: str = "",
    namespace: str = "",
    workload: Target | None = None,
) -> LimitGauge:
    full = len(spent) >= most
    return LimitGauge(kind, len(spent), most, full, rule, namespace, workload, spent[-most] + per if full else None)
