"""The figures in docs/canary.md: how well the judge judges. What stands around them there is written by hand."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from statistics import median

from tests.benchmarks.judge_grid import (
    ALPHA,
    HARM,
    JUDGES,
    LONG,
    RATIOS,
    RUN,
    TEMPERED,
    TOLERANCE,
    TRAFFICS,
    UNLEARNT,
    Caught,
    Results,
    grid,
)
from tests.benchmarks.judge_plot import RATIO
from tests.benchmarks.judge_traffic import BURST, HISTORY, HORIZON, Cell

PLOT = "canary.svg"
BEGIN = "<!-- figures: made by `python -m tests.benchmarks.judge --write`; do not edit -->"
END = "<!-- end of the figures -->"

CAUGHT = "The median; in brackets the share of trials in which the canary was caught, if not all. Without a median: that share."
METHOD = f"""\
The traffic is simulated: {HORIZON} windows a trial (50 minutes of 30 s), alpha {100 * ALPHA:g} %, tolerance {TOLERANCE}.
Requests arrive as a Poisson process and are split at random. Bad requests are independent, or come in bursts: on each side,
{BURST} requests in a row are bad, in one window or over many. The gaps between bursts are random and give the same bad share
in the long run. Before the trial stable runs alone for {HISTORY} windows (six hours), from which healer learns phi; the
tables below also show fewer windows. The other judges see the same traffic, and also judge after every window:

- **threshold**, as in Flagger: a window in which more than {TOLERANCE} times stable's true share is bad (at least 1 %) is a
  failed check. Five failed checks condemn; a passed check removes none of them. A window without a request to the canary
  passes here; in Flagger it is a failed check.
- **Mann-Whitney** at 98 %, as in Kayenta: it compares the bad shares of all windows so far. The interval of the shift must
  lie above a quarter of it.
- **z-test** of two proportions on all requests so far, one-sided at 1 %.
- **sequence**: the asymptotic confidence sequence of Waudby-Smith et al. (arXiv:2103.06476), one-sided at 1 %. In each window
  it takes the canary's bad requests, less {TOLERANCE} times the number that it would have at stable's bad
  share. It is the best general method whose result may be read after every window. It learns the bursts from the trial alone.

Mann-Whitney and the z-test have no tolerance: they ask whether the canary is worse than stable. healer asks whether it is
worse than tolerated, and a canary twice as bad is only a third worse than that.

A false alarm is the verdict BAD, within the trial, on a canary that is exactly as good as stable. Intervals are Wilson's, at
95 %.
"""


def within(page: str, results: Results) -> str:
    """The page with its figures anew: all between the two marks. Raises ValueError where there are none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no figures between {BEGIN} and {END}")
    return f"{before}{begin}\n{figures(results)}\n{end}{after}"


def figures(results: Results) -> str:
    """All of them, in Markdown."""
    return "\n".join(
        [
            METHOD,
            _said(results),
            _summary(results),
            _picture(),
            _outside(results),
            _without(results),
            _praise(results),
            _details(results),
        ]
    )


def held(results: Results, burst: int) -> tuple[int, int]:
    """In how many of the cells healer's false alarms are at most alpha, or twice that in bursts, and of how many."""
    bound = ALPHA if burst == 1 else 2 * ALPHA
    cells = grid(burst)
    return sum(results.grid[cell]["healer"].share <= bound for cell in cells), len(cells)


def worst(outcomes: Iterable[Caught]) -> Caught:
    """The one with the largest share."""
    return max(outcomes, key=lambda outcome: outcome.share)


def _said(results: Results) -> str:
    calm, bursty = held(results, 1), held(results, BURST)
    return f"""\
Every kind of traffic has {results.runs[0]:,} trials with a good canary and {results.runs[1]:,} with a bad one. healer's false
alarms are at most alpha in {calm[0]} of {calm[1]} independent cells, and at most 2 alpha in {bursty[0]} of {bursty[1]} bursty
cells. The benchmark computes healer's formulas with numpy. The real judge also judged {results.checked:,} of the trials; its
outcome differed in {results.differed or "none"} of them.
"""


def _summary(results: Results) -> str:
    ratios = [f"{ratio:g}x" for ratio in RATIOS]
    head = ["", "traffic", "false alarms, worst cell", "false alarms, mean", *(f"{ratio} caught" for ratio in ratios)]
    head.append(f"windows until {ratios[-1]} caught")
    rows = []
    for burst, kind in ((1, "independent"), (BURST, f"bursts of {BURST}")):
        for name in JUDGES:
            good = [results.grid[cell][name] for cell in grid(burst)]
            bad = [[results.grid[cell][name] for cell in grid(burst, ratio)] for ratio in RATIOS]
            rows.append(
                [name, kind, _with_interval(worst(good)), _percent(_mean(good)), *(f"{100 * _mean(each):.0f} %" for each in bad)]
            )
            window = median(outcome.window for outcome in bad[-1])
            rows[-1].append(f"{window:g}" if window <= HORIZON else "–")
    text = f"""\
"Caught" is the share of canaries 2, 5 or 10 times as bad as stable that are BAD within {HORIZON} windows, as the mean of all
cells. The last column is the median, over the cells, of the window by which half of the canaries are BAD.
"""
    return "\n".join([*_table(head, rows), "", text])


def _picture() -> str:
    return f"""\
![False alarms against windows until caught, one point for each cell and judge]({PLOT})

A point is one cell (stable's bad share and the canary's weight). The horizontal axis has the windows until a canary {RATIO:g}
times as bad is caught, the vertical axis the false alarms in the same cell. Left and low is good. A judge far up catches
early because it condemns every canary. The dashed line is the limit: alpha, and twice alpha in bursts.
"""


def _outside(results: Results) -> str:
    rows = []
    for scene, outcomes in results.scenes.items():
        rows.append([scene.name, *(_with_interval(worst(outcomes[name])) for name in TEMPERED)])
    text = """\
### Beyond the grid
The table has the false alarms in the worst cell, for traffic that the grid does not have: of healer; of healer with the
textbook's phi (the variance over the mean of the windows before the trial); of healer without phi ("untempered"); and of the
sequence.
"""
    after = """
The last row is a matter of opinion: the canary has no more errors than stable, but they come in bursts, and stable's never
do. healer condemns such a canary more often than alpha. Bursts of 200 are more than phi allows for: phi is at most 100.
"""
    return "\n".join([text, *_table(["", *TEMPERED], rows), after])


def _without(results: Results) -> str:
    """With nothing learnt, beside the only other judge that is made for that."""
    ratios = [f"{ratio:g}x" for ratio in RATIOS]
    rows = []
    for burst, kind in ((1, "independent"), (BURST, f"bursts of {BURST}")):
        for name in UNLEARNT:
            alarms, *bad = (
                [results.unlearnt[replace(cell, history=0)][name] for cell in grid(burst, ratio)] for ratio in (1.0, *RATIOS)
            )
            shares = [f"{100 * _mean(each):.0f} %" for each in bad]
            rows.append([name, kind, _with_interval(worst(alarms)), _percent(_mean(alarms)), *shares])
    head = ["", "traffic", "false alarms, worst cell", "false alarms, mean", *(f"{ratio} caught" for ratio in ratios)]
    text = """\
### Nothing learnt before
When Prometheus or the stable version is new, only the trial can show how bad requests are grouped. healer condemns when the
sequence does; in the first windows, and where stable has few requests, only if the bets agree. It also condemns when not even
bursts of 200 could explain the bad requests.
"""
    return "\n".join([text, *_table(head, rows), "", _no_worse(results)])


def _no_worse(results: Results) -> str:
    """Of the cells with nothing learnt, in how many healer is no worse than the sequence; and which keep neither alpha."""
    of_cells = [replace(cell, history=0) for burst in (1, BURST) for cell in grid(burst)]
    both = {cell: results.unlearnt[cell] for cell in of_cells}
    alarms = sum(each["healer"].share <= max(ALPHA, each["sequence"].share) for each in both.values())
    worse = [
        results.unlearnt[cell]["sequence"].share - results.unlearnt[cell]["healer"].share
        for burst, ratio in product((1, BURST), RATIOS)
        for cell in (replace(cell, history=0) for cell in grid(burst, ratio))
    ]
    theirs, ours = (100 * max(0.0, *(sign * each for each in worse)) for sign in (1, -1))
    above = [cell for cell, each in both.items() if each["healer"].share > (1 if cell.burst == 1 else 2) * ALPHA]
    rows = [
        [*_place(cell), f"bursts of {cell.burst}", *(_with_interval(both[cell][name]) for name in UNLEARNT)] for cell in above
    ]
    text = f"""\
healer's false alarms are at most alpha, or at most those of the sequence, in {alarms} of {len(both)} cells. Of a hundred bad
canaries in a cell, the sequence catches at most {theirs:.1f} more than healer, and healer at most {ours:.1f} more than the
sequence.
"""
    if not above:
        return text
    why = """\
The cells above alpha, or above twice alpha in bursts, have little traffic. There one burst of 20 takes all of the canary's
requests in many windows, and looks like a canary that fails in each of them. The trial alone cannot tell the two apart. A
judge that condemns neither catches no canary that fails at that traffic.
"""
    return "\n".join([text, *_table(["requests", "stable bad", "weight", "", *UNLEARNT], rows), "", why])


def _praise(results: Results) -> str:
    """How often it says GOOD, and to whom."""
    rows = []
    for scene, outcomes in results.praise.items():
        most = worst(outcomes)
        middle = median(outcome.window for outcome in outcomes)
        canary = median(outcome.window * cell.requests * cell.weight for outcome, cell in zip(outcomes, scene.cells, strict=True))
        asked = [f"{middle:g}", f"{canary:,.0f}"] if math.isfinite(middle) else ["–", "–"]
        rows.append([scene.name, _with_interval(most), _percent(_mean(outcomes)), *asked])
    text = f"""\
### GOOD
The table says how often a canary is GOOD at any of the {HORIZON} windows, at all weights. The bad canaries are judged at
{_listed(TRAFFICS)} requests a window, those just tolerated at 300 and 3,000. Those that are as good as stable at 300 a window
run until the canary has had {LONG:,} requests, at weights from 10 % on. For these the table also has the window by which half
are GOOD, and how many requests the canary has had by then; each is the median of the cells.
"""
    after = f"""
GOOD takes at least about 10,640 requests to the canary, because so many are seldom good in a row when {100 * HARM:g} % are
bad in runs of {RUN}. A canary with longer runs, or with fewer of them, may be GOOD between two runs.
"""
    head = ["canary", "GOOD, worst cell", "GOOD, mean", "windows", "requests of the canary"]
    return "\n".join([text, *_table(head, rows), after])


def _details(results: Results) -> str:
    lines = ["### Every cell", ""]
    for burst, kind in ((1, "Independent"), (BURST, f"Bursts of {BURST}")):
        lines += [f"#### {kind}: false alarms", "", *_alarms(results, burst), ""]
        lines += [f"#### {kind}: windows until caught", ""]
        lines += [CAUGHT, ""]
        lines += [*_windows(results, burst), ""]
    return "\n".join(lines)


def _alarms(results: Results, burst: int) -> list[str]:
    rows = [[*_place(cell), *(_with_interval(results.grid[cell][name]) for name in JUDGES)] for cell in grid(burst)]
    return _table(["requests", "stable bad", "weight", *JUDGES], rows)


def _windows(results: Results, burst: int) -> list[str]:
    rows = []
    for cells in zip(*(grid(burst, ratio) for ratio in RATIOS), strict=True):
        rows.append([*_place(cells[0]), *(_caught(results.grid[cell][name]) for name in JUDGES for cell in cells)])
    head = [f"{name} {ratio:g}x" for name in JUDGES for ratio in RATIOS]
    return _table(["requests", "stable bad", "weight", *head], rows)


def _place(cell: Cell) -> list[str]:
    return [f"{cell.requests:,}", f"{100 * cell.share:g} %", f"{100 * cell.weight:g} %"]


def _caught(outcome: Caught) -> str:
    share = f"{100 * outcome.share:.0f} %" if 0.005 < outcome.share < 0.995 else ""
    if outcome.share < 0.5:
        return share or "–"
    return f"{outcome.window:g} ({share})" if share else f"{outcome.window:g}"


def _with_interval(outcome: Caught) -> str:
    low, high = (f"{100 * end:.0f}" if end > 0.0995 else f"{100 * end:.2g}" for end in outcome.interval)
    return f"{_percent(outcome.share)} ({low}–{high})"


def _listed(numbers: Sequence[int]) -> str:
    *most, last = (f"{number:,}" for number in numbers)
    return f"{', '.join(most)} and {last}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _mean(outcomes: Sequence[Caught]) -> float:
    return sum(outcome.share for outcome in outcomes) / len(outcomes)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
