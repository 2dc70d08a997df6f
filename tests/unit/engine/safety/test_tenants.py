"""What the rules of a tenant may do to all others: whatever is sick in one namespace, they open no breaker but their own."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from healer.engine.safety.gauges import LimitKind
from healer.engine.safety.wide import BREAKER
from healer.model.incident import Incident, State
from healer.model.target import Target
from healer.rules.rulebook import Rulebook
from tests.support.world import NAMESPACE, Drill, World, rule, rulebook, tuned
from tests.unit.engine.incidents.test_restart import restarted

RULES = 6
MOST = 8
"""What opens the breaker of the cluster; that of a namespace needs half of it."""
TENANT, OPS = f"{NAMESPACE}/mine", "ops"


def drill(ruleset: str) -> Drill:
    """More rules than incidents that the breaker lets open, all about one condition."""
    rules = rulebook(*(rule(f"crash-{number}", mode="approve") for number in range(RULES))).rules
    bound = Rulebook(replace(each, ruleset=ruleset) for each in rules)
    return Drill(bound, World(3), tuned(breaker_incidents=RULES - 1))


@pytest.mark.parametrize(("ruleset", "opens"), [(TENANT, False), (OPS, True)])
def test_many_rules_of_a_tenant_for_one_workload_count_once(ruleset: str, opens: bool) -> None:
    d = drill(ruleset)
    d.world.crash("serving-1")
    d.wait(60)
    assert sum(incident.rule.startswith(ruleset) for incident in d.incidents.values()) == RULES
    assert broken(d) is opens


def broken(d: Drill) -> bool:
    """Whether the breaker of the cluster is open."""
    return any(each.rule == BREAKER and each.state is not State.CLOSED for each in d.incidents.values())


def many(*rulesets: str, workloads: int = 3 * MOST) -> Drill:
    """So many workloads, and a rule on an alert in each of the rule sets: a tenant's on `Mine`, healer's own on `Ours`."""
    heal = [{"evict": {}, "verify": {"within": "5m", "stable": "1m"}}]
    named = {TENANT: "Mine", OPS: "Ours"}
    rules = [replace(rulebook(rule(when={"alert": [named[each]]}, heal=heal)).rules[0], ruleset=each) for each in rulesets]
    d = Drill(Rulebook(rules), World(3), tuned(breaker_incidents=MOST))
    for number in range(workloads):
        d.world.other(f"w{number}", nodes=[f"w{number}-n{each}" for each in range(3)])
    return d


def fire(d: Drill, name: str, numbers: Iterable[int], apart: float = 1.0) -> None:
    """An alert for a pod of each of the workloads, some seconds apart."""
    for number in numbers:
        pod = f"w{number}-1" if d.world.view.pod(f"w{number}-pod-1") else ""
        d.alert(Target("Pod", NAMESPACE, pod, f"w{number}-pod-1"), name=name)
        d.wait(apart)


def of(d: Drill, ruleset: str) -> list[Incident]:
    return [each for each in d.incidents.values() if each.rule.startswith(ruleset)]


def test_many_sick_workloads_of_a_tenant_stop_the_tenant_and_nobody_else() -> None:
    d = many(TENANT, OPS)
    fire(d, "Mine", range(2 * MOST))
    assert not broken(d)
    stopped = [each for each in of(d, TENANT) if each.reason.code == "NamespaceBreaker"]
    assert len(stopped) == 2 * MOST - MOST // 2
    assert "more than 4 incidents of the RuleSets in production opened within 5 m" in stopped[0].reason.text
    acts = len(d.acts)
    fire(d, "Ours", [2 * MOST])
    assert of(d, OPS)[0].reason.code != "NamespaceBreaker"
    assert len(d.acts) == acts + 1, "the rules of the files act in the same namespace"


def test_the_same_by_rules_of_files_stops_all() -> None:
    d = many(OPS)
    fire(d, "Ours", range(MOST + 1))
    assert broken(d)


def test_what_a_tenant_has_counts_as_far_as_its_own_breaker_lets_it() -> None:
    """Half of what opens the breaker of the cluster: with as much of others, there is a common cause."""
    d = many(TENANT, OPS)
    fire(d, "Mine", range(MOST))
    fire(d, "Ours", range(MOST, MOST + MOST // 2))
    assert not broken(d)
    fire(d, "Ours", [MOST + MOST // 2])
    assert broken(d)


def test_when_it_was_quiet_the_tenants_rules_act_again() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(MOST // 2 + 1))
    (held,) = (each for each in of(d, TENANT) if each.reason.code == "NamespaceBreaker")
    acts = len(d.acts)
    d.wait(590)
    assert len(d.acts) == acts
    d.wait(15)
    assert d.incidents[held.id].reason.code != "NamespaceBreaker"
    assert len(d.acts) == acts + 1


def test_a_further_incident_keeps_it_open() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(MOST // 2 + 1))
    d.wait(590)
    fire(d, "Mine", [MOST])
    d.wait(590)
    assert {each.reason.code for each in of(d, TENANT)[MOST // 2 :]} == {"NamespaceBreaker"}


def test_a_tenant_keeps_an_open_breaker_of_the_cluster_open_once_at_most() -> None:
    d = many(TENANT, OPS)
    fire(d, "Ours", range(MOST + 1))
    assert broken(d)
    for number in range(MOST + 1, 2 * MOST):
        d.wait(400)
        fire(d, "Mine", [number])
        if not broken(d):
            break
    assert not broken(d)
    assert number <= MOST + 4


def test_it_is_open_again_after_a_restart() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(MOST // 2 + 1))
    again = restarted(d)
    fire(again, "Mine", [MOST // 2])
    assert not broken(again)
    (held,) = (each for each in of(again, TENANT) if each.reason.code == "NamespaceBreaker")
    assert held.state is State.WAITING


def test_people_see_how_far_it_is() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(3))
    (gauge,) = (each for each in d.engine.gauges(d.world.view, d.now) if each.kind is LimitKind.NAMESPACE_BREAKER)
    assert (gauge.namespace, gauge.used, gauge.most, gauge.open) == (NAMESPACE, 3, MOST // 2, False)
    fire(d, "Mine", range(3, 6))
    (gauge,) = (each for each in d.engine.gauges(d.world.view, d.now) if each.kind is LimitKind.NAMESPACE_BREAKER)
    assert gauge.open
    assert gauge.until == d.now - 1.0 + 600.0
