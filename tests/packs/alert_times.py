"""When the shipped alerts fire: how long after a trouble begins, by the files that Prometheus and Alertmanager read."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from healer.model.duration import parse
from tests.support.promql import selected, windows

ALERTS = Path(__file__).parents[2] / "deploy" / "alerts"
CLOCKS = 120.0
"""Prometheus scrapes and evaluates once a minute where it is told nothing else."""


@cache
def _rules() -> tuple[dict[str, Any], ...]:
    files = [yaml.safe_load(path.read_text("utf-8")) for path in sorted(ALERTS.glob("*.yaml"))]
    return tuple(rule for file in files for group in file.get("spec", {}).get("groups", ()) for rule in group["rules"])


def shipped() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in _rules() if "alert" in rule}


def latest(alert: str) -> float:
    """Seconds after which healer hears of a trouble at the latest: when the windows of the expression have nothing else in them,
    and that has lasted for the alert's `for`."""
    rule = shipped()[alert]
    route = yaml.safe_load((ALERTS / "alertmanager.yaml").read_text("utf-8"))["route"]
    sends = max(parse(route[key]) for key in ("group_wait", "group_interval"))
    return _window(rule["expr"]) + parse(rule.get("for", "0s")) + CLOCKS + sends


def _window(expr: str) -> float:
    """The longest window that an expression averages over, and those of the recorded series that it reads."""
    recorded = {rule["record"]: rule["expr"] for rule in _rules() if "record" in rule}
    read = [recorded[name] for name, _ in selected(expr) if name in recorded]
    return max([*windows(expr), *map(_window, read)], default=0.0)
