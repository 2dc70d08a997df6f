"""The line that says what the rules guard, and the metric."""

import asyncio
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from healer.daemon.coverage import RuleCoverage
from healer.rehearsal.simulate.virtual import VirtualLoop, run
from healer.rules.loading import load
from healer.rules.rulebook import BoundRule, Rulebook
from healer.settings.sections import Cluster
from tests.unit.engine.matching.test_coverage import cluster
from tests.unit.rules.actions import VOCABULARY
from tests.unit.rules.test_errors import GOOD


def rulebook(text: str = GOOD) -> Rulebook:
    rules, problems = load(text, "f.yaml", VOCABULARY)
    assert problems == []
    return Rulebook(rules)


async def no_route(_: BoundRule) -> str:
    return ""


async def test_a_route_that_is_not_there_is_said_at_the_start() -> None:
    async def missing(_: BoundRule) -> str:
        return "there is no ingress/split in production"

    coverage = RuleCoverage(cluster(), rulebook(), Cluster(), CollectorRegistry())
    with capture_logs() as logs:
        await coverage.look(missing)
    assert logs[-1]["reason"] == "there is no ingress/split in production"
    assert coverage.rows()[0].doubts == ["there is no ingress/split in production"]


UNSEEN = "pods may be taken from a node that somebody else treats: healer does not watch nodes"
NODE_RULE = """\
    - name: broken
      when: {node: [KernelDeadlock]}
      heal: [{page: {}}]
"""
ENFORCED = GOOD.replace("    - name: crash\n", "    - name: crash\n      mode: enforce\n")


@pytest.mark.parametrize(
    ("text", "nodes", "said"),
    [
        (ENFORCED, False, ["serving/crash"]),
        (ENFORCED, True, []),
        (ENFORCED + NODE_RULE, False, []),
        (ENFORCED.replace("- evict: {}", "- page: {}"), False, []),
        (GOOD, False, []),
    ],
    ids=["takes pods", "the settings watch nodes", "a rule watches nodes", "pages", "observes"],
)
async def test_rules_that_take_pods_without_seeing_nodes_are_said(text: str, nodes: bool, said: list[str]) -> None:
    """Where nodes are not watched, healer does not wait for a node remediator."""
    coverage = RuleCoverage(cluster(), rulebook(text), Cluster(nodes=nodes), CollectorRegistry())
    with capture_logs() as logs:
        await coverage.look(no_route)
        await coverage.look(no_route)
    assert [each["rules"] for each in logs if each["event"] == UNSEEN] == ([said] if said else [])


async def test_what_rules_guard_is_said_at_the_start_and_when_they_change() -> None:
    registry = CollectorRegistry()
    coverage = RuleCoverage(cluster(), rulebook(), Cluster(), registry)
    with capture_logs() as logs:
        await coverage.look(no_route)
        assert coverage.rows()[0].pods == 2
        assert registry.get_sample_value("healer_rule_targets", {"rule": "serving/crash"}) == 2
        coverage.use(rulebook(GOOD.replace("[production]", "[prodcution]").replace("name: crash", "name: loop")))
        await coverage.look(no_route)
        await coverage.look(no_route)
    assert len(logs) == 3, "what has not changed is not said again"
    assert logs[0]["summary"] == "1 rule (1 observe); serving/crash covers 2 pods of 1 workload"
    assert logs[1]["summary"] == "1 rule (1 observe); serving/loop covers 0 pods of 0 workloads"
    assert (logs[2]["log_level"], logs[2]["rule"]) == ("warning", "serving/loop")
    assert logs[2]["reason"].startswith("there is no namespace 'prodcution'")
    assert registry.get_sample_value("healer_rule_targets", {"rule": "serving/crash"}) is None
    assert registry.get_sample_value("healer_rule_targets", {"rule": "serving/loop"}) == 0


def test_rules_that_change_all_the_time_are_looked_at_for_a_tenth_of_it() -> None:
    looks: list[float] = []

    async def slow(_: BoundRule) -> str:
        looks.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1.0)
        return ""

    async def main() -> None:
        only = rulebook().rules[0]
        coverage = RuleCoverage(cluster(), Rulebook([only]), Cluster(), CollectorRegistry())
        looking = asyncio.create_task(coverage.run(slow))
        for _ in range(200):
            await asyncio.sleep(0.5)
            coverage.use(Rulebook([only]))
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

    run(main(), VirtualLoop())
    assert looks == [10.0 * number for number in range(10)]
