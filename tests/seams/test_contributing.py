"""docs/contributing.md says for every seam how to add one: at most two files, which exist, and a test that proves it."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "contributing.md").read_text("utf-8").partition("## How to add a part\n")[2]
SECTIONS: dict[str, str] = dict(re.findall(r"^### (?:An? )?(.*)\n((?:(?!^##).*\n)*)", TEXT, re.MULTILINE))
"""How to add one of each, by what it is."""
SEAMS = {
    "pod condition",
    "trigger",
    "action",
    "guard",
    "router",
    "sink",
    "workload kind",
    "model server",
    "verb",
    "metric",
    "setting",
}


def files(title: str) -> list[str]:
    """The files of healer/ that a section has in its list: those to write, and those to change."""
    listed = "".join(re.findall(r"^- .*", SECTIONS[title], re.MULTILINE))
    return re.findall(r"`(healer/\w[\w/]*\.py)`", listed)


def test_every_seam_has_its_section() -> None:
    assert set(SECTIONS) == SEAMS


@pytest.mark.parametrize("title", sorted(SEAMS))
def test_a_seam_needs_at_most_two_files_of_healer(title: str) -> None:
    """A new file is called NAME, and its folder exists; the others exist."""
    named = files(title)
    assert 1 <= len(named) <= 2
    assert [name for name in named if not (ROOT / name if "NAME" not in name else (ROOT / name).parent).exists()] == []


@pytest.mark.parametrize("title", sorted(SEAMS))
def test_what_a_section_names_in_its_table_exists(title: str) -> None:
    """A name in capitals is that of a table, and stands in one of the files that exist."""
    tables = set(re.findall(r"`([A-Z_]{4,})`", SECTIONS[title])) - {"ROUTER"}
    known = "".join((ROOT / name).read_text("utf-8") for name in files(title) if "NAME" not in name)
    assert [table for table in tables if not re.search(rf"^{table}\b", known, re.MULTILINE)] == []


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
def test_an_example_can_be_imported(example: str) -> None:
    """It compiles, and has from healer what healer has."""
    tree = ast.parse(example)
    exec(compile(tree, "docs/contributing.md", "exec"), {})
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and str(node.module).startswith("healer")]
    assert imported
    for node in imported:
        module = importlib.import_module(str(node.module))
        assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_tests_that_prove_the_seams_are_named() -> None:
    """Each section names tests that exist, and every test of tests/seams proves a section."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", TEXT))
    assert [name for name in named if not (ROOT / name).exists()] == []
    written = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "seams").glob("test_*.py")}
    assert written - named == {"tests/seams/test_contributing.py"}
