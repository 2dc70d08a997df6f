"""What a failure says to a stranger, what programs get of it, and what servers of continuous integration read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.unit.rehearsal.testing.cases import CRASH, EVICTED, GOOD, WRONG, Yaml, play_one, rule, run, why, write

# failures


FLOOR = {"workloads": [{"name": "serving", "replicas": 2}, {"name": "far", "namespace": "staging"}]}
STORM: Yaml = {"pod": {"name": ["serving-1", "serving-2"], "shows": "CrashLoopBackOff"}}
FAR: Yaml = {"pod": {"name": "staging/far-1", "shows": "CrashLoopBackOff"}}
SICK: Yaml = {"alert": {"name": "Slow", "pod": "serving-1"}}
SLOW = rule("slow", when={"alert": ["Slow"]}, limits={"minReady": 2})
FAILURES: dict[str, tuple[Yaml, list[str], str]] = {
    "what was not done, with the decision that held it": (
        {"events": [SICK], "expect": [{"at": "5m", "acts": [{"action": "evict", "rule": "slow"}]}]},
        [
            "acts[0]: evict is expected by 0:05:00, and was not done; at 0:00:00 healer decided by mine/slow: BelowFloor: ",
            "    there was, as a test says it: acts: []",
        ],
        "0:05:00  missing    acts[0]: evict is expected by 0:05:00, and was not done",
    ),
    "what was not done, because no rule is about it": (
        {"events": [FAR], "expect": [{"at": "5m", "acts": [{"action": "evict", "rule": "crash"}]}]},
        ["healer decided nothing by crash: NoRule: no rule is about pod "],
        "0:05:00  missing    acts[0]: evict is expected by 0:05:00, and was not done",
    ),
    "what was not done, because its rule observes": (
        {"events": [SICK], "mode": "observe", "lasts": "5m", "cluster": {}, "expect": [{"acts": [{"action": "evict"}]}]},
        ["acts[0]: evict is expected by 0:05:00, and was not done; its rule observes: write wouldAct, or mode: enforce"],
        "0:05:00  missing    acts[0]: evict is expected by 0:05:00, and was not done",
    ),
    "what was done, and is said to be observed": (
        {"events": [SICK], "lasts": "5m", "cluster": {}, "expect": [{"wouldAct": [{"action": "evict"}]}]},
        [
            "wouldAct[0]: evict is expected by 0:05:00, and was not done; it was done: write acts",
            "as a test says it: wouldAct: []",
        ],
        "0:05:00  missing    wouldAct[0]: evict is expected by 0:05:00, and was not done",
    ),
    "what was done, and should not": (
        {"events": [CRASH], "expect": [{"at": "5m", "acts": []}]},
        [
            "acts: evict pod/serving-1 by mine/crash is not expected",
            "    there was, as a test says it: acts:",
            "        - {action: evict, target: serving-1, rule: mine/crash, step: 1, at: 0s}",
        ],
        "0:00:00  act        mine/crash: evict pod/serving-1 (step 1 of 2)",
    ),
    "what was done at another time": (
        {"events": [{"at": "90s", **CRASH}], "expect": [{"at": "5m", "acts": [EVICTED]}]},
        ["acts[0]: it is done at 0:01:30, not at 0:00:00", "step: 1, at: 1m30s}"],
        "0:01:30  act        mine/crash: evict pod/serving-1 (step 1 of 2)",
    ),
    "what is held for another reason": (
        {"events": [SICK], "expect": [{"at": "5m", "decisions": [{"rule": "slow", "reason": "Storm"}]}]},
        [
            "decisions[0]: a decision of slow by Storm is expected by 0:05:00; "
            "healer decided Slow (open) at 0:00:00, BelowFloor (defer) at 0:00:00"
        ],
        "0:00:00  defer      mine/slow: BelowFloor: pod/serving-1: it would leave 1 ready replica; minReady asks for 2",
    ),
    "a reason that is not spelt so": (
        {"events": [SICK], "expect": [{"at": "5m", "decisions": [{"reason": "BelowFlor"}]}]},
        ["decisions[0]: a decision by BelowFlor is expected by 0:05:00 (did you mean BelowFloor?); healer decided "],
        "0:00:00  defer      mine/slow: BelowFloor: ",
    ),
    "a reason in other words": (
        {"events": [SICK], "expect": [{"at": "5m", "decisions": [{"reason": "BelowFloor", "says": "asks for 3"}]}]},
        ["decisions[0]: a decision by BelowFloor that says 'asks for 3' is expected by 0:05:00; healer decided "],
        "0:00:00  defer      mine/slow: BelowFloor: pod/serving-1: it would leave 1 ready replica; minReady asks for 2",
    ),
    "an incident in another state": (
        {"events": [CRASH], "expect": [{"at": "5m", "incidents": [{"rule": "crash", "state": "escalated"}]}]},
        [
            "incidents[0] at 0:05:00: state is healed, not escalated",
            "        - {rule: mine/crash, state: healed, workload: serving, reason: Healed}",
        ],
        "0:02:01  healed     mine/crash: Healed: ",
    ),
    "an incident that is missing": (
        {"events": [], "lasts": "1m", "expect": [{"incidents": [{"rule": "crash", "state": "open"}]}]},
        ["incidents[0]: one of crash is expected by 0:01:00; there was none", "as a test says it: incidents: []"],
        "0:01:00  missing    incidents[0]: one of crash is expected by 0:01:00",
    ),
    "somebody who is not told": (
        {"events": [CRASH], "expect": [{"at": "5m", "told": ["#ml", "#ops"]}]},
        ["told: #ops is not told by 0:05:00; told were #ml", '        - "#ml"'],
        "0:05:00  missing    told: #ops is not told by 0:05:00",
    ),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_says_what_there_was_why_and_marks_the_first_difference(tmp_path: Path, what: str) -> None:
    case, said, marked = FAILURES[what]
    result = play_one(tmp_path, [rule(), SLOW], {"cluster": FLOOR} | case)
    lines = why(result).splitlines()
    assert lines[0] == f"FAILED {result.where}: it"
    assert lines[1].startswith(f"    {result.expected}: ")
    for words in said:
        assert any(words in line for line in lines), why(result)
    (mark,) = [line for line in lines if line.startswith("    > ")]
    assert mark.removeprefix("    > ").strip().startswith(marked)


def test_what_there_was_can_be_written_into_the_test_and_passes(tmp_path: Path) -> None:
    for key in ("acts", "incidents", "told"):
        case: Yaml = {"events": [CRASH], "expect": [{"at": "5m", key: []}]}
        lines = why(play_one(tmp_path, [rule()], case)).splitlines()
        begin = next(number for number, line in enumerate(lines) if "as a test says it" in line)
        block = [line for line in lines[begin + 1 :] if line.startswith("        - ")]
        found: list[Any] = yaml.safe_load("\n".join(block))
        again = play_one(tmp_path, [rule()], {"events": [CRASH], "expect": [{"at": "5m", key: found}]})
        assert again.passed, why(again)


def test_no_line_of_a_timeline_is_there_twice(tmp_path: Path) -> None:
    shown = [str(entry) for entry in play_one(tmp_path, [rule()], GOOD).timeline if not entry.quiet]
    assert len(set(shown)) == len(shown)
    assert sum("Resolved: " in line for line in shown) == 1


# for programs


DOCS = Path(__file__).parents[4] / "docs" / "rule-tests.md"


def _keys(value: Any, path: str = "") -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                below = f"{path}.{key}" if path else key
                yield below
                yield from _keys(inner, below)
        case list():
            for inner in value:
                yield from _keys(inner, f"{path}[]")


def _documented() -> set[str]:
    """The keys of the page's table; a name without a dot stands beside the one before it."""
    found: set[str] = set()
    page = DOCS.read_text("utf-8")
    for row in re.findall(r"^\| (`.*?`) \|", page[page.index("\n## JSON\n") :], re.MULTILINE):
        first, *others = re.findall(r"`(.*?)`", row)
        around = first.rpartition(".")[0]
        for key in (first, *(f"{around}.{each}" if around else each for each in others)):
            parts = key.split(".")
            found |= {".".join(parts[: number + 1]).removesuffix("[]") for number in range(len(parts))}
    return found


def test_json_has_the_keys_that_the_page_has_and_is_the_same_each_time(tmp_path: Path) -> None:
    lost = {"name": "no such pod", "events": [{"pod": {"name": "x", "shows": "NotReady"}}], "expect": [{"acts": []}]}
    write(tmp_path, [rule(onStorm={"page": {}})], GOOD, WRONG, lost)
    (tmp_path / "broken.test.yaml").write_text("kind: RuleTest\ntests: [")
    first = run(tmp_path, "-o", "json").stdout
    assert first == run(tmp_path, "-o", "json").stdout
    found = json.loads(first)
    assert (found["apiVersion"], found["kind"]) == ("healer.dev/v1alpha1", "RuleTestReport")
    keys = set(_keys(found))
    assert {key for key in keys if ".problem." not in key} == _documented()
    assert {key for key in keys if ".problem." in key} == {
        f"tests[].problem.{key.removeprefix('problems[].')}" for key in keys if key.startswith("problems[].")
    }


# for servers of continuous integration


def test_junit_is_what_jenkins_and_gitlab_read_also_with_names_that_xml_does_not_allow(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1bb.c"
    folder.mkdir()
    ill = {"name": "bell \x07 tab \t <&\"'> \ufffe", "events": [CRASH], "expect": [{"acts": []}]}
    write(folder, [rule()], GOOD, ill)
    out = tmp_path / "out.xml"
    assert run(tmp_path, "--junit", out).exit_code == 1
    text = out.read_text("utf-8")
    assert re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", text) is None
    root = ElementTree.fromstring(text)
    (suite,) = root
    totals = {"tests": "2", "failures": "1", "errors": "0", "skipped": "0"}
    for group in (root, suite):
        assert {key: group.attrib[key] for key in totals} == totals
        assert float(group.attrib["time"]) == pytest.approx(sum(float(case.attrib["time"]) for case in suite), abs=1e-6)
    good, wrong = suite
    assert (good.attrib["name"], [*good]) == ("it heals", [])
    assert good.attrib["classname"] == f"{str(tmp_path).strip('/').replace('/', '.')}.a b.c.mine"
    assert wrong.attrib["name"] == "bell   tab   <&\"'>  "
    lines = (folder / "mine.test.yaml").read_text("utf-8").splitlines()
    assert lines[int(good.attrib["line"]) - 1].strip() == "- name: it heals"
    assert good.attrib["file"] == str(folder / "mine.test.yaml").replace("\x1b", " ")
    assert float(good.attrib["time"]) > 0
    (failure,) = wrong
    assert (failure.tag, failure.attrib["type"]) == ("failure", "Difference")
    assert (failure.text or "").startswith("FAILED ")
