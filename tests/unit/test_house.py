"""The house: no circle of imports, no two classes of one name, so that a reader finds what a name means in one place."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def _code() -> Mapping[str, ast.Module]:
    """The parsed modules of healer, by their dotted names."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
        for path in ROOT.glob("healer/**/*.py")
    }


def _imported(tree: ast.Module) -> Iterator[str]:
    """What a module imports of healer, each as the module that it may be."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules on circles, or between two of them: those that use none of the others, or that none uses, are taken away."""
    left = {name: set(uses) for name, uses in graph.items()}
    while True:
        used = {each for uses in left.values() for each in uses}
        gone = [name for name, uses in left.items() if not uses & left.keys() or name not in used]
        if not gone:
            return sorted(left)
        for name in gone:
            del left[name]


def test_no_modules_import_each_other() -> None:
    """Inside of a room neither. A package's own `__init__` shows what is in it, and is no part of a circle."""
    modules = {name: tree for name, tree in _code().items() if not name.endswith("__init__")}
    assert _circle({name: {each for each in _imported(tree) if each in modules} for name, tree in modules.items()}) == []


def test_a_circle_would_be_found() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
    assert _circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_no_two_classes_have_one_name() -> None:
    """A leading underscore makes no other name. An incident is one thing in two forms: the engine's, and the API's. So is a
    RuleSet: that of a file, and that of the API."""
    named = defaultdict(list)
    for module, tree in _code().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                named[node.name.lstrip("_")].append(module)
    two_forms = {
        "Incident": ["healer.model.incident", "healer.model.kube"],
        "RuleSet": ["healer.model.ruleset", "healer.rules.schema"],
    }
    assert {name: sorted(modules) for name, modules in named.items() if len(modules) > 1} == two_forms


TIMES = {"time.time", "time.monotonic", "time.time_ns", "time.monotonic_ns", "datetime.now", "datetime.utcnow", "date.today"}
OWN_TIME = {
    "healer.clock": "it is the clock",
    "healer.sources.probes": "APScheduler plans by the wall clock, and takes no other",
}
ROOMS_WITHOUT = ("healer.lab", "healer.demo")
"""What plays a cluster, and a show: they are in no production process."""


def test_only_the_clock_asks_the_system_for_the_time() -> None:
    """Whatever needs the time is given a clock, or the time itself. An event loop's own time is for its timers."""
    found = {
        module: sorted({ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & TIMES)
        for module, tree in _code().items()
        if not module.startswith(ROOMS_WITHOUT)
    }
    assert {module for module, asked in found.items() if asked} == OWN_TIME.keys()


def test_no_function_is_longer_than_a_screen() -> None:
    """From its name to its last line, its docstring included. How many ways lead through one, ruff checks (C901)."""
    functions = [
        (f"{module}.{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for module, tree in _code().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [name for name, lines in functions if lines > 60] == []


def test_no_import_has_an_alias() -> None:
    """A thing has one name, wherever it is used. A clash is solved by a better name."""
    found = [
        f"{module}: {ast.unparse(node)}"
        for module, tree in _code().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and any(alias.asname for alias in node.names)
    ]
    assert found == []


def test_no_file_is_longer_than_a_reader_reads() -> None:
    """400 lines."""
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in ROOT.glob("healer/**/*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 400} == {}


def test_the_unit_tests_are_the_same_tree() -> None:
    """A folder of tests is a room of healer."""
    folders = [path.parent for path in ROOT.glob("tests/unit/**/__init__.py") if path.parent != ROOT / "tests" / "unit"]
    named = {str(path.relative_to(ROOT / "tests" / "unit")) for path in folders}
    assert {name for name in named if not (ROOT / "healer" / name).is_dir()} == set()
