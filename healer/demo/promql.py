"""As much of PromQL as the demo asks: a selector, or the sum of one, of series as they are now. Anything else is refused."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from healer.demo.counters import Sample

_EXPRESSION = re.compile(
    r"(?:(?P<sum>sum)\s*(?:by\s*\((?P<by>[^)]*)\)\s*)?\(\s*)?"
    r"(?P<name>[a-zA-Z_:][\w:]*)\s*(?:\{(?P<where>.*)\})?\s*(?P<end>\)?)"
)
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')

_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


class Unsupported(ValueError):
    """An expression that is none of these."""


def evaluate(expression: str, samples: Iterable[Sample]) -> list[tuple[dict[str, str], float]]:
    """The series of the answer: labels and value. No series when nothing matches, as Prometheus has it. Raises Unsupported."""
    found = _EXPRESSION.fullmatch(" ".join(expression.split()))
    if found is None or bool(found["sum"]) != bool(found["end"]):
        raise Unsupported(f"the demo's stand-in for Prometheus knows sum(...) of a selector, and not {expression!r}")
    matchers = _matchers(found["where"] or "")
    named = (sample for sample in samples if sample.name == found["name"])
    chosen = [sample for sample in named if all(_TESTS[op](sample.labels.get(key, ""), to) for key, op, to in matchers)]
    if not found["sum"]:
        return [({"__name__": sample.name, **sample.labels}, sample.value) for sample in chosen]
    by = [label.strip() for label in (found["by"] or "").split(",") if label.strip()]
    sums: defaultdict[tuple[tuple[str, str], ...], float] = defaultdict(float)
    for sample in chosen:
        sums[tuple((label, sample.labels[label]) for label in by if label in sample.labels)] += sample.value
    return [(dict(labels), value) for labels, value in sums.items()]


def _matchers(where: str) -> list[tuple[str, str, str]]:
    """Label, operator and value of each matcher."""
    found, at = [], 0
    while at < len(where):
        matcher = _MATCHER.match(where, at)
        if matcher is None:
            raise Unsupported(f"the demo's stand-in for Prometheus cannot read {{{where}}}")
        key, operator, value = matcher.groups()
        found.append((key, operator, re.sub(r"\\(.)", r"\1", value)))
        at = matcher.end()
    return found
