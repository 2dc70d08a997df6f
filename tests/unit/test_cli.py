"""The verbs, as a person types them: what they print and how they exit."""

import subprocess
import sys
from pathlib import Path

RULES = Path(__file__).parents[2] / "rules"


def healer(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from healer.cli import main; main()", *arguments]
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environ}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, check=False)


def test_check_accepts_the_rule_pack() -> None:
    done = healer("check", str(RULES))
    assert done.returncode == 0, done.stderr
    assert "no problems" in done.stdout


def test_check_names_every_problem_with_its_place_and_exits_1(tmp_path: Path) -> None:
    wrong = (RULES / "tensorflow-serving.yaml").read_text().replace("evict:", "evikt:", 1).replace("cooldown:", "cooldwon:", 1)
    (tmp_path / "wrong.yaml").write_text(wrong)
    done = healer("check", str(tmp_path))
    assert done.returncode == 1
    line = next(number for number, text in enumerate(wrong.splitlines(), 1) if "evikt" in text)
    assert f"wrong.yaml:{line}:" in done.stderr
    assert "did you mean evict" in done.stderr
    assert "did you mean cooldown" in done.stderr
    assert "\x1b[" not in done.stderr


def test_check_of_nothing_exits_2(tmp_path: Path) -> None:
    done = healer("check", str(tmp_path))
    assert done.returncode == 2
    assert "holds no *.yaml files" in done.stderr


def test_run_without_a_cluster_says_what_to_do_and_exits_2(tmp_path: Path) -> None:
    done = healer("run", "--rules", str(RULES), HOME=str(tmp_path))
    assert done.returncode == 2
    assert "KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_with_an_unknown_setting_exits_2() -> None:
    done = healer("run", "--rules", str(RULES), HEALER_HTTP__PROT="1")
    assert done.returncode == 2
    assert "did you mean HEALER_HTTP__PORT" in done.stderr


def test_run_with_wrong_rules_exits_2_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("kind: RuleSet\n")
    done = healer("run", "--rules", str(tmp_path))
    assert done.returncode == 2
    assert "wrong.yaml:1:1" in done.stderr


def test_help_teaches() -> None:
    for verb in ("run", "check", "demo"):
        assert healer(verb, "--help").returncode == 0
    assert "Exit codes" in healer("--help").stdout


def test_a_traceback_in_the_log_shows_no_locals() -> None:
    code = """
import structlog
from healer import settings
from healer.cli import common
common.logs(settings.Log(format="{format}"))
def ask() -> None:
    headers = {{"Authorization": "Bearer " + "hunter2" * 3}}
    raise ValueError(len(headers))
try:
    ask()
except ValueError as error:
    structlog.get_logger().critical("failed", exc_info=error)
"""
    for form in ("json", "console"):
        command = [sys.executable, "-c", code.format(format=form)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "ValueError" in done.stderr
        assert "hunter2" not in done.stderr.replace('"hunter2" * 3', "")
