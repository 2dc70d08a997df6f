"""What README and deploy/healer/README.md tell people to run, run as it stands there, on a lab that enforces what was applied."""

import asyncio
import base64
import os
import re
import shlex
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from healer.lab import Lab
from tests.integration.conftest import ROOT
from tests.integration.world import NAMESPACE, serve
from tests.support.healer import Healer, environment, verb
from tests.support.kustomize import KUBECTL, Manifest
from tests.support.processes import PATIENCE
from tests.support.rbac import Authorizer

HOME = "healer"
_LONGEST = 12
"""Lines of "Run it on a cluster" that are commands."""
_SECRETS = "/etc/healer/secrets/"
_ROLES = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")


def commands(page: str, section: str) -> list[str]:
    """The lines of the code blocks of a section, without their comments, those that go on in the next line joined."""
    text = (ROOT / page).read_text("utf-8")
    (body,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for line in body.splitlines() if line.startswith("    ") and line.strip()]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


class People:
    """A clone of the repository, and a shell in it with kubectl for the lab."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clone = folder / "clone"
        shutil.copytree(ROOT / "deploy", self._clone / "deploy", symlinks=True)
        shutil.copytree(ROOT / "rules", self._clone / "rules")
        shutil.copytree(ROOT / "docs" / "examples", self._clone / "docs" / "examples")
        programs = folder / "bin"
        programs.mkdir()
        (programs / "kubectl").symlink_to(KUBECTL)
        path = f"{programs}:{os.environ['PATH']}"
        self._environ = environment(folder, {"KUBECONFIG": folder / "kubeconfig", "PATH": path})

    async def run(self, command: str) -> str:
        """What a line of a page prints. Raises AssertionError when it fails."""
        if command.startswith("healer "):
            return await self._healer(shlex.split(command)[1:])
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", command, stdout=PIPE, stderr=STDOUT, cwd=self._clone, env=self._environ
        )
        said = (await asyncio.wait_for(process.communicate(), PATIENCE))[0].decode()
        assert process.returncode == 0, f"{command}\n{said}"
        return said

    async def _healer(self, arguments: list[str]) -> str:
        """The same for healer itself, which starts sooner so; it finds the files of the clone."""
        placed = [str(self._clone / each) if (self._clone / each).exists() else each for each in arguments]
        code, said = await verb(*placed, home=self._folder, KUBECONFIG=self._folder / "kubeconfig")
        assert code == 0, f"healer {arguments}\n{said}"
        return said


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Lab]:
    """Nothing of healer is in it."""
    async with Lab(time_scale=0.02) as lab:
        lab.write_kubeconfig(tmp_path / "kubeconfig")
        await serve(lab)
        yield lab


def deployed(lab: Lab) -> Manifest:
    """The Deployment of healer."""
    (found,) = lab.objects("deployments", HOME)
    return found


def settings(lab: Lab, folder: Path) -> dict[str, str | Path]:
    """The environment of a daemon as that of a pod of the Deployment, but where it listens and how it finds the cluster."""
    said: dict[str, str | Path] = {**_variables(lab)}
    assert "$(POD_IP)" in str(said.pop("HEALER_LEADER__ADDRESS"))
    mounted = _secrets(lab, folder / "secrets")
    said = {name: mounted / Path(value).name if str(value).startswith(_SECRETS) else value for name, value in said.items()}
    here = {"HEALER_HTTP__HOST": "127.0.0.1", "HEALER_HTTP__PORT": "0", "HEALER_LEADER__NAMESPACE": HOME}
    return said | here | {"KUBECONFIG": folder / "kubeconfig", "HEALER_LOG__FORMAT": "json"}


def rules(lab: Lab, folder: Path) -> Path:
    """The rules as the pod has them, in a folder of that name."""
    (found,) = lab.objects("configmaps", HOME)
    folder.mkdir(exist_ok=True)
    for name, text in found["data"].items():
        (folder / name).write_text(text, "utf-8")
    return folder


def _secrets(lab: Lab, folder: Path) -> Path:
    """The folder with the Secret's keys as files, as the pod has them."""
    (found,) = lab.objects("secrets", HOME)
    folder.mkdir(exist_ok=True)
    for name, value in found["data"].items():
        (folder / name).write_bytes(base64.b64decode(value))
    return folder


async def test_readme_installs_a_healer_that_leads_and_is_refused_nothing(cluster: Lab, tmp_path: Path) -> None:
    """Followed to the letter, but for the image. The lab refuses the daemon whatever the applied roles do not allow."""
    said = commands("README.md", "Run it on a cluster")
    said = said[: next(number for number, line in enumerate(said) if "overlays/production" in line) + 1]
    assert len(said) <= _LONGEST
    people = People(tmp_path)
    setup, image, *said = [line.replace("REGISTRY", "registry.example.com/ml") for line in said]
    assert setup.startswith("make setup"), "this very environment"
    assert image.startswith("make image"), "there is no registry here"
    (asked,) = [number for number, line in enumerate(said) if line.startswith("healer status")]
    first, status, last = said[:asked], said[asked], said[asked + 1 :]
    for line in first:
        await people.run(line)
    (container,) = deployed(cluster)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/ml/healer:0.1.0"

    allows = Authorizer([each for kind in _ROLES for each in _typed(cluster, kind)]).allows
    refused = cluster.faults.answer(403, match=lambda seen: seen.user_agent == "healer" and not allows(seen), times=None)
    environ = environment(tmp_path, settings(cluster, tmp_path))
    async with Healer(["--rules", str(rules(cluster, tmp_path / "mounted"))], environ) as healer:
        await healer.says("healer is ready")
        await healer.says("no rule goes further than this mode, whatever it says", mode="observe")
        assert (await healer.metrics())["healer_leader"] == 1
        assert (refused.hits, healer.find("a permission is missing")) == (0, [])
        cluster.faults.remove(refused)
        assert " leads; its Lease was renewed " in await people.run(status)
        told = await people.run(f"{status} --url {await healer.listens()}")
        assert "not known" not in told, "the token file of the page opens the rules"
        assert "not known" in await people.run(f"healer status --url {await healer.listens()}")

    for line in last:
        await people.run(line)
    environ = environment(tmp_path, settings(cluster, tmp_path))
    async with Healer(["--rules", str(rules(cluster, tmp_path / "mounted"))], environ) as healer:
        await healer.says("healer is ready")
        assert (await healer.metrics())["healer_mode{mode=enforce}"] == 1


async def test_an_upgrade_and_the_end_leave_what_must_outlive_a_healer(cluster: Lab, tmp_path: Path) -> None:
    """As deploy/healer/README.md has it: incidents and a Secret of people, until the last line."""
    people = People(tmp_path)
    page = "deploy/healer/README.md"
    for line in commands(page, "Upgrade"):  # with nothing there yet, this is an installation
        await people.run(line)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "healer", "namespace": HOME}, "data": {}}
    await cluster.apply(secret)
    for line in commands(page, "Upgrade"):
        await people.run(line)
    *deleted, gone = commands(page, "Uninstall")
    for line in deleted:
        await people.run(line)
    assert cluster.objects("deployments", HOME) == []
    assert [each["metadata"]["name"] for each in cluster.objects("secrets", HOME)] == ["healer"]
    assert cluster.objects("incidents.healer.dev", NAMESPACE) == []
    await people.run(gone)
    with pytest.raises(KeyError):
        cluster.objects("incidents.healer.dev", NAMESPACE)


def _variables(lab: Lab) -> dict[str, str]:
    """Those of healer's container that have a value."""
    (container,) = deployed(lab)["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def _typed(lab: Lab, resource: str) -> list[Manifest]:
    """The stored objects with their kind."""
    kind = lab.api.kinds.named(resource)
    return [{**each, "kind": kind.kind} for each in lab.objects(resource)]
