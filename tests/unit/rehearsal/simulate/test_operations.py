"""What people and their pipelines do in a scenario, and what follows of it."""

from typing import Any

import pytest

from healer.rehearsal.simulate.life import Life
from healer.rehearsal.timeline import ACT
from tests.unit.rehearsal.simulate.played import EVICT, play, scenario

HANG: dict[str, Any] = {"name": "hang", "at": "10m", "target": {"workload": "llm", "pods": 1}, "shows": {"pod": "hang"}}
ALERT = HANG | {"shows": {"answers": {"fail": "100%"}, "alert": {"name": "Hangs", "after": "2m"}}}
ROLLBACK = EVICT.replace("- evict: {}", "- rollback: {}")


def acts(life: Life) -> list[tuple[int, str]]:
    return [(round(each.at), each.code) for each in life.timeline if each.kind == ACT]


@pytest.mark.parametrize(
    ("silence", "healed"),
    [
        ({"alertname": "Hangs"}, False),
        ({"alertname": "Hangs", "namespace": "production"}, False),
        ({"alertname": "Other"}, True),
        ({"alertname": "Hangs", "namespace": "other"}, True),
    ],
)
def test_a_silenced_alert_is_left_to_people(silence: dict[str, str], healed: bool) -> None:
    operations = [{"at": "5m", "silence": {"matchers": silence, "for": "2h", "comment": "we work on it"}}]
    life = play(scenario(faults=[ALERT], operations=operations))
    assert bool(acts(life)) is healed
    assert [each.healed is not None for each in life.strikes] == [healed]


def test_an_alert_that_is_silenced_while_it_waits_is_left_alone_until_the_silence_ends() -> None:
    """The alert is posted at 735 s, and the rule waits for 2 minutes more. The silence begins at 760 s, and ends at 1,960 s."""
    text = EVICT.replace("alert: [Hangs]", "alert: [Hangs], for: 2m")
    silence = [{"at": "760s", "silence": {"matchers": {"alertname": "Hangs"}, "for": "20m", "comment": "we work on it"}}]
    life = play(scenario(faults=[ALERT], operations=silence), text=text)
    ((at, code),) = acts(life)
    assert code == "evict"
    assert 1960 <= at < 2200


def test_healer_silences_the_alert_that_it_treats_and_ends_that_with_the_incident() -> None:
    text = EVICT.replace(
        "alert: [Hangs]}\n      heal:\n",
        "alert: [Hangs]}\n      heal:\n        - silence: {}\n          verify: {within: 1m, stable: 10s}\n",
    )
    assert text != EVICT
    life = play(scenario(faults=[ALERT]), text=text)
    assert [code for _, code in acts(life)] == ["silence", "evict"]
    assert [each.healed is not None for each in life.strikes] == [True]


def test_git_puts_back_what_healer_has_rolled_back() -> None:
    """The new version crashes. healer rolls it back, and a minute later the manifest is put back, and crashes again."""
    poisoned = {"name": "poison", "at": "1m", "sits": "revision", "target": {"workload": "llm", "image": "serving:v2"}}
    poisoned |= {"shows": {"pod": "crash"}}
    out = [{"at": "5m", "gitops": {"workload": "llm"}}, {"at": "10m", "rollout": {"workload": "llm", "image": "serving:v2"}}]
    life = play(scenario(faults=[poisoned], operations=out), text=ROLLBACK)
    rolled = [at for at, code in acts(life) if code == "rollback"]
    back = [each.at for each in life.timeline if "GitOps puts the manifest back" in each.text]
    assert rolled
    assert back[0] == pytest.approx(rolled[0] + 60, abs=1)
    assert [each.healed for each in life.strikes] == [None]


def test_a_pause_holds_healer_and_a_resume_lets_it_go_on() -> None:
    operations = [{"at": "5m", "pause": {"workload": "llm"}}, {"at": "30m", "resume": {"workload": "llm"}}]
    life = play(scenario(faults=[HANG], operations=operations))
    ((at, code),) = acts(life)
    assert code == "evict"
    assert 1800 <= at < 1900
    assert "Paused" in {each.code for each in life.timeline}


@pytest.mark.parametrize(("pods", "seconds"), [(2, 90), (3, 30)])
def test_a_quota_refuses_the_pod_that_replaces_a_deleted_one_until_that_is_gone(pods: int, seconds: int) -> None:
    """5 of 15 requests a second fail while one pod is missing. The old one goes in a minute, the new one starts in 30 s."""
    one = {"name": "llm", "replicas": 2, "starts": "10s", "loads": "20s", "stops": "60s", "traffic": {"rate": 15}}
    cluster = {"nodes": 2, "workloads": [one], "quotas": [{"pods": pods}]}
    life = play(scenario(faults=[HANG], cluster=cluster), "restart-at-once")
    assert life.failed == pytest.approx(5 * seconds, abs=10)


def test_a_pair_of_alertmanagers_that_disagrees_makes_healer_act_once() -> None:
    """It posts resolved and firing in turn for half an hour; the pod is evicted once."""
    flapping = {"flapping": [{"at": "10m", "lasts": "30m"}]}
    life = play(scenario(faults=[ALERT], prometheus=flapping))
    assert [code for _, code in acts(life)] == ["evict"]
    stays = ALERT | {"sits": "workload", "target": {"workload": "llm"}}
    assert len(acts(play(scenario(faults=[stays], prometheus=flapping)))) <= 2


def test_who_deletes_on_an_alert_deletes_the_pod_that_it_names_once() -> None:
    """The alert is posted at 735 s, and again each 4 minutes; the next pod is well."""
    life = play(scenario(faults=[ALERT]), "delete-on-alert")
    assert acts(life) == [(735, "delete")]
    of_workload = ALERT | {"shows": {"answers": {"fail": "100%"}, "alert": {"name": "Hangs", "after": "2m", "of": "workload"}}}
    assert acts(play(scenario(faults=[of_workload | {"lasts": "20m"}]), "delete-on-alert")) == [(735, "restart")]
