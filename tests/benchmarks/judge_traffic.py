"""Simulated traffic of a canary and its stable version, counted in windows."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
HORIZON: Final = 100
"""Windows of a trial: 50 minutes of 30 s."""
HISTORY: Final = 720
"""Windows of stable alone before it: six hours."""
BURST: Final = 20
"""Bad requests of a burst, one after the other."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of traffic."""

    weight: float
    """The canary's share of the requests."""
    requests: int
    """Of both sides, a window."""
    share: float
    """The bad share of stable."""
    ratio: float = 1.0
    """How many times as bad the canary is."""
    burst: int = 1
    """Bad requests in a row; 1: each by itself."""
    varied: bool = False
    """Whether the bursts are of random length (geometric), `burst` on average."""
    calm: bool = False
    """Whether only the canary's come in bursts, and stable's do not."""
    breaks: int = 0
    """The canary is as good as stable in so many windows at the start."""
    history: int = HISTORY
    """Windows of stable alone that the judge has learnt from."""
    spike: int = 1
    """Times the traffic of two windows in every twenty."""
    harm: float | None = None
    """The canary's bad share, where it is not `ratio` times stable's."""
    lone: float = 0.0
    """The share of the canary's requests that are bad each by itself, beside its bursts."""
    horizon: int = HORIZON
    """Windows of the trial."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts by run and window; `before` and `history` are stable's requests and bad ones before the trial, when it got all."""

    canary: Floats
    canary_bad: Floats
    stable: Floats
    stable_bad: Floats
    before: Floats
    history: Floats


def simulate(cell: Cell, runs: int, rng: np.random.Generator) -> Traffic:
    """Requests arrive at random (Poisson) and are split at random. On each side they are bad independently, or in bursts: from
    some request on, as many in a row as a burst has, be it in one window or over many. The share is the same."""
    of_trial, of_history = (np.where(np.arange(windows) % 20 < 2, cell.spike, 1) for windows in (cell.horizon, cell.history))
    canary = rng.poisson(cell.requests * cell.weight * of_trial, (runs, cell.horizon))
    stable = rng.poisson(cell.requests * (1 - cell.weight) * of_trial, (runs, cell.horizon))
    before = rng.poisson(cell.requests * of_history, (runs, cell.history))
    lengths = (1 if cell.calm else cell.burst, cell.varied and not cell.calm)
    bad = _bad(np.concatenate((before, stable), axis=1), cell.share, *lengths, rng)
    share = cell.share * cell.ratio if cell.harm is None else cell.harm
    canary_bad = _bad(canary, share, cell.burst, cell.varied, rng)
    if cell.lone:
        canary_bad += rng.binomial(canary - canary_bad.astype(np.int64), cell.lone)
    if cell.breaks:
        good = _bad(canary, cell.share, cell.burst, cell.varied, rng)
        canary_bad[:, : cell.breaks] = good[:, : cell.breaks]
    counts = (canary.astype(float), canary_bad, stable.astype(float), bad[:, cell.history :])
    return Traffic(*counts, before.astype(float), bad[:, : cell.history])


def _bad(requests: Whole, share: float, burst: int, varied: bool, rng: np.random.Generator) -> Floats:
    if burst == 1 or not share:
        return rng.binomial(requests, share).astype(float)
    ends = np.cumsum(requests)
    until = _in_bursts(ends, share, burst, varied, rng)
    return np.diff(until, prepend=0).reshape(requests.shape).astype(float)


def _in_bursts(ends: Whole, share: float, burst: int, varied: bool, rng: np.random.Generator) -> Whole:
    """How many are bad among the first so many requests of one stream, in which bursts begin after geometric gaps; the runs
    follow each other in it."""
    starting = share / (burst * (1 - share) + share)
    expected = int(ends[-1]) * share / burst
    count = int(expected + 8 * expected**0.5 + 100)
    lengths = rng.geometric(1 / burst, count) if varied else np.full(count, burst)
    done = np.cumsum(lengths)
    starts = done - lengths + np.cumsum(rng.geometric(starting, count) - 1)
    if starts[-1] < ends[-1]:
        raise ValueError("too few bursts were drawn")
    begun = np.searchsorted(starts, ends)
    last = np.maximum(begun - 1, 0)
    return np.where(begun > 0, done[last] - lengths[last] + np.minimum(lengths[last], ends - starts[last]), 0)
