"""What the rules of a tenant may do to all others: one sick pod of theirs opens no breaker, however many rules look at it."""

from dataclasses import replace

import pytest

from healer.engine.safety.wide import BREAKER
from healer.rules.rulebook import Rulebook
from tests.support.world import Drill, World, rule, rulebook, tuned

RULES = 6


def drill(ruleset: str) -> Drill:
    """More rules than incidents that the breaker lets open, all about one condition."""
    rules = rulebook(*(rule(f"crash-{number}", mode="approve") for number in range(RULES))).rules
    bound = Rulebook(replace(each, ruleset=ruleset) for each in rules)
    return Drill(bound, World(3), tuned(breaker_incidents=RULES - 1))


@pytest.mark.parametrize(("ruleset", "opens"), [("pay/mine", False), ("ops", True)])
def test_many_rules_of_a_tenant_for_one_workload_count_once(ruleset: str, opens: bool) -> None:
    d = drill(ruleset)
    d.world.crash("serving-1")
    d.wait(60)
    assert sum(incident.rule.startswith(ruleset) for incident in d.incidents.values()) == RULES
    assert any(incident.rule == BREAKER for incident in d.incidents.values()) is opens
