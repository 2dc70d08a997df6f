"""`healer test`: what happens is played as written, the first difference is found, and wrong files are told with their places."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import CliRunner

from healer.actions.registry import ACTIONS
from healer.cli import app
from healer.daemon.rulefiles import RulesError, vocabulary
from healer.rehearsal.testing.events.cluster import PodEvent
from healer.rehearsal.testing.loading import load_tests
from healer.rehearsal.testing.schema import RuleTest
from healer.rules.json_schema import json_schema
from healer.rules.pod_conditions import POD_CONDITIONS
from healer.rules.triggers import TRIGGERS
from healer.rules.workload_conditions import WORKLOAD_CONDITIONS
from tests.support.json_schema import faults
from tests.unit.rehearsal.testing.cases import (
    CRASH,
    EVICTED,
    GOOD,
    WRONG,
    Played,
    Yaml,
    passes,
    play_one,
    rule,
    run,
    why,
    write,
)


@pytest.fixture
def played(tmp_path: Path) -> Played:
    return lambda rules, **case: play_one(tmp_path, rules, case)


# what happens


@pytest.mark.parametrize("condition", POD_CONDITIONS)
def test_each_condition_of_pods_can_be_shown_and_the_source_reads_it_off_the_pod(played: Played, condition: str) -> None:
    rules = [rule(when={"pod": [condition]}, heal=[{"page": {}}])]
    passes(
        played(
            rules,
            events=[{"at": "10s", "pod": {"name": "serving-1", "shows": condition}}],
            lasts="1h",
            expect=[{"at": "9s", "acts": []}, {"acts": [{"action": "page", "target": "serving"}]}],
        )
    )


@pytest.mark.parametrize("condition", WORKLOAD_CONDITIONS)
def test_each_condition_of_workloads_can_be_shown_and_ends(played: Played, condition: str) -> None:
    rules = [rule(when={"workload": [condition]}, heal=[{"page": {}}])]
    passes(
        played(
            rules,
            events=[
                {"at": "1m", "workload": {"name": "serving", "shows": condition}},
                {"at": "2m", "workload": {"name": "serving", "shows": "Well"}},
            ],
            lasts="1h",
            expect=[{"at": "30s", "incidents": []}, {"incidents": [{"rule": "crash", "state": "closed"}]}],
        )
    )


TRIGGERED: dict[str, tuple[Yaml, Yaml, Yaml]] = {
    "alert": (
        {"alert": ["Slow"], "if": "alert.labels['team'] == 'ml'"},
        {"alert": {"name": "Slow", "pod": "serving-2", "labels": {"team": "ml"}}},
        {"alert": {"name": "Slow", "pod": "serving-2", "labels": {"team": "ml"}, "resolved": True}},
    ),
    "event": (
        {"event": {"reasons": ["FailedMount"]}, "count": {"atLeast": 3, "within": "10m"}},
        {"event": {"reason": "FailedMount", "pod": "serving-2", "times": 3}},
        {"pod": {"name": "serving-2", "shows": "Gone"}},
    ),
    "node": (
        {"node": ["XIDErrors"]},
        {"node": {"name": "node-2", "shows": "XIDErrors"}},
        {"node": {"name": "node-2", "shows": "XIDErrors", "ends": True}},
    ),
    "taint": (
        {"node": ["taint:broken"]},
        {"node": {"name": "node-2", "shows": "taint:broken"}},
        {"node": {"name": "node-2", "shows": "taint:broken", "ends": True}},
    ),
    "query": (
        {"query": {"expr": "x", "above": 1}},
        {"query": {"rule": "crash", "pod": "serving-2"}},
        {"query": {"rule": "crash", "pod": "serving-2", "shows": "Well"}},
    ),
    "model": (
        {"model": {"name": "m", "conditions": ["ModelNotAvailable"]}},
        {"model": {"rule": "mine/crash", "pod": "serving-2", "shows": "ModelNotAvailable"}},
        {"model": {"rule": "mine/crash", "pod": "serving-2", "shows": "Well"}},
    ),
}


@pytest.mark.parametrize("trigger", TRIGGERED)
def test_each_source_can_begin_and_end(played: Played, trigger: str) -> None:
    when, begins, ends = TRIGGERED[trigger]
    heal = [{"page": {}, "verify": {"within": "5m", "stable": "1m"}}]
    passes(
        played(
            [rule(when=when, heal=heal)],
            events=[{"at": "1m", **begins}, {"at": "5m", **ends}],
            expect=[
                {"at": "59s", "incidents": []},
                {"at": "4m", "acts": [{"action": "page"}], "incidents": [{"rule": "crash", "state": "verifying"}]},
                {"incidents": [{"rule": "crash", "state": "closed"}]},
            ],
        )
    )


def test_a_sick_pod_is_replaced_by_one_that_is_well_or_as_sick_as_it_was(played: Played) -> None:
    healed = {"acts": [EVICTED], "incidents": [{"rule": "crash", "state": "closed"}], "told": ["#ml"]}
    passes(played([rule()], expect=[healed]))
    paged = {"action": "page", "target": "serving", "step": 2}
    sick = {"acts": [EVICTED, paged], "incidents": [{"rule": "crash", "state": "escalated"}], "told": ["#night", "#ml"]}
    again = {"action": "evict", "helps": False}
    result = played([rule(limits={"budget": {"actions": 1, "per": "1h"}})], after=[again], expect=[sick])
    passes(result)


@pytest.mark.parametrize(
    ("kind", "named"), [("StatefulSet", "serving-0"), ("DaemonSet", "serving-1"), ("Deployment", "serving-1")]
)
def test_pods_of_each_kind_are_replaced_as_its_controller_does(played: Played, kind: str, named: str) -> None:
    cluster = {"workloads": [{"name": "serving", "kind": kind}]}
    events = [{"pod": {"name": named, "shows": "CrashLoopBackOff"}}]
    scoped = rule(scope={"namespaces": ["production"], "kinds": [kind]})
    healed = {"acts": [EVICTED | {"target": named}], "incidents": [{"rule": "crash", "state": "closed"}]}
    passes(played([scoped], cluster=cluster, events=events, expect=[healed]))


def test_an_action_ends_as_the_test_says_for_as_many_attempts_as_it_says(played: Played) -> None:
    no = {"action": "evict", "outcome": "deferred", "reason": "BudgetRefused"}
    refused = {"decisions": [{"reason": "BudgetRefused", "rule": "crash"}]}
    passes(played([rule()], after=[no | {"attempts": 1}], expect=[refused | {"acts": [EVICTED, EVICTED | {"at": "16s"}]}]))
    result = played([rule()], after=[no], expect=[refused | {"incidents": [{"rule": "crash", "state": "escalated"}]}])
    assert sum(entry.kind == "act" for entry in result.timeline) > 3
    assert not any(" terminating" in entry.text for entry in result.timeline)


@pytest.mark.parametrize(("floor", "acts"), [(2, True), (3, False)])
def test_a_budget_of_the_cluster_refuses_an_eviction_below_its_floor(played: Played, floor: int, acts: bool) -> None:
    """Of three pods one is sick, and two are ready whether it is taken or not."""
    cluster = {"budgets": [{"name": "b", "labels": {"app": "serving"}, "minAvailable": floor}]}
    result = played([rule()], cluster=cluster, lasts="5m", expect=[{"decisions": [{"reason": "BudgetRefused"}]}])
    assert result.passed is not acts


ALARM: Yaml = {"alert": {"name": "X", "workload": "serving"}}
SICK: Yaml = {"alert": {"name": "X", "pod": "serving-1"}}
ON_ALERT: Yaml = {"alert": ["X"]}
CANARY: Yaml = {
    "canary": {
        "route": {"kind": "Ingress", "name": "r"},
        "stable": {"deployment": "stable"},
        "canary": {"deployment": "serving"},
        "measures": [{"name": "errors", "total": 'a{pod=~"{{ pods }}"}', "bad": 'b{pod=~"{{ pods }}"}'}],
    }
}
PINNED: Yaml = {"model": {"name": "m", "conditions": ["ModelVersionFailed"]}}
FAILS: Yaml = {"model": {"rule": "crash", "pod": "serving-1", "shows": "ModelVersionFailed"}}
ACTING: dict[str, tuple[Yaml, Yaml, Yaml, bool]] = {
    "collect": ({}, ON_ALERT, ALARM, False),
    "cordon": ({}, ON_ALERT, SICK, False),
    "evict": ({}, ON_ALERT, SICK, True),
    "job": ({"template": "mend"}, ON_ALERT, ALARM, True),
    "page": ({}, ON_ALERT, ALARM, False),
    "pinModelVersion": ({"configMap": "c", "model": "m", "label": "stable"}, PINNED, FAILS, True),
    "quarantine": ({}, ON_ALERT, SICK, True),
    "restart": ({}, ON_ALERT, SICK, True),
    "rollback": ({}, ON_ALERT, ALARM, True),
    "rolloutRestart": ({}, ON_ALERT, ALARM, True),
    "scale": ({"max": 9}, ON_ALERT, ALARM, True),
    "shiftTraffic": ({"to": 0}, CANARY, {"canary": {"rule": "crash", "verdict": "bad"}}, True),
    "silence": ({}, ON_ALERT, ALARM, False),
}
"""By action: its parameters, what its rule looks for, what happens, and whether the action ends that."""


def test_each_action_is_tried() -> None:
    assert sorted(ACTING) == sorted(ACTIONS)


@pytest.mark.parametrize("helps", [True, False])
@pytest.mark.parametrize("action", ACTING)
def test_what_follows_an_action_ends_what_was_wrong_or_does_not(played: Played, action: str, helps: bool) -> None:
    params, when, happens, cures = ACTING[action]
    cluster = {
        "workloads": [{"name": "serving"}, {"name": "stable"}],
        "nodes": [{"name": f"node-{number}"} for number in (1, 2, 3)],
    }
    result = played(
        [rule(when=when, heal=[{action: params, "verify": {"within": "10m", "stable": "1m"}}])],
        cluster=cluster,
        settings={"limits": {"cordon": True}, "alerts": {"url": "http://alertmanager:9093"}},
        after=[{"action": action, "helps": helps, "takes": "4m"}],
        events=[{"at": "1m", **happens}],
        expect=[{"acts": [{"action": action, "at": "1m"}]}],
    )
    passes(result)
    healed = any(entry.kind == "healed" for entry in result.timeline)
    assert healed is (helps and cures), why(result)


def test_people_approve_pause_and_resume(played: Played) -> None:
    asks = rule(mode="approve")
    told = {"decisions": [{"reason": "NeedsApproval", "verb": "defer"}], "acts": []}
    events = [CRASH, {"at": "10m", "approve": {"by": "eve", "rule": "crash"}}]
    passes(played([asks], events=events, expect=[{"at": "9m"} | told, {"acts": [EVICTED | {"at": "10m"}]}]))
    for place in ({"workload": "serving"}, {"pod": "serving-1"}, {"namespace": "production"}, {"everywhere": True}):
        events = [{"pause": place}, CRASH, {"at": "20m", "resume": place}]
        held = {"at": "19m", "acts": [], "decisions": [{"reason": "Paused"}]}
        passes(played([rule()], events=events, expect=[held, {"acts": [{"action": "evict", "target": "serving-1"}]}]))
    for_a_while = [{"pause": {"workload": "serving", "lasts": "10m"}}, CRASH]
    passes(played([rule()], events=for_a_while, expect=[{"at": "9m", "acts": []}, {"acts": [{"action": "evict"}]}]))


def test_a_rollout_holds_evictions_until_it_is_over(played: Played) -> None:
    events = [
        {"rollout": {"workload": "serving", "takes": "6m"}},
        {"at": "1m", "pod": {"name": "serving-3", "shows": "NotReady"}},
    ]
    rules = [rule(when={"pod": ["NotReady"]})]
    held = {"decisions": [{"reason": "RolloutInProgress", "rule": "crash"}], "acts": []}
    passes(played(rules, events=events, expect=[{"at": "3m", **held}]))
    halts = [{"rollout": {"workload": "serving", "halts": True}}, CRASH]
    passes(played([rule()], events=halts, lasts="20m", expect=[held]))


def test_the_mode_and_the_settings_of_a_test_hold(played: Played) -> None:
    observed = {"acts": [], "wouldAct": [{"action": "evict", "target": "serving-1"}]}
    passes(played([rule(mode="observe")], expect=[observed]))
    passes(played([rule(mode="observe")], mode="enforce", expect=[{"acts": [EVICTED], "wouldAct": []}]))
    twice = [CRASH, {"at": "1h", "pod": {"name": "serving-2", "shows": "CrashLoopBackOff"}}]
    settings = {"limits": {"budget_workload": 1, "budget_per": "10h"}}
    passes(played([rule()], events=twice, settings=settings, lasts="70m", expect=[{"acts": [EVICTED]}]))
    assert not played([rule()], events=twice, lasts="70m", expect=[{"acts": [EVICTED]}]).passed


# the first difference


PASSING: Yaml = {
    "acts": [EVICTED],
    "decisions": [{"reason": "Allowed", "rule": "crash", "verb": "allow", "target": "serving-1"}, {"reason": "Healed"}],
    "incidents": [{"rule": "crash", "state": "closed", "workload": "serving", "reason": "CooledDown"}],
    "told": ["#ml"],
}
MUTATED: dict[str, tuple[Yaml, str]] = {
    "another action": ({"acts": [EVICTED | {"action": "page"}]}, "action is evict, not page"),
    "another target": ({"acts": [EVICTED | {"target": "serving-2"}]}, "target is serving-1, not serving-2"),
    "another rule": ({"acts": [EVICTED | {"rule": "other"}]}, "rule is mine/crash, not mine/other"),
    "another step": ({"acts": [EVICTED | {"step": 2}]}, "step is 1, not 2"),
    "another time": ({"acts": [EVICTED | {"at": "1m"}]}, "it is done at 0:00:00, not at 0:01:00"),
    "one act less": ({"acts": []}, "evict pod/serving-1 by mine/crash is not expected"),
    "one act more": ({"acts": [EVICTED, {"action": "page"}]}, "page is expected by 2:00:00, and was not done"),
    "an act of an observer": ({"wouldAct": [{"action": "evict"}]}, "evict is expected by 2:00:00"),
    "another reason": ({"decisions": [{"reason": "Storm"}]}, "a decision by Storm is expected by 2:00:00; healer decided Crash"),
    "another order": ({"decisions": [{"reason": "Healed"}, {"reason": "Allowed"}]}, "decisions[1]: a decision by Allowed"),
    "another verb": ({"decisions": [{"reason": "Allowed", "verb": "refuse"}]}, "a decision by Allowed (refuse) is expected"),
    "a decision about another": ({"decisions": [{"reason": "Allowed", "target": "serving-2"}]}, "a decision by Allowed"),
    "another state": ({"incidents": [{"rule": "crash", "state": "healed"}]}, "state is closed, not healed"),
    "another workload": ({"incidents": [{"rule": "crash", "state": "closed", "workload": "x"}]}, "workload is serving, not x"),
    "another last reason": ({"incidents": [{"rule": "crash", "state": "closed", "reason": "X"}]}, ", not X"),
    "no incident": ({"incidents": []}, "one of mine/crash is not expected"),
    "one incident more": (
        {"incidents": [{"rule": "crash", "state": "closed"}, {"rule": "other", "state": "open"}]},
        "one of other",
    ),
    "nobody told": ({"told": []}, "#ml is told, and is not expected"),
    "somebody else told": ({"told": ["#ml", "#ops"]}, "#ops is not told by 2:00:00"),
}
OTHER = rule("other", when={"pod": ["OOMKilled"]})


def test_what_is_as_expected_passes(played: Played) -> None:
    passes(played([rule(), OTHER], expect=[PASSING]))


@pytest.mark.parametrize("what", MUTATED)
def test_each_expectation_that_is_not_so_fails_at_its_place(played: Played, what: str) -> None:
    expected, said = MUTATED[what]
    result = played([rule(), OTHER], expect=[expected])
    assert result.difference is not None
    assert said in result.difference.text
    lines = Path(result.file).read_text().splitlines()
    key = next(iter(expected))
    assert int(result.expected.rpartition(":")[2]) >= next(n for n, line in enumerate(lines, 1) if f"{key}:" in line)


def test_the_first_difference_is_marked_in_the_timeline_and_nothing_is_played_after_it(played: Played) -> None:
    events = [CRASH, {"at": "1h", "pod": {"name": "serving-2", "shows": "CrashLoopBackOff"}}]
    result = played([rule()], events=events, expect=[{"at": "30m", "acts": [EVICTED | {"target": "serving-3"}]}, {"acts": []}])
    marked = [line for line in why(result).splitlines() if line.startswith("    >")]
    assert [line.split()[1:] for line in marked] == [
        ["0:00:00", "act", "mine/crash:", "evict", "pod/serving-1", "(step", "1", "of", "2)"]
    ]
    assert max(entry.at for entry in result.timeline) <= 1800
    missing = played([rule()], events=[], lasts="5m", expect=[{"acts": [EVICTED]}])
    assert why(missing).splitlines()[-1].split()[:3] == [">", "0:05:00", "missing"]


# the command


def test_exit_codes_say_how_it_ended(tmp_path: Path) -> None:
    file = write(tmp_path, [rule()], GOOD)
    assert run(tmp_path).exit_code == 0
    assert run(file).stdout.splitlines() == ["1 test: 1 passed, 0 failed"]
    write(tmp_path, [rule()], GOOD, WRONG)
    failed = run(tmp_path)
    assert (failed.exit_code, failed.stdout.splitlines()[-1]) == (1, "2 tests: 1 passed, 1 failed")
    assert run(tmp_path, "--run", "heals").exit_code == 0
    assert run(tmp_path, "--run", "nonsense").exit_code == 2
    assert run(tmp_path, "--run", "(").exit_code == 2
    assert run(tmp_path / "nothing").exit_code == 2
    assert "\x1b" not in failed.stdout


def test_json_has_each_test_with_its_timeline_and_its_difference(tmp_path: Path) -> None:
    found = json.loads(run(write(tmp_path, [rule()], GOOD, WRONG), "-o", "json").stdout)
    assert (found["passed"], found["failed"], found["problems"]) == (1, 1, [])
    good, wrong = found["tests"]
    assert (good["difference"], wrong["difference"]["text"]) == (None, "acts: evict pod/serving-1 by mine/crash is not expected")
    assert [line["text"] for line in wrong["timeline"] if line["differs"]] == ["evict pod/serving-1 (step 1 of 2)"]


def test_junit_has_a_suite_for_each_file_and_counts_that_are_true(tmp_path: Path) -> None:
    """The elements and attributes that Jenkins' and GitLab's readers want, in their places."""
    lost = {"name": "no <such> pod \x07", "events": [{"pod": {"name": "x", "shows": "NotReady"}}], "expect": [{"acts": []}]}
    write(tmp_path, [rule()], GOOD, WRONG, lost)
    (tmp_path / "broken.test.yaml").write_text("kind: RuleTest\ntests: [")
    out = tmp_path / "out.xml"
    assert run(tmp_path, "--junit", out).exit_code == 2
    root = ElementTree.fromstring(out.read_text("utf-8"))
    assert root.tag == "testsuites"
    suites = {Path(suite.attrib["name"]).name: suite for suite in root}
    assert {name: (s.attrib["tests"], s.attrib["failures"], s.attrib["errors"]) for name, s in suites.items()} == {
        "mine.test.yaml": ("3", "1", "1"),
        "broken.test.yaml": ("1", "0", "1"),
    }
    for suite in root:
        assert {case.tag for case in suite} == {"testcase"}
        assert all({"name", "classname", "time"} <= case.attrib.keys() for case in suite)
        assert sum(case.find("failure") is not None for case in suite) == int(suite.attrib["failures"])
        assert sum(case.find("error") is not None for case in suite) == int(suite.attrib["errors"])
    text = suites["mine.test.yaml"].find("testcase/failure")
    assert text is not None
    assert "> " in (text.text or "")
    assert text.attrib["message"] == "acts: evict pod/serving-1 by mine/crash is not expected"
    assert run(tmp_path, "--junit", tmp_path / "no" / "such").exit_code == 2


def test_coverage_counts_rules_steps_and_guards(tmp_path: Path) -> None:
    stormy = rule(onStorm={"page": {}})
    file = write(tmp_path, [stormy, OTHER], GOOD)
    lines = run(file, "--coverage").stdout.splitlines()
    assert lines[0] == "coverage 28.6 %: 1 of 2 rules, 1 of 5 steps"
    assert "    no test opens an incident of mine/other" in lines
    untaken = [line for line in lines if "no test takes" in line]
    assert untaken == [
        f"    no test takes {each}"
        for each in (
            "mine/crash: step 2 (page)",
            "mine/crash: onStorm (page)",
            "mine/other: step 1 (evict)",
            "mine/other: step 2 (page)",
        )
    ]
    assert {line for line in lines if "holds back" in line} == {
        f"    no test holds back mine/{name}" for name in ("crash", "other")
    }
    assert any("no test meets not_paused: Pausing" in line for line in lines)
    guards = next(number for number, line in enumerate(lines) if line.startswith("guards: "))
    assert "A guard keeps a rule from acting" in lines[guards + 1]
    assert [line for line in lines[guards:] if "no test opens" in line or "no test takes" in line] == []
    paused = GOOD | {"name": "paused", "events": [{"pause": {"workload": "serving"}}, CRASH], "expect": [{"acts": []}]}
    lines = run(write(tmp_path, [stormy, OTHER], GOOD, paused), "--coverage").stdout.splitlines()
    assert not any("not_paused" in line for line in lines)
    assert "    no test holds back mine/crash" not in lines
    two = rule(when={"pod": ["CrashLoopBackOff", "NotStarting"]})
    lines = run(write(tmp_path, [two], GOOD), "--coverage").stdout.splitlines()
    assert [line.strip() for line in lines if "no test shows" in line] == ["no test shows mine/crash: NotStarting"]
    file = write(tmp_path, [stormy, OTHER], GOOD)
    assert (run(file, "--fail-under", "28").exit_code, run(file, "--fail-under", "29").exit_code) == (0, 1)


# wrong files


WRONG_FILES: dict[str, tuple[str, str, str]] = {
    "an expectation of nothing": ("expect:\n  - ", "expect:\n  - {}\n  - ", "nothing is expected, so that this cannot fail"),
    "an unknown key": ("lasts: 1h", "last: 1h", "unknown key 'last'"),
    "no unit": ("lasts: 1h", "lasts: 60", "60 has no unit"),
    "an unknown condition": ("CrashLoopBackOff", "CrashLoop", "shows 'CrashLoop' is not known"),
    "an unknown kind of event": ("- pod:", "- prod:", "unknown key 'prod'"),
    "an unknown rule": ("rule: crash", "rule: crush", "there is no rule 'crush'"),
    "an unknown action": ("- action: page", "- action: pages", "there is no action 'pages'"),
    "an unknown state": ("state: closed", "state: close", "state 'close' is not known"),
    "nothing expected": ("expect:\n  - ", "expect: []\n  x:\n  - ", "expect must not be empty"),
    "an event after the end": ("lasts: 1h", "lasts: 1s", "it is after the end of the test, which lasts 1s"),
    "an unknown kind of file": ("kind: RuleTest", "kind: RuleTests", "kind 'RuleTests' is not known"),
    "a kind of workload that tests have not": ("lasts: 1h", "cluster: {workloads: [{name: a, kind: CronJob}]}", "CronJob"),
    "an unknown setting": ("lasts: 1h", "settings: {limits: {budget: 1}}", "limits.budget: there is no such setting"),
    "no rules beside it": ("tests:", "rules: [nowhere.yaml]\ntests:", "there is no file"),
    "no YAML": ("tests:", "tests: [", "not valid YAML"),
}


@pytest.mark.parametrize("wrong", WRONG_FILES)
def test_what_is_wrong_with_a_file_is_told_with_its_line(tmp_path: Path, wrong: str) -> None:
    case = {
        "name": "it",
        "lasts": "1h",
        "after": [{"action": "page"}],
        "events": [{"pod": CRASH["pod"], "at": "2s"}],
        "expect": [{"at": "3s", "incidents": [{"rule": "crash", "state": "closed"}]}],
    }
    file = write(tmp_path, [rule()], case)
    before, after, said = WRONG_FILES[wrong]
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))
    with pytest.raises(RulesError) as raised:
        load_tests(file, vocabulary())
    problem = next(each for each in raised.value.problems if said in each.message)
    assert problem.line >= 1
    assert problem.hint or "YAML" in problem.message
    assert str(problem).startswith(f"{file}:{problem.line}:")
    assert run(file).exit_code == 2


@pytest.mark.parametrize(
    ("event", "said", "hint"),
    [
        ({"pod": {"name": "serving-9", "shows": "NotReady"}}, "there is no pod 'serving-9'", "serving-1, serving-2, serving-3"),
        ({"alert": {"name": "X", "workload": "llm"}}, "there is no workload 'llm'", "serving"),
        ({"alert": {"name": "X", "pod": "serving-1", "labels": {"node": "n"}}}, "names nothing that healer knows", "labels"),
        ({"approve": {}}, "nothing waits for an approval", "timeline"),
        ({"query": {"rule": "crash", "pod": "serving-1"}}, "mine/crash is no rule on 'query'", "Prometheus"),
        ({"model": {"rule": "crash", "pod": "serving-1", "shows": "X"}}, "mine/crash is no rule on 'model'", "model server"),
        ({"canary": {"rule": "crash", "verdict": "bad"}}, "mine/crash is no rule on 'canary'", "canary"),
        ({"pause": {"namespace": "nowhere"}}, "there is no namespace nowhere", "cluster"),
    ],
)
def test_an_event_about_what_is_not_there_ends_the_test_and_says_so(played: Played, event: Yaml, said: str, hint: str) -> None:
    result = played([rule()], events=[{"at": "1m", **event}], expect=[{"acts": []}])
    assert result.problem is not None
    assert said in result.problem.message
    assert hint in result.problem.hint
    assert result.problem.line > 1


def test_what_lies_beside_the_rules_is_no_rule_for_the_daemon(tmp_path: Path) -> None:
    """Tests, scenarios, even one with the rule set's name, and what kustomize reads; other kinds are no rules."""
    write(tmp_path, [rule()], GOOD)
    (ruleset,) = (path for path in tmp_path.glob("*.yaml") if "kind: RuleSet" in path.read_text())
    other = ruleset.read_text().replace("kind: RuleSet", "kind: Scenario")
    for name in ("a.scenario.yaml", "b.scenario.yml", "kustomization.yaml"):
        (tmp_path / name).write_text(other)
    assert CliRunner().invoke(app, ["check", str(tmp_path)]).exit_code == 0
    (tests,) = tmp_path.glob("*.test.yaml")
    every = tmp_path / "every.test.yaml"
    every.write_text(tests.read_text().replace("kind: RuleTest", 'kind: RuleTest\nrules: ["*.yaml"]'))
    assert CliRunner().invoke(app, ["test", str(every)]).exit_code == 0
    (tmp_path / "named.yaml").write_text(other)
    done = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert done.exit_code == 1
    assert "play it by `healer simulate`; in a folder, NAME.scenario.yaml is passed over" in done.output
    assert "1 problem in 2 files" in done.output


def test_each_key_of_a_pod_event_says_what_it_does() -> None:
    assert all(field.description for field in PodEvent.model_fields.values())


# the page, and the schema


ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "rules-as-code.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("## Test\n") : PAGE.index("## Simulate\n")]
COMMANDS = [line.split()[1:] for line in SECTION.splitlines() if line.startswith("    healer ")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_of_the_page_runs(command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    here = [str(tmp_path / each) if each.endswith(".xml") else each for each in command]
    result = CliRunner().invoke(app, here)
    assert result.exit_code == 0, result.stdout


def test_the_page_shows_the_example_as_it_is() -> None:
    shown = SECTION.split("```yaml\n")[1].split("```")[0]
    assert (ROOT / "docs" / "examples" / "crash-loops.rules.test.yaml").read_text("utf-8").startswith(shown)


KEYS = (ROOT / "docs" / "rule-tests.md").read_text("utf-8")


def test_the_first_test_of_the_page_passes_and_fails_without_its_rule(tmp_path: Path) -> None:
    """For a rule that observes, it says what to write."""
    first = yaml.safe_load(KEYS.split("```yaml\n")[1].split("```")[0])
    for mode, code in (("enforce", 0), ("observe", 1)):
        file = write(tmp_path, [rule("crash-loop", mode=mode)], *first["tests"])
        result = run(file)
        assert result.exit_code == code, result.stdout
    assert "its rule observes: write wouldAct, or mode: enforce" in result.stdout


def test_the_page_has_an_event_for_each_trigger_as_an_example_plays_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\{.*?\})` \| ", KEYS, re.MULTILINE)
    triggers = [trigger for trigger, _ in rows]
    assert sorted(triggers) == sorted(TRIGGERS)
    example = yaml.safe_load((ROOT / "docs" / "examples" / "triggers.rules.test.yaml").read_text("utf-8"))
    assert [[yaml.safe_load(event)] for _, event in rows] == [case["events"] for case in example["tests"]]
    assert [case["name"] for case in example["tests"]] == triggers


TESTS = sorted([*(ROOT / "rules").rglob("*.test.yaml"), *(ROOT / "docs" / "examples").glob("*.test.yaml")])
SCHEMA = json_schema(vocabulary(), RuleTest)


@pytest.mark.parametrize("file", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_schema_takes_each_shipped_test(file: Path) -> None:
    assert list(faults(yaml.safe_load(file.read_text("utf-8")), SCHEMA)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": [{"pod": {"name": "x"}}]},
        {"events": [{"pod": {"name": 3, "shows": "NotReady"}}]},
        {"events": [{"at": "soon", "pod": {"name": "x", "shows": "NotReady"}}]},
        {"expect": [{"acts": [{"action": "evict", "targets": "x"}]}]},
        {"expect": [{"incidents": [{"rule": "x", "state": "gone"}]}]},
    ],
)
def test_the_schema_takes_no_wrong_one(wrong: Yaml) -> None:
    whole = {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleTest", "tests": [GOOD | wrong]}
    assert list(faults(whole, SCHEMA)) != []
