"""The objects of a kustomization, as kubectl's own kustomize renders them."""

from __future__ import annotations

import copy
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
"""Of the wheel that the lock pins: every machine renders with the same kustomize."""
_TIMEOUT = 60.0  # seconds


def built(folder: Path) -> list[Manifest]:
    """The objects of a folder's kustomization, in kustomize's order; the caller's own to change.

    Raises AssertionError with kustomize's own words when it fails, and when it warns.
    """
    return copy.deepcopy(_built(folder.resolve()))


@cache
def _built(folder: Path) -> list[Manifest]:
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    assert done.returncode == 0, f"kubectl kustomize {folder}: {done.stderr}"
    assert not done.stderr.strip(), f"kubectl kustomize {folder} warns: {done.stderr}"
    return [manifest for manifest in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if manifest]
