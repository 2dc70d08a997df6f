"""Which metrics of the rules' expressions Prometheus does not have."""

import difflib

from healer.operate.cluster_check.finding import ClusterFinding
from healer.rules.promql_metrics import metrics
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import CANARY, QUERY
from healer.sources.prometheus.client import Prometheus, QueryFailed

_TOPIC = "metric"
_BACK = 86_400.0
"""How far back, in seconds, a metric is looked for: one that counts failures has no series before the first."""
_MOST_NEAR = 5000
"""Names among which a misspelt one is looked for."""


async def missing_metrics(prometheus: Prometheus | None, rules: list[BoundRule], now: float) -> list[ClusterFinding]:
    """The metrics that the expressions of the rules read and of which Prometheus had no series within a day."""
    asking = [(bound, expressions) for bound in rules if (expressions := _expressions(bound))]
    if not asking:
        return []
    if prometheus is None:
        text = "no Prometheus is named, so that it is not known whether it has what the rules ask: --prometheus URL"
        return [ClusterFinding(_TOPIC, text, tuple(bound.name for bound, _ in asking), unknown=True)]
    found: list[ClusterFinding] = []
    needed: dict[str, list[str]] = {}
    for bound, expressions in asking:
        for text in expressions:
            names = metrics(text)
            if names is None:
                found.append(
                    ClusterFinding(_TOPIC, "has an expression that only its server can read", (bound.name,), unknown=True)
                )
            for name in sorted(names or ()):
                needed.setdefault(name, []).append(bound.name)
    try:
        known = await prometheus.metric_names(now - _BACK, now)
    except QueryFailed as error:
        return [*found, ClusterFinding(_TOPIC, f"which metrics Prometheus has is not known: {error}", unknown=True)]
    for name in sorted(needed.keys() - known):
        near = difflib.get_close_matches(name, sorted(known)[:_MOST_NEAR], n=1, cutoff=0.7)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        text = f"Prometheus has had no series of {name!r} for a day{hint}"
        found.append(ClusterFinding(_TOPIC, text, tuple(dict.fromkeys(needed[name]))))
    return found


def _expressions(bound: BoundRule) -> list[str]:
    """The expressions of a rule: that of a query, or those of the measures of a canary."""
    if (query := bound.rule.when.get(QUERY)) is not None:
        return [query.expr]
    canary = bound.rule.when.get(CANARY)
    return [] if canary is None else [text for measure in canary.measures for _, text in measure.promql()]
