"""As much of PromQL as the demo asks: a selector, of series as they are now, or how many samples they have had of late.

Anything else is refused.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from healer.demo.counters import CounterSample

_SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\s*(?:\{(?P<where>.*)\})?")
_COUNTED = re.compile(r"count_over_time\((?P<selector>.*)\[\d+m?s\]\)", re.DOTALL)
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")

_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


class Unsupported(ValueError):
    """An expression that is something else."""


def select(expression: str, samples: Iterable[CounterSample]) -> list[CounterSample]:
    """The samples that a selector selects. Raises Unsupported.

    Of `count_over_time` of one they are 1: each series has a sample at any time.
    """
    if (counted := _COUNTED.fullmatch(expression.strip())) is not None:
        return [sample._replace(value=1.0) for sample in select(counted["selector"], samples)]
    found = _SELECTOR.fullmatch(expression.strip())
    if found is None:
        raise Unsupported(f"the demo's stand-in for Prometheus knows selectors only, and not {expression!r}")
    matchers = list(_matchers(found["where"] or ""))
    named = (sample for sample in samples if sample.name == found["name"])
    return [sample for sample in named if all(test(sample.labels.get(label, ""), to) for label, test, to in matchers)]


def _matchers(where: str) -> Iterator[tuple[str, Callable[[str, str], bool], str]]:
    """Label, test and what it is tested against, of each matcher."""
    at = 0
    while at < len(where):
        matcher = _MATCHER.match(where, at)
        if matcher is None:
            raise Unsupported(f"the demo's stand-in for Prometheus cannot read {{{where}}}")
        label, operator, value = matcher.groups()
        yield label, _TESTS[operator], _ESCAPED.sub(r"\1", value)
        at = matcher.end()
