"""Documented alerts against recorded expositions: `promtool test rules` says which of them fire."""

import asyncio
import json
import re
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import program

Scrape = Mapping[str, float] | None
"""The samples of one scrape, by series as PromQL writes them; None for one that failed."""


def scraped(exposition: str, scale: float = 1.0) -> Scrape:
    """What Prometheus stores of an exposition. Ages are in seconds; `scale`: how many seconds of the alerts one of them is.

    promtool's time begins with the epoch: times to come are told from now on.
    """
    now = time.time()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            aged = sample.name.endswith(("_age_seconds", "_silence_seconds"))
            labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted({**sample.labels, "job": "healer"}.items()))
            value = sample.value - now if sample.name.endswith("_ends_timestamp_seconds") else sample.value
            found[f"{sample.name}{{{labels}}}"] = value * (scale if aged else 1.0)
    return found


def plain(rules: Path) -> dict[str, Any]:
    """What a rule file of Prometheus has: the spec of a PrometheusRule."""
    spec: dict[str, Any] = yaml.safe_load(rules.read_text("utf-8"))["spec"]
    return spec


def documented(rules: Path) -> list[dict[str, Any]]:
    """The alerts of a PrometheusRule."""
    return [rule for group in plain(rules)["groups"] for rule in group["rules"]]


async def firing(rules: Path, scrapes: Sequence[Scrape], folder: Path) -> set[str]:
    """The alerts of a PrometheusRule that fire at the last of these scrapes, which are a minute apart.

    Expected is that none does: those that do are what promtool objects to.
    """
    series = sorted({name for scrape in scrapes for name in scrape or ()})
    inputs = [{"series": 'up{job="healer"}', "values": " ".join("0" if scrape is None else "1" for scrape in scrapes)}]
    inputs += [{"series": name, "values": " ".join(_value(scrape, name) for scrape in scrapes)} for name in series]
    expected = [
        {"expr": f"group(ALERTS{{alertname='{each['alert']}', alertstate='firing'}})", "eval_time": f"{len(scrapes) - 1}m"}
        for each in documented(rules)
    ]
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": [each | {"exp_samples": []} for each in expected]}
    file = folder / "test.json"  # which is YAML
    (folder / "rules.json").write_text(json.dumps(plain(rules)), "utf-8")
    file.write_text(json.dumps({"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [test]}), "utf-8")
    made = await asyncio.create_subprocess_exec(
        program("prometheus", "promtool"), "test", "rules", str(file), stdout=PIPE, stderr=STDOUT
    )
    said = (await made.communicate())[0].decode()
    found = set(re.findall(r"alertname='(\w+)'", said))
    assert bool(found) is bool(made.returncode), said
    return found


def _value(scrape: Scrape, name: str) -> str:
    value = None if scrape is None else scrape.get(name)
    return "_" if value is None else f"{value:.17g}"
