"""docs/safety.md names what there is: reason codes, defaults, settings, rule keys, metrics, verbs, files and tests."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from healer.cli import app
from healer.daemon.rulefiles import vocabulary
from healer.model.duration import say
from healer.rules.form import Model
from healer.rules.loading import load
from healer.rules.schema import Rule, Verify
from healer.settings import knobs
from tests.docs.metrics import declared

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "safety.md").read_text("utf-8")
HEALER = ROOT / "healer"
WITHOUT_CODES = ("lab", "rehearsal/testing")
CODE_AT = {"Reason": 0, "Outcome": 1}
"""Where these classes take their reason code."""
PASSED_ON = {"code", "reason", "name"}
"""Attributes that hold a code which was made elsewhere, or (`name`) the name of a signal."""


# reason codes


def codes_in(tree: ast.AST) -> set[str]:
    """The reason codes that a module makes. Raises AssertionError for one that cannot be told from its text."""
    found: set[str] = set()
    for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))]:
        for call in _own(scope):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CODE_AT:
                found |= _values(_argument(call), scope, tree)
    return found - {""}


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, without those of the functions in it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own(child)


def _argument(call: ast.Call) -> ast.expr:
    assert isinstance(call.func, ast.Name)
    place = CODE_AT[call.func.id]
    if len(call.args) > place:
        return call.args[place]
    named = [keyword.value for keyword in call.keywords if keyword.arg in PASSED_ON]
    assert len(named) == 1, f"line {call.lineno}: no reason code in {ast.unparse(call)}"
    return named[0]


def _values(value: ast.expr, scope: ast.AST, module: ast.AST) -> set[str]:
    match value:
        case ast.Constant(value=str(code)):
            return {code}
        case ast.IfExp(body=one, orelse=other):
            return _values(one, scope, module) | _values(other, scope, module)
        case ast.Attribute(attr=attribute) if attribute in PASSED_ON:
            return set()
        case ast.Name(id=name):
            found = [each for node in _own(scope) for each in _given(name, node)] or _constants(module, name)
            assert found, f"line {value.lineno}: cannot tell what {name} is"
            return set().union(*(_values(each, scope, module) for each in found))
    raise AssertionError(f"line {value.lineno}: cannot tell which reason code {ast.unparse(value)} is")


def _constants(module: ast.AST, name: str) -> list[ast.expr]:
    """What a constant of a module is, there or in the module that it is imported from."""
    own = [each for node in ast.iter_child_nodes(module) for each in _given(name, node)]
    for node in ast.iter_child_nodes(module):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names) and node.module is not None:
            path = ROOT / (node.module.replace(".", "/") + ".py")
            own += [each for other in ast.parse(path.read_text("utf-8")).body for each in _given(name, other)]
    return own


def _given(name: str, node: ast.AST) -> Iterator[ast.expr]:
    """What a name is given by an assignment, or by a loop over a literal tuple of tuples."""
    if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
        yield node.value
    if isinstance(node, ast.For) and isinstance(node.target, ast.Tuple) and isinstance(node.iter, ast.Tuple):
        names = [element.id if isinstance(element, ast.Name) else "" for element in node.target.elts]
        for row in node.iter.elts if name in names else ():
            assert isinstance(row, ast.Tuple)
            yield row.elts[names.index(name)]


@cache
def codes() -> frozenset[str]:
    """The reason codes of healer. The lab is a cluster and has none; in `healer test`, outcomes have those that a test says."""
    files = [path for path in HEALER.rglob("*.py") if not any(path.is_relative_to(HEALER / each) for each in WITHOUT_CODES)]
    return frozenset().union(*(codes_in(ast.parse(path.read_text("utf-8"), str(path))) for path in files))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Reason('One', 'text')", {"One"}),
        ("Outcome(kind, 'Two', 'text')", {"Two"}),
        ("Outcome(kind, text='text', reason='Two')", {"Two"}),
        ("def f():\n  code = 'One' if x else 'Two'\n  return Reason(code, 'text')", {"One", "Two"}),
        ("def f():\n  for code, n in (('One', 1), ('Two', 2)):\n    yield Reason(code, 'text')", {"One", "Two"}),
        ("CODE = 'One'\ndef f():\n  return Reason(CODE, 'text')", {"One"}),
        ("from healer.rules.probe import UNKNOWN_VERDICT\nReason(UNKNOWN_VERDICT, 'text')", {"UnknownVerdict"}),
        ("Reason(why.code, 'passed on')", set()),
    ],
)
def test_codes_are_found_however_they_are_written(text: str, found: set[str]) -> None:
    assert codes_in(ast.parse(text)) == found


@pytest.mark.parametrize("text", ["Reason(f'{x}', 'text')", "Reason(code, 'text')", "Reason(text='text')"])
def test_a_code_that_cannot_be_told_is_not_passed_over(text: str) -> None:
    with pytest.raises(AssertionError, match="line 1"):
        codes_in(ast.parse(text))


def test_the_table_has_every_reason_code_once_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", TEXT.partition("## Every reason code")[2], re.MULTILINE)
    assert sorted(listed) == sorted(codes())


def test_the_reasons_that_sections_name_are_codes() -> None:
    named = set(re.findall(r'reason="(\w+)"', TEXT)) | {code for line in _lines("Refuses as") for code in _spans(line)}
    assert len(named) > 20
    assert named <= codes()


# settings, rule keys and their defaults


def rule_keys(model: type[Model] = Rule, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a rule that have a default, nested ones by dots, each with its default as it is written in a rule."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if isinstance(field.default, Model):
            yield from _written(field.default, f"{key}.")
        elif not field.is_required():
            yield key, field.default


def _written(value: Model, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in type(value).model_fields.items():
        inner, key = getattr(value, name), f"{prefix}{field.alias or name}"
        if isinstance(inner, Model):
            yield from _written(inner, f"{key}.")
        else:
            yield key, inner


def _as_text(value: Any) -> str:
    return say(value) if isinstance(value, float) else str(value)


@cache
def defaults() -> Mapping[str, str]:
    """What the page may say of each setting and rule key; settings are in seconds, and the page says them as durations."""
    known = [(variable, value) for variable, _, value, _ in knobs()]
    return {name: _as_text(value) for name, value in [*known, *rule_keys(), *_written(Verify(), "verify.")]}


def test_every_default_is_as_the_page_says() -> None:
    said = re.findall(r"`([\w.]+)`\s=\s`([^`]+)`", TEXT)
    assert len(said) > 20
    assert [(key, value) for key, value in said if defaults().get(key) != value] == []


def test_every_setting_exists() -> None:
    named = set(re.findall(r"HEALER_\w+", TEXT))
    assert named <= {variable for variable, _, _, _ in knobs()}


def test_every_key_of_limits_exists() -> None:
    named = set(re.findall(r"`(limits\.[\w.]+)`", TEXT))
    assert named <= {key for key, _ in rule_keys()}


def test_what_limits_healer_is_on_the_page() -> None:
    wanted = {key for key in defaults() if key.startswith(("limits.", "HEALER_LIMITS__"))}
    assert wanted - {key for key, _ in re.findall(r"`([\w.]+)`\s=\s`([^`]+)`", TEXT)} == set()


# metrics, verbs, files, examples


def test_every_metric_exists() -> None:
    named = set(re.findall(r"\bhealer_\w+", TEXT))
    assert named
    assert named <= {each.name for each in declared()}


def test_every_verb_exists() -> None:
    named = set(re.findall(r"(?:`|^    )healer ([a-z]+)", TEXT, re.MULTILINE))
    commands = typer.main.get_command(app)
    assert named
    assert named <= set(getattr(commands, "commands"))  # noqa: B009 - click's Group is not in typer's types


def test_every_file_and_every_test_exists() -> None:
    named = re.findall(r"`((?:tests|docs|deploy|rules|healer)/[\w./-]+)(?:::(\w+))?`", TEXT)
    assert named
    missing = [path for path, _ in named if not (ROOT / path).exists()]
    assert missing == []
    assert [(path, test) for path, test in named if test and f"def {test}(" not in (ROOT / path).read_text("utf-8")] == []


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([\w./-]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_promise_says_where_its_test_is() -> None:
    sections = re.findall(r"^## (\d+\..*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    assert [int(section.split(".")[0]) for section in sections] == list(range(1, len(sections) + 1))
    assert [section.splitlines()[0] for section in sections if "\nTests: " not in section] == []


def test_the_rules_on_the_page_are_rules() -> None:
    examples = [text for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "kind: RuleSet" in text]
    assert examples
    for example in examples:
        rules, problems = load(example, "docs/safety.md", vocabulary())
        assert problems == []
        assert rules


def _lines(word: str) -> list[str]:
    return [paragraph for paragraph in TEXT.split("\n\n") if paragraph.startswith(f"{word}")]


def _spans(text: str) -> list[str]:
    return re.findall(r"`([A-Z][A-Za-z]+)`", text)
