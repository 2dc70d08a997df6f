"""Every message that a person can see, from where the code says it: `python -m tests.docs messages` prints the list."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HOUSE = Path(__file__).parents[2] / "healer"
TEXT_AT = {"Reason": 1, "Outcome": 2, "fault": 0, "Check": 2, "echo": 0, "Problem": 4}
"""The calls that make a message, and which of their arguments it is."""
CODE_AT = {"Reason": 0, "Outcome": 1}
LEVELS = ("info", "warning", "error", "critical", "exception")
UNSEEN = ("lab", "demo")
"""Rooms that speak to nobody in production."""


class Message(NamedTuple):
    """A message: where it is said, how, its code where it has one, and its text with {names} for what is put in."""

    place: str
    kind: str
    code: str
    text: str


def messages(root: Path = HOUSE) -> Iterator[Message]:
    """Those of the files below a folder, in the order of the files."""
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] not in UNSEEN:
            tree = ast.parse(path.read_text("utf-8"))
            for node in ast.walk(tree):
                place = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
                yield from (Message(place, *said) for said in _said(node))


def _said(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
        for text in _texts(node.exc.args[0]):
            yield "error", "", text
    if isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(each) for each in node.decorator_list):
        yield "help", "", ast.get_docstring(node) or ""
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "text":  # a long one, on a line of its own
        for text in _texts(node.value):
            yield "text", "", text
    if isinstance(node, ast.Call):
        yield from _called(node)


def _called(node: ast.Call) -> Iterator[tuple[str, str, str]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in TEXT_AT and len(node.args) > TEXT_AT[name]:
        codes = _texts(node.args[CODE_AT[name]]) if name in CODE_AT else [""]
        for text in _texts(node.args[TEXT_AT[name]]):
            yield name.lower(), next(iter(codes), ""), text
    if name in LEVELS and isinstance(node.func, ast.Attribute) and "log" in ast.unparse(node.func.value) and node.args:
        for text in _texts(node.args[0]):
            yield "log", "", text
    for keyword in node.keywords:
        if keyword.arg in ("help", "hint", "advice"):
            for text in _texts(keyword.value):
                yield keyword.arg, "", text


def _texts(node: ast.expr) -> list[str]:
    """The texts that an expression may be; none where it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts = (each.value if isinstance(each, ast.Constant) else _placeholder(each) for each in node.values)
        return ["".join(map(str, parts))]
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [one + other for one in _texts(node.left) for other in _texts(node.right) or ["{...}"]]
    return []


def _placeholder(node: ast.expr) -> str:
    return "{" + ast.unparse(node.value if isinstance(node, ast.FormattedValue) else node) + "}"


def page() -> str:
    """The list, a message a line."""
    return "\n".join(f"{each.place:48} {each.kind:8} {each.code:24} {' '.join(each.text.split())}" for each in messages())


MANNERED = re.compile(
    r"\b(is to be had|as often as can be|for else|that there are|put off|gets on with|of which it is|"
    r"bears? with|nobody knows|asked for that much|thereof|whereof|hence|"
    r"by now|all the same|what is meant|without a word|of the past)\b"
)
"""Phrases that a reader whose English is plain would stumble over."""
