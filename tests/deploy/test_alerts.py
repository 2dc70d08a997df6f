"""deploy/alerts feeds the rule packs: Prometheus and Alertmanager accept it, and each alert is tried and leads somewhere."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.daemon.rulefiles import load_rules, vocabulary
from healer.rules.rulebook import BoundRule
from healer.rules.triggers import ALERT
from healer.rules.xid import XIDS, XidClass
from healer.workloads.registry import WORKLOADS
from tests.support.kustomize import built
from tests.support.processes import program

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "alerts"
RUNBOOKS = "docs/runbooks.md"
TESTS = sorted((ALERTS / "tests").glob("*.yaml"))
OTHERS = {"owners", "alertmanager", "kustomization"}
"""Files that hold no alerts."""
FILES = sorted(path for path in ALERTS.glob("*.yaml") if path.stem not in OTHERS)
OBJECTS = sorted([*FILES, ALERTS / "owners.yaml"])
PEOPLE = "people"
"""The value of the label `to` of alerts that no rule waits for."""

Yaml = dict[str, Any]


def _run(package: str, tool: str, *arguments: str) -> str:
    done = subprocess.run([program(package, tool), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def _alerts() -> Iterator[Yaml]:
    for path in FILES:
        for group in _read(path)["spec"]["groups"]:
            yield from (rule for rule in group["rules"] if "alert" in rule)


def _cases() -> Iterator[tuple[str, list[Yaml]]]:
    """Of each case the alert, and with which labels it is to fire."""
    for path in TESTS:
        for test in _read(path)["tests"]:
            yield from ((case["alertname"], case["exp_alerts"]) for case in test["alert_rule_test"])


def _waiting() -> dict[str, list[BoundRule]]:
    """The shipped rules that wait for alerts, by the alerts' names."""
    waiting: dict[str, list[BoundRule]] = {}
    for bound in load_rules([ROOT / "rules"], vocabulary()).rules:
        for name in bound.rule.when.get(ALERT) or ():
            waiting.setdefault(name, []).append(bound)
    return waiting


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of plain rule files, made of the objects by the command of README.md, with the cases beside them."""
    (command,) = re.findall(r"do (sed .*) > \S+; done$", (ALERTS / "README.md").read_text("utf-8"), re.MULTILINE)
    folder = tmp_path_factory.mktemp("alerts")
    for path in OBJECTS:
        arguments = shlex.split(command.replace("deploy/alerts/$name.yaml", str(path)))
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
        (folder / path.name).write_text(done.stdout, "utf-8")
    shutil.copytree(ALERTS / "tests", folder / "tests")
    return folder


def test_a_plain_rule_file_is_what_its_object_says(plain: Path) -> None:
    """Those who run no operator load the same alerts."""
    for path in OBJECTS:
        assert _read(plain / path.name) == _read(path)["spec"]


def test_the_kustomization_gives_each_file_as_one_object() -> None:
    """Which the Prometheus Operator takes; the configuration of Alertmanager is none."""
    found = built(ALERTS)
    assert found == [_read(path) for path in OBJECTS]
    for path, manifest in zip(OBJECTS, found, strict=True):
        assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}
        assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
        assert (manifest["metadata"], manifest["spec"].keys()) == ({"name": f"healer-{path.stem}"}, {"groups"})


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_in_its_trouble_and_in_no_other(plain: Path, path: Path) -> None:
    """As the real Prometheus evaluates it."""
    _run("prometheus", "promtool", "test", "rules", str(plain / "tests" / path.name))


def test_each_file_is_tried() -> None:
    assert [path.stem for path in TESTS] == [path.stem for path in OBJECTS]


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = list(_cases())
    for fires in (True, False):
        assert {alert["alert"] for alert in _alerts()} == {name for name, expected in cases if bool(expected) is fires}


def test_no_two_alerts_have_one_name() -> None:
    names = [alert["alert"] for alert in _alerts()]
    assert sorted(names) == sorted(set(names))


def test_no_rule_waits_for_an_alert_that_nothing_ships() -> None:
    assert _waiting().keys() <= {alert["alert"] for alert in _alerts()}


def test_an_alert_that_no_rule_waits_for_is_named_for_people() -> None:
    """And only such an one: Alertmanager does not send it to healer."""
    waiting = _waiting()
    for alert in _alerts():
        assert (alert["labels"].get("to") == PEOPLE) is (alert["alert"] not in waiting), alert["alert"]


def test_what_an_alert_gives_names_a_target_that_its_rules_act_on() -> None:
    """A pod, or a workload by the label of its kind; a rule that evicts needs the pod."""
    waiting = _waiting()
    kinds = {kind.word for kind in WORKLOADS.values()}
    for name, expected in _cases():
        for labels in (each["exp_labels"] for each in expected):
            named = labels.keys() & {"pod", *kinds}
            assert labels.get("namespace"), (name, labels)
            assert len(named) == 1, (name, labels)
            for bound in waiting.get(name, ()):
                acts_on = {bound_to for step in bound.rule.heal[:1] for bound_to in vocabulary().actions[step.action].targets}
                assert "pod" in named or "workload" in acts_on, f"{bound.name} acts on pods, and {name} names none"


def test_alerts_on_whole_workloads_are_tried_for_each_kind() -> None:
    """Each kind that healer heals has a case in which the alert names it by the label that healer reads."""
    named = {label for _, expected in _cases() for each in expected for label in each["exp_labels"]}
    assert {kind.word for kind in WORKLOADS.values()} <= named


def test_each_alert_has_a_runbook() -> None:
    """A section of its own, which says how to look and what to do."""
    sections = re.findall(r"^## (\w+)$", (ROOT / RUNBOOKS).read_text("utf-8"), re.MULTILINE)
    assert sorted(sections) == sorted(alert["alert"] for alert in _alerts())
    for alert in _alerts():
        assert alert["annotations"]["runbook_url"] == f"{RUNBOOKS}#{alert['alert'].lower()}"
        assert alert["annotations"]["summary"]


def test_alertmanager_accepts_its_configuration() -> None:
    _run("prometheus-alertmanager", "amtool", "check-config", str(ALERTS / "alertmanager.yaml"))


def test_alertmanager_accepts_it_with_tls_too(tmp_path: Path) -> None:
    """The lines that are comments, and https; the rest stays."""
    text = (ALERTS / "alertmanager.yaml").read_text("utf-8").replace("# tls: ", "").replace("http://healer.", "https://healer.")
    (tmp_path / "alertmanager.yaml").write_text(text, "utf-8")
    _run("prometheus-alertmanager", "amtool", "check-config", str(tmp_path / "alertmanager.yaml"))
    before, after = _read(ALERTS / "alertmanager.yaml"), _read(tmp_path / "alertmanager.yaml")
    (webhook,) = after["receivers"][0]["webhook_configs"]
    assert webhook["url"].startswith("https://")
    assert webhook["http_config"].pop("tls_config").keys() == {"ca_file", "cert_file", "key_file"}
    webhook["url"] = webhook["url"].replace("https://", "http://")
    assert after == before


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"namespace": "production", "pod": "a"}, "healer,people"),
        *(({"namespace": "production", kind.word: "tf"}, "healer,people") for kind in WORKLOADS.values()),
        ({"namespace": "production", "pod": "a", "to": PEOPLE}, "people"),
        ({"alertname": "Watchdog"}, "people"),
    ],
)
def test_healer_gets_what_names_a_target_and_people_get_everything(labels: dict[str, str], receivers: str) -> None:
    config = f"--config.file={ALERTS / 'alertmanager.yaml'}"
    pairs = [f"{name}={value}" for name, value in labels.items()]
    assert _run("prometheus-alertmanager", "amtool", "config", "routes", "test", config, *pairs).strip() == receivers


def test_the_alerts_on_gpus_know_the_numbers_of_the_device_that_healer_knows() -> None:
    """One that is in neither alert, or in both, would be nobody's, or be taken for an error of the process."""
    device = {number for number, (kind, _) in XIDS.items() if kind is XidClass.DEVICE}
    written = re.findall(r'xid(=~|!~)"([0-9|]+)"', (ALERTS / "gpu.yaml").read_text("utf-8"))
    assert {how for how, _ in written} == {"=~", "!~"}
    assert {frozenset(map(int, numbers.split("|"))) for _, numbers in written} == {frozenset(device)}
