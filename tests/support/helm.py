"""The chart deploy/helm/healer, by Helm's own engine (a wheel that carries it; tests alone use it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.support.kustomize import Manifest

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "healer"


def values(*names: str, **more: Any) -> dict[str, Any]:
    """The values of these files of the chart's folder values/, the later ones on top, and more."""
    found: dict[str, Any] = {}
    for name in names:
        found = _merged(found, yaml.safe_load((CHART / "values" / f"{name}.yaml").read_text("utf-8")))
    return _merged(found, more)


def rendered(given: dict[str, Any], namespace: str = "healer", chart: Path = CHART) -> list[Manifest]:
    """The objects of an installation with these values. Raises helm_python.HelmError with Helm's own words."""
    texts = _texts(given, namespace, chart)
    parts = [text for name, text in sorted(texts.items()) if name.endswith(".yaml")]
    return [each for text in parts for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]


def notes(given: dict[str, Any], namespace: str = "healer") -> str:
    """What people read after the installation."""
    (text,) = [text for name, text in _texts(given, namespace, CHART).items() if name.endswith("NOTES.txt")]
    return text


def _texts(given: dict[str, Any], namespace: str, chart: Path) -> dict[str, str]:
    with helm_python.Chart.load(str(chart)) as loaded:
        loaded.validate_schema(given)
        texts: dict[str, str] = loaded.render(given, name="healer", namespace=namespace)
    return texts


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """As Helm puts files of values on top of each other: mappings are merged, all else is replaced."""
    both = below.keys() & above.keys()
    inner = {
        key: _merged(below[key], above[key]) for key in both if isinstance(below[key], dict) and isinstance(above[key], dict)
    }
    return below | above | inner
