"""What of the limits is used up, as the guards count it: a gauge that is open is one that a guard refuses by."""

from healer.engine.safety.gauges import LimitGauge, LimitKind
from healer.model.effects import Verb
from healer.model.incident import State
from tests.support.world import NAMESPACE, Drill, codes, rule
from tests.unit.engine.safety.test_breakers import broken, fire, tripped
from tests.unit.engine.safety.test_guards import drill, heal


def shown(d: Drill) -> dict[LimitKind, LimitGauge]:
    """The gauges by their kind; a kind has only one here."""
    found = d.engine.gauges(d.world.view, d.now)
    assert len({gauge.kind for gauge in found}) == len(found)
    return {gauge.kind: gauge for gauge in found}


def test_where_nothing_was_done_only_the_cluster_has_gauges() -> None:
    found = shown(drill())
    assert set(found) == {LimitKind.CLUSTER_BUDGET, LimitKind.CLUSTER_BREAKER}
    assert (found[LimitKind.CLUSTER_BUDGET].used, found[LimitKind.CLUSTER_BUDGET].most) == (0, 60)


def test_an_action_is_counted_by_each_budget_and_its_cooldown_runs() -> None:
    d = drill(rule(limits={"cooldown": "10m"}))
    d.world.crash("serving-1")
    heal(d)
    d.wait(100)
    found = shown(d)
    budgets = (LimitKind.RULE_BUDGET, LimitKind.WORKLOAD_BUDGET, LimitKind.NAMESPACE_BUDGET, LimitKind.CLUSTER_BUDGET)
    assert [found[kind].used for kind in budgets] == [1, 1, 1, 1]
    assert [found[kind].most for kind in budgets] == [5, 10, 30, 60]
    assert not any(found[kind].open for kind in budgets)
    assert (found[LimitKind.NAMESPACE_BUDGET].namespace, found[LimitKind.RULE_BUDGET].rule) == (NAMESPACE, "test/crash-loop")
    cooldown = found[LimitKind.COOLDOWN]
    assert (cooldown.used, cooldown.most, cooldown.open, cooldown.until) == (100, 600, True, d.now + 500)
    d.wait(500)
    assert LimitKind.COOLDOWN not in shown(d)


def test_a_budget_that_is_spent_is_open_until_its_guard_lets_go() -> None:
    d = drill(rule(limits={"cooldown": "1s", "budget": {"actions": 1, "per": "10m"}}))
    d.world.crash("serving-1")
    heal(d)
    d.wait(10)
    d.world.crash("serving-2")
    assert codes(d.effects, Verb.DEFER) == ["BudgetSpent"]
    gauge = shown(d)[LimitKind.RULE_BUDGET]
    assert (gauge.used, gauge.most, gauge.open) == (1, 1, True)
    (waiting,) = [incident for incident in d.engine.incidents() if incident.state is State.WAITING]
    assert gauge.until is not None
    d.wait(gauge.until - d.now - 1)
    assert d.acted_on == ["serving-1"]
    d.wait(1)
    assert d.acted_on == ["serving-1", "serving-2"]
    assert waiting.rule == gauge.rule


def test_a_breaker_of_a_rule_is_open_until_one_incident_may_act() -> None:
    d = broken(1, limits={"breaker": {"failures": 1, "reset": "10m"}})
    fire(d, "w1")
    assert codes(d.effects, Verb.DEFER) == ["RuleBreaker"]
    (gauge,) = [each for each in d.engine.gauges(d.world.view, d.now) if each.kind is LimitKind.RULE_BREAKER]
    assert (gauge.rule, gauge.used, gauge.most, gauge.open, gauge.until) == ("test/crash-loop", 1, 1, True, d.now + 600)


def test_the_breaker_of_the_cluster_is_open_while_it_stops_all() -> None:
    d = tripped()
    gauge = d.engine.gauges(d.world.view, d.now)[0]
    assert (gauge.kind, gauge.used, gauge.most, gauge.open) == (LimitKind.CLUSTER_BREAKER, 4, 3, True)
    assert gauge.until == d.now + 600
    d.wait(600)
    assert not d.engine.gauges(d.world.view, d.now)[0].open
