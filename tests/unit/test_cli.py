"""The verbs, as a person types them: what they print and how they exit."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from healer.workloads.registry import WORKLOADS
from tests.support.healer import HEALER, Verb

pytestmark = pytest.mark.slow

RULES = Path(__file__).parents[2] / "rules"
PACK = RULES / "tensorflow-serving.yaml"


@dataclass(frozen=True, slots=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def healer(*arguments: str, stdin: str = "", **environ: str) -> Done:
    assert Verb.warm is not None  # tests/conftest.py
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environ}
    return Done(*asyncio.run(Verb.warm.run([HEALER, *arguments], env, stdin)))


def test_check_accepts_the_rule_packs() -> None:
    done = healer("check", str(RULES))
    assert done.returncode == 0, done.stderr
    assert "no errors, 1 remark" in done.stdout  # the folders of rules in which names are to be filled in are no packs
    (remark,) = [line for line in done.stdout.splitlines() if line.startswith("remark: ")]
    assert all(str(RULES / name) in remark for name in ("canary", "models", "nodes", "queries"))


def test_check_names_every_problem_with_its_place_and_exits_1(tmp_path: Path) -> None:
    wrong = (PACK).read_text().replace("evict:", "evikt:", 1).replace("cooldown:", "cooldwon:", 1)
    (tmp_path / "wrong.yaml").write_text(wrong)
    done = healer("check", str(tmp_path))
    assert done.returncode == 1
    line = next(number for number, text in enumerate(wrong.splitlines(), 1) if "evikt" in text)
    assert f"wrong.yaml:{line}:" in done.stdout
    assert "did you mean evict" in done.stdout
    assert "did you mean cooldown" in done.stdout
    assert "\x1b[" not in done.stdout


def test_check_names_what_is_wrong_with_the_templates_of_messages(tmp_path: Path) -> None:
    (tmp_path / "message.txt").write_text("{{ icon }} {{ cause }}\n\n{{ wher }}\n")
    (tmp_path / "chat.yaml").write_text("tells: milestones\nbody:\n  title: '{{ headline }}'\n  text: '{{ reson }}'\n")
    targets = {"chat": {"url": "https://chat.example.com", "template": str(tmp_path / "chat.yaml")}}
    settings = {"slack": {"template_file": str(tmp_path / "message.txt")}, "webhook": {"targets": targets}}
    (tmp_path / "healer.yaml").write_text(json.dumps(settings))
    done = healer("check", str(PACK), "--config", str(tmp_path / "healer.yaml"), COLUMNS="1000")
    assert done.returncode == 1
    assert f"{tmp_path}/message.txt:3: there is no {{{{ wher }}}}" in done.stdout
    assert f"webhook:chat: the template {tmp_path}/chat.yaml: line 4: body.text: there is no {{{{ reson }}}}" in done.stdout
    named = {"HEALER_SLACK__TEMPLATE_FILE": str(tmp_path / "message.txt"), "HEALER_WEBHOOK__TARGETS": json.dumps(targets)}
    assert healer("check", str(PACK), COLUMNS="1000", **named).stdout == done.stdout
    (tmp_path / "message.txt").write_text("{{ cause }}\n")
    assert healer("check", str(PACK), HEALER_SLACK__TEMPLATE_FILE=str(tmp_path / "message.txt")).returncode == 0


_NEEDY = """
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: needy}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: asks
      when: {query: {expr: up, below: 1}}
      heal: [{page: {}}]
      mode: enforce
    - name: waits
      when: {alert: [Slow], for: 1m}
      heal: [{evict: {}}]
      mode: enforce
      notify: ["#ml-oncall"]
"""


def test_check_says_what_the_settings_lack_for_the_rules(tmp_path: Path) -> None:
    """An error where healer would not load the rules; a remark where they come to nothing."""
    (tmp_path / "needy.yaml").write_text(_NEEDY)
    (tmp_path / "healer.yaml").write_text("alerts: {freshness: 60}\n")
    asked = ("check", str(tmp_path / "needy.yaml"), "--config", str(tmp_path / "healer.yaml"))
    done = healer(*asked, COLUMNS="1000")
    assert (done.returncode, "prometheus.url" in done.stdout) == (1, True)
    prometheus = {"HEALER_PROMETHEUS__URL": "http://prometheus.example.com"}
    done = healer(*asked, COLUMNS="1000", **prometheus)
    assert done.returncode == 0, done.stdout
    waits, slack = "needy/waits waits for 1m, and without", "rules name #ml-oncall, and no sink but the log is set up"
    assert [waits in done.stdout, slack in done.stdout, "2 remarks" in done.stdout] == [True, True, True], done.stdout
    set_up = {
        "HEALER_ALERTS__URL": "http://alertmanager.example.com",
        "HEALER_SLACK__TOKEN_FILE": "/x",
        "HEALER_SLACK__CHANNEL": "#a",
    }
    done = healer(*asked, COLUMNS="1000", **prometheus, **set_up)
    assert "no problems" in done.stdout, done.stdout
    (tmp_path / "healer.yaml").write_text("alerts: {freshness: 61}\n")
    assert waits not in healer(*asked, COLUMNS="1000", **prometheus).stdout
    assert "no problems" in healer("check", asked[1]).stdout, "without the settings nothing is known of them"


def test_check_of_nothing_exits_2(tmp_path: Path) -> None:
    done = healer("check", str(tmp_path))
    assert done.returncode == 2
    assert "holds no *.yaml files" in done.stderr


def test_check_of_a_folder_of_folders_names_those_with_rules(tmp_path: Path) -> None:
    """Folders below a folder are not read; whoever names it is told which to name."""
    (tmp_path / "team").mkdir()
    shutil.copy(PACK, tmp_path / "team" / "serving.yaml")
    (tmp_path / "empty").mkdir()
    done = healer("check", str(tmp_path))
    assert done.returncode == 2
    assert "holds no *.yaml files itself, and the folders in it are not read" in done.stderr
    assert f"hint: name them: {tmp_path / 'team'}\n" in done.stderr


_TENANTS = """
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: serving, namespace: payments, labels: {team: payments}}
spec:
  rules:
    - name: crash-loop
      when: {pod: [CrashLoopBackOff]}
      heal: [{evict: {}}]
      mode: enforce
"""


def test_check_and_rbac_read_a_ruleset_as_the_cluster_would_with_what_the_settings_grant() -> None:
    done = healer("check", "-", stdin=_TENANTS)
    assert done.returncode == 1
    assert "<stdin>:10:13: the mode enforce is not granted in payments" in done.stdout
    whence = "what a namespace is granted is read from HEALER_RULESETS__GRANTS in the environment, or from the settings file"
    assert whence in _joined(done.stdout)
    done = healer("rbac", "/dev/stdin", stdin=_TENANTS)
    assert done.returncode == 2
    assert whence in done.stderr
    grants = {"HEALER_RULESETS__GRANTS": json.dumps({"payments": {"mode": "enforce", "actions": ["evict"]}})}
    done = healer("check", "-", "-o", "json", stdin=_TENANTS, **grants)
    found = json.loads(done.stdout)
    assert [each["name"] for each in found["rules"]] == ["payments/serving/crash-loop"], done.stderr
    silent = "HEALER_RULESETS__GRANTS means nothing while HEALER_RULESETS__ENABLED is false"
    assert any(silent in each for each in found["remarks"])
    done = healer("rbac", "/dev/stdin", stdin=_TENANTS, HEALER_RULESETS__ENABLED="true", **grants)
    assert "pods/eviction" in done.stdout
    assert "rulesets/status" in done.stdout


def _joined(text: str) -> str:
    """What a terminal of some width shows, as it was written."""
    return " ".join(text.split())


def test_check_says_what_grants_name_that_there_is_not() -> None:
    grants = json.dumps({"payments": {"actions": ["evikt"]}})
    done = healer("check", "-", stdin=PACK.read_text(), HEALER_RULESETS__ENABLED="true", HEALER_RULESETS__GRANTS=grants)
    assert done.returncode == 1
    assert "HEALER_RULESETS__GRANTS: 'payments' is granted the action evikt, which there is not" in _joined(done.stdout)
    assert "means nothing" not in done.stdout


def test_check_reads_rule_files_as_those_of_a_namespace_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(_TENANTS.replace("namespace: payments, ", "").replace("enforce", "observe"))
    done = healer("check", str(tmp_path))
    assert "the rule has no scope" in done.stdout, "a rule file of healer itself needs one"
    done = healer("check", str(tmp_path), "--as-tenant", "orders", "-o", "json")
    assert [each["name"] for each in json.loads(done.stdout)["rules"]] == ["orders/serving/crash-loop"]
    done = healer("check", "-", "--as-tenant", "orders", stdin=_TENANTS)
    assert "the RuleSet is of the namespace payments, not of orders" in done.stdout


def test_check_says_that_a_rule_file_has_the_name_of_a_ruleset(tmp_path: Path) -> None:
    (tmp_path / "tenant.yaml").write_text(_TENANTS.replace("enforce", "observe"))
    own = _TENANTS.replace(", namespace: payments, labels: {team: payments}", "").replace("enforce", "observe")
    own = own.replace("spec:", "spec:\n  scope: {namespaces: [production]}", 1)
    (tmp_path / "own.yaml").write_text(own)
    done = healer("check", str(tmp_path), "-o", "json")
    (problem,) = json.loads(done.stdout)["problems"]
    assert (done.returncode, problem["path"], problem["hint"]) == (1, "metadata.name", "give the RuleSet another name")
    assert problem["file"] == str(tmp_path / "tenant.yaml")
    assert problem["message"] == "NameTaken: the rule set 'serving' is in healer's rule files too"
    (tmp_path / "own.yaml").write_text(own.replace("name: serving", "name: own"))
    assert healer("check", str(tmp_path)).returncode == 0


def test_check_reads_a_pipe() -> None:
    """As a shell's <(command) names one."""
    done = healer("check", "/dev/stdin", stdin=(PACK).read_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert "in 1 file: no problems" in done.stdout


def test_check_reads_standard_input_and_answers_programs() -> None:
    text = (PACK).read_text()
    done = healer("check", "-", "-o", "json", stdin=text.replace("evict:", "evikt:", 1))
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["file"], problem["hint"]) == ("<stdin>", "did you mean evict?")
    right = json.loads(healer("check", "-", "-o", "json", stdin=text).stdout)
    assert right["problems"] == []
    assert right["rules"][0].keys() == {"name", "where", "mode"}


def test_check_says_what_of_a_folder_it_passes_over(tmp_path: Path) -> None:
    """A rule file that is not read guards nothing."""
    shutil.copy(PACK, tmp_path / "serving.yaml")
    (tmp_path / "team").mkdir()
    shutil.copy(PACK, tmp_path / "team" / "serving.yaml")
    (tmp_path / "odd.yaml").mkdir()
    done = healer("check", str(tmp_path))
    assert done.returncode == 0
    assert f"{tmp_path}: the folders in it are not read; name those as well that you mean: {tmp_path / 'team'}\n" in done.stdout
    assert f"{tmp_path / 'odd.yaml'}: is a folder and not a file" in done.stdout


def test_check_says_that_a_link_leads_nowhere(tmp_path: Path) -> None:
    shutil.copy(PACK, tmp_path / "serving.yaml")
    (tmp_path / "more.yaml").symlink_to("gone.yaml")
    done = healer("check", str(tmp_path))
    assert done.returncode == 2
    assert "more.yaml: is a link to gone.yaml, which does not exist" in done.stderr


def test_version_and_short_help() -> None:
    done = subprocess.run([HEALER, "--version"], capture_output=True, text=True, timeout=60, check=True)  # from nothing
    assert re.fullmatch(r"healer \d+\.\d+\.\d+\S*\n", done.stdout)
    assert healer("check", "-h").stdout == healer("check", "--help").stdout != ""


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


def test_help_is_as_wide_as_the_terminal_and_cuts_no_sentence_off() -> None:
    narrow, wide = (healer("--help", COLUMNS=columns).stdout for columns in ("80", "150"))
    assert "..." not in narrow.partition("Commands:")[2]
    assert max(map(len, narrow.splitlines())) <= 80 < max(map(len, wide.splitlines())) <= 150
    assert len(wide.splitlines()) < len(narrow.splitlines())
    assert "..." not in healer("models", "--help", COLUMNS="60").stdout.partition("Commands:")[2]


@pytest.mark.parametrize("verb", ["pause", "resume", "explain"])
def test_help_names_the_kinds_that_a_verb_takes(verb: str) -> None:
    said = " ".join(healer(verb, "--help").stdout.split())
    assert all(f"{kind.words[0]}/NAME" in said for kind in WORKLOADS.values())


def test_a_traceback_in_the_log_shows_no_locals() -> None:
    code = """
import structlog
from healer.settings.sections import Log
from healer.cli.logs import configure_logging
configure_logging(Log(format="{format}"))
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


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["schema", "scenarios"],
            "there is no schema of 'scenarios'; there is one of rules, test, settings, scenario, explanation",
        ),
        (["check", str(PACK), "--prometheus", "http://127.0.0.1:9"], "it says nothing without --cluster"),
        (["check", str(PACK), "-n", "production"], "it says nothing without --cluster"),
        (["replay", "record", "--prometheus", "http://127.0.0.1:9", "--rules", str(PACK)], "and not both"),
        (["replay", "record", "--since", "yesterday", "--rules", str(PACK)], "7d is a week ago; or write a time: 2026-"),
    ],
)
def test_what_is_typed_wrong_is_said_plainly(typed: list[str], said: str) -> None:
    done = healer(*typed, COLUMNS="400")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
