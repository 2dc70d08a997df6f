"""YAML as plain data together with the place of every key and value, so that an error can point at what was written.

Stricter than YAML: an empty value, a key that stands twice, a tag, and nesting or aliases without end are problems.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from healer.model.problem import Problem

Path = tuple[str | int, ...]
Place = tuple[int, int]
"""Line and column, from 1."""

MAX_DEPTH = 32
MAX_NODES = 200_000
"""What aliases may blow a file up to."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser is ten times as fast, where it was built in
_TAG = "tag:yaml.org,2002:"
_NUMBERS = SafeConstructor()
_ESCAPES = {"x": 4, "u": 6, "U": 10}
_HINTS = {
    "cannot start any token": "YAML allows no tab for indentation, and a value that begins with a sign needs quotes",
    "mapping values are not allowed": "indent by spaces alone, and put a value that holds ': ' in quotes",
    "flow sequence": "close the list with ], and quote what begins with # (it begins a comment)",
    "flow mapping": "close the mapping with }, and quote what begins with # (it begins a comment)",
}


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its data (dicts, lists, str, int, float, bool), the node and the key's node at each path."""

    data: Any
    nodes: dict[Path, Node]
    keys: dict[Path, Node]
    lines: list[str]

    def at(self, path: Path) -> Place:
        """Where the value at a path begins; of one that is not there, the nearest around it."""
        while path not in self.nodes and path:
            path = path[:-1]
        return _place(self.nodes[path])

    def at_key(self, path: Path) -> Place:
        """Where the key of a path stands; of one that is not there, the nearest around it."""
        while path not in self.keys and path:
            path = path[:-1]
        return _place(self.keys.get(path, self.nodes[()]))

    def written(self, path: Path) -> str:
        """A scalar as it was written, without its quotes; empty for anything else."""
        node = self.nodes.get(path)
        return node.value if isinstance(node, ScalarNode) else ""

    def is_scalar(self, path: Path) -> bool:
        """Whether a single value was written at a path."""
        return isinstance(self.nodes.get(path), ScalarNode)

    def holds_entries(self, path: Path) -> bool:
        """Whether a list that has entries was written at a path."""
        node = self.nodes.get(path)
        return isinstance(node, SequenceNode) and bool(node.value)

    def inside(self, path: Path, line: int, column: int) -> Place:
        """Where a character of a text stands, given its line and column within the text.

        Exact for a text on one line and for a literal block (`|`); the first line for one that YAML folds.
        """
        node = self.nodes[path]
        start, end = node.start_mark, node.end_mark
        first = self.lines[start.line] if start.line < len(self.lines) else ""
        style = node.style if isinstance(node, ScalarNode) else None
        if style == "|":
            text = self.written(path)
            content = [number for number, raw in enumerate(self.lines[start.line + 1 :], start.line + 1) if raw.strip()]
            raw = self.lines[content[0]] if content else ""
            own = text.lstrip("\n")
            indent = (len(raw) - len(raw.lstrip(" "))) - (len(own) - len(own.lstrip(" ")))
            return start.line + 1 + line, indent + column
        if start.line != end.line or style == ">" or line > 1:
            return _place(node)
        return start.line + 1, start.column + 1 + _offset(first[start.column : end.column], column - 1)


def documents(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """The documents of a file, empty ones left out, and what is wrong with them as YAML."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        before = text[: error.start]
        place = before.count("\n") + 1, error.start - before.rfind("\n")
        return [], [Problem(file, *place, "", "the text is not valid Unicode", "save the file as UTF-8")]
    found: list[Document] = []
    problems: list[Problem] = []
    lines = text.split("\n")
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            if isinstance(node, ScalarNode) and node.tag == _TAG + "null":
                continue
            reading = _Reading(file, {}, {}, [])
            data = reading.value(node, (), 0)
            problems += reading.problems
            found.append(Document(data, reading.nodes, reading.keys, lines))
    except yaml.YAMLError as error:
        problems.append(_syntax(error, file))
    except RecursionError:
        problems.append(_too_deep(file, (1, 1), ()))
    return found, problems


@dataclass(slots=True)
class _Reading:
    """One document on its way from nodes to data."""

    file: str
    nodes: dict[Path, Node]
    keys: dict[Path, Node]
    problems: list[Problem]

    def value(self, node: Node, path: Path, depth: int) -> Any:
        self.nodes[path] = node
        if depth > MAX_DEPTH or len(self.nodes) > MAX_NODES:
            if not any(problem.message == _TOO_DEEP for problem in self.problems):
                self.problems.append(_too_deep(self.file, _place(node), path))
            return None
        match node:
            case MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(node, path, depth)
            case SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [self.value(entry, (*path, index), depth + 1) for index, entry in enumerate(node.value)]
            case ScalarNode():
                return self._scalar(node, path)
        return self._bad(node, path, f"the tag {node.tag.replace(_TAG, '!!')} has no meaning here", "delete it")

    def _mapping(self, node: MappingNode, path: Path, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._bad(key, path, "a key must be a word", "quote it if it holds brackets or braces")
                continue
            below = (*path, key.value)
            if key.value in data:
                first = self.keys[below].start_mark.line + 1
                self._bad(key, below, f"the key {key.value!r} is given twice", f"the first is on line {first}: keep one")
                continue
            self.keys[below] = key
            data[key.value] = self.value(value, below, depth + 1)
        return data

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        try:
            match node.tag.removeprefix(_TAG):
                case "str" | "timestamp" | "value" | "merge":
                    return node.value
                case "bool":
                    return _NUMBERS.construct_yaml_bool(node)
                case "int":
                    return _NUMBERS.construct_yaml_int(node)
                case "float":
                    return _NUMBERS.construct_yaml_float(node)
                case "null":
                    what = f"{path[-1]!r} has no value" if path and isinstance(path[-1], str) else "this entry has no value"
                    hint = "give it one or delete it; what begins with # needs quotes, or YAML takes it for a comment"
                    return self._bad(node, path, what, hint)
        except (ValueError, KeyError):
            return self._bad(node, path, f"{node.value[:40]!r} is not a value of its type", "put it in quotes if it is a text")
        return self._bad(node, path, f"the tag {node.tag.replace(_TAG, '!!')} has no meaning here", "delete it")

    def _bad(self, node: Node, path: Path, message: str, hint: str) -> None:
        self.problems.append(Problem(self.file, *_place(node), dotted(path), message, hint))


_TOO_DEEP = "the file is nested too deeply, or its aliases blow it up"


def _too_deep(file: str, place: Place, path: Path) -> Problem:
    return Problem(file, *place, dotted(path), _TOO_DEEP, f"a rule file is at most {MAX_DEPTH} levels deep")


def _place(node: Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def dotted(path: Path) -> str:
    """A path as people write it: spec.rules[0].when."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _offset(raw: str, offset: int) -> int:
    """Where the character at `offset` of a text's value is in the text as written, quotes and escapes counted."""
    quote = raw[:1]
    if quote not in ("'", '"'):
        return offset
    widths = _widths(raw[1:-1], quote)
    return 1 + sum(next(widths, 1) for _ in range(offset))


def _widths(raw: str, quote: str) -> Iterator[int]:
    """How many characters were written for each character of a quoted text."""
    position = 0
    while position < len(raw):
        width = 1
        if quote == "'" and raw.startswith("''", position):
            width = 2
        elif quote == '"' and raw[position] == "\\":
            width = _ESCAPES.get(raw[position + 1 : position + 2], 2)
        yield width
        position += width


def _syntax(error: yaml.YAMLError, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    context = str(getattr(error, "context", None) or "")
    hint = next((hint for sign, hint in _HINTS.items() if sign in f"{what} {context}"), "")
    line, column = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
    return Problem(file, line, column, "", f"not valid YAML: {what}" + (f" ({context})" if context else ""), hint)
