"""YAML as plain data, with the position of every key and value, so that an error can point at it.

Stricter than YAML: an empty value, a key that stands twice, a tag, and nesting or aliases without end are problems.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]
Position = tuple[int, int]
"""Line and column, from 1."""

MAX_DEPTH = 32
MAX_NODES = 200_000
"""The most nodes of a file, with its aliases expanded."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser, if it is built in, is ten times as fast
_TAG = "tag:yaml.org,2002:"
_NUMBERS = SafeConstructor()
_ESCAPES = {"x": 4, "u": 6, "U": 10}
_COMMENT_IN_FLOW = re.compile(r"""[\[{,]\s*(#)[^\]}]*[\]}]""")
_HINTS = {
    "cannot start any token": "YAML allows no tab for indentation, and a value that begins with a sign needs quotes",
    "mapping values are not allowed": "indent by spaces alone, and put a value that holds ': ' in quotes",
    "scanning a tag": 'what begins with ! needs quotes, or YAML takes it for a tag: "!pod.ready"',
    "flow sequence": "close the list with ], and quote what begins with # (it begins a comment)",
    "flow mapping": "close the mapping with }, and quote what begins with # (it begins a comment)",
}


_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
"""A number in YAML 1.2 and in JSON that YAML 1.1 reads as a text: 1e-3."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A problem in a rule file. `path` leads to it inside the file ("spec.rules[0].when.if").

    `line` and `column` count from 1; both are 0 when the file as a whole is the problem.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{position}: {self.message}" + (f"\n    hint: {self.hint}" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its data (dicts, lists, str, int, float, bool), the node and the key's node at each path."""

    data: Any
    nodes: dict[Path, Node]
    keys: dict[Path, Node]
    lines: list[str]

    def at(self, path: Path) -> Position:
        """Where the value at a path begins; for a missing one, where the nearest enclosing value begins."""
        while path not in self.nodes and path:
            path = path[:-1]
        return _position(self.nodes[path])

    def at_key(self, path: Path) -> Position:
        """Where the key of a path is; for a missing one, where the nearest enclosing key is."""
        while path not in self.keys and path:
            path = path[:-1]
        return _position(self.keys.get(path, self.nodes[()]))

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

    def inside(self, path: Path, line: int, column: int) -> Position:
        """Where a character of a text is in the file, given its line and column within the text.

        Exact for every style but a quoted text of several lines with escapes: for that it is where the text begins.
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
        if isinstance(node, ScalarNode) and (start.line != end.line or style == ">" or line > 1):
            return self._in_folded(node, line, column)
        return start.line + 1, start.column + 1 + _offset(first[start.column : end.column], column - 1)

    def _in_folded(self, node: ScalarNode, line: int, column: int) -> Position:
        """The position of a character in a text that YAML folds: the characters other than white space keep their order and
        number."""
        value, start = node.value, node.start_mark
        offset = sum(len(each) + 1 for each in value.split("\n")[: line - 1]) + column - 1
        before = sum(not sign.isspace() for sign in value[:offset])
        quoted = node.style in ("'", '"')
        raw = self.lines[start.line : node.end_mark.line + 1]
        if quoted and ("\\" in "".join(raw) or "''" in "".join(raw)):
            return _position(node)
        first = (start.line + 1, 0) if node.style == ">" else (start.line, start.column + int(quoted))
        for number in range(first[0], len(self.lines)):
            for position in range(first[1] if number == first[0] else 0, len(self.lines[number])):
                if self.lines[number][position].isspace():
                    continue
                if not before:
                    return number + 1, position + 1
                before -= 1
        return _position(node)


def documents(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """The documents of a file, without empty ones, and the problems with their YAML."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        before = text[: error.start]
        position = before.count("\n") + 1, error.start - before.rfind("\n")
        return [], [Problem(file, *position, "", "the text is not valid Unicode", "save the file as UTF-8")]
    found: list[Document] = []
    problems: list[Problem] = []
    lines = text.split("\n")
    try:
        if (deep := _too_deep_at(text)) is not None:
            return [], [_too_deep(file, deep, ())]
        for node in yaml.compose_all(text, Loader=_Loader):
            if isinstance(node, ScalarNode) and node.tag == _TAG + "null":
                continue
            reading = _DocumentReader(file, {}, {}, [])
            data = reading.value(node, (), 0)
            problems += reading.problems
            found.append(Document(data, reading.nodes, reading.keys, lines))
    except yaml.YAMLError as error:
        problems.append(_syntax(error, file, lines))
    return found, problems


def _too_deep_at(text: str) -> Position | None:
    """Where a text is nested deeper than a file may be; None when it is not, or when it is no YAML before that.

    Checked before nodes are made: libyaml makes them by recursion, which would end the process.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                mark = event.start_mark
                return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
    except yaml.YAMLError:
        return None  # reported when nodes are made of the text before
    return None


@dataclass(slots=True)
class _DocumentReader:
    """Turns the nodes of one document into data."""

    file: str
    nodes: dict[Path, Node]
    keys: dict[Path, Node]
    problems: list[Problem]

    def value(self, node: Node, path: Path, depth: int) -> Any:
        self.nodes[path] = node
        if depth > MAX_DEPTH or len(self.nodes) > MAX_NODES:
            if not any(problem.message == _TOO_DEEP for problem in self.problems):
                self.problems.append(_too_deep(self.file, _position(node), path))
            return None
        match node:
            case MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(node, path, depth)
            case SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [self.value(entry, (*path, index), depth + 1) for index, entry in enumerate(node.value)]
            case ScalarNode():
                return self._scalar(node, path)
        return self._no_tag(node, path)

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
                case "str" if not node.style and _EXPONENT.fullmatch(node.value):
                    return float(node.value)
                case "str" | "timestamp" | "value" | "merge":
                    return node.value
                case "bool":
                    return _NUMBERS.construct_yaml_bool(node)
                case "int":
                    return _NUMBERS.construct_yaml_int(node)
                case "float":
                    return _NUMBERS.construct_yaml_float(node)
                case "null":
                    key = path[-1] if path and isinstance(path[-1], str) else None
                    what = "this entry has no value" if key is None else f"{key!r} has no value"
                    none = "" if key is None else f" ({key}: {{}} where there is nothing to say)"
                    hint = f"give it one or delete it{none}; what begins with # needs quotes, or YAML takes it for a comment"
                    return self._bad(node, path, what, hint)
        except (ValueError, KeyError):
            return self._bad(node, path, f"{node.value[:40]!r} is not a value of its type", "put it in quotes if it is a text")
        return self._no_tag(node, path)

    def _no_tag(self, node: Node, path: Path) -> None:
        tag = node.tag.replace(_TAG, "!!")
        text = f"{tag} {node.value}".strip() if isinstance(node, ScalarNode) and not tag.startswith("!!") else ""
        hint = f"what begins with ! needs quotes, or YAML takes it for a tag: {json.dumps(text)}" if text else "delete it"
        return self._bad(node, path, f"the tag {tag} has no meaning here", hint)

    def _bad(self, node: Node, path: Path, message: str, hint: str) -> None:
        self.problems.append(Problem(self.file, *_position(node), dotted(path), message, hint))


_TOO_DEEP = "the file is nested too deeply, or its aliases make it too large"


def _too_deep(file: str, position: Position, path: Path) -> Problem:
    return Problem(file, *position, dotted(path), _TOO_DEEP, f"a rule file is at most {MAX_DEPTH} levels deep")


def _position(node: Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def dotted(path: Path) -> str:
    """A path as people write it: spec.rules[0].when."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _offset(raw: str, offset: int) -> int:
    """The offset in the text as it is written, with quotes and escapes, of the character at `offset` of its value."""
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


def _swallowed(lines: list[str], last: int) -> Position | None:
    """Where a # that was meant as text begins a comment inside of a list or mapping, at or before a line (counted from 0)."""
    for number in range(min(last, len(lines) - 1), -1, -1):
        found = _COMMENT_IN_FLOW.search(lines[number])
        if found is not None:
            return number + 1, found.start(1) + 1
    return None


def _syntax(error: yaml.YAMLError, file: str, lines: list[str]) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    context = str(getattr(error, "context", None) or "")
    hint = next((hint for sign, hint in _HINTS.items() if sign in f"{what} {context}"), "")
    line, column = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
    if "flow" in context and mark is not None and (position := _swallowed(lines, mark.line)) is not None:
        hint = 'a bare # begins a comment, and the rest of the line is lost: write "#name", in quotes'
        return Problem(file, *position, "", "not valid YAML: the list or mapping is not closed, # begins a comment here", hint)
    return Problem(file, line, column, "", f"not valid YAML: {what}" + (f" ({context})" if context else ""), hint)
