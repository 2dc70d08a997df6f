"""Whole lives in virtual time, against figures that were worked out by hand."""

from typing import Any

import pytest

from healer.rehearsal.simulate.life import Life
from healer.rehearsal.timeline import ACT
from tests.unit.rehearsal.simulate.played import EVICT, play, scenario

HANG: dict[str, Any] = {"name": "hang", "at": "10m", "target": {"workload": "llm", "pods": 1}, "shows": {"pod": "hang"}}
"""At 600 s one of the two pods is not ready any more."""


def actions(life: Life) -> list[tuple[float, str]]:
    return [(round(each.at), each.code) for each in life.timeline if each.kind == ACT]


def test_what_nobody_heals_costs_what_one_pod_less_can_answer() -> None:
    """15 come, one pod answers 10, 5 fail, for the 300 s that it lasts: 1,500 of 54,000. Running on, it is ready at once."""
    life = play(scenario(faults=[HANG | {"lasts": "5m"}]), "none")
    assert (life.requests, life.failed) == pytest.approx((54_000, 1_500), abs=1e-6)
    assert life.availability == pytest.approx(1 - 1_500 / 54_000, abs=1e-12)
    assert life.services["llm"].degraded == pytest.approx(300, abs=1e-6)
    assert [(each.began, each.healed) for each in life.strikes] == [(600, 900)]


def test_what_is_never_healed_costs_to_the_end() -> None:
    life = play(scenario(faults=[HANG]), "none")
    assert life.failed == pytest.approx(5 * 3_000, abs=1e-6)
    assert [each.healed for each in life.strikes] == [None]


def test_a_pod_that_is_replaced_at_once_costs_its_start_and_its_load() -> None:
    """It is deleted when it is seen, and the next one is ready after 10 s and 20 s: 30 s of 5 requests."""
    life = play(scenario(faults=[HANG]), "restart-at-once")
    assert actions(life) == [(600, "delete")]
    assert life.failed == pytest.approx(150, abs=1e-6)
    assert [(each.began, each.healed) for each in life.strikes] == [(600, 630)]


def test_healer_heals_after_the_time_that_its_rule_waits() -> None:
    """`for: 1m`, then 30 s until the next pod is ready: 90 s of 5 requests. A budget is not in the way."""
    life = play(scenario(faults=[HANG], workload={"minAvailable": 1}))
    assert actions(life) == [(660, "evict")]
    assert life.failed == pytest.approx(450, abs=1)
    assert [(each.began, round(each.healed or 0)) for each in life.strikes] == [(600, 690)]
    assert [(each.rule, each.state) for each in life.incidents] == [("test/sick", "closed")]


def test_a_pod_that_is_ready_and_answers_badly_fails_its_share() -> None:
    """Each of the two gets 5 of the 10; one fails 40% of them for 10 minutes: 2 a second."""
    sick = HANG | {"lasts": "10m", "shows": {"answers": {"fail": "40%"}}}
    life = play(scenario(faults=[sick], workload={"traffic": {"rate": 10}}), "none")
    assert life.failed == pytest.approx(2 * 600, abs=1e-6)


def test_a_noisy_neighbour_takes_capacity() -> None:
    """Both pods on one node keep half of their capacity: 2 * 5 of 15 are answered, for 10 minutes."""
    noise = {"name": "noise", "at": "10m", "sits": "node", "target": {"node": "node-0"}, "lasts": "10m"}
    noise |= {"shows": {"answers": {"capacity": "50%"}}}
    one_node = {"nodes": 1, "workloads": [{"name": "llm", "replicas": 2, "traffic": {"rate": 15}}]}
    life = play(scenario(faults=[noise], cluster=one_node), "none")
    assert life.failed == pytest.approx(5 * 600, abs=1e-6)


def test_an_alert_waits_for_its_time_its_scrape_and_its_group() -> None:
    """It is true at 720 s, which is a scrape (each 15 s); Alertmanager waits 10 s, and posts at the next one, at 735 s."""
    alert = {"name": "Hangs", "after": "2m"}
    life = play(scenario(faults=[HANG | {"shows": {"answers": {"fail": "100%"}, "alert": alert}}]))
    assert [round(each.at) for each in life.timeline if each.kind == "alert"] == [735]
    assert actions(life) == [(735, "evict")]


def test_in_a_gap_of_prometheus_no_alert_begins() -> None:
    alert = {"name": "Hangs", "after": "2m"}
    gap = {"gaps": [{"at": "11m", "lasts": "10m"}]}
    life = play(scenario(faults=[HANG | {"shows": {"answers": {"fail": "100%"}, "alert": alert}}], prometheus=gap))
    assert actions(life)[0][0] == 1275  # the first scrape after the gap, at 1,260 s, and one more for the group


def test_the_same_seed_draws_the_same_and_another_one_draws_otherwise() -> None:
    drawn = {name: value for name, value in HANG.items() if name != "at"} | {"perDay": 100, "lasts": "1m"}
    read = scenario(faults=[drawn])
    first, again, other = (play(read, seed=seed) for seed in (1, 1, 2))
    assert [each.began for each in first.strikes]
    assert first.timeline == again.timeline
    assert [each.began for each in first.strikes] != [each.began for each in other.strikes]
    assert [each.began for each in play(read, "none").strikes] == [each.began for each in first.strikes]


def test_a_pod_on_another_node_is_well_and_a_new_one_on_the_same_is_not() -> None:
    """The fault sits in the node: the pod that stays there is sick as long as the node is."""
    broken = {"name": "gpu", "at": "10m", "sits": "node", "target": {"node": "node-0"}, "shows": {"pod": "crash"}}
    life = play(scenario(faults=[broken]), "none")
    (strike,) = life.strikes
    assert (strike.node, len(strike.chosen), strike.healed) == ("node-0", 1, None)


def test_a_rollback_cures_what_sits_in_a_revision() -> None:
    poisoned = {"name": "poison", "at": "1m", "sits": "revision", "target": {"workload": "llm", "image": "serving:v2"}}
    poisoned |= {"shows": {"pod": "crash"}}
    out = [{"at": "10m", "rollout": {"workload": "llm", "image": "serving:v2"}}]
    back = [*out, {"at": "20m", "rollout": {"workload": "llm", "image": "serving:v1"}}]
    stays, cured = (play(scenario(faults=[poisoned], operations=each), "none") for each in (out, back))
    assert [each.healed for each in stays.strikes] == [None]
    assert [1200 <= (each.healed or 0) <= 1260 for each in cured.strikes] == [True]


def test_what_people_mend_is_mended_so_long_after_they_were_asked() -> None:
    """An alert of every cluster tells of the pod that is not ready for 15 minutes: at 1,500 s and a scrape."""
    life = play(scenario(faults=[HANG | {"human": "10m", "sits": "workload"}]), "none")
    (told,) = [each.at for each in life.timeline if each.kind == "alert"]
    assert [each.healed for each in life.strikes] == [told + 600]


def test_a_drain_moves_pods_off_a_node_one_by_one_under_a_budget() -> None:
    life = play(
        scenario(faults=[], operations=[{"at": "10m", "drain": {"node": "node-0"}}], workload={"minAvailable": 1}), "none"
    )
    assert life.failed == pytest.approx(150, abs=10)


def test_a_manifest_that_git_keeps_is_put_back() -> None:
    operations = [{"at": "1m", "gitops": {"workload": "llm"}}, {"at": "10m", "scale": {"workload": "llm", "replicas": 3}}]
    life = play(scenario(faults=[], operations=operations), "none")
    assert not [each for each in life.timeline if "puts the manifest back" in each.text]  # it went through Git


def test_a_pod_that_finds_no_gpu_waits_until_there_is_one() -> None:
    """Two nodes with a GPU each, and both are taken until the first workload is made smaller, at 1,800 s. The pod of the second
    one is ready 30 s later: till then all of its 5 requests a second fail."""
    first = {"name": "llm", "replicas": 2, "gpus": 1, "stops": "0s"}
    second = {"name": "ranker", "replicas": 1, "gpus": 1, "starts": "10s", "loads": "20s", "traffic": {"rate": 5}}
    fewer = [{"at": "30m", "scale": {"workload": "llm", "replicas": 1}}]
    life = play(scenario(faults=[], cluster={"nodes": 2, "gpus": 1, "workloads": [first, second]}, operations=fewer), "none")
    assert life.unready == ["ranker"]
    assert life.failed == pytest.approx(5 * 1_830, abs=1e-6)


def test_an_autoscaler_follows_the_traffic_as_far_as_it_may() -> None:
    """30 a second at half the capacity of 10 want 6 pods; the autoscaler may have 4, which answer all the same."""
    many = {"replicas": 2, "traffic": {"rate": 15, "bursts": [{"at": "10m", "lasts": "20m", "times": 2}]}}
    life = play(scenario(faults=[], workload=many | {"autoscale": {"max": 4, "target": "50%"}}), "none")
    ready = {sample.at: sample.ready for sample in life.services["llm"].samples}
    assert max(ready.values()) == 4
    assert life.services["llm"].degraded < 120


def test_an_event_about_a_sick_pod_is_seen_by_a_rule_on_events() -> None:
    on_event = EVICT.replace("pod: [NotReady, CrashLoopBackOff], for: 1m", "event: {reasons: [Unhealthy]}")
    sick = HANG | {"shows": {"answers": {"fail": "100%"}, "event": {"reason": "Unhealthy", "note": "Liveness probe failed"}}}
    assert actions(play(scenario(faults=[sick]), text=on_event)) == [(600, "evict")]


ASKS = EVICT.replace("pod: [NotReady, CrashLoopBackOff], for: 1m", "query: {expr: 'queue > 0', every: 30s, above: 0}, for: 1m")
"""A rule that asks Prometheus every 30 s: at 15 s, 45 s ... of each minute."""


def test_what_a_rule_asks_for_is_found_in_the_sick_pods_and_asked_again_before_it_acts() -> None:
    sick = HANG | {"shows": {"answers": {"fail": "100%"}, "probes": [{"rule": "test/sick"}]}}
    life = play(scenario(faults=[sick]), text=ASKS)
    ((at, code),) = actions(life)
    assert code == "evict"
    assert 660 <= at <= 690
    assert [each.healed is not None for each in life.strikes] == [True]


def test_a_query_without_an_answer_is_unknown_and_nothing_is_done() -> None:
    """The gap begins while the rule still waits for its minute."""
    sick = HANG | {"shows": {"answers": {"fail": "100%"}, "probes": [{"rule": "test/sick"}]}}
    life = play(scenario(faults=[sick], prometheus={"gaps": [{"at": "10m30s", "lasts": "10m"}]}), text=ASKS)
    assert actions(life)[0][0] >= 1230


def test_a_query_that_passes_no_more_when_it_is_asked_again_holds_the_action_back() -> None:
    """It is asked at 615, 645 and 675 s. The fault ends at 680 s, and the rule has waited long enough at 685 s."""
    sick = HANG | {"lasts": "80s", "shows": {"answers": {"fail": "100%"}, "probes": [{"rule": "test/sick"}]}}
    text = ASKS.replace("for: 1m}", "for: 1m10s}")
    assert text != ASKS
    life = play(scenario(faults=[sick]), text=text)
    assert actions(life) == []
    assert "Recovered" in {each.code for each in life.timeline} | {each.reason.code for each in life.incidents}


def test_what_sits_in_the_revision_that_runs_does_not_strike_the_next_one() -> None:
    broken = {"name": "broken", "at": "10m", "sits": "revision", "target": {"workload": "llm"}, "shows": {"pod": "crash"}}
    out = [{"at": "20m", "rollout": {"workload": "llm", "image": "serving:v2"}}]
    life = play(scenario(faults=[broken], operations=out), "none")
    assert [1200 <= (each.healed or 0) <= 1260 for each in life.strikes] == [True]
