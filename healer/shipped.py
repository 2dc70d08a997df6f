"""The files that ship with healer: the rule packs and the manifests that define incidents and RuleSets.

A wheel holds them inside the package (pyproject.toml, force-include), because it is installed without the repository. In a
checkout they are where people edit them, beside the package.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_WHEEL = _PACKAGE / "files"
ROOT = _WHEEL if _WHEEL.is_dir() else _PACKAGE.parent
"""The folder in which the paths below are the same as in the repository."""

RULES = ROOT / "rules"
DEFINITION = ROOT / "deploy" / "healer" / "crd.yaml"
RULESETS = ROOT / "deploy" / "healer" / "crd-rulesets.yaml"
