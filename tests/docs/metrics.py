"""The table of all metrics, from where the code declares them."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HOUSE = Path(__file__).parents[2] / "healer"
TYPES = {"counter", "gauge", "histogram"}
"""What Prometheus calls a metric. The code calls what declares one so too: `Counter`, `gauge`, `GaugeMetricFamily`."""


class Declared(NamedTuple):
    """A metric as it is declared."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def declared(root: Path = HOUSE) -> Iterator[Declared]:
    """The metrics of the files below a folder. Raises ValueError for one whose meaning or labels are not written out there."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=made), args=[ast.Constant(value=str(name)), *_]) if _type(made) in TYPES:
                    _, meaning, *further = (ast.literal_eval(argument) for argument in node.args)
                    labels = [ast.literal_eval(each.value) for each in node.keywords if each.arg == "labels"] or further
                    yield Declared(name + "_total" * (_type(made) == "counter"), _type(made), tuple(*labels), meaning)


def _type(made: str) -> str:
    return made.lower().removesuffix("metricfamily")


def table(metrics: Iterable[Declared]) -> str:
    """The metrics by name."""
    rows = [
        f"| `{each.name}` | {each.type} | {', '.join(f'`{label}`' for label in each.labels)} | {each.meaning} |"
        for each in sorted(metrics)
    ]
    return "\n".join(["| metric | type | labels | what it says |", "|---|---|---|---|", *rows])
