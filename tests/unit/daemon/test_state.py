"""The state that people are shown, from a drill of the engine: what is wrong, what is done, what to type."""

import msgspec
from prometheus_client import CollectorRegistry

from healer.daemon.state import Sight, StateReport
from healer.engine.safety.gauges import LimitKind
from healer.http.health import Check, Health
from healer.http.state import StateBody, read_state
from healer.model.action import OutcomeKind
from healer.model.incident import Incident, State
from healer.rules.rulebook import Rulebook
from healer.settings import Isolated
from healer.sinks.base import SinkMeters
from healer.sinks.group import Sinks
from healer.sinks.site import Site
from tests.support.world import APP, NAMESPACE, Drill, World, rule, rulebook, tuned

LOOP = Check("loop", True, "runs")
HEALTH = Health(live=[LOOP], ready=[LOOP, Check("pods", False, "token=hunter2hunter2")])
SITE = Site(cluster="prod-eu-1", page="https://healer.example.com")
CRASH = rule("crash-loop", limits={"cooldown": "10m"})
ASKED = rule("asked", mode="approve", when={"alert": ["Slow"]})


def report(d: Drill, rules: Rulebook, *, leads: bool = True) -> StateReport:
    def incidents() -> list[Incident]:
        return sorted(d.incidents.values(), key=lambda incident: incident.opened_at)

    return StateReport(
        threads=Sinks([], SinkMeters(CollectorRegistry())),
        settings=Isolated(site=SITE),
        view=d.world.view,
        rulebook=lambda: rules,
        incidents=incidents,
        rows=tuple,
        health=lambda: HEALTH,
        further=lambda: [Check("journal", True, "3 are kept")],
        leader=lambda: "healer-1@10.0.0.1:8080",
        sight=lambda: Sight(d.engine, lambda rules: iter(())) if leads else None,
        clock=lambda: d.now,
    )


def drill(*rules: dict[str, object]) -> tuple[Drill, Rulebook]:
    book = rulebook(*rules)
    return Drill(book, World(3), tuned()), book


async def test_an_incident_is_shown_with_what_to_type_and_where_to_read_on() -> None:
    d, book = drill(CRASH)
    d.world.crash("serving-2")
    state = await report(d, book).whole()
    (row,) = state.incidents
    assert (row.state, row.rule, row.sick, row.steps, row.step) == (State.ACTING, "test/crash-loop", 1, ["evict"], 0)
    assert row.command == f"healer explain incident/{row.name} -n {NAMESPACE}"
    assert row.waits_for == ""
    assert row.links == {"page": f"https://healer.example.com/#/incidents/{NAMESPACE}/{row.name}"}
    assert (state.cluster, state.leads, state.leader) == ("prod-eu-1", True, "healer-1@10.0.0.1:8080")


async def test_what_waits_for_a_human_is_told_apart() -> None:
    d, book = drill(ASKED)
    d.alert("serving-1", "Slow")
    (row,) = (await report(d, book).whole()).incidents
    assert row.waits_for == "approval"
    assert row.command == f"healer approve incident/{row.name} -n {NAMESPACE}"


async def test_a_workload_is_shown_with_each_of_its_units() -> None:
    d, book = drill(CRASH)
    d.world.crash("serving-2")
    (row,) = (await report(d, book).whole()).workloads
    assert (row.target.name, row.desired) == (APP, 3)
    assert [(unit.name, unit.ready) for unit in row.units if not unit.ready] == [("serving-2", False)]
    assert next(unit.why for unit in row.units if not unit.ready) == "CrashLoopBackOff"


async def test_a_workload_that_no_rule_is_about_is_not_shown() -> None:
    d, _ = drill(CRASH)
    elsewhere = rulebook(CRASH | {"scope": {"namespaces": ["staging"]}})
    assert (await report(d, elsewhere).whole()).workloads == []


async def test_limits_and_what_rules_did_are_counted() -> None:
    d, book = drill(CRASH)
    d.world.crash("serving-2")
    d.answer()
    d.world.replace("serving-2")
    d.wait(60)
    state = await report(d, book).whole()
    assert {limit.kind for limit in state.limits} == set(LimitKind) - {LimitKind.RULE_BREAKER, LimitKind.NAMESPACE_BREAKER}
    (did,) = state.activity
    assert (did.rule, did.state, did.incidents, did.actions, did.dry) == ("test/crash-loop", State.HEALED, 1, 1, False)


async def test_what_a_rule_would_have_done_is_counted() -> None:
    d, book = drill(CRASH | {"mode": "observe"})
    d.world.crash("serving-2")
    d.answer(OutcomeKind.DONE, "WouldEvict")
    (did,) = (await report(d, book).whole()).activity
    assert (did.actions, did.dry) == (1, True)


async def test_a_follower_has_no_limits_and_says_who_leads() -> None:
    d, book = drill(CRASH)
    state = await report(d, book, leads=False).whole()
    assert (state.leads, state.leader, state.limits, state.canaries) == (False, "healer-1@10.0.0.1:8080", [], [])


async def test_each_check_is_there_once_and_says_no_secret() -> None:
    d, book = drill(CRASH)
    checks = {check.name: check.text for check in (await report(d, book).whole()).checks}
    assert list(checks) == ["loop", "pods", "journal"]
    assert "hunter2" not in checks["pods"]


async def test_one_incident_is_there_whole() -> None:
    d, book = drill(CRASH)
    d.world.crash("serving-2")
    shown = report(d, book).incident(NAMESPACE, d.incident.id)
    assert shown is not None
    assert shown["history"]
    assert shown["command"].startswith("healer explain ")
    assert report(d, book).incident("staging", d.incident.id) is None


async def test_what_is_sent_can_be_read() -> None:
    d, book = drill(CRASH)
    d.world.crash("serving-2")
    state = await report(d, book).whole()
    read = read_state(msgspec.json.encode(state))
    assert isinstance(read, StateBody)
    assert read == state
