"""What the engine is set to, apart from what each rule says."""

from dataclasses import dataclass

from pydantic import Field

from healer.section import Seconds, Section


class EngineSettings(Section):
    """The decisions, apart from what rules say."""

    max_wait: Seconds = Field(1800.0, gt=0)
    """Seconds for which guards may put off a step before it is given up. The next one follows if this one was tried, else people
    are told."""
    retry: Seconds = Field(15.0, gt=0)
    """Seconds until a refusal that names no time (a PodDisruptionBudget's 429) is tried again."""
    attempts: int = Field(3, ge=1)
    """How often an action may fail before its step is given up."""
    recheck: Seconds = Field(15.0, gt=0)
    """Seconds between two looks at a firing signal whose rule does not match yet."""
    actions_at_once: int = Field(8, ge=1)
    """Actions under way at the same time, on different workloads."""
    action_timeout: Seconds = Field(60.0, gt=0)
    """Seconds for one attempt, its fresh look included."""
    healthy_after: Seconds = Field(600.0, ge=0)
    """Seconds at its desired ready count after which a revision counts as healthy: a rollback may go back to it."""


class LimitSettings(Section):
    """What bounds healer as a whole, beside the limits of each rule. Rebuilt from the journal after a restart."""

    budget_workload: int = Field(10, ge=1)
    """Actions on one workload, of all rules together, within budget_per."""
    budget_namespace: int = Field(30, ge=1)
    """Actions in one namespace."""
    budget_cluster: int = Field(60, ge=1)
    """Actions in the whole cluster."""
    budget_per: Seconds = Field(3600.0, gt=0)
    """Seconds; the window in which these are counted slides."""
    node_storm_pods: int = Field(5, ge=2)
    """So many sick pods on one node, and half of those on it, are one incident of the node; no pod of it is taken."""
    breaker_incidents: int = Field(20, ge=1)
    """More incidents than that opened within breaker_window stop all actions. More than half of it, by the RuleSets of one
    namespace, stop these RuleSets."""
    breaker_window: Seconds = Field(300.0, gt=0)
    """Seconds."""
    breaker_quiet: Seconds = Field(600.0, gt=0)
    """Seconds without a further incident after which actions go on by themselves."""
    cordon: bool = False
    """Whether healer may cordon nodes. Without it, a rule with the action `cordon` is an error."""
    cordon_nodes: int = Field(1, ge=1)
    """Nodes that healer may have cordoned at the same time."""
    cordon_share: int = Field(25, ge=1, le=100)
    """Percent of all nodes that may be cordoned, by whomever, when healer cordons one more."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """The sections that the engine takes, and what else it must know. Durations in seconds."""

    engine: EngineSettings
    limits: LimitSettings
    alert_expiry: float
    """An alert that was not repeated for so long no longer counts as firing."""
    alert_freshness: float
    """Nothing is done about an alert that was last reported so long ago: it may have ended without a word."""
    home: str
    """The namespace in which incidents of no namespace are kept: those of a node, and of the cluster."""
    event_fade: float = 300.0
    """An Event counts as going on for so long after it last happened."""
