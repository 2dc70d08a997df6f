"""Finds what an expression leaves out: values on one side of an operator without a counterpart on the other side.

PromQL's `A - B` has no series where B has none, and an empty answer then looks like zero. One more query tells the two apart.
"""

import re
from functools import lru_cache

import promql_parser

_TEXT = re.compile(r"#[^\n]*|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`")
_MARK = re.compile(r'"healer_(\d+)_"')
_COMPARES = (">", "<", ">=", "<=", "==", "!=")


@lru_cache(256)
def without_counterpart(expr: str) -> str:
    """An expression for what the operators in `expr` leave out: it has series when an absent operand hides a value other than 0.

    "" when `expr` has no such operator, when it takes all of the left side of a difference then (`(A - B) or A`), and when it is
    not PromQL.
    """
    texts: list[str] = []

    def mark(found: re.Match[str]) -> str:
        if found[0].startswith("#"):
            return " "
        texts.append(found[0])
        return f'"healer_{len(texts) - 1}_"'

    # the parser prints strings without their escapes: marks replace them, and are replaced by the strings afterwards
    try:
        tree = promql_parser.parse(_TEXT.sub(mark, expr))
    except ValueError:
        return ""
    asked = " or ".join(dict.fromkeys(_left_out(tree, signed=False)))
    return _MARK.sub(lambda found: texts[int(found[1])], asked)


def _left_out(tree: promql_parser.Expr, *, signed: bool) -> list[str]:
    """Queries for what each operator leaves out. `signed`: a value that is subtracted from nothing counts too, as the sign may
    change."""
    match tree:
        case promql_parser.BinaryExpr() if str(tree.op) == "or" and (filled := _filled_difference(tree)) is not None:
            return _left_out(filled.lhs, signed=signed) + _left_out(filled.rhs, signed=True)
        case promql_parser.BinaryExpr():
            operator = str(tree.op)
            left = signed or operator not in ("-", "+", "or", "and", "unless")
            right = left or operator == "-"
            return _at(tree, operator, signed) + _left_out(tree.lhs, signed=left) + _left_out(tree.rhs, signed=right)
        case promql_parser.UnaryExpr():
            return _left_out(tree.expr, signed=True)
        case promql_parser.ParenExpr() | promql_parser.AggregateExpr() | promql_parser.SubqueryExpr():
            return _left_out(tree.expr, signed=signed)
        case promql_parser.Call():
            return [query for each in tree.args for query in _left_out(each, signed=signed)]
    return []


def _at(tree: promql_parser.BinaryExpr, operator: str, signed: bool) -> list[str]:
    """Queries for what one operator leaves out. Set operators leave out series on purpose."""
    if operator in ("or", "and", "unless"):
        return []
    left, right = _scalar(tree.lhs), _scalar(tree.rhs)
    if left and right:
        return []
    if left or right:
        number, vector = (tree.lhs, tree.rhs) if left else (tree.rhs, tree.lhs)
        # a number stays without the vector; `A - 5` is below 0 then, which counts only when the sign may change
        adds = operator == "+" or (operator == "-" and (left or signed))
        return [f"(vector({number}) != 0) unless on () ({vector})"] if adds else []
    matching = "" if tree.modifier is None or tree.modifier.matching is None else f"{tree.modifier.matching} "
    above = ">" if operator == "-" and not signed else "!="
    lefts = f"(({tree.lhs}) {above} 0) unless {matching}({tree.rhs})"
    rights = f"(({tree.rhs}) != 0) unless {matching}({tree.lhs})"
    if operator in _COMPARES:
        return [lefts]
    if operator in (
        "*",
        "/",
        "%",
    ):  # nothing times something is nothing: it is left out only when an absent side does not mean zero
        absent = operator != "*" or _shifted(tree.rhs)
        return ([lefts] if absent else []) + ([rights] if _shifted(tree.lhs) else [])
    return [lefts] if operator == "-" and not signed else [lefts, rights]


def _shifted(tree: promql_parser.Expr) -> bool:
    """Whether it may mean something other than 0 when its series are absent, such as `1 - A` or `1 / A`."""
    match tree:
        case promql_parser.BinaryExpr() if _scalar(tree):
            return False
        case promql_parser.BinaryExpr():
            operator = str(tree.op)
            shifts = operator in ("+", "-", "^", "atan2") or (operator in ("/", "%") and _scalar(tree.lhs))
            return shifts or _shifted(tree.lhs) or _shifted(tree.rhs)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.AggregateExpr() | promql_parser.SubqueryExpr():
            return _shifted(tree.expr)
        case promql_parser.Call():
            return any(_shifted(each) for each in tree.args)
    return False


def _filled_difference(tree: promql_parser.BinaryExpr) -> promql_parser.BinaryExpr | None:
    """The difference in `(A - B) or A`, which takes all of A when B is absent."""
    inner = tree.lhs
    while isinstance(inner, promql_parser.ParenExpr):
        inner = inner.expr
    if isinstance(inner, promql_parser.BinaryExpr) and str(inner.op) == "-" and str(tree.rhs) == str(inner.lhs):
        return inner
    return None


def _scalar(tree: promql_parser.Expr) -> bool:
    """Whether it is a number, and no vector."""
    match tree:
        case promql_parser.NumberLiteral():
            return True
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            return _scalar(tree.expr)
        case promql_parser.BinaryExpr():
            return _scalar(tree.lhs) and _scalar(tree.rhs)
        case promql_parser.Call():
            return str(tree.func.name) in ("scalar", "time", "pi")
    return False
