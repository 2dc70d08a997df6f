"""All checks of rules against the present cluster, in the order in which people mend what they find."""

from collections.abc import Sequence
from dataclasses import dataclass

from healer.cluster.api import Api
from healer.engine.matching.coverage import Coverage
from healer.operate.cluster_check.alerts import undefined_alerts
from healer.operate.cluster_check.budgets import refusing_budgets
from healer.operate.cluster_check.finding import ClusterFinding, merged
from healer.operate.cluster_check.metrics import missing_metrics
from healer.operate.cluster_check.named_objects import absent_objects
from healer.operate.cluster_check.permissions import missing_permissions
from healer.operate.cluster_check.scopes import coverage, namespaces_of, seen
from healer.operate.cluster_check.workloads import untreatable
from healer.rules.rulebook import BoundRule
from healer.sources.prometheus.client import Prometheus


@dataclass(frozen=True, slots=True)
class ClusterChecked:
    """What each rule covers, and what would keep rules from working."""

    coverage: list[Coverage]
    notes: list[str]
    """What could not be listed."""
    findings: list[ClusterFinding]


@dataclass(frozen=True, slots=True)
class Against:
    """What rules are checked against, besides the cluster."""

    account: str
    """The service account of healer, "namespace/name"."""
    confined: Sequence[str]
    """The namespaces that healer is confined to; empty for the whole cluster."""
    prometheus: Prometheus | None
    now: float
    """Seconds since the epoch."""


async def check_cluster(api: Api, rules: list[BoundRule], against: Against) -> ClusterChecked:
    """Run the checks. Nothing is changed. Raises ClusterError when the cluster does not answer at all."""
    view, notes = await seen(api, rules)
    findings = [
        *await refusing_budgets(api, view, rules, namespaces_of(rules)),
        *await untreatable(api, view, rules, against.now),
        *await absent_objects(api, rules),
        *await missing_permissions(api, rules, against.account, against.confined),
        *await undefined_alerts(api, against.prometheus, rules),
        *await missing_metrics(against.prometheus, rules, against.now),
    ]
    return ClusterChecked(coverage(view, rules, against.confined), notes, merged(findings))
