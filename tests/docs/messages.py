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
HINT_AT = {"fault": 1, "Problem": 5}
LEVELS = ("info", "warning", "error", "critical", "exception")
UNSEEN = ("lab", "demo")
"""Rooms that speak to nobody in production."""
WORDS = 3
"""So many words make a text a message, whatever it is given to."""

Said = tuple[str, str, ast.expr]
"""How something is said, its code, and the expression that has the text."""


class Message(NamedTuple):
    """A message: where it is said, how, its code where it has one, and its text with {names} for what is put in."""

    place: str
    kind: str
    code: str
    text: str


def messages(root: Path = HOUSE) -> Iterator[Message]:
    """Those of the files below a folder, in the order of the files and their lines."""
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] not in UNSEEN:
            found = sorted(set(_of(ast.parse(path.read_text("utf-8")))))
            yield from (Message(f"{path.relative_to(root)}:{line}", *said) for line, *said in found)


def _of(module: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    """The messages of a module: first those whose use is known, then every other text that has words."""
    known: set[ast.AST] = set()
    for scope in [module, *(node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))]:
        if isinstance(scope, ast.FunctionDef) and any("command" in ast.unparse(each) for each in scope.decorator_list):
            yield scope.lineno, "help", "", ast.get_docstring(scope) or ""
        for kind, code, said in (each for node in _own(scope) for each in _said(node)):
            for value in _values(said, scope):
                known.update(ast.walk(value))
                yield from ((value.lineno, kind, code, text) for text in _texts(value))
    for node in ast.walk(module):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            known.add(node.value)  # a docstring
        if isinstance(node, ast.expr) and node not in known and (texts := _texts(node)):
            known.update(ast.walk(node))
            yield from ((node.lineno, "text", "", text) for text in texts if _has_words(text))


def _has_words(text: str) -> bool:
    written = re.sub(r"\{[^}]*\}", "{}", text)  # without what is put in
    return len(re.findall(r"(?:^| )[A-Za-z][a-z']+(?=[ ,:;.)]|$)", written)) >= WORDS


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, without those of the functions in it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own(child)


def _values(said: ast.expr, scope: ast.AST) -> list[ast.expr]:
    """What a text may be: itself, or what the name that stands for it is given in the same scope."""
    if not isinstance(said, ast.Name):
        return [said]
    given = [node for node in _own(scope) if isinstance(node, ast.Assign)]
    return [node.value for node in given if ast.unparse(node.targets[0]) == said.id]


def _said(node: ast.AST) -> Iterator[Said]:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args and _called(node.exc) not in TEXT_AT:
        yield "error", "", node.exc.args[0]
    if isinstance(node, ast.Call):
        name = _called(node)
        if name in TEXT_AT and len(node.args) > TEXT_AT[name]:
            codes = _texts(node.args[CODE_AT[name]]) if name in CODE_AT else [""]
            yield name.lower(), next(iter(codes), ""), node.args[TEXT_AT[name]]
        if name in HINT_AT and len(node.args) > HINT_AT[name]:
            yield "hint", "", node.args[HINT_AT[name]]
        if name in LEVELS and isinstance(node.func, ast.Attribute) and "log" in ast.unparse(node.func.value) and node.args:
            yield "log", "", node.args[0]
        yield from ((each.arg, "", each.value) for each in node.keywords if each.arg in ("help", "hint", "advice"))


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


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
    r"by now|all the same|what is meant|without a word|of the pas|for want of|is had by|for so|weights? rules?|"
    r"signals? (is|are) over|until it is over|that could be told|nothing has gone forward)\b"
)
"""Phrases that a reader whose English is plain would stumble over."""
