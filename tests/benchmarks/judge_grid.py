"""The trials: which traffic, judged by whom, and what came of it."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np

from healer.model.verdict import VerdictKind
from tests.benchmarks import judge_fast as fast
from tests.benchmarks import judge_rivals as rivals
from tests.benchmarks.judge_traffic import BURST, Cell, Floats, Traffic, simulate

ALPHA: Final = 0.01
TOLERANCE: Final = 1.5
WEIGHTS: Final = (0.05, 0.1, 0.25, 0.5)
REQUESTS: Final = (12, 300, 3000)
SHARES: Final = (0.001, 0.01, 0.05)
RATIOS: Final = (2.0, 5.0, 10.0)
RUN: Final = 300
HARM: Final = 0.1
"""A canary of which so many are bad, in runs of so many, must not be GOOD."""
TRAFFICS: Final = (12, 60, 300, 3000)
"""Requests of both sides a window, at which it is tried."""
LONG: Final = 24_000
"""Requests of the canary's within which one that is as good as stable becomes GOOD."""
_AT_ONCE: Final = 500

_Told = tuple[dict[str, "Caught"], int, int]
Judging = Callable[[Traffic, Cell], Floats]
JUDGES: Final[Mapping[str, Judging]] = {
    "healer": lambda traffic, _: fast.judged(traffic, ALPHA, TOLERANCE),
    "threshold": lambda traffic, cell: rivals.threshold(traffic, TOLERANCE, cell.share),
    "Mann-Whitney": lambda traffic, _: rivals.mann_whitney(traffic),
    "z-test": lambda traffic, _: rivals.z_test(traffic, ALPHA),
    "sequence": lambda traffic, _: rivals.confidence_sequence(traffic, TOLERANCE, ALPHA),
}
TEMPERED: Final[Mapping[str, Judging]] = {
    "healer": JUDGES["healer"],
    "plain phi": lambda traffic, _: fast.caught(traffic, ALPHA, TOLERANCE, fast.plain),
    "untempered": lambda traffic, _: fast.caught(traffic, ALPHA, TOLERANCE, fast.untempered),
    "sequence": JUDGES["sequence"],
}
UNLEARNT: Final[Mapping[str, Judging]] = {name: JUDGES[name] for name in ("healer", "sequence")}
PRAISING: Final[Mapping[str, Judging]] = {"healer": lambda traffic, _: fast.praised(traffic, TOLERANCE)}


@dataclass(frozen=True, slots=True)
class Caught:
    """In how many runs a judge said BAD (or GOOD, where praise is measured), of how many, and the median window at which
    (infinite when in less than half)."""

    runs: int
    bad: int
    window: float

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.bad / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, 95 %."""
        z2 = 1.959964**2
        middle = (self.share + z2 / (2 * self.runs)) / (1 + z2 / self.runs)
        half = (z2 * (self.share * (1 - self.share) / self.runs + z2 / (4 * self.runs**2))) ** 0.5 / (1 + z2 / self.runs)
        return max(0.0, middle - half) if self.bad else 0.0, min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Scene:
    """Traffic outside of the grid, in words; the cells are of several weights, traffics and shares."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """What every judge made of every cell; of scenes, by healer and what it would be without its phi; `checked` runs were judged
    by the real Judge as well, and `differed` of them had another outcome."""

    runs: tuple[int, int]
    grid: Mapping[Cell, Mapping[str, Caught]]
    scenes: Mapping[Scene, Mapping[str, Sequence[Caught]]]
    unlearnt: Mapping[Cell, Mapping[str, Caught]]
    """Of the grid, with nothing of stable's past learnt."""
    praise: Mapping[Scene, Sequence[Caught]]
    """How often healer said GOOD."""
    checked: int
    differed: int


def grid(burst: int, ratio: float = 1.0) -> list[Cell]:
    """All cells of one kind, the small first."""
    places = product(REQUESTS, SHARES, WEIGHTS)
    return [Cell(weight, requests, share, ratio, burst) for requests, share, weight in places]


def scenes() -> list[Scene]:
    """What the grid does not ask."""

    def all_of(burst: int, **changed: Any) -> tuple[Cell, ...]:
        return tuple(replace(cell, **changed) for cell in grid(burst))

    def heavy(burst: int) -> tuple[Cell, ...]:
        places = product(REQUESTS, SHARES, (0.75, 0.9))
        return tuple(Cell(weight, every, share, burst=burst, history=0) for every, share, weight in places)

    return [
        Scene("independent", all_of(1)),
        Scene("independent, the canary 1.5 times as bad: just tolerated", all_of(1, ratio=TOLERANCE)),
        Scene(f"bursts of {BURST}", all_of(BURST)),
        Scene(f"bursts of {BURST}, just tolerated", all_of(BURST, ratio=TOLERANCE)),
        Scene(f"bursts of {BURST}, learnt from 100 windows", all_of(BURST, history=100)),
        Scene(f"bursts of {BURST}, nothing learnt before", all_of(BURST, history=0)),
        Scene(f"bursts of random length, {BURST} on average", all_of(BURST, varied=True)),
        Scene("bursts of 60", all_of(60)),
        Scene("bursts of 200", all_of(200)),
        Scene("bursts of 200, just tolerated", all_of(200, ratio=TOLERANCE)),
        Scene("bursts of 200, nothing learnt before", all_of(200, history=0)),
        Scene("independent, nothing learnt before, at weights of 75 and 90 %", heavy(1)),
        Scene(f"bursts of {BURST}, nothing learnt before, at weights of 75 and 90 %", heavy(BURST)),
        Scene("independent, thirty times the traffic in two of twenty windows", all_of(1, spike=30)),
        Scene(f"the canary's in bursts of {BURST}, stable's independent", all_of(BURST, calm=True)),
    ]


def praised() -> list[Scene]:
    """How GOOD is measured: canaries that must not be, and such as should."""

    def runs(share: float, **changed: Any) -> tuple[Cell, ...]:
        places = product(TRAFFICS, WEIGHTS)
        return tuple(replace(Cell(weight, every, share, burst=RUN, harm=HARM), **changed) for every, weight in places)

    def cells(share: float, ratio: float, burst: int = 1, **changed: Any) -> tuple[Cell, ...]:
        places = product(REQUESTS[1:], WEIGHTS)
        return tuple(replace(Cell(weight, every, share, ratio, burst), **changed) for every, weight in places)

    def equal(share: float, **changed: Any) -> tuple[Cell, ...]:
        """At 300 requests a window, for as long as it takes."""
        return tuple(
            Cell(weight, REQUESTS[1], share, horizon=round(LONG / weight / REQUESTS[1]), **changed) for weight in WEIGHTS[1:]
        )

    bad = f"{100 * HARM:g} % bad in runs of {RUN}"
    found = [
        Scene(f"{bad}, stable without a bad request", runs(0.0)),
        Scene(f"{bad}, stable without one, nothing learnt before", runs(0.0, history=0)),
    ]
    for share, said in ((0.001, "0.1 %"), (0.01, "1 %")):
        found += [
            Scene(f"{bad}, stable {said}, each alone for six hours", runs(share, calm=True)),
            Scene(f"{bad}, stable {said} in such runs", runs(share)),
            Scene(f"{bad}, stable {said}, each alone, nothing learnt before", runs(share, calm=True, history=0)),
            Scene(f"{bad}, stable {said} in such runs, nothing learnt before", runs(share, history=0)),
        ]
    return [
        *found,
        Scene(f"{bad} and 1 % alone, stable 1 %, each alone for six hours", runs(0.01, calm=True, lone=0.01)),
        Scene("1.5 times as bad as stable at 1 %: just tolerated", cells(0.01, TOLERANCE)),
        Scene("the same, nothing learnt before", cells(0.01, TOLERANCE, history=0)),
        Scene("1.5 times as bad, in bursts of 20", cells(0.01, TOLERANCE, BURST)),
        Scene("as good as stable at 1 %, 300 requests a window", equal(0.01)),
        Scene("as good as stable at 0.1 %, 300 requests a window", equal(0.001)),
        Scene("as good as stable, which has no bad request, 300 a window", equal(0.0)),
        Scene("as good as stable at 1 %, 3,000 requests a window", cells(0.01, 1.0)[len(WEIGHTS) :]),
        Scene("as good as stable at 1 %, 3,000 a window, nothing learnt", cells(0.01, 1.0, history=0)[len(WEIGHTS) :]),
    ]


def run(good_runs: int, bad_runs: int, workers: int) -> Results:
    """All of it, in processes. `good_runs` where the canary is tolerable, `bad_runs` where it is not."""
    cells = [cell for burst in (1, BURST) for ratio in (1.0, *RATIOS) for cell in grid(burst, ratio)]
    unlearnt = [replace(cell, history=0) for cell in cells]
    outside, praise = scenes(), praised()
    tasks = [(cell, good_runs if cell.ratio == 1 else bad_runs, judges) for judges in ("all", "unlearnt") for cell in cells]
    tasks = [(replace(cell, history=0) if judges == "unlearnt" else cell, runs, judges) for cell, runs, judges in tasks]
    tasks += [(cell, good_runs, "tempered") for scene in outside for cell in scene.cells]
    tasks += [(cell, bad_runs, "praising") for scene in praise for cell in scene.cells]
    with ProcessPoolExecutor(workers) as pool:
        told = list(_progress(pool.map(_trial, tasks), len(tasks)))
    rest = iter(outcome for outcome, _, _ in told)
    found = {cell: next(rest) for cell in cells}
    without = {cell: next(rest) for cell in unlearnt}
    met: dict[Scene, dict[str, list[Caught]]] = {}
    for scene in outside:
        of_cells = [next(rest) for _ in scene.cells]
        met[scene] = {name: [outcome[name] for outcome in of_cells] for name in TEMPERED}
    good = {scene: [next(rest)["healer"] for _ in scene.cells] for scene in praise}
    checked, differed = sum(checked for _, checked, _ in told), sum(other for *_, other in told)
    return Results((good_runs, bad_runs), found, met, without, good, checked, differed)


_JUDGING: Final = {"all": JUDGES, "unlearnt": UNLEARNT, "tempered": TEMPERED, "praising": PRAISING}


def _trial(task: tuple[Cell, int, str]) -> _Told:
    """Every judge on the same runs of one cell. The seed is made of the cell alone."""
    cell, runs, judging = task
    judges = _JUDGING[judging]
    kind = VerdictKind.GOOD if judging == "praising" else VerdictKind.BAD
    rng = np.random.default_rng([round(1000 * (figure or 0)) for figure in astuple(cell)])
    windows: dict[str, list[Floats]] = {name: [] for name in judges}
    checked = differed = 0
    for begun in range(0, runs, _AT_ONCE):
        traffic = simulate(cell, min(_AT_ONCE, runs - begun), rng)
        for name, judge in judges.items():
            windows[name].append(judge(traffic, cell))
        checked += 1
        differed += fast.by_judge(traffic, 0, ALPHA, TOLERANCE, kind) != windows["healer"][-1][0]
    return {name: _outcome(np.concatenate(found)) for name, found in windows.items()}, checked, differed


def _outcome(windows: Floats) -> Caught:
    return Caught(windows.size, int((windows < fast.NEVER).sum()), float(np.median(windows)))


def _progress(told: Iterable[_Told], total: int) -> Iterator[_Told]:
    for number, each in enumerate(told, 1):
        if number * 10 // total > (number - 1) * 10 // total:
            sys.stderr.write(f"  {number} of {total} kinds of traffic judged\n")
        yield each
