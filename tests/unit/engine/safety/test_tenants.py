"""What the rules of a tenant may do to all others: whatever is sick in one namespace, they open no breaker but their own."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healer.engine.incidents.needed import needs_human
from healer.engine.safety.gauges import LimitKind
from healer.engine.safety.wide import BREAKER, NAMESPACE_BREAKER
from healer.model.effects import Approval
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


def test_the_same_by_rules_of_files_is_breaker() -> None:
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


def own(d: Drill) -> list[Incident]:
    """The incidents of the namespace's breaker."""
    return [each for each in d.incidents.values() if each.rule == NAMESPACE_BREAKER]


def is_open(d: Drill) -> bool:
    return any(each.state is not State.CLOSED for each in own(d))


def mend(d: Drill, numbers: Iterable[int], apart: float = 1.0) -> None:
    """The alert `Mine` ends for each of the workloads."""
    for number in numbers:
        d.alert(Target("Pod", NAMESPACE, f"w{number}-1", f"w{number}-pod-1"), name="Mine", firing=False)
        d.wait(apart)


def asking() -> Drill:
    """As `many`, with a rule of the tenant's that asks: its incidents end with their alerts."""
    d = many(TENANT)
    asks = Rulebook(replace(each, ruleset=TENANT) for each in rulebook(rule(when={"alert": ["Mine"]}, mode="approve")).rules)
    d.rules = asks
    d.use(asks)
    return d


def test_people_hear_of_it_once_and_close_it_by_an_approval() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(2 * MOST))
    (told,) = own(d)
    assert needs_human(told)
    assert (told.workload.name, told.workload.namespace) == (NAMESPACE, d.tuning.home)
    assert "until 10 m have passed without an incident of a further workload" in told.reason.text
    acts = len(d.acts)
    d.feed(Approval(told.id, "ann"))
    assert not is_open(d)
    assert d.incidents[told.id].reason.text == "ann lets the RuleSets in production continue"
    assert len(d.acts) > acts


def test_it_closes_its_incident_when_it_was_quiet() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(MOST // 2 + 1))
    d.wait(598)
    assert is_open(d)
    d.wait(2)
    assert [each.reason.code for each in own(d)] == ["Quiet"]


def test_a_workload_that_is_sick_again_and_again_keeps_it_open_no_longer() -> None:
    d = asking()
    fire(d, "Mine", range(MOST // 2 + 1))
    mend(d, range(MOST // 2 + 1))
    d.wait(300)
    fire(d, "Mine", [0], apart=295.0)
    assert of(d, TENANT)[-1].opened_at > own(d)[0].opened_at
    assert not is_open(d)


def test_what_it_says_to_its_incidents_stays_the_same() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(MOST // 2 + 1))
    (held,) = (each for each in of(d, TENANT) if each.reason.code == "NamespaceBreaker")
    before = d.engine.stopped(held, d.world.view, d.now)
    d.wait(100)
    assert d.engine.stopped(held, d.world.view, d.now) == before
    assert before is not None
    assert own(d)[0].id in before.text


def test_it_stays_open_at_a_restart_though_its_rule_has_another_name_since() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(MOST // 2 + 1))
    (opened,) = own(d)
    heal: list[dict[str, object]] = [{"evict": {}}]
    d.rules = Rulebook(
        replace(each, ruleset=TENANT) for each in rulebook(rule("other", when={"alert": ["Mine"]}, heal=heal)).rules
    )
    again = restarted(d)
    fire(again, "Mine", [MOST])
    assert again.acts == []
    assert again.engine.incident(opened.id) is not None
    again.wait(600)
    assert again.incidents[opened.id].state is State.CLOSED
    assert again.acts != []


def test_it_opens_at_a_restart_where_the_journal_lacks_only_its_incident() -> None:
    d = many(TENANT)
    fire(d, "Mine", range(MOST // 2 + 1))
    again = Drill(d.rules, d.world, d.tuning, now=d.now)
    again.restore(of(d, TENANT), set())
    again.wait(0)
    assert is_open(again)
    assert again.acts == []


def test_it_does_not_open_anew_at_a_restart_when_somebody_has_closed_it() -> None:
    d = asking()
    fire(d, "Mine", range(MOST // 2 + 1))
    d.feed(Approval(own(d)[0].id, "ann"))
    assert own(restarted(d)) == []


def test_a_tenant_keeps_the_breaker_of_the_cluster_open_once_over_a_restart() -> None:
    d = many(TENANT, OPS)
    fire(d, "Ours", range(MOST + 1))
    d.wait(300)
    fire(d, "Mine", [MOST + 1])
    again = restarted(d)
    until = resumes(again)
    again.wait(200)
    fire(again, "Mine", [MOST + 2])
    assert until is not None
    assert resumes(again) == until
    third = Drill(again.rules, again.world, again.tuning, now=again.now)
    third.restore(list((d.incidents | again.incidents).values()), set())  # with both openings of the tenant
    assert resumes(third) == until


def resumes(d: Drill) -> float | None:
    """When the breaker of the cluster closes."""
    return next(each.until for each in d.engine.gauges(d.world.view, d.now) if each.kind is LimitKind.CLUSTER_BREAKER)


STEPS = st.one_of(
    st.tuples(st.just("fire"), st.integers(0, 7)),
    st.tuples(st.just("mend"), st.integers(0, 7)),
    st.tuples(st.just("wait"), st.sampled_from([1, 60, 290, 500, 601])),
    st.tuples(st.just("restart"), st.just(0)),
)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(STEPS, min_size=8, max_size=24))
def test_no_restart_closes_it(steps: list[tuple[str, int]]) -> None:
    d = asking()
    journal: dict[str, Incident] = {}
    fire(d, "Mine", range(MOST // 2 + 1))
    for what, number in steps:
        if what == "fire":
            fire(d, "Mine", [number])
        elif what == "mend":
            mend(d, [number])
        elif what == "wait":
            d.wait(number)
        else:
            journal |= d.incidents
            before, d = held(d), Drill(d.rules, d.world, d.tuning, now=d.now)
            d.restore(list(journal.values()), set())
            assert held(d) >= before


def held(d: Drill) -> set[str]:
    """The open breakers of namespaces, by their incidents."""
    return {each.id for each in d.engine.incidents() if each.rule == NAMESPACE_BREAKER}
