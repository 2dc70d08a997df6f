"""All guards, in the order in which they are asked: a new one is a new file and one line here."""

from healer.engine.safety.guards.limits import cooled_down, within_budget, within_caps
from healer.engine.safety.guards.nodes import no_node_remediation, placed_elsewhere
from healer.engine.safety.guards.one_ladder import one_ladder
from healer.engine.safety.guards.question import Guards
from healer.engine.safety.guards.replicas import InNumbers, above_floor, no_rollout, one_disruption, workload_exists
from healer.engine.safety.guards.stops import (
    approved,
    cluster_breaker,
    known_verdict,
    no_node_storm,
    no_storm,
    not_paused,
    rule_breaker,
    tenant_breaker,
)
from healer.engine.safety.guards.target import can_act_on, covered, not_denied

GUARDS = Guards(
    acting=(
        can_act_on,
        known_verdict,
        not_paused,
        covered,
        no_storm,
        no_node_storm,
        no_node_remediation,
        placed_elsewhere,
        not_denied,
        cluster_breaker,
        tenant_breaker,
        rule_breaker,
        approved,
        one_ladder,
        workload_exists,
        InNumbers(no_rollout),
        InNumbers(one_disruption),
        cooled_down,
        within_budget,
        within_caps,
        InNumbers(above_floor),
    ),
    telling=(can_act_on, covered, known_verdict, not_paused),
)
