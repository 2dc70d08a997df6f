"""Loads scenario files: a scenario, or every problem in the file with its line and column."""

from pathlib import Path

from pydantic import ValidationError

from healer.rehearsal.simulate.scenario import KIND, Scenario
from healer.rules.messages import worded
from healer.rules.positions import Document, Problem, documents, dotted
from healer.rules.schema import API_VERSION
from healer.rules.vocabulary import Vocabulary

_NO_NAMES = Vocabulary({}, {}, {}, {}, {})
"""A scenario uses no names of the rule language."""


_TAKEN = {"RuleSet": "healer check", "RuleTest": "healer test"}
"""The verbs that take files of other kinds."""


class ScenarioError(Exception):
    """A file that is no scenario, with every problem."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def parse(text: str, file: str) -> Scenario:
    """The scenario of a file's text. Raises ScenarioError with every problem."""
    found, problems = documents(text, file)
    if problems:
        raise ScenarioError(problems)
    if len(found) != 1:
        hint = f"begin with apiVersion: {API_VERSION} and kind: {KIND}, and write each scenario into a file of its own"
        raise ScenarioError([Problem(file, 1, 1, "", f"the file holds {len(found)} documents, not one scenario", hint)])
    (document,) = found
    if (other := _other_kind(document, file)) is not None:
        raise ScenarioError([other])
    try:
        return Scenario.model_validate(document.data, context=_NO_NAMES, by_alias=True, by_name=False)
    except ValidationError as error:
        errors = worded(error.errors(include_url=False), document, file, _NO_NAMES, root=Scenario)
        raise ScenarioError(sorted(set(errors))) from error


def _other_kind(document: Document, file: str) -> Problem | None:
    """What a file of another kind is, and which verb takes it."""
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    if kind not in _TAKEN:
        return None
    return Problem(file, *document.at(("kind",)), "kind", f"this is a {kind}, and no scenario", f"run: {_TAKEN[kind]} {file}")


def load(path: Path) -> Scenario:
    """The scenario of a file. Raises ScenarioError."""
    return parse(_text(path), str(path))


def rule_files(scenario: Scenario, path: Path) -> list[Path]:
    """The rule files and folders that the scenario of this file names. Raises ScenarioError for one that is not there."""
    found = [path.parent / each for each in scenario.spec.rules]
    missing = [number for number, each in enumerate(found) if not each.exists()]
    if missing:
        (document,), _ = documents(_text(path), str(path))
        places = [(document.at(("spec", "rules", number)), number) for number in missing]
        hint = "write it relative to this file, or name the rules by --rules"
        problems = [
            Problem(str(path), *at, dotted(("spec", "rules", number)), f"there is no {found[number]}", hint)
            for at, number in places
        ]
        raise ScenarioError(problems)
    return found


def _text(path: Path) -> str:
    hint = "name a scenario file (docs/rules-as-code.md)"
    if path.is_dir():
        scenarios = sorted(str(each) for each in path.glob("*.scenario.y*ml"))
        hint = f"name one of the scenarios in it: {', '.join(scenarios[:5])}" if scenarios else hint
        raise ScenarioError([Problem(str(path), 0, 0, "", "is a folder", hint)])
    if not path.exists():
        raise ScenarioError([Problem(str(path), 0, 0, "", "does not exist", hint)])
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError([Problem(str(path), 0, 0, "", f"cannot be read: {error}", "UTF-8 text is needed")]) from error
