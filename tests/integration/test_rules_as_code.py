"""docs/rules-as-code.md from top to bottom: each of its commands is run, with its own text as the source."""

import asyncio
import re
import shlex
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from healer.cli import app
from healer.daemon.recording.files import files_in
from healer.daemon.recording.lines import OutcomeLine
from healer.daemon.recording.reading import read
from healer.lab import Lab
from tests.integration.conftest import ROOT, Run
from tests.integration.test_replay_prometheus import the_past
from tests.integration.world import CRASH_LOOP, SLOW, evictions, ruleset, serve
from tests.support.healer import Healer, Verb, environment, verb
from tests.support.kustomize import KUBECTL
from tests.support.processes import PATIENCE
from tests.support.prometheus import prometheus

PAGE = (ROOT / "docs" / "rules-as-code.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
RECORD = "/var/lib/healer/record"
URL = "http://localhost:9090"
HEALER = "http://localhost:8080"
RULES = "docs/examples/crash-loops.rules.yaml"


def commands(section: str) -> list[str]:
    """Its indented lines, without the comments after them."""
    text = re.sub(r"```.*?```", "", SECTIONS[section], flags=re.DOTALL)
    return [line.partition("  #")[0].strip() for line in text.splitlines() if line.startswith("    ")]


def arguments(command: str, places: Mapping[str, str | Path]) -> list[str]:
    """Of a command of healer: those of the page, with what stands here for its places."""
    program, *rest = shlex.split(command)
    assert program == "healer", command
    return [str(places.get(each, each)) for each in rest]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A cluster that asks for no token: kubectl sends none without TLS."""
    async with Lab(time_scale=0.02) as lab:
        await lab.apply_yaml((ROOT / "deploy" / "healer" / "crd.yaml").read_text("utf-8"))
        yield lab


def test_the_page_has_the_whole_way_in_its_order() -> None:
    assert list(SECTIONS) == ["Write", "Test", "Simulate", "Try", "Replay", "Check", "Ship"]
    of_others = {name: {" ".join(each.split()[:2]) for each in commands(name)} for name in ("Test", "Simulate")}
    run = {"Test": {"healer test"}, "Simulate": {"healer simulate", "make corpus"}}
    assert of_others == run, "tests/unit/rehearsal and tests/corpus run these"


@pytest.mark.parametrize("command", commands("Write"))
def test_a_rule_is_written(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, arguments(command, {}))
    assert done.exit_code == 0, done.output


@pytest.mark.slow
async def test_a_rule_is_tried_in_the_lab(tmp_path: Path) -> None:
    """Each terminal of the page has its own environment; the rules are the page's, in a hurry."""
    text = (ROOT / RULES).read_text("utf-8")
    hurried = re.sub(r"\b(for|stable): 1m\b", r"\1: 300ms", text)
    assert hurried.count("300ms") == 3
    (tmp_path / "rules.yaml").write_text(hurried, "utf-8")
    kubeconfig = tmp_path / "lab.kubeconfig"
    places: dict[str, str | Path] = {"lab.kubeconfig": kubeconfig, "record": tmp_path / "record", RULES: tmp_path / "rules.yaml"}
    own = {"HEALER_HTTP__HOST": "127.0.0.1", "HEALER_HTTP__PORT": "0", "HEALER_LOG__FORMAT": "json"}
    cluster, export, run, again, sicken, explain = commands("Try")
    assert export == again == "export KUBECONFIG=lab.kubeconfig"
    environ = environment(tmp_path, own | {"KUBECONFIG": kubeconfig})
    async with Verb([*arguments(cluster, places), "--speed", "50"], environ) as lab:
        await lab.until(lambda: "Ctrl-C ends it." in lab.lines, "the end of its preface")
        assert f"    {export.replace('lab.kubeconfig', str(kubeconfig))}" in lab.lines
        daemon, *rest = arguments(run, places)
        assert daemon == "run"
        async with Healer(rest, environ) as healer:
            ready = await healer.says("healer is ready")
            code, said = await verb(*arguments(sicken, places), home=tmp_path, KUBECONFIG=kubeconfig)
            assert code == 0, said
            (pod,) = re.findall(r"^pod/(llm-\S+) in production crashes at each start from now on$", said)
            await healer.says("incident healed", rule="examples/crash-loop")
            places[HEALER] = f"http://127.0.0.1:{ready['port']}"
            code, said = await verb(*arguments(explain, places), home=tmp_path, KUBECONFIG=kubeconfig)
            assert (code, "3 of 3 replicas ready" in said, f"pod/{pod} is evicted" in said) == (0, True, True), said
            healer.send(signal.SIGINT)
            assert await healer.ended() == 0
        lab.send(signal.SIGINT)
        assert await lab.ended() == 0
    assert not kubeconfig.exists()
    assert files_in(tmp_path / "record")


@pytest.mark.slow
async def test_a_life_is_recorded_and_replayed(lab: Lab, tmp_path: Path, settings: dict[str, str | Path]) -> None:
    """And last week by the history of a Prometheus, which `healer check --cluster` asks then."""
    places: dict[str, str | Path] = {name: tmp_path / name for name in ("rules", "new")}
    places[RECORD] = record = tmp_path / "record"
    for name, rules in (("rules", [CRASH_LOOP, SLOW]), ("new", [SLOW])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yaml").write_text(ruleset(*rules), "utf-8")
    sick, *_ = await serve(lab)
    run, *replays = commands("Replay")
    verb_of_it, *rest = arguments(run, places)
    assert verb_of_it == "run"
    async with Healer(rest, environment(tmp_path, settings | {"HEALER_RECORD__FLUSH": "50ms"})) as healer:
        await healer.says("healer is ready")
        await lab.behave("production", sick, "crash")
        await healer.says("incident healed", rule="test/crash-loop")
    assert evictions(lab) == [sick]
    assert any(isinstance(line, OutcomeLine) for path in files_in(record) for line in read(path, print))

    past = the_past()
    await asyncio.to_thread(past.write, tmp_path)
    async with prometheus(tmp_path, {"global": {"scrape_interval": "1m"}}) as monitor:
        places[URL] = f"http://{monitor.address}"
        for command in replays:
            assert command.startswith("healer replay "), command
            code, said = await verb(*arguments(command, places), home=tmp_path)
            assert code == ("--diff" in command), f"{command}\n{said}"
            by = "serving-2" if "--prometheus" in command else sick
            assert (by in said) is ("--rules new -o" not in command), f"{command}\n{said}"
        for command in commands("Check"):
            assert command.startswith("healer check "), command
            code, said = await verb(*arguments(command, places), home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
            assert code == ("--strict" in command), f"{command}\n{said}"
            assert "test/crash-loop covers 3 pods of 1 workload" in said
            assert "HighLatency" in said, "an alert that no Prometheus has loaded"


@pytest.mark.slow
async def test_a_rule_is_shipped_to_a_namespace(lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]) -> None:
    """The lab has no server-side apply: what the page pipes into it is applied here. tests/contract tries a real cluster."""
    rule = next(text for text in re.findall(r"```yaml\n(.*?)```", SECTIONS["Ship"], re.DOTALL) if "kind: RuleSet" in text)
    (tmp_path / "serving.yaml").write_text(rule, "utf-8")
    await lab.apply_yaml("{apiVersion: v1, kind: Namespace, metadata: {name: payments}}")
    environ: dict[str, Any] = {"HEALER_RULESETS__ENABLED": "true"}
    for command in commands("Ship"):
        if command.startswith("HEALER_"):
            ((name, value),) = [each.split("=", 1) for each in shlex.split(command)]
            environ[name] = value
            await run(ruleset(SLOW), **environ)
        elif command.startswith("kubectl "):
            if not lab.objects("rulesets.healer.dev", "payments"):
                await lab.apply(yaml.safe_load(rule))
            said = await asyncio.to_thread(_kubectl, command, tmp_path, settings["KUBECONFIG"])
            assert "serving" in said
        else:
            command, _, into = command.partition(" | ")
            code, said = await verb(*arguments(command, {"serving.yaml": tmp_path / "serving.yaml"}), home=tmp_path, **environ)
            assert code == 0, f"{command}\n{said}"
            if into:
                assert into == "kubectl apply --server-side -f -", into
                await lab.apply_yaml(said)
    (shipped,) = lab.objects("rulesets.healer.dev", "payments")
    assert (shipped["status"]["rules"], shipped["status"]["mode"]) == (1, "enforce")


def _kubectl(command: str, home: Path, kubeconfig: str | Path) -> str:
    _, *rest = shlex.split(command)
    environ = {"HOME": str(home), "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run([KUBECTL, *rest], env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
