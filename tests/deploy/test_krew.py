"""The kubectl plugin: kubectl runs healer's verbs and completes them, and the manifest names what a release has."""

import asyncio
import os
from pathlib import Path

import pytest
import yaml

from tests.support.healer import HEALER

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KREW = ROOT / "deploy/krew"
BIN = Path(HEALER).parent


async def kubectl(*arguments: str, path: tuple[Path, ...]) -> tuple[int, str, str]:
    environment = {"PATH": ":".join([*map(str, path), "/usr/bin", "/bin"]), "HOME": os.devnull}
    process = await asyncio.create_subprocess_exec(
        BIN / "kubectl", *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


async def test_kubectl_runs_the_verbs() -> None:
    code, said, _ = await kubectl("healer", "explain", "--help", path=(KREW, BIN))
    assert code == 0
    assert "Explain a pod, a workload or an incident" in said


async def test_without_the_command_it_says_how_to_install_it() -> None:
    code, _, said = await kubectl("healer", "status", path=(KREW,))
    assert code == 2
    assert 'the command "healer" is not installed: pipx install healer' in said


async def test_kubectl_completes_the_verbs() -> None:
    code, said, _ = await kubectl("__complete", "healer", "sta", path=(KREW, BIN))
    assert (code, said.splitlines()) == (0, ["status", ":4"])


def test_the_manifest_names_what_a_release_attaches() -> None:
    plugin = yaml.safe_load((KREW / "healer.yaml").read_text("utf-8"))
    (platform,) = plugin["spec"]["platforms"]
    assert (KREW / platform["bin"]).is_file()
    release = (ROOT / ".github/workflows/release.yml").read_text("utf-8")
    assert platform["uri"].rpartition("/")[2] in release
    assert f"s/{plugin['spec']['version']}/" in release
    assert f"s/{platform['sha256']}/" in release
    assert all(each.startswith("REPOSITORY") for each in (platform["uri"], plugin["spec"]["homepage"]))
    assert "s|REPOSITORY|$GITHUB_SERVER_URL/$GITHUB_REPOSITORY|" in release
