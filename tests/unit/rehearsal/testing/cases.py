"""What the tests of `healer test` are written with: a rule, a file of tests beside it, and how one is played."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner, Result

from healer.cli import app
from healer.daemon.rulefiles import vocabulary
from healer.rehearsal.testing.loading import load_tests
from healer.rehearsal.testing.report import failure
from healer.rehearsal.testing.running import CaseResult, play

Yaml = dict[str, Any]
EVICT: list[Yaml] = [{"evict": {}, "verify": {"within": "10m", "stable": "1m"}}, {"page": {"channels": ["#night"]}}]
CRASH: Yaml = {"pod": {"name": "serving-1", "shows": "CrashLoopBackOff"}}
EVICTED: Yaml = {"action": "evict", "target": "serving-1", "rule": "crash", "step": 1, "at": "0s"}


def rule(name: str = "crash", **more: Any) -> Yaml:
    return {
        "name": name,
        "when": {"pod": ["CrashLoopBackOff"]},
        "heal": EVICT,
        "mode": "enforce",
        "notify": ["#ml"],
    } | more


def write(folder: Path, rules: list[Yaml], *tests: Yaml, **whole: Any) -> Path:
    """A file of rules, and a file of tests beside it; returns the latter."""
    version = {"apiVersion": "healer.dev/v1alpha1"}
    spec = {"scope": {"namespaces": ["production"]}, "rules": rules}
    ruleset = version | {"kind": "RuleSet", "metadata": {"name": "mine"}, "spec": spec}
    (folder / "mine.yaml").write_text(yaml.safe_dump(ruleset, sort_keys=False))
    file = folder / "mine.test.yaml"
    document = version | {"kind": "RuleTest", **whole, "tests": list(tests)}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


Played = Callable[..., CaseResult]
"""Plays one test of these rules: its keys are those of a test in a file."""


def play_one(folder: Path, rules: list[Yaml], case: Yaml, **whole: Any) -> CaseResult:
    case = {"name": "it", "events": [CRASH], "expect": [{}]} | case
    loaded = load_tests(write(folder, rules, case, **whole), vocabulary())
    return play(loaded.tests[0])


def why(result: CaseResult) -> str:
    return "\n".join(line.text for line in failure(result))


def passes(result: CaseResult) -> None:
    assert result.passed, why(result)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["test", *map(str, arguments)])


GOOD: Yaml = {"name": "it heals", "events": [CRASH], "expect": [{"acts": [EVICTED]}]}
WRONG: Yaml = {"name": "it does nothing", "events": [CRASH], "expect": [{"acts": []}]}
