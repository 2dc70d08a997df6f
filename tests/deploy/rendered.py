"""Where the overlays are, and the objects of those of deploy/serving."""

from pathlib import Path

from tests.support.kustomize import Manifest, built

ROOT = Path(__file__).parents[2]
SERVING = ROOT / "deploy" / "serving"
OVERLAYS = sorted(path.parent.name for path in SERVING.glob("overlays/*/kustomization.yaml"))


def overlay(name: str) -> list[Manifest]:
    """The objects of one overlay."""
    return built(SERVING / "overlays" / name)
