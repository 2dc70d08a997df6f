"""The rooms of healer/: their layers from pyproject.toml, their imports and their sentences from the code."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "healer"
LAYERS = "imports run one way"
"""The name of the contract of import-linter that has the layers."""


def layers() -> list[list[str]]:
    """The rooms of each layer, from the top to the bottom."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [contract] = [each for each in contracts if each["name"] == LAYERS]
    return [re.findall(r"\w+", layer) for layer in contract["layers"]]


def imports() -> dict[str, set[str]]:
    """For each room the other rooms that its files import."""
    graph = grimp.build_graph("healer", cache_dir=None)
    rooms = sorted(graph.find_children("healer"))
    for room in rooms:
        if graph.find_children(room):
            graph.squash_module(room)
    names = {room: room.partition(".")[2] for room in rooms}
    return {
        name: {names[each] for each in graph.find_modules_directly_imported_by(room) if each in names and each != room}
        for room, name in names.items()
    }


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows of a graph without circles that no way over other arrows replaces."""
    return {
        node: {end for end in ends if not any(end in reachable(graph, other) for other in ends)} for node, ends in graph.items()
    }


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """All nodes that a way leads to from `start`."""
    found: set[str] = set()
    ahead = set(graph[start])
    while ahead:
        node = ahead.pop()
        found.add(node)
        ahead |= graph[node] - found
    return found


def drawing() -> str:
    """The rooms and the imports between them, as a Mermaid graph."""
    arrows = reduced(imports())
    lines = ["```mermaid", "flowchart TD"]
    for layer in layers():
        lines += [f"    {room} --> {' & '.join(sorted(arrows[room]))}" for room in layer if arrows[room]]
    return "\n".join([*lines, "```"])


def table() -> str:
    """The rooms from the top to the bottom, each with its sentence and the rooms that it imports."""
    uses = imports()
    below = [room for layer in layers() for room in layer]
    lines = ["| room | what is in it | it imports |", "|---|---|---|"]
    for room in below:
        path = HOUSE / room
        name, source = (f"{room}/", path / "__init__.py") if path.is_dir() else (f"{room}.py", path.with_suffix(".py"))
        imported = ", ".join(each for each in below if each in uses[room]) or "no other room"
        lines.append(f"| `{name}` | {_cell(paragraph(source))} | {imported} |")
    return "\n".join(lines)


def files() -> str:
    """docs/files.md: every file of healer/ with the first sentence of its docstring."""
    lines = [
        "# Every file, in one sentence",
        "",
        "<!-- made by `make docs` from the docstrings of healer/; do not edit -->",
        "",
        "The rooms from the top layer to the bottom. [architecture.md](architecture.md) says what they are to each other.",
    ]
    for room in (each for layer in layers() for each in layer):
        path = HOUSE / room
        if path.is_dir():
            lines += ["", f"## {room}/", "", paragraph(path / "__init__.py"), "", "| file | what |", "|---|---|", *_rows(path)]
        else:
            lines += ["", f"## {room}.py", "", paragraph(path.with_suffix(".py"))]
    return "\n".join([*lines, ""])


def _rows(room: Path) -> Iterator[str]:
    """A row for each file of a room, and for each folder in it before its files."""
    for path in sorted(room.rglob("*.py"), key=lambda each: (each.parent != room, each.parent, each.name)):
        name = path.relative_to(room).as_posix()
        if name != "__init__.py":
            yield f"| `{name.removesuffix('__init__.py')}` | {_cell(sentence(path))} |"


def paragraph(path: Path) -> str:
    """The first paragraph of a file's docstring, on one line. Raises LookupError where there is none."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    if not text:
        raise LookupError(f"{path.relative_to(ROOT)} has no docstring")
    return " ".join(text.partition("\n\n")[0].split())


def sentence(path: Path) -> str:
    """The first sentence of a file's docstring."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph(path))[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
