"""The kustomizations of deploy/serving as the real kustomize renders them, each once."""

import os
from functools import cache
from pathlib import Path

import pytest

from tests.support.kustomize import Manifest, render, renderer

ROOT = Path(__file__).parents[2]
SERVING = ROOT / "deploy" / "serving"
OVERLAYS = sorted(path.parent.name for path in SERVING.glob("overlays/*/kustomization.yaml"))


@cache
def overlay(name: str) -> tuple[Manifest, ...]:
    """The objects of one overlay; they are shared: copy what you change. Skips, or with CI=true fails, where nothing renders."""
    command = renderer()
    if command is None:
        missing = "neither kubectl nor kustomize is installed: nothing rendered deploy/serving"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return tuple(render(command, ROOT, f"deploy/serving/overlays/{name}", ROOT))
