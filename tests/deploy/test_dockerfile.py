"""The Dockerfile: what can be known of the image without building it."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Instruction(NamedTuple):
    """One instruction, its continuation lines joined."""

    word: str
    rest: str


def _stages() -> list[list[Instruction]]:
    """The instructions of each stage, which begins with its FROM."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    stages: list[list[Instruction]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            if word == "FROM":
                stages.append([])
            if not stages:
                continue  # an ARG before the first stage
            stages[-1].append(Instruction(word, rest.strip()))
    return stages


def _rests(stage: list[Instruction], word: str) -> list[str]:
    return [instruction.rest for instruction in stage if instruction.word == word]


@pytest.fixture(scope="module")
def stages() -> list[list[Instruction]]:
    return _stages()


def test_it_is_built_in_stages_on_one_pinned_base(stages: list[list[Instruction]]) -> None:
    """A digest keeps the base as it is. All stages but the last have one: an interpreter's path is in the environment."""
    (base,) = re.findall(r"^ARG BASE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", base)
    assert found, f"{base}: wanted a slim Python of one version on one release of Debian, by its digest"
    assert [stage[0].rest for stage in stages] == ["${BASE} AS base", "base AS build", "base AS bare", "scratch"]
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert requires == ">=3.11"
    assert tuple(map(int, found[1].split("."))) >= (3, 11)


def test_everything_installed_is_locked(stages: list[list[Instruction]]) -> None:
    commands = [part.strip() for stage in stages for run in _rests(stage, "RUN") for part in run.split("&&")]
    installs = [command for command in commands if re.search(r"\bpip\b.*\b(install|wheel|download)\b", command)]
    assert installs
    for command in installs:
        locked = "--require-hashes --only-binary :all: -r " in command
        ours = "--no-index" in command and "--no-deps" in command
        assert locked or ours, command
    assert not [command for command in commands if re.search(r"\b(apt-get|curl|wget)\b|\bapt (install|update)\b", command)]


def test_the_last_stage_only_takes_over_what_was_built(stages: list[list[Instruction]]) -> None:
    assert {instruction.word for instruction in stages[-1]} == {"FROM", "ENV", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


def test_it_does_not_run_as_root(stages: list[list[Instruction]]) -> None:
    (user,) = _rests(stages[-1], "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "kubelet can prove runAsNonRoot only of a numeric user"


def test_it_runs_the_daemon_with_the_rules_it_carries(stages: list[list[Instruction]]) -> None:
    last = stages[-1]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (entrypoint,) = map(json.loads, _rests(last, "ENTRYPOINT"))
    (command,) = map(json.loads, _rests(last, "CMD"))
    assert entrypoint[0] in scripts
    assert command[:2] == ["run", "--rules"]
    assert f"rules {command[2]}" in _rests(last, "COPY")


def test_nothing_is_written_when_it_runs(stages: list[list[Instruction]]) -> None:
    assert any("PYTHONDONTWRITEBYTECODE=1" in rest for rest in _rests(stages[-1], "ENV"))


def test_every_file_copied_is_there(stages: list[list[Instruction]]) -> None:
    copied = [rest.split()[:-1] for stage in stages for rest in _rests(stage, "COPY") if not rest.startswith("--from=")]
    assert copied
    for source in (source for sources in copied for source in sources):
        assert list(ROOT.glob(source)), f"COPY {source}: no such file"


def _ignored(path: str) -> bool:
    """As Docker reads .dockerignore: the last line that matches a path or a folder above it decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").replace("**/", "*")
        if not line.startswith("#") and any(fnmatch(str(each), pattern) for each in (PurePath(path), *PurePath(path).parents)):
            ignored = not line.startswith("!")
    return ignored


def test_what_is_copied_is_sent_and_little_else(stages: list[list[Instruction]]) -> None:
    """A context with .venv and .git is a gigabyte; one without what is copied cannot be built."""
    copied = [rest.split()[:-1] for stage in stages for rest in _rests(stage, "COPY") if not rest.startswith("--from=")]
    sent = [path.relative_to(ROOT).as_posix() for sources in copied for source in sources for path in ROOT.glob(source)]
    assert [path for path in sent if _ignored(path)] == []
    unwanted = (
        ".venv/bin/python",
        ".git/HEAD",
        "tests/conftest.py",
        "docs/rules.md",
        "healer/engine/__pycache__/x.pyc",
        "Makefile",
    )
    assert [path for path in unwanted if not _ignored(path)] == []
