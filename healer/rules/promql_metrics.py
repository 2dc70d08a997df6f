"""Reads which metrics an expression of PromQL needs, so that a server can be asked whether it has them."""

import promql_parser

from healer.rules.probe import fill, named


def metrics(template: str) -> frozenset[str] | None:
    """The names of the metrics that an expression, or a template with placeholders, reads.

    None when the parser does not know the expression. A selector without a name of its own, as {__name__=~"a|b"}, adds none.
    """
    text = fill(template, {place: ("5m" if place == "window" else "x") for place in named(template)})
    try:
        tree = promql_parser.parse(text)
    except ValueError:
        return None
    return frozenset(_names(tree))


def _names(tree: promql_parser.Expr) -> set[str]:
    match tree:
        case promql_parser.VectorSelector():
            return {tree.name} if tree.name else set()
        case promql_parser.MatrixSelector():
            return _names(tree.vector_selector)
        case promql_parser.BinaryExpr():
            return _names(tree.lhs) | _names(tree.rhs)
        case promql_parser.Call():
            return set[str]().union(*(_names(each) for each in tree.args))
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            return _names(tree.expr)
    return set()
