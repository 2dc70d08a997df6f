"""`healer simulate` as people type it."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from healer.cli import app
from healer.rehearsal.simulate import virtual
from tests.support.processes import PATIENCE
from tests.unit.rehearsal.simulate.played import EVICT, written

ROOT = Path(__file__).parents[4]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "rules-as-code.md").read_text("utf-8")
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    healer simulate")]
HANG = {"name": "hang", "at": "10m", "target": {"workload": "llm", "pods": 1}, "shows": {"pod": "hang"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(EVICT)
    path = tmp_path / "test.scenario.yaml"
    path.write_text(written(faults=[HANG], rules=["rules.yaml"], expect={"should": [{"action": "evict"}]}))
    return path


def test_a_scenario_that_goes_well_ends_with_0(file: Path) -> None:
    found = CliRunner().invoke(app, ["simulate", str(file)])
    assert found.exit_code == 0, found.output
    assert "healed" in found.stdout.splitlines()[-1]


def test_what_is_expected_and_not_done_ends_with_1(file: Path, tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text(EVICT.replace("enforce", "observe"))
    found = CliRunner().invoke(app, ["simulate", str(file), "--rules", str(tmp_path / "none.yaml")])
    assert found.exit_code == 1
    assert "it should evict at least once, and did not" in found.stdout


def test_what_rules_that_only_observe_would_do_is_said(file: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(EVICT.replace("enforce", "observe"))
    found = CliRunner().invoke(app, ["simulate", str(file)])
    assert re.search(r"^healer would evict [1-9][0-9]* \(rules observe\)$", found.stdout, re.MULTILINE)
    plain = json.loads(CliRunner().invoke(app, ["simulate", str(file), "-o", "json"]).stdout)["policies"]["healer"]
    assert plain["actions"] == {}
    assert plain["actionsObserved"]["evict"] >= 1
    (tmp_path / "rules.yaml").write_text(EVICT)
    assert "would" not in CliRunner().invoke(app, ["simulate", str(file)]).stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["missing.yaml"], "missing.yaml: does not exist"),
        (["{file.parent}"], "is a folder"),
        (["{file.parent}"], "name one of the scenarios in it: {file}"),
        (["{file.parent}/rules.yaml"], "rules.yaml:3:7: this is a RuleSet, and no scenario"),
        (["{file.parent}/rules.yaml"], "run: healer check {file.parent}/rules.yaml"),
        (["{file}", "--policy", "pray"], "there is no policy 'pray'"),
        (["{file}", "--rules", "nowhere"], "nowhere"),
        (["{file}", "--hours", "0"], "'--hours'"),
        (["{file}", "--hours", "nan"], "'--hours'"),
        (["{file}", "--hours", "721"], "'--hours'"),
        (["{file}", "--seed", "x"], "'--seed'"),
        (["{file}", "-o", "xml"], "'xml' is not one of"),
        (["{file}", "--report", "/nowhere/report.html", "--hours", "0.2"], "the report cannot be written"),
    ],
)
def test_what_cannot_be_used_ends_with_2(file: Path, given: list[str], said: str) -> None:
    found = CliRunner().invoke(app, ["simulate", *(each.format(file=file) for each in given)])
    assert found.exit_code == 2
    assert said.format(file=file) in found.output


def test_a_rule_file_that_is_not_there_is_named_where_the_scenario_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.scenario.yaml"
    path.write_text(written(faults=[], rules=["there.yaml", "gone.yaml"]))
    (tmp_path / "there.yaml").write_text(EVICT)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "gone.yaml" in text)
    found = CliRunner().invoke(app, ["simulate", str(path)])
    assert found.exit_code == 2
    assert f"{path}:{line}:" in found.output
    assert f"there is no {tmp_path / 'gone.yaml'}" in found.output
    again = CliRunner().invoke(app, ["simulate", str(path), "--rules", str(tmp_path / "there.yaml"), "--hours", "0.2"])
    assert again.exit_code in (0, 1), again.output  # what takes the place of the files that it names


def test_a_failure_of_the_simulation_itself_is_no_harm_of_the_rules(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "_MOST_TURNS", 20)  # so soon the loop counts as one that never waits
    found = CliRunner().invoke(app, ["simulate", str(file)])
    assert found.exit_code == 2
    assert found.stderr.startswith(f"healer: {file}: the simulation itself has failed, which says nothing of the rules: Stuck: ")
    assert found.stderr.count("\n") == 1


def test_what_was_not_done_and_what_cannot_be_answered_is_said(file: Path, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(EVICT.replace("evict: {}", "job: {template: mend}"))
    file.write_text(written(faults=[HANG], workload={"traffic": {"rate": 25}}))
    found = CliRunner().invoke(app, ["simulate", str(file), "--rules", str(tmp_path / "job.yaml")], env={"COLUMNS": "1000"})
    assert "healer: job on llm was not done: NoTemplate: there is no cronjob/mend in production" in found.stdout
    assert "llm gets 25 requests a second and can answer 20 (2 pods of 10)" in found.stdout


def test_a_setting_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(written(faults=[], settings={"engine": {"retrry": 5}}))
    found = CliRunner().invoke(app, ["simulate", str(path)])
    assert found.exit_code == 2
    assert "engine.retrry: there is no such setting; did you mean engine.retry?" in found.output


def test_without_healer_there_is_no_verdict_and_the_exit_code_is_0(file: Path) -> None:
    found = CliRunner().invoke(app, ["simulate", str(file), "--policy", "none", "--hours", "0.5"])
    assert found.exit_code == 0
    assert "expects" not in found.stdout


@pytest.mark.slow
def test_a_terminal_sees_the_progress_and_an_interrupt_ends_it_without_a_traceback(file: Path) -> None:
    """A simulation of thirty days, which nobody awaits."""
    mine, terminal = pty.openpty()
    command = [str(Path(sys.executable).with_name("healer")), "simulate", str(file), "--hours", "720"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env=os.environ | {"TERM": "xterm"})
    os.close(terminal)
    seen = b""
    while b"%" not in seen:
        seen += os.read(mine, 4096)
    assert b"healer" in seen
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=PATIENCE)
    with suppress(OSError):  # the terminal has no end any more: all is read
        while more := os.read(mine, 4096):
            seen += more
    os.close(mine)
    assert child.returncode == 130
    assert said == b""
    assert b"Traceback" not in seen


@pytest.mark.slow
def test_two_processes_print_the_same_bytes() -> None:
    """The order of Python's sets of texts differs from one process to the next: the result does not show it."""
    command = [
        str(Path(sys.executable).with_name("healer")),
        "simulate",
        str(EXAMPLES / "crash-loops.scenario.yaml"),
        "-o",
        "json",
    ]
    environs = [os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "2")]
    printed = [subprocess.run(command, env=environ, capture_output=True, check=True).stdout for environ in environs]
    assert printed[0] == printed[1]
    assert json.loads(printed[0])["policies"]["healer"]["faults"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_run_and_go_as_their_scenarios_say(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = CliRunner().invoke(app, shlex.split(command)[1:])
    assert found.exit_code == 0, found.output
