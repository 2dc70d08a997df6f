"""docs/rules-as-code.md from top to bottom: each of its commands is run, with its own text as the source."""

import asyncio
import json
import re
import shlex
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from healer.cli import app
from healer.daemon.recording.files import files_in
from healer.daemon.recording.lines import OutcomeLine
from healer.daemon.recording.reading import read
from healer.lab import Lab
from tests.integration.conftest import ROOT, Run
from tests.integration.test_install import People, rules
from tests.integration.test_replay_prometheus import the_past
from tests.integration.world import SLOW, ruleset
from tests.support.healer import Healer, Verb, environment, verb
from tests.support.json_schema import faults
from tests.support.processes import PATIENCE
from tests.support.prometheus import prometheus

PAGE = (ROOT / "docs" / "rules-as-code.md").read_text("utf-8")
PREFACE, *_ = PAGE.partition("\n## ")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
RULES = "docs/examples/crash-loops.rules.yaml"
PROMETHEUS = "http://localhost:9090"
HEALER = "http://localhost:8080"


def commands(section: str, part: str = "") -> list[str]:
    """Its indented lines, or those of a part of it, without the comments after them."""
    text = FENCE.sub("", parts(section)[part] if part else SECTIONS[section])
    return [line.partition("  #")[0].strip() for line in text.splitlines() if line.startswith("    ")]


def parts(section: str) -> dict[str, str]:
    """Of a section what stands under each heading, and under none."""
    first, *rest = re.split(r"^### (.+)$", SECTIONS[section], flags=re.MULTILINE)
    return {"": first} | dict(zip(rest[::2], rest[1::2], strict=True))


class Walk:
    """A reader who types what the page says, in a folder of its own. Whatever is no command of the page's programs fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[str, str] = {}
        """What stands here for an address of the page."""
        self.settings: dict[str, str | Path] = {}

    def arguments(self, command: str) -> list[str]:
        """Those of a command of healer. Files are those of the folder, where it has them or the command makes them."""
        program, *rest = shlex.split(command)
        assert program == "healer", f"{command}: no test runs such a command"
        return [self._here(each) for each in rest]

    def _here(self, word: str) -> str:
        made = word in ("record", "lab.kubeconfig") or (self.folder / word).exists()
        return str(self.folder / word) if made else self.places.get(word, word)

    async def types(self, command: str) -> tuple[int, str]:
        """Its exit code, and what it prints."""
        command, _, into = command.partition(" > ")
        if command.startswith("export "):
            name, value = command.removeprefix("export ").split("=")
            self.settings[name] = self.folder / value
            return 0, ""
        if command.startswith("sed "):
            sed = await asyncio.create_subprocess_exec(*shlex.split(command), cwd=self.folder, stdout=asyncio.subprocess.PIPE)
            said, code = (await sed.communicate())[0].decode(), sed.returncode or 0
        else:
            code, said = await verb(*self.arguments(command), home=self.folder, **self.settings)
        if into:
            (self.folder / into).write_text(said, "utf-8")
        return code, said


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


def test_a_command_stands_nowhere_but_where_it_is_run() -> None:
    """Indented by four, in a section: no other block may hold one, and what is named in a sentence is there."""
    assert [line for line in PREFACE.splitlines() if line.startswith("    ")] == []
    assert {language for language, _ in FENCE.findall(PAGE)} <= {"yaml", "text"}
    assert [
        line for line in PAGE.splitlines() if re.match(r"\s+(healer|kubectl|make) ", line) and not line.startswith("    ")
    ] == []
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = [each for each in re.findall(r"`((?:healer|make) [^`]+)`", PAGE) if "||" not in each]
    assert len(named) > 5
    for each in named:
        program, word, *rest = each.split()
        if program == "make":
            assert word in targets, each
            continue
        found: Any = get_command(app)
        for part in (word, *rest):
            if isinstance(getattr(found, "commands", None), dict):
                assert part in found.commands, each
                found = found.commands[part]
            elif part.startswith("--"):
                assert part in {name for parameter in found.params for name in parameter.opts} | {"--help"}, each


@pytest.mark.parametrize("text", [text for language, text in FENCE.findall(PAGE) if "\napiVersion: " in f"\n{text}"])
def test_a_whole_document_of_the_page_is_a_file_as_it_stands(text: str) -> None:
    """Or the beginning of one, which the page links to. But for the RuleSet, which is applied below as the page has it."""
    before = PAGE[: PAGE.index(text)]
    links = re.findall(r"\]\((examples/[\w.-]+)\)", before)
    shipped = SECTIONS["Ship"].find(text) >= 0
    assert shipped or (ROOT / "docs" / links[-1]).read_text("utf-8").startswith(text), f"{links[-1]} differs"


async def test_a_rule_is_written(tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    (tmp_path / RULES).parent.mkdir(parents=True)
    (tmp_path / RULES).write_text((ROOT / RULES).read_text("utf-8"), "utf-8")
    for command in commands("Write"):
        code, said = await walk.types(command)
        assert code == 0, f"{command}\n{said}"
    schema = json.loads((tmp_path / "healer.schema.json").read_text("utf-8"))
    assert list(faults(yaml.safe_load((ROOT / RULES).read_text("utf-8")), schema)) == []


@pytest.mark.slow
async def test_a_rule_is_tried_replayed_and_checked(tmp_path: Path) -> None:
    """The rules are the page's, and so is each command, but both in a hurry."""

    def hurried(text: str) -> str:
        return re.sub(r"\b(for|stable): 1m\b", r"\1: 300ms", text)

    (tmp_path / RULES).parent.mkdir(parents=True)
    (tmp_path / RULES).write_text(hurried((ROOT / RULES).read_text("utf-8")), "utf-8")
    walk = Walk(tmp_path)
    cluster, export, run, again, sicken, explain = commands("Try")
    assert export == again
    await walk.types(export)
    own = {
        "HEALER_HTTP__HOST": "127.0.0.1",
        "HEALER_HTTP__PORT": "0",
        "HEALER_LOG__FORMAT": "json",
        "HEALER_RECORD__FLUSH": "50ms",
    }
    async with Verb([*walk.arguments(cluster), "--speed", "50"], environment(tmp_path, walk.settings)) as lab:
        await lab.until(lambda: "Ctrl-C ends it." in lab.lines, "the end of its preface")
        assert f"    export KUBECONFIG={tmp_path / 'lab.kubeconfig'}" in lab.lines
        daemon, *rest = walk.arguments(run)
        assert daemon == "run"
        async with Healer(rest, environment(tmp_path, walk.settings | own)) as healer:
            ready = await healer.says("healer is ready")
            walk.places[HEALER] = f"http://127.0.0.1:{ready['port']}"
            code, said = await walk.types(sicken)
            assert code == 0, said
            (pod,) = re.findall(r"^pod/(llm-\S+) in production crashes at each start from now on$", said)
            await healer.says("incident healed", rule="examples/crash-loop")
            code, said = await walk.types(explain)
            assert (code, "3 of 3 replicas ready" in said, f"pod/{pod} is evicted" in said) == (0, True, True), said
            healer.send(signal.SIGINT)
            assert await healer.ended() == 0
        await _replay(walk, [hurried(each) for each in commands("Replay")], pod)
        await _check(walk, commands("Check"))
        lab.send(signal.SIGINT)
        assert await lab.ended() == 0
    assert not (tmp_path / "lab.kubeconfig").exists()


async def _replay(walk: Walk, typed: list[str], pod: str) -> None:
    """Both from the record, and by the history of a Prometheus."""
    lines = [line for path in files_in(walk.folder / "record") for line in read(path, print)]
    assert any(isinstance(line, OutcomeLine) for line in lines)
    past = the_past()
    await asyncio.to_thread(past.write, walk.folder)
    async with prometheus(walk.folder, {"global": {"scrape_interval": "1m"}}) as monitor:
        walk.places[PROMETHEUS] = f"http://{monitor.address}"
        for command in typed:
            code, said = await walk.types(command)
            assert code == ("--diff" in command), f"{command}\n{said}"
            if command.startswith("healer "):
                by = "serving-2" if "--prometheus" in command else pod
                assert (by in said) is ("changed.rules.yaml -o" not in command), f"{command}\n{said}"


async def _check(walk: Walk, typed: list[str]) -> None:
    """Without a Prometheus that there is, and with one."""
    (walk.folder / "empty").mkdir()
    async with prometheus(walk.folder / "empty", {"global": {"scrape_interval": "1m"}}) as monitor:
        walk.places[PROMETHEUS] = f"http://{monitor.address}"
        for command in typed:
            code, said = await walk.types(command)
            assert code == ("--strict" in command), f"{command}\n{said}"
            assert "examples/crash-loop covers 3 pods of 1 workload" in said, command
            known = "Prometheus has loaded no rule for the alert 'ModelServerHangs'"
            assert (known in said) is ("--prometheus" in command), f"{command}\n{said}"
            assert "permission:" not in said
            printed = next(text for language, text in FENCE.findall(SECTIONS["Check"]) if language == "text")
            assert "--prometheus" in command or [line for line in printed.splitlines() if line not in said] == [], said


def test_rules_are_shipped_in_the_two_ways_that_are_run_below() -> None:
    ways = {name for name in parts("Ship") if name and commands("Ship", name)}
    assert ways == {"Files", "RuleSets in the cluster"}
    assert sum(len(commands("Ship", way)) for way in ways) == len(commands("Ship"))


@pytest.mark.slow
async def test_rules_are_shipped_as_files(lab: Lab, run: Run, rules_folder: Path, tmp_path: Path) -> None:
    """The ConfigMap that is applied comes to a healer that runs, which says that it has the rules."""
    people = People(tmp_path)
    await lab.apply_yaml((ROOT / "deploy" / "healer" / "namespace.yaml").read_text("utf-8"))
    healer = await run(ruleset(SLOW), HEALER_LEADER__NAMESPACE="healer")
    *first, last = commands("Ship", "Files")
    for command in first:
        command, _, into = command.partition(" | ")
        said = await people.run(command)
        if into:
            assert into == "kubectl apply -f -", into
            (tmp_path / "printed.yaml").write_text(said, "utf-8")
            await people.run(f"kubectl apply -f {tmp_path / 'printed.yaml'}")
    assert "pods/eviction" in (tmp_path / "printed.yaml").read_text("utf-8"), "what the shipped rules need"
    shipped = {path.name: path.read_text("utf-8") for path in rules(lab, rules_folder).iterdir()}
    assert shipped["crash-loops.rules.yaml"] == (ROOT / RULES).read_text("utf-8")
    assert "own.yaml" in shipped
    await healer.says("rules reloaded")
    await lab.wait_for(
        lambda lab: any(each.get("reason") == "RulesReloaded" for each in lab.objects("events", "healer")), PATIENCE
    )
    assert "RulesReloaded" in await people.run(last)


@pytest.mark.slow
async def test_a_rule_is_shipped_to_a_namespace(lab: Lab, run: Run, tmp_path: Path) -> None:
    """The lab has no server-side apply: what the page pipes into it is applied here. tests/contract tries a real cluster."""
    people, walk = People(tmp_path), Walk(tmp_path)
    rule = next(text for _, text in FENCE.findall(SECTIONS["Ship"]) if "kind: RuleSet" in text)
    (tmp_path / "serving.yaml").write_text(rule, "utf-8")
    await lab.apply_yaml("{apiVersion: v1, kind: Namespace, metadata: {name: payments}}")
    environ: dict[str, Any] = {}
    for command in commands("Ship", "RuleSets in the cluster"):
        if command.startswith("export HEALER_"):
            _, variable = shlex.split(command)
            name, value = variable.split("=", 1)
            environ[name] = value
            if "HEALER_RULESETS__GRANTS" in environ:  # the page has both lines before a healer that reads them
                await run(ruleset(SLOW), **environ)
        elif command.startswith("kubectl "):
            placed = command.replace("serving.yaml", str(tmp_path / "serving.yaml"))
            assert "serving" in await people.run(placed)
        else:
            command, _, into = command.partition(" | ")
            walk.settings = environ
            code, said = await walk.types(command)
            assert code == 0, f"{command}\n{said}"
            if into:
                assert into == "kubectl apply --server-side -f -", into
                await lab.apply_yaml(said)
    (shipped,) = lab.objects("rulesets.healer.dev", "payments")
    assert (shipped["status"]["rules"], shipped["status"]["mode"]) == (1, "enforce")
