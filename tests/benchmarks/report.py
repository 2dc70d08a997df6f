"""Figures, and how they are shown: as a table on a terminal, in Markdown, in JSON."""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

HOW = """\
    make bench                                    # all of it, some minutes
    .venv/bin/python -m tests.benchmarks --help   # one part, more runs, JSON, this page anew

The measured process has a core of its own; the API server and the load run on the other cores. Everything is real except the
API server. It costs next to nothing, so that the figures are those of its client. It speaks plain HTTP on loopback, in chunks
as Kubernetes sends them. The measured daemon is `healer run` with the rules in rules/; it writes its log to a file. The figures
depend on the machine and on what else runs on it, so compare ratios. "met in" says in how many of the runs a goal was met."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what was measured, once a run."""

    name: str
    unit: str
    values: tuple[float, ...]
    goal: tuple[Literal["<", "<=", ">=", "="], float] | None = None

    @property
    def summary(self) -> tuple[float, float, float]:
        """Least, median, most."""
        return min(self.values), median(self.values), max(self.values)

    @property
    def met(self) -> int | None:
        """In how many runs the goal was reached; None without a goal. A median alone would hide the run that missed it."""
        if self.goal is None:
            return None
        reached, bound = _REACHED[self.goal[0]], self.goal[1]
        return sum(reached(value, bound) for value in self.values)


_REACHED: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">=": operator.ge, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Report:
    """All figures, by part, and where and when they were taken; `watch` is a table of its own, as text."""

    machine: str
    date: str
    runs: int
    parts: dict[str, list[Figure]]
    watch: str = ""

    def show(self) -> None:
        """The tables, on standard output."""
        console = Console(width=132)
        for title, figures in self.parts.items():
            table = Table("", "unit", "min", "median", "max", "goal", "met in", title=title, title_justify="left", expand=True)
            for column in table.columns[1:]:
                column.no_wrap = True
            for cells in _rows(figures):
                table.add_row(*cells)
            console.print(table)
        console.print(self.watch, markup=False, highlight=False)
        console.print(f"{self.date}, {self.runs} runs, {self.machine}", highlight=False)

    def json(self) -> str:
        """Everything, each run's value included."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def markdown(self) -> str:
        """docs/benchmarks.md."""
        lines = ["# Benchmarks", "", "<!-- made by `python -m tests.benchmarks --write`; do not edit -->", "", HOW, ""]
        lines += [f"Measured on {self.date}, {self.runs} runs each: {self.machine}.", ""]
        for title in self.parts:
            lines += self._section(title)
        if self.watch:
            lines += ["## The list-watch loop alone", "", "```", self.watch.rstrip(), "```", ""]
        return "\n".join(lines)

    def _section(self, title: str, measured: str = "") -> list[str]:
        head = [f"## {title}", "", *([measured, ""] if measured else [])]
        table = ["| | unit | min | median | max | goal | met in |", "|---|---|---:|---:|---:|---|---|"]
        return [*head, *table, *("| " + " | ".join(cells) + " |" for cells in _rows(self.parts[title])), ""]

    def into(self, page: str, order: Sequence[str]) -> str:
        """A page with the sections of these parts anew, each with when and where it was measured; the others stay as they are.

        `order`: the titles of all parts. What has another title comes last.
        """
        head, *rest = re.split(r"^(?=## )", page, flags=re.MULTILINE)
        sections = {each.partition("\n")[0].removeprefix("## "): each for each in rest}
        measured = f"Measured on {self.date}, {self.runs} runs: {self.machine}."
        sections |= {title: "\n".join([*self._section(title, measured), ""]) for title in self.parts}
        ranks = {title: number for number, title in enumerate(order)}
        return head + "".join(sections[title] for title in sorted(sections, key=lambda title: ranks.get(title, len(ranks))))


def _rows(figures: Iterable[Figure]) -> Iterable[tuple[str, ...]]:
    for figure in figures:
        goal = "" if figure.goal is None else f"{figure.goal[0]} {_number(figure.goal[1])}"
        met = "" if figure.met is None else f"{figure.met} of {len(figure.values)}"
        yield figure.name, figure.unit, *map(_number, figure.summary), goal, met


def _number(value: float) -> str:
    """About three digits that mean something."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
