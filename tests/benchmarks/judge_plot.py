"""The trade-off as a picture: false alarms against windows until a bad canary is caught."""

from pathlib import Path
from typing import Final

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.benchmarks.judge_grid import ALPHA, JUDGES, REQUESTS, Results, grid
from tests.benchmarks.judge_traffic import BURST, HORIZON

RATIO: Final = 5.0
_MARKS: Final = {
    "healer": ("o", "#0b5fa5"),
    "threshold": ("s", "#e08214"),
    "Mann-Whitney": ("^", "#4d9221"),
    "z-test": ("x", "#b2182b"),
    "sequence": ("D", "#762a83"),
}
_MISSED: Final = 2.4 * HORIZON
"""Where a median beyond the horizon is drawn."""


def draw(results: Results, path: Path) -> None:
    """A point a cell and judge, as SVG; the same results give the same bytes."""
    with mpl.rc_context({"svg.hashsalt": "healer", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}):
        figure, rows = plt.subplots(2, len(REQUESTS), figsize=(10, 6), sharex=True, sharey=True, layout="constrained")
        for burst, row in zip((1, BURST), rows, strict=True):
            for requests, axes in zip(REQUESTS, row, strict=True):
                _panel(axes, results, burst, requests)
        for axes in rows[-1]:
            axes.set_xlabel("median windows until caught")
        for axes in rows[:, 0]:
            axes.set_ylabel("false alarms")
        figure.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(JUDGES), frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _panel(axes: Axes, results: Results, burst: int, requests: int) -> None:
    bad = {(cell.share, cell.weight): cell for cell in grid(burst, RATIO) if cell.requests == requests}
    good = {(cell.share, cell.weight): cell for cell in grid(burst) if cell.requests == requests}
    for name, (marker, colour) in _MARKS.items():
        across = [min(results.grid[cell][name].window, _MISSED) for cell in bad.values()]
        up = [100 * results.grid[good[place]][name].share for place in bad]
        axes.scatter(across, up, marker=marker, c=colour, s=26, alpha=0.6, label=name, clip_on=False, zorder=3)
    allowed = 100 * ALPHA * (1 if burst == 1 else 2)
    axes.axhline(allowed, color="grey", linewidth=0.8, linestyle="--")
    axes.axvline(1.5 * HORIZON, color="lightgrey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_xlim(0.9, 3 * HORIZON)
    axes.set_ylim(0, 100)
    axes.set_xticks([1, 3, 10, 30, 100, _MISSED], ["1", "3", "10", "30", "100", "never"])
    axes.set_xticks([], minor=True)
    axes.set_yticks([0, 0.1, 1, 10, 100], ["0", "0.1 %", "1 %", "10 %", "100 %"])
    kind = "independent" if burst == 1 else f"in bursts of {BURST}"
    axes.set_title(f"{requests:,} requests a window, {kind}", fontsize=9)
