"""Recognizes files that are not tests of rules, and says what each is and what to do with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from healer.daemon.rulefiles import is_test
from healer.rehearsal.testing.schema import KIND
from healer.rules.messages import nearest
from healer.rules.positions import Document, Problem
from healer.rules.schema import API_VERSION
from healer.settings import Settings

BEGINNING = f"apiVersion: {API_VERSION}, kind: {KIND}, tests: [...]"
"""How a file of tests begins, for hints."""


def tests_of(rules: Path) -> Path:
    """The file of the tests of a rule file."""
    return rules.with_name(f"{rules.stem}.test.yaml")


def not_tests(found: Sequence[Document], path: Path) -> Problem | None:
    """What a file is that holds no tests, and what to do; None for one that holds tests, or may."""
    if not found:
        return Problem(str(path), 1, 1, "", "the file is empty", f"a file of tests begins with {BEGINNING}")
    document = found[0]
    if not isinstance(document.data, Mapping):
        return None
    kind = document.data.get("kind")
    said = _of_kind(kind, path) if isinstance(kind, str) else None if kind is not None else _of_keys(document.data, path)
    if said is None:
        return None
    at = document.at(("kind",)) if kind is not None else (1, 1)
    return Problem(str(path), *at, "kind", *said)


def _of_kind(kind: str, path: Path) -> tuple[str, str] | None:
    if kind == "RuleSet":
        if is_test(path):
            own = path.with_name(path.name.replace(".test.", "."))
            return "this is a RuleSet, in a file named as tests are", f"name it {own.name}, and its tests {path.name}"
        tests = tests_of(path)
        does = f"run: healer test {tests}" if tests.exists() else f"write them, beginning with {BEGINNING} (docs/rule-tests.md)"
        return f"this is a RuleSet; its tests belong in {tests.name}, beside it", does
    if kind == KIND or nearest(kind, [KIND]):
        return None
    if kind == "Scenario":
        return "this is a Scenario, and no file of tests", f"run: healer simulate {path}"
    return f"this is a {kind}, and no file of tests", f"a file of tests begins with {BEGINNING}"


def _of_keys(data: Mapping[object, object], path: Path) -> tuple[str, str] | None:
    """What a file without a kind is, by its keys."""
    if {"rule_files", "evaluation_interval"} & data.keys():
        return "these are tests of Prometheus' rules", f"run: promtool test rules {path}; docs/rule-tests.md compares the two"
    if data.keys() and data.keys() <= Settings.model_fields.keys():
        return "these are settings, and no tests", "give them to healer by --config; a test has settings of its own in `settings`"
    return None
