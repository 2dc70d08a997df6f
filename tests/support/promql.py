"""Which series PromQL asks for: the names of metrics, each with the labels by which it selects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser

_INNER = ("lhs", "rhs", "expr", "param")


def selected(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    """The metric of each selector, and the labels that it matches by. Raises ValueError for what is no PromQL."""
    yield from _walk(promql_parser.parse(text))


def grouped(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    """The metric of each selector that is aggregated `by` labels, and those labels, unless something else may give it them."""
    yield from _grouped(promql_parser.parse(text), frozenset())


def windows(text: str) -> Iterator[float]:
    """The seconds of each range that has to be filled before its function shows what is new in it: one sample suffices for an
    extreme, and for the last value."""
    yield from _windows(promql_parser.parse(text))


def _windows(tree: Any) -> Iterator[float]:
    if isinstance(tree, promql_parser.MatrixSelector | promql_parser.SubqueryExpr) and tree.range is not None:
        yield tree.range.total_seconds()
    at_once = getattr(getattr(tree, "func", None), "name", "") in ("max_over_time", "last_over_time")
    for each in () if at_once else _inner(tree):
        yield from _windows(each)


def _grouped(tree: Any, labels: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    if isinstance(tree, promql_parser.VectorSelector):
        yield _name(tree), labels
    elif isinstance(tree, promql_parser.MatrixSelector):
        yield from _grouped(tree.vector_selector, labels)
    else:
        gives = getattr(getattr(tree, "func", None), "name", "").startswith("label_") or "group_left" in str(tree)
        modifier = tree.modifier if isinstance(tree, promql_parser.AggregateExpr) else None
        if modifier is not None and str(modifier).startswith("by "):
            labels = frozenset(modifier.labels)
        for each in _inner(tree):
            yield from _grouped(each, frozenset() if gives else labels)


def _name(tree: Any) -> str:
    """The metric; several where the name is matched, with | between them."""
    return tree.name or "".join(each.value for each in tree.matchers.matchers if each.name == "__name__")


def _inner(tree: Any) -> list[Any]:
    inner = [getattr(tree, name) for name in _INNER if getattr(tree, name, None) is not None]
    return [*inner, *getattr(tree, "args", ())]


def _walk(tree: Any) -> Iterator[tuple[str, frozenset[str]]]:
    if isinstance(tree, promql_parser.VectorSelector):
        names = frozenset(each.name for each in tree.matchers.matchers)
        yield _name(tree), names - {"__name__"}
    elif isinstance(tree, promql_parser.MatrixSelector):
        yield from _walk(tree.vector_selector)
    else:
        for each in _inner(tree):
            yield from _walk(each)
