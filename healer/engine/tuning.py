"""The engine's own knobs, apart from what each rule says."""

import math
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Tuning:
    """Durations in seconds."""

    max_wait: float = 1800.0
    """How long guards may defer one step before it is given up for the next."""
    retry: float = 15.0
    """When to ask again after a deferral that named no time (a PDB's 429 carries no Retry-After)."""
    attempts: int = 3
    """How often one action on one target may fail before the step is given up."""
    recheck: float = 15.0
    """How often a rule whose condition does not hold yet is evaluated again while its signal fires."""
    alert_expiry: float = 43_200.0
    """An alert that was not repeated for so long no longer counts as firing (Alertmanager repeats each 4 h by default)."""
    alert_freshness: float = math.inf
    """Nothing is done about an alert that was last reported so long ago: it may have ended without a word."""

    healthy_after: float = 600.0
    """A revision that was at its desired ready count for so long counts as healthy: a rollback may go back to it."""
    home: str = "default"
    """The namespace in which incidents of no namespace are kept: those of a node, and of the cluster."""
    node_storm_pods: int = 5
    """So many sick pods on one node, and half of those on it, are one incident of the node."""
    budget_per: float = 3600.0
    """The window in which the three budgets below are counted; it slides."""
    budget_workload: int = 10
    """Actions on one workload, of all rules together."""
    budget_namespace: int = 30
    """Actions in one namespace."""
    budget_cluster: int = 60
    """Actions in the whole cluster."""
    breaker_incidents: int = 20
    """More incidents than that opened within `breaker_window` stop all actions."""
    breaker_window: float = 300.0
    breaker_quiet: float = 600.0
    """Actions go on by themselves when no further incident has opened for so long."""

    def scaled(self, factor: float) -> "Tuning":
        """The same with every duration multiplied."""
        return replace(self, **{name: getattr(self, name) * factor for name in _DURATIONS})


_DURATIONS = tuple(field.name for field in fields(Tuning) if field.type is float)
