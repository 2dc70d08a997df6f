"""`healer test` on a terminal and in a pipeline: progress, Ctrl-C, a choice of tests, what happened in those that pass."""

import asyncio
import json
import os
import pty
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.healer import HEALER, environment
from tests.support.processes import PATIENCE
from tests.support.terminal import PseudoTerminal
from tests.unit.rehearsal.testing.cases import GOOD, WRONG, Yaml, rule, run, write

LONG: Yaml = {
    "name": "a month of a large storm",
    "cluster": {"workloads": [{"name": "serving", "replicas": 1000}, {"name": "other", "replicas": 1000}]},
    "after": [{"action": "evict", "outcome": "deferred", "reason": "BudgetRefused"}],
    "events": [
        {"pod": {"name": [f"serving-{number}" for number in range(1, 401)], "shows": "Restarting", "times": 20, "every": "1h"}}
    ],
    "lasts": "30d",
    "expect": [{"acts": []}],
}
"""Seconds of a fast machine."""
MANY = 40


@pytest.mark.slow
async def test_ctrl_c_ends_the_run_and_shows_what_was_played(tmp_path: Path) -> None:
    every = [LONG | {"name": f"month {number} of a large storm"} for number in range(MANY)]
    file = write(tmp_path, [rule(when={"pod": ["Restarting"]})], WRONG, *every)
    ours, theirs = pty.openpty()
    out = tmp_path / "out.xml"
    process = await asyncio.create_subprocess_exec(
        HEALER,
        *("test", str(file), "--junit", str(out)),
        env=environment(tmp_path, {"TERM": "xterm", "COLUMNS": "200", "LINES": "60"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = PseudoTerminal(ours)
    try:
        await screen.until(f"1/{MANY + 1}")
        await screen.until("month 0 of a large storm")
        process.send_signal(signal.SIGINT)
        await screen.until("not played")
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 130, screen.text
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
    assert "Traceback" not in screen.text
    assert f"FAILED {file}:4: it does nothing" in screen.text
    (suite,) = ElementTree.fromstring(out.read_text("utf-8"))
    first, *others = [[child.tag for child in case] for case in suite]
    skipped = sum(tags == ["skipped"] for tags in others)
    assert first == ["failure"]
    assert skipped > MANY // 2
    assert (suite.attrib["tests"], suite.attrib["skipped"]) == (str(MANY + 1), str(skipped))
    assert f"interrupted: {skipped} tests of {MANY + 1} not played" in screen.text


def test_tests_are_chosen_by_several_patterns(tmp_path: Path) -> None:
    other = GOOD | {"name": "another"}
    file = write(tmp_path, [rule()], GOOD, WRONG, other)
    names = {
        (): ["it heals", "it does nothing", "another"],
        ("heals",): ["it heals"],
        ("^it", "nonsense"): ["it heals", "it does nothing"],
        ("heals", "other"): ["it heals", "another"],
        (r"mine\.test",): ["it heals", "it does nothing", "another"],
    }
    for patterns, wanted in names.items():
        options = [part for pattern in patterns for part in ("--run", pattern)]
        assert [test["name"] for test in json.loads(run(file, *options, "-o", "json").stdout)["tests"]] == wanted
    none = run(file, "--run", "x1", "--run", "x2")
    assert (none.exit_code, none.stdout.splitlines()[0]) == (2, "no test is named like 'x1' or 'x2'")


def test_the_timeline_of_a_test_that_passes_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path, [rule()], GOOD)
    assert len(run(file).stdout.splitlines()) == 1
    first, *lines, last = run(file, "--timeline").stdout.splitlines()
    assert first == f"passed {file}:4: it heals"
    assert lines[0].split() == ["0:00:00", "event", "serving-1:", "CrashLoopBackOff"]
    assert any(line.split()[1:4] == ["act", "mine/crash:", "evict"] for line in lines)
    assert last == "1 test: 1 passed, 0 failed"


def test_a_file_that_cannot_be_used_keeps_no_other_from_being_played(tmp_path: Path) -> None:
    write(tmp_path, [rule()], GOOD)
    (tmp_path / "broken.test.yaml").write_text("kind: RuleTest\ntests: 1\nrule: []")
    result = run(tmp_path)
    assert result.exit_code == 2
    assert result.stdout.splitlines()[-1].startswith("1 test: 1 passed, 0 failed; 1 file that cannot be used, with ")
    both = run(tmp_path / "broken.test.yaml", tmp_path / "nothing")
    assert (both.exit_code, "nothing: does not exist" in both.stdout) == (2, True)
