"""`python -m tests.benchmarks.judge`: the canary judge against others on simulated traffic; --write into docs/canary.md."""

import argparse
import os
import sys
from pathlib import Path

from tests.benchmarks import judge_page, judge_plot
from tests.benchmarks.judge_grid import ALPHA, JUDGES, RATIOS, Results, grid, run
from tests.benchmarks.judge_traffic import BURST
from tests.benchmarks.machine import Cores
from tests.benchmarks.report import Figure

PAGE = Path(__file__).parents[2] / "docs" / "canary.md"
FULL, QUICK = (600, 400), (400, 100)
"""Trials of a kind of traffic: with a good canary, with a bad one."""


def figures(results: Results) -> list[Figure]:
    """What matters most of it. The seeds are fixed: another run gives the same."""
    found = []
    for burst, kind, allowed in ((1, "independent", ALPHA), (BURST, "bursty", 2 * ALPHA)):
        for name in JUDGES:
            share = judge_page.worst(results.grid[cell][name] for cell in grid(burst)).share
            label = f"{name}: false alarms, worst {kind} cell"
            found.append(Figure(label, "%", (100 * share,), ("<=", 100 * allowed) if name == "healer" else None))
        for ratio in RATIOS:
            for name in JUDGES:
                shares = [results.grid[cell][name].share for cell in grid(burst, ratio)]
                found.append(Figure(f"{name}: {ratio:g}x as bad caught, {kind}", "%", (100 * sum(shares) / len(shares),)))
    return found


def measure(_cores: Cores, _runs: int) -> list[Figure]:
    """For `python -m tests.benchmarks`: all cores, once, for it measures no time."""
    return figures(_judged(quick=False))


def _judged(*, quick: bool) -> Results:
    return run(*(QUICK if quick else FULL), workers=len(os.sched_getaffinity(0)))


def main() -> None:
    """Judge, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.judge", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK[0]} and {QUICK[1]} trials each instead of {FULL[0]} and {FULL[1]}"
    )
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name} and docs/{judge_page.PLOT}")
    asked = parser.parse_args()
    results = _judged(quick=asked.quick)
    if asked.write:
        PAGE.write_text(judge_page.within(PAGE.read_text("utf-8"), results), "utf-8")
        judge_plot.draw(results, PAGE.with_name(judge_page.PLOT))
    else:
        sys.stdout.write(judge_page.figures(results))


if __name__ == "__main__":
    main()
