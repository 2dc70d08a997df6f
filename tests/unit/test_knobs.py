"""Every setting reaches a component: its code reads it off the section that it was given."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from healer.section import Section
from healer.settings import Settings
from healer.sinks.registry import SINKS

ROOT = Path(__file__).parents[2]
SECTIONS: dict[str, type[BaseModel]] = {
    type(field.default).__name__: type(field.default)
    for field in Settings.model_fields.values()
    if isinstance(field.default, Section)
}
KEYS = {key: type(field.default).__name__ for key, field in Settings.model_fields.items() if isinstance(field.default, Section)}
"""The section that each key of the settings holds."""
HEIRS = {
    base.__name__: {name for name, section in SECTIONS.items() if issubclass(section, base)}
    for model in SECTIONS.values()
    for base in model.__mro__
    if issubclass(base, Section)
}
"""Each section and each base of some, with the sections that inherit from it."""


def _type(annotation: ast.expr | None) -> str:
    """The section that an annotation names, or `Settings`; "" for anything else."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Name) and (node.id in SECTIONS or node.id == "Settings"):
            return node.id
    return ""


def _bound(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names, of arguments and of attributes, and the sections that they are declared to hold."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg, "Settings" if node.arg == "settings" and node.annotation is None else _type(node.annotation)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, _type(node.annotation)


@cache
def _trees() -> Sequence[ast.Module]:
    """Every module but those that declare settings."""
    paths = (path for path in ROOT.glob("healer/**/*.py") if path.parent.name != "settings")
    return [ast.parse(path.read_text("utf-8")) for path in paths]


@cache
def _attributes() -> Mapping[str, str]:
    """Attributes by which a section is reached from another object: `tuning.engine`, `settings.http`, `seen.settings`."""
    return {name: held for tree in _trees() for name, held in _bound(tree) if held and held != "Settings"} | KEYS


def _sections(value: ast.expr, names: dict[str, set[str]]) -> set[str]:
    """The sections that an expression may be: one name may hold one in one function, and another in the next."""
    if isinstance(value, ast.Name):
        return names.get(value.id, set())
    if not isinstance(value, ast.Attribute):
        return set()
    if isinstance(value.value, ast.Name) and value.value.id == "self":
        return names.get(value.attr.lstrip("_"), set())
    if "Settings" in _sections(value.value, names):
        return {KEYS[value.attr]} if value.attr in KEYS else set()
    return {_attributes()[value.attr]} if value.attr in _attributes() else set()


def _read(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Sections and those of their fields that a module reads."""
    names = defaultdict[str, set[str]](set)
    for name, held in _bound(tree):
        names[name] |= {held} - {""}
    for node in ast.walk(tree):  # a section that is given another name
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            for one, other in zip(target.elts, value.elts, strict=False) if several else [(target, value)]:  # type: ignore[attr-defined]
                if isinstance(one, ast.Name):
                    names[one.id] |= _sections(other, names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield from ((held, node.attr) for held in _sections(node.value, names))


def _derived(tree: ast.AST) -> Iterator[tuple[str, str, set[str]]]:
    """Sections, their properties, those of their bases as well, and the fields that each is made of."""
    for section in ast.walk(tree):
        if isinstance(section, ast.ClassDef) and (heirs := HEIRS.get(section.name)):
            for part in section.body:
                if isinstance(part, ast.FunctionDef) and any(ast.unparse(each) == "property" for each in part.decorator_list):
                    own = (
                        node for node in ast.walk(part) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
                    )
                    fields = {node.attr for node in own}
                    yield from ((heir, part.name, fields) for heir in heirs)


def test_every_setting_is_read_by_a_component() -> None:
    read = defaultdict(set)
    for tree in _trees():
        for section, field in _read(tree):
            read[section].add(field)
    for tree in _trees():
        for section, name, fields in _derived(tree):
            read[section] |= fields if name in read[section] else set()
    unread = {name: sorted(model.model_fields.keys() - read[name]) for name, model in SECTIONS.items()}
    through_sinks = SINKS.keys() if "sinks" in read["Settings"] else set()
    unread["Settings"] = sorted(Settings.model_fields.keys() - read["Settings"] - through_sinks)
    assert {name: fields for name, fields in unread.items() if fields} == {}


def test_a_setting_that_nothing_reads_would_be_found() -> None:
    tree = ast.parse("def f(settings: HttpSettings) -> None:\n    print(settings.port)\n")
    assert set(_read(tree)) == {("HttpSettings", "port")}
