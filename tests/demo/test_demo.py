"""The demo as a user runs it: it ends without input, shows a healing, and its exit code says whether everything healed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from healer.http.state import read_state

RULES = Path(__file__).parents[2] / "rules"


OPERATORS = {
    "HEALER_SLACK__TOKEN_FILE": "/nonexistent/token",
    "HEALER_SLACK__CHANNEL": "#ml-oncall",
    "HEALER_PROMETHEUS__URL": "http://127.0.0.1:1",
    "HEALER_CLUSTER__NAMESPACES": '["elsewhere"]',
    "HEALER_ENGINE__RETRY": "soon",
    "KUBECONFIG": "/nonexistent/kubeconfig",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "http_proxy": "http://127.0.0.1:1",
}
"""The environment of an operator of healer, with another cluster and another Slack. The demo must not use it."""


def demo(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from healer.cli import main; main()", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=os.environ | environ)


def kept(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with --keep, and end it by Ctrl-C once its page has shown that all is over."""
    command = [sys.executable, "-c", "from healer.cli import main; main()", "demo", "--keep", *arguments]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"The scenarios are over\. healer's page: (http://127\.0\.0\.1:\d+/) .*: (\w+)\)", line):
                _look(found[1], found[2])
                process.send_signal(signal.SIGINT)
        process.wait(90)
    return subprocess.CompletedProcess(command, process.returncode, "".join(lines), "")


def _look(url: str, token: str) -> None:
    """The page is there, with the state behind it, and the token acts."""
    with urlopen(url, timeout=30) as answer:
        assert b"<title>healer</title>" in answer.read()
    with urlopen(f"{url}state", timeout=30) as answer:
        state = read_state(answer.read())
    assert state.cluster == "demo"
    assert state.incidents
    assert all(incident.state in ("healed", "closed") for incident in state.incidents)
    body = b'{"name": "everything", "by": "ann"}'
    head = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    with urlopen(Request(f"{url}control/pause", body, head), timeout=30) as answer:
        assert b"healer is paused everywhere" in answer.read()


def test_it_heals_and_ignores_the_environment_of_an_operator(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    done = kept(
        "--rules",
        str(RULES),
        "--rules",
        str(RULES / "models" / "vllm.yaml"),
        "--rules",
        str(RULES / "canary" / "tensorflow-serving.yaml"),
        "--svg",
        str(picture),
        **OPERATORS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything healed." in done.stdout
    for shown in ("begins to crash", "is evicted", "not now:", "nothing to heal", "healed", "60 times as fast"):
        assert shown in done.stdout
    assert re.search(r"judge +bad-canary +GOOD: errors: canary 0 of ", done.stdout), "it is found good before it fails"
    assert "begins to fail 20 % of its requests" in done.stdout
    assert re.search(
        r"BAD: errors: canary [\d,]+ of [\d,]+ bad \([\d.]+ %\), stable [\d,]+ of [\d,]+(?: \([\d.]+ %\))?; "
        r"evidence (?:[\d,]+|over a million) where 200 is enough",
        done.stdout,
    )
    assert "canary 20 % -> 0 %" in done.stdout
    (hung,) = re.findall(r"the engine of pod (\S+) hangs", done.stdout)
    (saturated,) = re.findall(r"pod (\S+) is saturated: its KV cache", done.stdout)
    assert re.findall(r"pod/(llm-\S+) is evicted", done.stdout) == [hung], "the engine that hangs, and no other"
    assert saturated != hung
    table = done.stdout.partition("What healer did")[2]
    assert re.search(rf"^\(none\) +{saturated} +none +left alone", table, re.MULTILINE), "a name is whole at 80 columns"
    assert re.search(r"^failing +tensorflow-serving-v1-…\w{5} +none +already gone", table, re.MULTILINE)
    assert "\x1b[" not in done.stdout
    assert picture.read_text().startswith("<svg")


def test_rules_that_only_observe_heal_nothing_and_the_exit_code_is_1(tmp_path: Path) -> None:
    pack = (RULES / "tensorflow-serving.yaml").read_text()
    (tmp_path / "observe.yaml").write_text(pack.replace("mode: enforce", "mode: observe"))
    done = demo("--rules", str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "would be evicted" in done.stdout
    assert "did not heal" in done.stdout


def test_the_message_names_invalid_rules(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("kind: RuleSet\n")
    done = demo("--rules", str(tmp_path))
    assert done.returncode == 2
    assert "wrong.yaml:1:1" in done.stderr
