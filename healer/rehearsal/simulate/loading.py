"""Loads scenario files: a scenario, or every problem in the file with its line and column."""

from pathlib import Path

from pydantic import ValidationError

from healer.rehearsal.simulate.scenario import KIND, Scenario
from healer.rules.messages import worded
from healer.rules.positions import Problem, documents
from healer.rules.schema import API_VERSION
from healer.rules.vocabulary import Vocabulary

_NO_NAMES = Vocabulary({}, {}, {}, {}, {})
"""A scenario uses no names of the rule language."""


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
    try:
        return Scenario.model_validate(document.data, context=_NO_NAMES, by_alias=True, by_name=False)
    except ValidationError as error:
        errors = worded(error.errors(include_url=False), document, file, _NO_NAMES, root=Scenario)
        raise ScenarioError(sorted(set(errors))) from error


def load(path: Path) -> Scenario:
    """The scenario of a file. Raises ScenarioError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError([Problem(str(path), 0, 0, "", f"cannot be read: {error}", "UTF-8 text is needed")]) from error
    return parse(text, str(path))
