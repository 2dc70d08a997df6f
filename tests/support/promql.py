"""Which series PromQL asks for: the names of metrics, each with the labels by which it selects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser

_INNER = ("lhs", "rhs", "expr", "param")


def selected(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    """The metric of each selector, and the labels that it matches by. Raises ValueError for what is no PromQL."""
    yield from _walk(promql_parser.parse(text))


def _walk(tree: Any) -> Iterator[tuple[str, frozenset[str]]]:
    if isinstance(tree, promql_parser.VectorSelector):
        names = frozenset(each.name for each in tree.matchers.matchers)
        yield tree.name or "", names - {"__name__"}
    elif isinstance(tree, promql_parser.MatrixSelector):
        yield from _walk(tree.vector_selector)
    else:
        inner = [getattr(tree, name) for name in _INNER if getattr(tree, name, None) is not None]
        for each in [*inner, *getattr(tree, "args", ())]:
            yield from _walk(each)
