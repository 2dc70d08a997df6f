"""The demo as a person runs it: it ends by itself, shows a healing, and its exit code tells whether everything healed."""

import re
import subprocess
import sys
from pathlib import Path

RULES = Path(__file__).parents[2] / "rules"


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from healer.cli import main; main()", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def test_it_heals_and_says_so(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    done = demo("--rules", str(RULES), "--rules", str(RULES / "canary"), "--svg", str(picture))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything healed." in done.stdout
    for shown in ("begins to crash", "is evicted", "not now:", "nothing to heal", "healed", "60 times as fast"):
        assert shown in done.stdout
    assert "begins to fail 20 % of its requests" in done.stdout
    assert re.search(r"BAD: errors: canary [\d,]+ of [\d,]+ bad, stable [\d,]+ of [\d,]+; evidence [\d,]+ >= 200", done.stdout)
    assert "canary 20 % -> 0 %" in done.stdout
    assert "\x1b[" not in done.stdout
    assert picture.read_text().startswith("<svg")


def test_rules_that_only_observe_heal_nothing_and_the_exit_code_tells(tmp_path: Path) -> None:
    pack = (RULES / "tensorflow-serving.yaml").read_text()
    (tmp_path / "observe.yaml").write_text(pack.replace("mode: enforce", "mode: observe"))
    done = demo("--rules", str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "would be evicted" in done.stdout
    assert "did not heal" in done.stdout


def test_rules_that_are_wrong_are_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("kind: RuleSet\n")
    done = demo("--rules", str(tmp_path))
    assert done.returncode == 2
    assert "wrong.yaml:1:1" in done.stderr
