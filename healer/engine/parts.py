"""What the engine is made of: the state that it keeps, each kind in one object, put together once."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from healer.engine.incidents.cases import Case, Cases
from healer.engine.incidents.facts import ever_changes
from healer.engine.incidents.neighbours import Neighbours
from healer.engine.incidents.progress import Progress
from healer.engine.incidents.validity import Validity
from healer.engine.matching.firing import Firing, Weight
from healer.engine.matching.matcher import Matcher
from healer.engine.safety.cluster_breaker import ClusterBreaker, counts
from healer.engine.safety.guards.question import Guards, GuardState
from healer.engine.safety.healthy import Healthy
from healer.engine.safety.ledger import Ledger
from healer.engine.safety.node_storms import NodeStorms
from healer.engine.safety.rule_breakers import RuleBreakers
from healer.engine.safety.tenant_breakers import TenantBreakers
from healer.engine.tuning import Tuning
from healer.engine.turn import Turn
from healer.model.action import ActionSpec
from healer.model.incident import Incident
from healer.model.view import View
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Rule


@dataclass(frozen=True, slots=True)
class Parts:
    """The signals that fire (`matcher`), the incidents that are open (`cases`), and what was done lately (`guard_state`)."""

    tuning: Tuning
    actions: Mapping[str, ActionSpec]
    number: Callable[[], int]
    """The next number of an incident: it tells those apart that open at the same moment."""
    guard_state: GuardState
    matcher: Matcher
    cases: Cases
    validity: Validity
    neighbours: Neighbours
    progress: Progress
    healthy: Healthy

    def changes(self, rule: Rule) -> bool:
        """Whether any step of a rule changes anything in the cluster."""
        return ever_changes(rule, self.actions)

    def counts(self, incident: Incident, view: View) -> bool:
        """Whether its opening counts for the breaker of the cluster: that of a rule that only tells people does not."""
        rule = self.matcher.rulebook.get(incident.rule)
        return counts(incident, view) and (rule is None or self.changes(rule.rule))

    def count_opening(self, case: Case, firing: Firing, turn: Turn) -> None:
        """Have the breaker of the cluster count a case once, as soon as healer may act on what fires for it."""
        if not case.counted and firing.weight is Weight.FULL and self.counts(case.incident, turn.view):
            others = self.cases.on(case.incident.workload.uid)
            again = case.incident.of_tenant and any(other.counted and other.incident.of_tenant for other in others)
            self.cases.count_opening(case)
            if not again:  # a tenant may have many rules for one workload, and opens no breaker by them
                self._count_for_breakers(case.incident, turn)

    def _count_for_breakers(self, incident: Incident, turn: Turn) -> None:
        state = self.guard_state
        if not incident.tenant or state.tenant_breakers.count_opening(incident, turn):
            state.cluster_breaker.count_opening(turn, incident.tenant)


def assemble(rulebook: Rulebook, actions: Mapping[str, ActionSpec], tuning: Tuning, guards: Guards) -> Parts:
    """New ones, that know of nothing yet."""
    number = itertools.count(1).__next__
    ledger = Ledger()
    tenants = TenantBreakers(tuning, number)
    state = GuardState(tuning, ledger, NodeStorms(), RuleBreakers(), ClusterBreaker(tuning, number), tenants)
    matcher = Matcher(rulebook, ledger.took_down, lambda rule: ever_changes(rule, actions), tuning.alert_freshness)
    cases = Cases()
    validity = Validity(matcher, ledger.took_down, tuning.alert_freshness)
    neighbours = Neighbours(cases, validity, matcher.sick_counts, actions)
    progress = Progress(cases, validity, neighbours, actions, guards, state)
    healthy = Healthy(tuning.engine.healthy_after)
    return Parts(tuning, actions, number, state, matcher, cases, validity, neighbours, progress, healthy)
