"""What a file of tests cannot mean is told with its place before anything is played: things twice, wrong times, too much."""

from pathlib import Path
from typing import Any

import pytest

from healer.daemon.rulefiles import RulesError, vocabulary
from healer.model.duration import LONGEST
from healer.rehearsal.testing import running
from healer.rehearsal.testing.checking import MAX_EVENTS
from healer.rehearsal.testing.loading import load_tests
from healer.rehearsal.testing.stage import MAX_PODS
from healer.rules.positions import Problem
from tests.unit.rehearsal.testing.cases import CRASH, EVICTED, GOOD, Yaml, passes, play_one, rule, write

NOTHING: list[Yaml] = [{"acts": []}]


def problems(folder: Path, *tests: Yaml, **whole: Any) -> list[Problem]:
    """What is wrong with a file of these tests. Each has its line and its column."""
    file = write(folder, [rule()], *tests, **whole)
    with pytest.raises(RulesError) as raised:
        load_tests(file, vocabulary())
    lines = file.read_text().splitlines()
    for problem in raised.value.problems:
        assert lines[problem.line - 1][problem.column - 1 :].strip()
        assert problem.hint
    return raised.value.problems


def of(cluster: Yaml) -> Yaml:
    return {"name": "it", "cluster": cluster, "events": [CRASH], "expect": NOTHING}


TWICE: dict[str, tuple[Yaml, str]] = {
    "workloads": ({"workloads": [{"name": "a"}, {"name": "a", "kind": "StatefulSet"}]}, "two workloads are named production/a"),
    "workloads of one namespace, said and unsaid": (
        {"workloads": [{"name": "a"}, {"name": "b"}, {"name": "a", "namespace": "production"}]},
        "two workloads are named production/a",
    ),
    "nodes": ({"nodes": [{"name": "n"}, {"name": "n", "cordoned": True}]}, "two nodes are named n"),
    "budgets": ({"budgets": [{"name": "b", "labels": {}}, {"name": "b", "labels": {"a": "b"}}]}, "two budgets are named b"),
}


@pytest.mark.parametrize("what", TWICE)
def test_what_is_there_twice_is_told_where_the_second_is(tmp_path: Path, what: str) -> None:
    cluster, said = TWICE[what]
    (problem,) = problems(tmp_path, of(cluster))
    assert problem.message == said
    key = next(iter(cluster))
    assert problem.path == f"tests[0].cluster.{key}[{len(cluster[key]) - 1}].name"
    assert [each.message for each in problems(tmp_path, GOOD, cluster=cluster)] == [said]


def test_the_same_name_in_two_namespaces_is_no_mistake(tmp_path: Path) -> None:
    cluster = {"workloads": [{"name": "serving"}, {"name": "serving", "namespace": "staging"}]}
    passes(play_one(tmp_path, [rule()], {"cluster": cluster, "expect": [{"acts": [EVICTED]}]}))


def test_tests_have_names_of_their_own_and_an_event_names_a_pod_once(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD, {**GOOD, "events": []})
    assert (problem.message, problem.path) == ("two tests have the name 'it heals'", "tests[1].name")
    (problem,) = problems(tmp_path, {**GOOD, "events": [{"pod": {"name": ["a", "b", "a"], "shows": "NotReady"}}]})
    assert problem.message == "'a' is listed twice"


TIMES: dict[str, tuple[Yaml, str, str]] = {
    "a checkpoint after the end": (
        {"lasts": "5m", "expect": [{"at": "6m", "acts": []}]},
        "it is after the end of the test, which lasts 5m",
        "tests[0].expect[0].at",
    ),
    "a report after the end": (
        {"lasts": "5m", "events": [{"at": "2m", "event": {"pod": "serving-1", "reason": "X", "times": 5}}], "expect": NOTHING},
        "it is after the end of the test, which lasts 5m",
        "tests[0].events[0].at",
    ),
    "two checkpoints at one time": (
        {"expect": [{"at": "5m", "acts": []}, {"at": "6m", "acts": []}, {"at": "300s", "incidents": []}]},
        "two entries are about one time, 5m",
        "tests[0].expect[2]",
    ),
    "two checkpoints at the end": (
        {"lasts": "5m", "expect": [{"acts": []}, {"at": "5m", "incidents": []}]},
        "two entries are about one time, 5m",
        "tests[0].expect[1]",
    ),
    "nothing but what is before the first event": (
        {"events": [{"at": "1m", **CRASH}], "expect": [{"at": "30s", "acts": []}, {"at": "59s", "incidents": []}]},
        "all of it is before the first event, which is at 1m, so that this cannot fail",
        "tests[0].expect",
    ),
}


@pytest.mark.parametrize("what", TIMES)
def test_times_that_cannot_be_meant_are_told(tmp_path: Path, what: str) -> None:
    case, said, path = TIMES[what]
    (problem,) = problems(tmp_path, {"name": "it", "events": [CRASH]} | case)
    assert (problem.message, problem.path) == (said, path)


def test_checkpoints_are_looked_at_in_the_order_of_their_times_also_before_the_first_event(tmp_path: Path) -> None:
    events = [{"at": "1m", **CRASH}]
    expect = [{"acts": [EVICTED | {"at": "1m"}]}, {"at": "1m", "acts": [EVICTED | {"at": "1m"}]}, {"at": "0s", "acts": []}]
    passes(play_one(tmp_path, [rule()], {"events": events, "expect": expect}))
    early = play_one(tmp_path, [rule()], {"events": events, "expect": [{"incidents": []}, {"at": "30s", "acts": [EVICTED]}]})
    assert early.difference is not None
    assert (early.difference.at, early.difference.path) == (30, ("expect", 1, "acts", 0))


def test_a_test_lasts_two_hours_longer_than_what_happens_in_it(tmp_path: Path) -> None:
    reported = {"event": {"pod": "serving-1", "reason": "X", "times": 31, "every": "1m"}}
    case = load_tests(write(tmp_path, [rule()], GOOD | {"events": [reported]}), vocabulary()).tests[0].case
    assert case.length == 30 * 60 + 7200


def test_the_entries_of_an_action_hold_one_after_the_other(tmp_path: Path) -> None:
    after = [
        {"action": "evict", "outcome": "deferred", "reason": "First", "attempts": 2},
        {"action": "evict", "outcome": "deferred", "reason": "Second", "attempts": 1},
    ]
    result = play_one(
        tmp_path,
        [rule()],
        {
            "after": after,
            "expect": [{"acts": [{"action": "evict"}] * 4, "decisions": [{"reason": "First"}, {"reason": "Second"}]}],
        },
    )
    passes(result)
    never = [{"action": "evict"}, {"action": "evict", "outcome": "failed"}]
    (problem,) = problems(tmp_path, GOOD | {"after": never})
    assert (problem.message, problem.path) == (
        "an entry before it holds for all attempts of evict",
        "tests[0].after[1].action",
    )


# bounds


def test_a_cluster_has_so_many_pods_and_no_more(tmp_path: Path) -> None:
    half = MAX_PODS // 2
    full = {"workloads": [{"name": "serving", "replicas": half}, {"name": "b", "replicas": MAX_PODS - half}]}
    assert load_tests(write(tmp_path, [rule()], of(full)), vocabulary()).tests
    (problem,) = problems(tmp_path, of({"workloads": [*full["workloads"], {"name": "c", "replicas": 1}]}))
    said = f"its workloads have {MAX_PODS + 1} pods, more than the {MAX_PODS} that a test can have"
    assert (problem.message, problem.path) == (said, "tests[0].cluster.workloads")


def test_a_cluster_does_not_grow_beyond_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healer.rehearsal.testing.stage.MAX_PODS", 5)
    scaling = rule(when={"alert": ["X"]}, heal=[{"scale": {"by": 3, "max": 9}}])
    events = [{"alert": {"name": "X", "workload": "serving"}}]
    result = play_one(tmp_path, [scaling], {"events": events, "expect": [{"acts": []}]})
    assert result.problem is not None
    assert "serving is scaled to 6 replicas: the cluster of a test has at most 5 pods" in result.problem.message


def test_so_much_happens_in_a_test_and_no_more(tmp_path: Path) -> None:
    ten = [f"serving-{number}" for number in range(1, 11)]
    reported = {"event": {"pod": ten, "reason": "X", "times": MAX_EVENTS // 10}}
    case = {"name": "it", "cluster": {"workloads": [{"name": "serving", "replicas": 10}]}, "expect": NOTHING}
    assert load_tests(write(tmp_path, [rule()], case | {"events": [reported]}), vocabulary()).tests
    (problem,) = problems(tmp_path, case | {"events": [reported, CRASH]})
    assert problem.message.startswith(f"with it more than {MAX_EVENTS} things happen in this test")
    assert problem.path == "tests[0].events[1]"


def test_a_test_takes_so_many_steps_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = {"expect": [{"acts": [EVICTED]}]}
    passes(play_one(tmp_path, [rule()], case))
    monkeypatch.setattr(running, "MAX_STEPS", 2)
    result = play_one(tmp_path, [rule()], case)
    assert result.problem is not None
    assert result.problem.message.startswith("healer has taken 2 steps by 0:00:0")
    assert result.problem.line > 1
    assert "lasts" in result.problem.hint


def test_virtual_time_is_bounded_as_all_durations_are(tmp_path: Path) -> None:
    assert LONGEST == 30 * 86_400
    (problem,) = problems(tmp_path, GOOD | {"lasts": "31d"})
    assert "is longer than 30d" in problem.message


def test_the_mistakes_of_a_file_are_told_all_together(tmp_path: Path) -> None:
    first = GOOD | {"name": "a", "lasts": "1m", "expect": [{"at": "2m", "acts": []}]}
    second = GOOD | {"name": "b", "after": [{"action": "evicts"}]}
    assert [each.path for each in problems(tmp_path, first, second)] == ["tests[0].expect[0].at", "tests[1].after[0].action"]
