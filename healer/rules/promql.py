"""Checks PromQL with a parser: what is broken in an expression, and where, and what in it may surprise.

The parser (promql-parser) knows Prometheus 2.45. Expressions for a newer one, or for VictoriaMetrics, may have functions,
modifiers and missing windows that it does not know. They give a remark and never an error, because the server may understand
them. An error is what no server reads: a bracket that is not closed, an operator without its right side.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import promql_parser

from healer.rules.probe import Measure, Query, fill, named

_LONGEST = 4000
"""Characters of an expression that is parsed: the parser recurses, and thousands of operators overflow its stack."""
_DEEPEST = 200
"""Brackets inside of each other, for the same reason."""
_OPERATOR = re.compile(r"\b(?:and|or|unless|atan2)\b|[-+*/%^]|[<>=!]+", re.IGNORECASE)
_MOST_OPERATORS = 300
"""Operators and matchers of labels: each makes the tree deeper, and the parser takes half a second for a thousand."""
_SHOWN = 80
"""Characters of a part of an expression that a message shows."""
_TRIED = 40
"""Beginnings of an expression that are parsed to find where it breaks, the longest first."""
_PAIRS = {")": "(", "]": "[", "}": "{"}
_CLOSES = {opened: closed for closed, opened in _PAIRS.items()}
_SIGNIFICANT = re.compile(r"#[^\n]*|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`|[\"'`]|[()\[\]{}]")
_WORDS = re.compile(r"\b(?:with|keep_metric_names|if|ifnot|default|limit|smoothed|anchored|fill|fill_left|fill_right)\b", re.I)
"""Words of MetricsQL, and of Prometheus after 2.45, that the parser does not know."""
_STRANGE = re.compile(
    r"unknown function|expected type |comparisons between scalars|at least one non-empty matcher|number or duration syntax"
    r"|unexpected character inside brackets: '[^$)}]|missing unit character|expected .*argument|number of arguments"
)
"""Errors of the parser about an expression that another server may read: in MetricsQL windows and arguments may be missing."""
_QUOTED = re.compile(r"'([^']+)'$|: (\S+)$|with name '([^']+)'|call to function '([^']+)'")
_COMPARES = (">", "<", ">=", "<=", "==", "!=")
_MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_COUNTING = ("count", "group", "count_values", "count_over_time", "present_over_time", "absent", "absent_over_time", "timestamp")
"""Functions that use no value of their argument: a comparison there chooses what is counted."""
_WHOLE = ("topk", "bottomk", "limitk", "limit_ratio")
"""Aggregations that keep the labels of the series that they choose."""


@dataclass(frozen=True, slots=True)
class PromqlFault:
    """What is wrong in an expression, at a line and a column of it (from 1). `broken`: no server reads it."""

    message: str
    hint: str
    line: int
    column: int
    broken: bool = True


@dataclass(frozen=True, slots=True)
class _ParsedQuery:
    """A parsed expression, or why it cannot be parsed."""

    tree: promql_parser.Expr | None
    fault: PromqlFault | None = None


def promql_fault(text: str, *, template: bool) -> PromqlFault | None:
    """Why no server reads an expression, or (`template`) one with placeholders; None when a server may read it."""
    found = _read(text, template).fault
    return found if found is not None and found.broken else None


def unfamiliar(measure: Measure) -> Iterator[str]:
    """What only some servers understand in the expressions of a measure: phrases that follow a rule's name."""
    for key, text in measure.promql():
        yield from _strange(f"a measure {measure.name!r} whose {key}", _read(text, True).fault, verb="is something")


def surprises(query: Query) -> Iterator[str]:
    """What may surprise in the expression of a query: phrases that follow a rule's name."""
    read = _read(query.expr, False)
    yield from _strange("an expr", read.fault)
    if read.tree is None:
        return
    if (compared := _comparison(read.tree)) is not None:
        yield _of_comparison(compared)
    elif (inside := _compared_inside(read.tree)) is not None:
        yield (
            f"has an expr that compares inside ({_cut(str(inside))}): without a match it has no series, and no value that can be "
            "told; take the comparison out, and write its limit as above or below"
        )
    if (always := _constant_besides(read.tree)) is not None:
        yield from _of_constant(*always, query)
    labels = _labels(read.tree)
    if labels is not None and query.workload is None and not _name_a_target(labels, query):
        kept = f"only {', '.join(sorted(labels))}" if labels else "no labels"
        yield (
            f"has an expr whose series keep {kept}, so that they name no target: write by (namespace, pod) or "
            "by (namespace, deployment), or as the settings `alerts` name these labels; or name the workload, as query.deployment"
        )


def _strange(what: str, found: PromqlFault | None, verb: str = "") -> Iterator[str]:
    if found is not None and not found.broken:
        phrase = " ".join(part for part in (what, verb) if part)
        yield f"has {phrase} that plain PromQL does not know ({found.message}): the server that is asked must understand it"


@lru_cache(512)
def _read(text: str, template: bool) -> _ParsedQuery:
    if template:
        text = _filled(text)
    if (unbalanced := _unbalanced(text)) is not None:
        return _ParsedQuery(None, unbalanced)
    if (chained := _chained(text)) is not None:
        return _ParsedQuery(None, chained)
    if len(text) > _LONGEST:
        return _ParsedQuery(None)
    try:
        tree = promql_parser.parse(text)
    except ValueError as error:
        return _ParsedQuery(None, _refused(text, str(error)))
    if isinstance(tree, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
        hint = "one number a series is needed: rate(...[5m]), max_over_time(...[5m])"
        return _ParsedQuery(None, PromqlFault("the expression gives a range of values, not one", hint, *_position(text, 0)))
    if isinstance(tree, promql_parser.StringLiteral):
        return _ParsedQuery(
            None, PromqlFault("the expression is a text, not a number", "write it without quotes", *_position(text, 0))
        )
    return _ParsedQuery(tree)


def _filled(template: str) -> str:
    """The expression with each placeholder replaced by a value of the same length, so that positions stay."""
    values = {place: ("30s" if place == "window" else "x") for place in named(template)}
    return re.sub(r"\{\{.*?\}\}", lambda found: _padded(fill(found[0], values), len(found[0])), template, flags=re.DOTALL)


def _padded(value: str, length: int) -> str:
    return value.ljust(length, " " if value.endswith("s") else "x")


def _unbalanced(text: str) -> PromqlFault | None:
    """A bracket or a quote without its other half, or too many brackets inside of each other."""
    opened: list[tuple[str, int]] = []
    for found in _SIGNIFICANT.finditer(text):
        sign, at = found[0], found.start()
        if sign in ('"', "'", "`"):
            return PromqlFault("the text that begins here does not end", f"close it with {sign}", *_position(text, at))
        if sign in _CLOSES:
            opened.append((sign, at))
            if len(opened) > _DEEPEST:
                return PromqlFault(f"more than {_DEEPEST} brackets inside of each other", "simplify it", *_position(text, at))
        elif sign in _PAIRS:
            if not opened:
                return PromqlFault(
                    f"{sign!r} closes nothing", f"delete it, or write {_PAIRS[sign]!r} before it", *_position(text, at)
                )
            last, begun = opened.pop()
            if last != _PAIRS[sign]:
                where = f"the {last!r} in column {_position(text, begun)[1]}"
                return PromqlFault(
                    f"{sign!r} stands where {_CLOSES[last]!r} is needed", f"close {where} first", *_position(text, at)
                )
    if opened:
        sign, at = opened[-1]
        return PromqlFault(f"{sign!r} is not closed", f"write {_CLOSES[sign]!r} where it ends", *_position(text, at))
    return None


def _chained(text: str) -> PromqlFault | None:
    """Too many operators."""
    bare = _SIGNIFICANT.sub(lambda found: " " * len(found[0]), text)  # texts, comments and brackets
    for beyond in itertools.islice(_OPERATOR.finditer(bare), _MOST_OPERATORS, None):
        hint = "simplify it, or have a recording rule compute a part of it"
        return PromqlFault(f"more than {_MOST_OPERATORS} operators", hint, *_position(text, beyond.start()))
    return None


def _refused(text: str, said: str) -> PromqlFault:
    """The error of the parser, at the position that it means."""
    bare = _SIGNIFICANT.sub(lambda found: " " * len(found[0]) if len(found[0]) > 1 else found[0], text)
    strange = _STRANGE.search(said) is not None or _WORDS.search(bare) is not None
    if "illegal regex" in said:
        strange = not _is_no_regex(said.rpartition("for ")[2])
    message, hint = said, "promtool, or the Graph page of Prometheus, shows whether an expression can be read"
    if said == "invalid promql query":
        at = _readable(text)
        rest = text[at:].split(maxsplit=1)
        message = f"it cannot be read from {rest[0]!r} on" if rest else "it ends where something is missing"
    else:
        at = _named_in(said, text)
    if "inside brackets: '$'" in said:
        hint = "a variable of Grafana means nothing here: write a duration, such as 5m"
    return PromqlFault(message, hint, *_position(text, at), broken=not strange)


def _readable(text: str) -> int:
    """The length of the longest beginning that can be parsed by itself; 0 when none can."""
    cuts = [found.start() for found in re.finditer(r"\s+\S|[(){}\[\]]|(?<=[)\]}])", text)]
    for cut in reversed([*cuts, len(text.rstrip())][-_TRIED:]):
        begun = text[:cut].rstrip()
        if not begun or _unbalanced(begun) is not None:
            continue
        try:
            promql_parser.parse(begun)
        except ValueError:
            continue
        return cut + len(text[cut:]) - len(text[cut:].lstrip())
    return len(text) - len(text.lstrip())


def _named_in(said: str, text: str) -> int:
    """Where the text that the parser names occurs first; 0 when it does not occur."""
    found = _QUOTED.search(said)
    name = next((part for part in found.groups() if part), "") if found is not None else ""
    return max(0, text.find(name)) if name else 0


def _is_no_regex(pattern: str) -> bool:
    """Whether it is no pattern for Python either; only Go knows \\Q."""
    if "\\Q" in pattern:
        return False
    try:
        re.compile(pattern)
    except re.error:
        return True
    return False


def _position(text: str, at: int) -> tuple[int, int]:
    """The line and the column of a character."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


# what it does


def _comparison(tree: promql_parser.Expr) -> promql_parser.BinaryExpr | None:
    """The comparison that decides whether a series exists, or whether it is 0 or 1; None for any other expression."""
    match tree:
        case promql_parser.ParenExpr():
            return _comparison(tree.expr)
        case promql_parser.BinaryExpr() if str(tree.op) in _COMPARES:
            return tree
        case promql_parser.BinaryExpr() if str(tree.op) in ("and", "unless"):
            return _comparison(tree.lhs)
        case promql_parser.BinaryExpr() if str(tree.op) == "or":
            return _comparison(tree.lhs) or _comparison(tree.rhs)
    return None


def _compared_inside(tree: promql_parser.Expr) -> promql_parser.BinaryExpr | None:
    """A comparison inside of a calculation that decides whether a series exists; None without one.

    A comparison with `bool` always gives a number, and one that is counted or that divides only chooses: these are right.
    """
    match tree:
        case promql_parser.BinaryExpr() if str(tree.op) in _COMPARES:
            filters = tree.modifier is None or not tree.modifier.return_bool
            return tree if filters else _compared_inside(tree.lhs) or _compared_inside(tree.rhs)
        case promql_parser.BinaryExpr() if str(tree.op) in ("and", "unless", "/", "%") or _joins(tree, "ManyToOne"):
            return _compared_inside(tree.lhs)
        case promql_parser.BinaryExpr() if _joins(tree, "OneToMany"):
            return _compared_inside(tree.rhs)
        case promql_parser.BinaryExpr():
            return _compared_inside(tree.lhs) or _compared_inside(tree.rhs)
        case promql_parser.AggregateExpr() if str(tree.op) not in _COUNTING:
            return _compared_inside(tree.expr)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            return _compared_inside(tree.expr)
        case promql_parser.Call() if tree.func.name not in _COUNTING:
            return next((found for each in tree.args if (found := _compared_inside(each)) is not None), None)
    return None


def _joins(tree: promql_parser.BinaryExpr, card: str) -> bool:
    """Whether it is group_left (ManyToOne) or group_right (OneToMany): a comparison on the side that is joined only chooses."""
    return tree.modifier is not None and tree.modifier.card == getattr(promql_parser.VectorMatchCardinality, card)


def _constant_besides(tree: promql_parser.Expr) -> tuple[float, str] | None:
    """The value of a series without labels that exists whenever nothing else does, and its text; None without one."""
    match tree:
        case promql_parser.ParenExpr():
            return _constant_besides(tree.expr)
        case promql_parser.BinaryExpr() if str(tree.op) == "or":
            if (last := _constant(tree.rhs)) is not None:
                return last, f"or vector({last:g})"
            return None if (first := _constant(tree.lhs)) is None else (first, f"vector({first:g}) or")
    return None


def _constant(tree: promql_parser.Expr) -> float | None:
    match tree:
        case promql_parser.ParenExpr():
            return _constant(tree.expr)
        case promql_parser.Call() if tree.func.name == "vector" and len(tree.args) == 1:
            return _number(tree.args[0])
    return None


def _of_constant(value: float, written: str, query: Query) -> Iterator[str]:
    said = f"has an expr with `{written}`"
    instead = "write the expr without it: where Prometheus answers and no series is left, what fired has ended"
    if (query.above is not None and value > query.above) or (query.below is not None and value < query.below):
        limit = f"above {query.above:g}" if query.above is not None else f"below {query.below:g}"
        yield f"{said}, which is {limit} whenever nothing else is there: that is no fault; {instead}"
    elif query.workload is None:
        yield f"{said}: that series has no labels and names no target; {instead}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _of_comparison(tree: promql_parser.BinaryExpr) -> str:
    limit, operator, side = _number(tree.rhs), str(tree.op), "left"
    if limit is None and (mirrored := _number(tree.lhs)) is not None:
        limit, side = mirrored, "right"
    key = {">": "above", ">=": "above", "<": "below", "<=": "below"}.get(
        _MIRRORED.get(operator, "") if side == "right" else operator
    )
    instead = f"write the {side} side of {operator!r} alone as expr"
    instead += f", and {key}: {limit:g}" if key is not None and limit is not None else ", and the limit as above or below"
    if tree.modifier is not None and tree.modifier.return_bool:
        return f"has an expr that compares by itself and gives 1 or 0, so that messages tell no value; {instead}"
    return f"has an expr that compares by itself: without a match it has no series, and no value that can be told; {instead}"


def _number(tree: promql_parser.Expr) -> float | None:
    match tree:
        case promql_parser.NumberLiteral():
            return tree.val
        case promql_parser.ParenExpr():
            return _number(tree.expr)
    return None


def _name_a_target(labels: frozenset[str], query: Query) -> bool:
    return "namespace" in labels and bool(labels & {"pod", *query.words})


def _labels(tree: promql_parser.Expr) -> frozenset[str] | None:
    """The most labels that its series can have; None when that depends on the data."""
    match tree:
        case promql_parser.NumberLiteral():
            return frozenset()
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            return _labels(tree.expr)
        case promql_parser.AggregateExpr():
            return _of_aggregation(tree)
        case promql_parser.Call():
            return _of_call(tree)
        case promql_parser.BinaryExpr():
            return _of_operation(tree)
    return None


def _of_aggregation(tree: promql_parser.AggregateExpr) -> frozenset[str] | None:
    if str(tree.op) in _WHOLE:
        return _labels(tree.expr)
    if tree.modifier is not None and tree.modifier.type == promql_parser.AggModifierType.Without:
        return None
    labels = frozenset(tree.modifier.labels if tree.modifier is not None else ())
    return labels | {str(tree.param).strip("\"'")} if str(tree.op) == "count_values" else labels


def _of_call(tree: promql_parser.Call) -> frozenset[str] | None:
    name, arguments = tree.func.name, tree.args
    if name in ("time", "scalar", "vector", "pi"):
        return frozenset()
    if name.startswith("absent") or name == "info":
        return None
    inner = next(
        (each for each in reversed(arguments) if not isinstance(each, promql_parser.StringLiteral | promql_parser.NumberLiteral)),
        None,
    )
    labels = None if inner is None else _labels(inner)
    if labels is not None and name in ("label_replace", "label_join") and isinstance(arguments[1], promql_parser.StringLiteral):
        return labels | {arguments[1].val}
    return labels


def _of_operation(tree: promql_parser.BinaryExpr) -> frozenset[str] | None:
    left, right = _labels(tree.lhs), _labels(tree.rhs)
    if str(tree.op) == "or":
        return None if left is None or right is None else left | right
    modifier = tree.modifier
    matching = None if modifier is None else modifier.matching
    if str(tree.op) in ("and", "unless"):
        return left
    many = modifier is not None and modifier.group_labels is not None
    if many or (modifier is not None and modifier.card != promql_parser.VectorMatchCardinality.OneToOne):
        return None
    if matching is not None and matching.type == promql_parser.LabelModifierType.Include:
        return frozenset(matching.labels)
    if not left:  # a number, or nothing: the other side has the labels
        return right if left is not None else None
    return left
