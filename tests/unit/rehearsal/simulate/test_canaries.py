"""Canaries in a simulation: the judge, the routes and the actions are healer's own, and the counts are those of the traffic."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from healer.rehearsal.simulate.asking import PlayedRules
from healer.rehearsal.simulate.life import Life
from healer.rehearsal.simulate.scenario import Scenario
from healer.rehearsal.simulate.telemetry import spread
from healer.rehearsal.timeline import ACT
from tests.unit.rehearsal.simulate.played import play, rules, scenario

RULE = """
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {{name: test}}
spec:
  scope: {{namespaces: [production]}}
  rules:
    - name: bad-canary
      when:
        canary:
          route: {{kind: {router}, name: split}}
          stable: {{deployment: v1}}
          canary: {{deployment: v2}}
          measures:
            - name: errors
              total: ':tensorflow:serving:request_count{{namespace="{{{{ namespace }}}}", pod=~"{{{{ pods }}}}"}}'
              bad: ':tensorflow:serving:request_count{{namespace="{{{{ namespace }}}}", pod=~"{{{{ pods }}}}", status!="OK"}}'
            - name: latency
              histogram: ':tensorflow:serving:request_latency_bucket{{namespace="{{{{ namespace }}}}", pod=~"{{{{ pods }}}}"}}'
              unit: us
              slowerThan: 200ms
      heal:
        - shiftTraffic: {{to: 0}}
          verify: {{within: 3m, stable: 30s}}
      mode: enforce
"""


def canary(sick: dict[str, Any] | None, *, router: str = "HTTPRoute", target: str = "v2", **spec: Any) -> Scenario:
    """An hour of two versions. The new one gets a tenth of 40 requests a second from 10 minutes on, and is sick from then on."""
    common = {"server": "tensorflow-serving", "starts": "10s", "loads": "20s", "stops": "0s", "capacity": 40, "fails": "0.5%"}
    v1 = common | {"name": "v1", "labels": {"app": "model", "version": "v1"}, "replicas": 3, "traffic": {"rate": 40}}
    split = {"of": "v1", "weight": "0%", "router": router, "route": "split"}
    v2 = common | {"name": "v2", "labels": {"app": "model", "version": "v2"}, "replicas": 2, "canary": split}
    fault = {"name": "bad", "at": "10m", "sits": "workload", "target": {"workload": target}, "shows": {"answers": sick}}
    operations = [{"at": "10m", "split": {"workload": "v2", "weight": "10%"}}, *spec.pop("operations", [])]
    faults = [] if sick is None else [fault, *spec.pop("faults", [])]
    return scenario(faults=faults, cluster={"nodes": 3, "workloads": [v1, v2]}, operations=operations, **spec)


def shifts(life: Life) -> list[float]:
    return [each.at for each in life.timeline if each.kind == ACT and each.code == "shiftTraffic"]


def verdicts(life: Life) -> list[str]:
    return [each.code for each in life.timeline if each.kind == "judge"]


@pytest.mark.parametrize("router", ["HTTPRoute", "VirtualService", "Ingress"])
def test_a_poisoned_canary_loses_its_traffic_and_its_users_their_failures(router: str) -> None:
    """Half of its 4 requests a second fail until the weight is 0: 2 a second, and 0.5% of the 40 all the time."""
    read = canary({"fail": "50%"}, router=router)
    life = play(read, text=RULE.format(router=router))
    (at,) = shifts(life)
    assert 600 < at < 900
    assert "Bad" in verdicts(life)
    base, worse = 40 * 3600 * 0.005, 4 * (0.5 * 0.995)
    assert life.failed == pytest.approx(base + worse * (at - 600), abs=1)
    (strike,) = life.strikes
    assert (strike.began, round(strike.healed or 0)) == (600, round(at))
    assert [each.state for each in life.incidents] == ["closed"]
    without = play(read, "none")
    assert without.failed == pytest.approx(base + worse * 3000, abs=1)
    assert [each.healed for each in without.strikes] == [None]


def test_a_slow_canary_is_seen_by_its_histogram() -> None:
    life = play(canary({"slower": 5}), text=RULE.format(router="HTTPRoute"))
    assert len(shifts(life)) == 1
    assert any(each.kind == "judge" and each.text.startswith("latency: canary") for each in life.timeline)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_canary_that_fails_as_stable_does_keeps_its_traffic(seed: int) -> None:
    """A common cause: both fail a fifth of their requests."""
    both = {"name": "store", "at": "10m", "sits": "workload", "target": {"workload": "v1"}, "shows": {"answers": {"fail": "20%"}}}
    life = play(canary({"fail": "20%"}, faults=[both]), text=RULE.format(router="HTTPRoute"), seed=seed)
    assert shifts(life) == []
    assert "Bad" not in verdicts(life)
    assert life.failed > 3000 * 8


def test_a_canary_that_is_well_keeps_its_traffic() -> None:
    life = play(canary(None), text=RULE.format(router="HTTPRoute"))
    assert shifts(life) == []
    assert life.failed == pytest.approx(40 * 3600 * 0.005, abs=1)


def test_in_a_gap_of_prometheus_no_canary_is_judged() -> None:
    gap = {"gaps": [{"at": "10m", "lasts": "30m"}]}
    life = play(canary({"fail": "50%"}, prometheus=gap), text=RULE.format(router="HTTPRoute"))
    (at,) = shifts(life)
    assert at > 2400


def test_where_git_puts_the_weights_back_the_canary_hurts_again() -> None:
    gitops = [{"at": "10m30s", "gitops": {"workload": "v2"}}]
    life = play(canary({"fail": "50%"}, operations=gitops), text=RULE.format(router="HTTPRoute"))
    assert any("puts the route back" in each.text for each in life.timeline)
    assert shifts(life)
    assert [each.healed for each in life.strikes] == [None]


def test_the_same_seed_judges_the_same() -> None:
    read = canary({"fail": "50%"})
    first, again = (play(read, text=RULE.format(router="HTTPRoute")) for _ in range(2))
    assert first.timeline == again.timeline


QUERY = """
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: test}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: failing
      when:
        query:
          expr: |
            sum by (namespace, pod) (rate(:tensorflow:serving:request_count{status!="OK"}[2m]))
            / sum by (namespace, pod) (rate(:tensorflow:serving:request_count[2m]))
          above: 0.3
          every: 30s
        for: 1m
      heal:
        - evict: {}
          verify: {within: 5m, stable: 1m}
      mode: enforce
"""


def test_a_query_about_the_requests_finds_the_pod_that_fails_them() -> None:
    """It fails 80% of its requests: the share of two minutes is above 30% within that time, and the rule waits for one more."""
    sick = {"name": "sick", "at": "10m", "target": {"workload": "llm", "pods": 1}, "shows": {"answers": {"fail": "80%"}}}
    life = play(scenario(faults=[sick], workload={"server": "tensorflow-serving"}), text=QUERY)
    ((at, code),) = [(each.at, each.code) for each in life.timeline if each.kind == ACT]
    assert code == "evict"
    assert 660 < at < 840
    assert [each.healed is not None for each in life.strikes] == [True]


TIMES = "sum by (namespace, pod) (rate(:tensorflow:serving:request_latency_bucket{le='+Inf'}[2m]))"


@pytest.mark.parametrize(("divisor", "drawn"), [("", False), (f"/ {TIMES}", True)])
def test_times_of_requests_are_drawn_only_when_a_rule_asks_for_them(
    divisor: str, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of what 500 served pods would cost, and rules seldom look at it."""
    draws: list[int] = []

    def noted(chance: Random, number: int, takes: float, edges: Sequence[float]) -> list[int]:
        draws.append(number)
        return spread(chance, number, takes, edges)

    monkeypatch.setattr("healer.rehearsal.simulate.telemetry.spread", noted)
    text = QUERY.replace("          above: 0.3", f"            {divisor}\n          above: 0.3")
    play(scenario(faults=[], workload={"server": "tensorflow-serving"}, lasts="10m"), text=text)
    assert any(draws) is drawn


def test_a_query_about_replicas_and_targets_is_answered() -> None:
    text = QUERY.replace(QUERY[QUERY.index("expr: |") : QUERY.index("above: 0.3")], 'expr: up{pod=~"llm.*"} == 0\n          ')
    text = text.replace("above: 0.3", "below: 1")
    sick = {"name": "sick", "at": "10m", "target": {"workload": "llm", "pods": 1}, "shows": {"pod": "crash"}}
    life = play(scenario(faults=[sick]), text=text)
    assert [each.code for each in life.timeline if each.kind == ACT][:1] == ["evict"]


def test_what_is_played_and_what_is_not_is_said() -> None:
    read = canary({"fail": "50%"})
    played = PlayedRules(read, rules(RULE.format(router="HTTPRoute")))
    assert (list(played.real), played.unplayed) == (["test/bad-canary"], {})
    assert played.metrics == {":tensorflow:serving:request_count", ":tensorflow:serving:request_latency_bucket"}
    other = PlayedRules(read, rules(RULE.format(router="Ingress")))
    assert other.unplayed == {"test/bad-canary": "no workload is the canary v2 of its Ingress split"}
    strange = PlayedRules(read, rules(QUERY.replace(":tensorflow:serving:request_count", "strange_total")))
    assert strange.unplayed == {"test/failing": "no workload has the metric strange_total"}
    hard = PlayedRules(read, rules(QUERY.replace("sum by (namespace, pod)", "stddev by (namespace, pod)")))
    assert hard.unplayed == {"test/failing": "stddev is not played"}


def test_a_rule_that_a_fault_names_is_answered_by_the_fault() -> None:
    sick = {"name": "sick", "at": "10m", "target": {"workload": "v2"}, "shows": {"probes": [{"rule": "test/bad-canary"}]}}
    played = PlayedRules(canary({"fail": "0%"}, faults=[sick]), rules(RULE.format(router="HTTPRoute")))
    assert (played.real, played.unplayed) == ({}, {})
