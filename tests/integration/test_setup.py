"""What healer says, and with which exit code, when it cannot begin; and what `healer check` finds."""

import socket
from pathlib import Path

import pytest

from tests.integration.world import CRASH_LOOP, ruleset
from tests.support.healer import verb

ROOT = Path(__file__).parents[2]
BAD = ruleset(CRASH_LOOP).replace("enforce", "enforced")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(ruleset(CRASH_LOOP), "utf-8")
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD, "utf-8")
    return path


def _line(text: str, of: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if of in line)


async def test_check_finds_nothing_in_the_rule_pack(tmp_path: Path) -> None:
    code, printed = await verb("check", ROOT / "rules" / "tensorflow-serving.yaml", home=tmp_path)
    assert code == 0, printed
    assert "no problems" in printed


async def test_check_says_file_line_and_hint(bad: Path, good: Path, tmp_path: Path) -> None:
    code, printed = await verb("check", good, bad, home=tmp_path)
    assert code == 1
    assert f"{bad}:{_line(BAD, 'enforced')}:" in printed
    assert "enforce" in printed.split("hint:")[1]


async def test_check_of_nothing_is_not_well(tmp_path: Path) -> None:
    code, printed = await verb("check", tmp_path / "nowhere", home=tmp_path)
    assert code == 2
    assert "does not exist" in printed


async def test_bad_rules_at_the_start(bad: Path, tmp_path: Path) -> None:
    code, printed = await verb("run", "--rules", bad, home=tmp_path)
    assert code == 2
    assert f"{bad}:{_line(BAD, 'enforced')}:" in printed


async def test_no_rules_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, printed = await verb("run", "--rules", tmp_path / "empty", home=tmp_path)
    assert code == 2
    assert "holds no *.yaml files" in printed


async def test_a_setting_that_does_not_exist(good: Path, tmp_path: Path) -> None:
    code, printed = await verb("run", "--rules", good, home=tmp_path, HEALER_HTTP__PROT="8080")
    assert code == 2
    assert "HEALER_HTTP__PROT" in printed
    assert "did you mean HEALER_HTTP__PORT?" in printed


async def test_a_setting_of_a_wrong_type(good: Path, tmp_path: Path) -> None:
    code, printed = await verb("run", "--rules", good, home=tmp_path, HEALER_HTTP__PORT="http")
    assert code == 2
    assert "HEALER_HTTP__PORT" in printed
    assert "'http'" in printed


async def test_a_list_that_is_not_json(good: Path, tmp_path: Path) -> None:
    code, printed = await verb("run", "--rules", good, home=tmp_path, HEALER_CLUSTER__NAMESPACES="[production")
    assert code == 2
    assert printed == """healer: HEALER_CLUSTER__NAMESPACES: is read as JSON: write it like ["one", "two"]"""


async def test_slack_without_a_channel(good: Path, settings: dict[str, str | Path], tmp_path: Path) -> None:
    code, printed = await verb("run", "--rules", good, home=tmp_path, **(settings | {"HEALER_SLACK__CHANNEL": ""}))
    assert code == 2
    assert "HEALER_SLACK__CHANNEL: not given" in printed
    assert "Traceback" not in printed


async def test_no_cluster_to_talk_to(good: Path, tmp_path: Path) -> None:
    code, printed = await verb("run", "--rules", good, home=tmp_path, KUBECONFIG=tmp_path / "nowhere")
    assert code == 2
    assert str(tmp_path / "nowhere") in printed
    assert "Set KUBECONFIG" in printed


async def test_a_kubeconfig_that_is_none(good: Path, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("clusters: 7\n")
    code, printed = await verb("run", "--rules", good, home=tmp_path, KUBECONFIG=tmp_path / "kubeconfig")
    assert code == 2
    assert str(tmp_path / "kubeconfig") in printed
    assert "Traceback" not in printed


async def test_a_port_that_is_taken(good: Path, settings: dict[str, str | Path], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, printed = await verb("run", "--rules", good, home=tmp_path, **(settings | {"HEALER_HTTP__PORT": port}))
    assert code == 2, printed
    assert port in printed
    assert "Traceback" not in printed


async def test_a_context_that_the_kubeconfig_does_not_have(good: Path, settings: dict[str, str | Path], tmp_path: Path) -> None:
    code, printed = await verb("run", "--rules", good, "--context", "elsewhere", home=tmp_path, **settings)
    assert code == 2
    assert "elsewhere" in printed
    assert "Traceback" not in printed


async def test_settings_from_a_file(good: Path, tmp_path: Path) -> None:
    (tmp_path / "healer.yaml").write_text("http:\n  prot: 8080\n")
    code, printed = await verb("run", "--rules", good, "--config", tmp_path / "healer.yaml", home=tmp_path)
    assert code == 2
    assert f"{tmp_path / 'healer.yaml'}: http.prot: there is no such setting; did you mean http.port?" in printed


async def test_rules_that_need_prometheus_are_refused_without_one(tmp_path: Path) -> None:
    code, printed = await verb("run", "--rules", ROOT / "rules/canary/tensorflow-serving.yaml", home=tmp_path)
    assert code == 2, printed
    assert "canary/bad-canary asks Prometheus, and the settings name none" in printed
    assert "HEALER_PROMETHEUS__URL" in printed


async def test_times_of_the_lease_that_do_not_fit_together(good: Path, settings: dict[str, str | Path], tmp_path: Path) -> None:
    wrong: dict[str, str | Path] = {"HEALER_LEADER__DURATION": "5", "HEALER_LEADER__RENEW": "8s"}
    code, printed = await verb("run", "--rules", good, home=tmp_path, **(settings | wrong))
    assert code == 2
    assert printed == (
        "healer: HEALER_LEADER__RENEW (8 s) must be below HEALER_LEADER__DEADLINE (7 s); "
        "HEALER_LEADER__DEADLINE (7 s) must be below HEALER_LEADER__DURATION (5 s)"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEALER_LEADER__NAME", ""),
        ("HEALER_LEADER__NAME", "Not/A/Name"),
        ("HEALER_LEADER__NAMESPACE", "a/b"),
        ("HEALER_LEADER__ADDRESS", "no-port"),
        ("HEALER_CLUSTER__NAMESPACES", '["production", "Not A Name"]'),
    ],
)
async def test_names_that_cannot_be(
    good: Path, settings: dict[str, str | Path], tmp_path: Path, variable: str, value: str
) -> None:
    code, printed = await verb("run", "--rules", good, home=tmp_path, **(settings | {variable: value}))
    assert code == 2
    assert variable in printed
    assert "Traceback" not in printed
