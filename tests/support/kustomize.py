"""The manifests of a kustomization: read by ourselves where no kustomize is at hand, and rendered by the real one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_UNDERSTOOD = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "generatorOptions"}
CLUSTER_WIDE = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
_TIMEOUT = 30.0  # seconds


def read(folder: Path) -> list[Manifest]:
    """The manifests of a folder's kustomization, ConfigMaps generated, namespace filled in.

    Raises FileNotFoundError for anything named that is not there, ValueError for a kustomization field that is not understood
    here or a generated file that is outside the folder, yaml.YAMLError for what is not YAML.
    """
    path = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} has none of {', '.join(_NAMES)}")
    kustomization = yaml.safe_load(path.read_text())
    if unknown := kustomization.keys() - _UNDERSTOOD:
        raise ValueError(f"{path}: {sorted(unknown)} is not understood here: extend this reader or do without")
    if kustomization.get("configMapGenerator") and kustomization.get("generatorOptions") != {"disableNameSuffixHash": True}:
        raise ValueError(f"{path}: generated names must have no hash suffix, so that healer reads new rules while it runs")
    manifests = [manifest for name in kustomization.get("resources", []) for manifest in _resource(folder / name)]
    manifests += [_config_map(folder, each) for each in kustomization.get("configMapGenerator", [])]
    if namespace := kustomization.get("namespace"):
        for manifest in manifests:
            if manifest["kind"] not in CLUSTER_WIDE:
                manifest["metadata"]["namespace"] = namespace
    return manifests


def _resource(path: Path) -> Iterator[Manifest]:
    if path.is_dir():
        yield from read(path)
    else:
        yield from (manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest)


def _config_map(folder: Path, generator: Manifest) -> Manifest:
    data = {}
    for name in generator["files"]:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{folder / name}: kustomize reads no file outside the kustomization's own folder")
        data[Path(name).name] = (folder / name).read_text()
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}


def renderer() -> list[str] | None:
    """The command that renders a kustomization when a folder is added to it; None when the machine has none."""
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return None


def render(command: list[str], root: Path, folder: str, scratch: Path) -> list[Manifest]:
    """The manifests as the real kustomize renders root/folder.

    kubectl before 1.21 (Debian 12 packages 1.20) carries kustomize 2.0, which reads folders only under their name of then,
    `bases`; it is given a copy (in scratch) that says so.

    Raises AssertionError with kustomize's own words when it fails.
    """
    if _is_old(command):
        root = _with_bases(root, folder, scratch)
    done = subprocess.run([*command, str(root / folder)], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    assert done.returncode == 0, f"{' '.join(command)} {folder}: {done.stderr}"
    assert not done.stderr.strip() or _is_old(command), f"{' '.join(command)} {folder} warns: {done.stderr}"
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def _is_old(command: list[str]) -> bool:
    if command[0] != "kubectl":
        return False
    version = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    found = re.search(r"v1\.(\d+)\.", version.stdout)
    assert found, f"kubectl version --client says nothing that looks like a version: {version.stdout!r}"
    return int(found[1]) < 21


def _with_bases(root: Path, folder: str, scratch: Path) -> Path:
    for name in (folder, "rules"):
        shutil.copytree(root / name, scratch / name)
    path = scratch / folder / "kustomization.yaml"
    kustomization = yaml.safe_load(path.read_text())
    resources = kustomization["resources"]
    kustomization["bases"] = [name for name in resources if (scratch / folder / name).is_dir()]
    kustomization["resources"] = [name for name in resources if name not in kustomization["bases"]]
    path.write_text(yaml.safe_dump(kustomization))
    return scratch
