"""healer's canary judge on thousands of runs at once: its formulas in numpy, and the judge itself to check them by."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from healer.judge import dispersion, evidence
from healer.judge.judge import (
    DOUBT,
    LEARNT,
    LEAST_LIMIT,
    LEAST_SAMPLE,
    LEAST_WINDOWS,
    LONG,
    LOWER,
    MOST_LIMIT,
    PRAISE,
    SHORT,
    Judge,
    Window,
    Yardstick,
)
from healer.model.verdict import Counts, VerdictKind
from tests.benchmarks.judge_traffic import Floats, Traffic, Whole

NEVER = np.inf
RHO2 = evidence.Drift.RHO2
_LARGEST = 600.0


def tempered(traffic: Traffic) -> Floats:
    """The judge's phi, by run and window."""
    phi = _cautious(traffic, *_stable_upper(traffic))
    return np.maximum(np.maximum(phi[:, :1], phi[:, 1:]), _unrest(traffic))


def plain(traffic: Traffic) -> Floats:
    """The textbook's phi, for comparison: variance over mean of stable's counts before the trial; 1 when there are none."""
    if traffic.history.shape[1] < 2:
        return untempered(traffic)
    mean = traffic.history.mean(axis=1, keepdims=True)
    variance = traffic.history.var(axis=1, ddof=1, keepdims=True)
    phi = np.maximum(1.0, np.divide(variance, mean, out=np.ones_like(mean), where=mean > 0))
    return np.broadcast_to(phi, traffic.canary.shape)


def untempered(traffic: Traffic) -> Floats:
    """As if all requests were independent."""
    return np.ones_like(traffic.canary)


def caught(traffic: Traffic, alpha: float, tolerance: float, phi: Callable[[Traffic], Floats] = tempered) -> Floats:
    """The window of each run at which it says BAD, from 1; NEVER if it does not."""
    return first(_evidence(traffic, tolerance, phi(traffic)) >= 1 / alpha)


def judged(traffic: Traffic, alpha: float, tolerance: float) -> Floats:
    """The same by the whole judge: with little of stable's past learnt, the trial itself must show how bad requests come."""
    return first(_against(traffic, tolerance) >= 1 / alpha)


def praised(traffic: Traffic, tolerance: float) -> Floats:
    """The window of each run at which the judge says GOOD."""
    return first(
        (_favour(traffic, tolerance) >= PRAISE)
        & (_against(traffic, tolerance) < DOUBT)
        & (np.cumsum(traffic.canary > 0, axis=1) >= LEAST_WINDOWS)
    )


def _against(traffic: Traffic, tolerance: float) -> Floats:
    phi = tempered(traffic)
    settled, trend = drift(traffic, tolerance)
    agreed = np.minimum(trend, _evidence(traffic, tolerance, np.maximum(phi, SHORT)))
    by_trial = np.where(settled, trend, agreed)
    by_trial = np.maximum(by_trial, _evidence(traffic, tolerance, np.full_like(phi, LONG)))
    return np.where(_known(traffic), _evidence(traffic, tolerance, phi), by_trial)


def _known(traffic: Traffic) -> NDArray[np.bool_]:
    """By run and window, whether it is known how stable's bad requests come: from its past, or from many windows."""
    windows = traffic.history.shape[1]
    told = np.minimum(traffic.history.sum(axis=1, keepdims=True), windows) >= LEAST_SAMPLE
    known: NDArray[np.bool_] = told | (windows + np.arange(1, traffic.stable.shape[1] + 1) >= LEARNT)
    return known


def drift(traffic: Traffic, tolerance: float) -> tuple[NDArray[np.bool_], Floats]:
    """The evidence of the confidence sequence as the judge has it, and whether it may be believed alone."""
    windows, excess, alone = excesses(traffic, tolerance)
    ours, theirs = (np.cumsum(side * (traffic.stable > 0), axis=1) for side in (traffic.canary, traffic.stable))
    settled = (windows >= evidence.Drift.SETTLED) & (ours <= evidence.Drift.OUTWEIGHED * theirs)
    least = np.where(settled, evidence.Drift.EVENEST, 1.0) * np.cumsum(alone, axis=1) / np.maximum(windows, 1)
    return settled, np.where(windows >= evidence.Drift.LEAST, sequence(windows, excess, least), 0.0)


def excesses(traffic: Traffic, tolerance: float) -> tuple[Whole, Floats, Floats]:
    """The windows so far in which stable had requests; by how many bad requests each exceeds what is allowed; and its variance,
    were each bad by itself."""
    told = traffic.stable > 0
    part = np.divide(tolerance * traffic.canary, traffic.stable, out=np.zeros_like(traffic.canary), where=told)
    excess = traffic.canary_bad - part * traffic.stable_bad
    return (
        np.cumsum(told, axis=1),
        np.where(told, excess, 0.0),
        np.where(told, traffic.canary_bad + part**2 * traffic.stable_bad, 0.0),
    )


def sequence(windows: Whole, excess: Floats, least: Floats | float) -> Floats:
    """The evidence of the confidence sequence, by run and window, with this variance at the least."""
    count = np.maximum(windows, 1)
    mean = np.cumsum(excess, axis=1) / count
    variance = np.maximum((np.cumsum(excess**2, axis=1) - count * mean**2) / np.maximum(count - 1, 1), least)
    grown = count * RHO2 + 1
    above = (mean * count) ** 2 * RHO2
    exponent = np.divide(above, 2 * variance * grown, out=np.zeros_like(mean), where=(mean > 0) & (variance > 1e-12))
    found: Floats = 2 * np.expm1(np.minimum(exponent, _LARGEST)) / np.sqrt(grown)
    return found


def _favour(traffic: Traffic, tolerance: float) -> Floats:
    """The winnings of the bets that the canary is better than it has to be."""
    upper, told = _stable_upper(traffic)
    cautious = _cautious(traffic, upper, told)
    cautious = np.maximum(cautious[:, :1], cautious[:, :-1])
    phi = np.maximum(cautious, upper[:, :-1])
    requests, bad = (np.cumsum(side, axis=1) - side for side in (traffic.stable, traffic.stable_bad))
    before, before_bad = (side.sum(axis=1, keepdims=True) for side in (traffic.before, traffic.history))
    expected = before_bad / np.maximum(before, 1) * requests
    same = (before > 0) & (np.abs(bad - expected) <= 3 * np.sqrt(phi * np.maximum(expected, 1)))
    requests, bad = requests + same * before, bad + same * before_bad
    early = ~_known(traffic) & (traffic.history.shape[1] + np.arange(bad.shape[1]) < LEAST_SAMPLE)
    least = np.where(early, 0.0, np.maximum(0.0, bad - LOWER * np.sqrt(phi * bad)))
    share = np.divide(least, requests, out=np.zeros_like(bad), where=requests > 0)
    limit = np.clip(tolerance * share, LEAST_LIMIT, MOST_LIMIT)
    alone = traffic.canary * limit
    in_runs = np.maximum(0.0, traffic.canary_bad - alone - evidence.NoRuns.ERRORS * np.sqrt(alone))
    runs = (in_runs, evidence.NoRuns.HARM, evidence.NoRuns.RUN, evidence.NoRuns.PARTS)
    return np.minimum(
        _better(traffic.canary, traffic.canary_bad, limit, phi, evidence.Better.PARTS), _better(traffic.canary, *runs)
    )


def _better(requests: Floats, bad: Floats, limit: Floats | float, phi: Floats | float, parts: Mapping[float, float]) -> Floats:
    total: Floats = np.zeros_like(requests)
    for part, stake in parts.items():
        lost = bad * (math.log(part) if part else -1e6)
        gains = (lost + (requests - bad) * (np.log1p(-part * limit) - np.log1p(-limit))) / phi
        log = np.full(len(gains), math.log(stake))
        for window in range(gains.shape[1]):
            log = np.minimum(log + gains[:, window], evidence.Better.CAP)
            total[:, window] += np.exp(log)
    return total


def by_judge(traffic: Traffic, run: int, alpha: float, tolerance: float, kind: VerdictKind) -> float:
    """The window of one run at which the real Judge says that, from 1; NEVER if it does not."""
    judge = Judge(alpha, [Yardstick("errors", tolerance, None)])
    judge.learn("errors", list(map(Counts, traffic.before[run].tolist(), traffic.history[run].tolist())))
    sides = (traffic.canary[run], traffic.canary_bad[run], traffic.stable[run], traffic.stable_bad[run])
    for number, (canary, canary_bad, stable, stable_bad) in enumerate(zip(*(side.tolist() for side in sides), strict=True), 1):
        verdict = judge.update({"errors": Window(Counts(canary, canary_bad), Counts(stable, stable_bad))})
        if verdict.kind is kind:
            return number
    return NEVER


def first(said: NDArray[np.bool_]) -> Floats:
    """Of each run, the first window at which it was said, from 1."""
    return np.where(said.any(axis=1), said.argmax(axis=1) + 1.0, NEVER)


def _evidence(traffic: Traffic, tolerance: float, phi: Floats) -> Floats:
    weighed = tolerance * traffic.canary
    expected = np.divide(weighed, weighed + traffic.stable, out=np.zeros_like(weighed), where=weighed > 0)
    both = traffic.canary_bad + traffic.stable_bad
    total = np.full_like(phi, 1 - evidence.FIRST)
    for rho in evidence.RATIOS:
        logs = np.cumsum(traffic.canary_bad * math.log(rho) - both * np.log1p((rho - 1) * expected), axis=1)
        total += evidence.FIRST * np.exp(np.minimum(logs / phi, _LARGEST)) / len(evidence.RATIOS)
        for number, start in enumerate(range(evidence.RENEWED, logs.shape[1], evidence.RENEWED), 1):
            share = (1 - evidence.FIRST) / (number * (number + 1))
            gained = np.minimum((logs[:, start:] - logs[:, start - 1 : start]) / phi[:, start:], _LARGEST)
            total[:, start:] += share * (np.exp(gained) - 1) / len(evidence.RATIOS)
    return total


_Places = list[tuple[Floats, Floats, Floats]]
"""By block length, and by how many windows there were, from none: the squares, what they would be at phi 1, and the places."""


def _stable_upper(traffic: Traffic) -> tuple[Floats, Floats]:
    """The upper bound of stable's phi, and what was told of it: before the trial, and after each of its windows."""
    known = traffic.history.shape[1]
    windows = np.arange(known, known + traffic.stable_bad.shape[1] + 1)
    bad = np.concatenate((np.zeros((len(traffic.history), 1)), np.cumsum(traffic.stable_bad, axis=1)), axis=1)
    bad += traffic.history.sum(axis=1, keepdims=True)
    before, during = _places(traffic.before, traffic.history), _places(traffic.stable, traffic.stable_bad)
    both = [
        (was[0][:, -1:] + now[0], was[1][:, -1:] + now[1], was[2][-1] + now[2]) for was, now in zip(before, during, strict=True)
    ]
    upper = 1 + (_seen(both, skip=0) - 1) * (1 + 2 * np.sqrt(3 / np.maximum(windows, 1)))
    return upper, np.minimum(bad, windows)


def _cautious(traffic: Traffic, upper: Floats, told: Floats) -> Floats:
    upper = np.minimum(upper, dispersion.MOST)
    phi: Floats = np.maximum(upper, (upper * told + dispersion.UNSEEN**2) / (told + dispersion.UNSEEN))
    return np.minimum(phi, dispersion.MOST)


def _seen(places: _Places, skip: int = 1) -> Floats:
    """The largest phi of all block lengths, without the first `skip` columns."""
    seen = np.ones_like(places[0][0])
    for scale, (squares, expected, count) in zip(dispersion.SCALES, places, strict=True):
        ready = (count > dispersion.LEAST_POSITIONS * scale) & (expected > 0)
        seen = np.maximum(seen, np.divide(squares, expected, out=np.ones_like(seen), where=ready))
    return seen[:, skip:]


def _places(requests: Floats, bad: Floats) -> _Places:
    runs, windows = bad.shape
    found: _Places = []
    for scale in dispersion.SCALES:
        squares, expected, places = np.zeros((runs, windows + 1)), np.zeros((runs, windows + 1)), np.zeros(windows + 1)
        if windows >= 2 * scale:
            ours, theirs = (_blocks(each, scale) for each in (requests, bad))
            together, both = ours[0] + ours[1], theirs[0] + theirs[1]
            part = np.divide(ours[0], together, out=np.zeros_like(together), where=together > 0)
            inside = (part > 0) & (part < 1)
            squares[:, 2 * scale :] = np.cumsum(np.where(inside, (theirs[0] - both * part) ** 2, 0.0), axis=1)
            expected[:, 2 * scale :] = np.cumsum(both * part * (1 - part), axis=1)
            places[2 * scale :] = np.arange(1, windows - 2 * scale + 2)
        found.append((squares, expected, places))
    return found


def _blocks(counts: Floats, scale: int) -> tuple[Floats, Floats]:
    """Neighbouring blocks of so many windows: the sums of the first, and of the second."""
    sums = np.concatenate((np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)), axis=1)
    before, between, now = sums[:, : -2 * scale], sums[:, scale:-scale], sums[:, 2 * scale :]
    return between - before, now - between


def _unrest(traffic: Traffic) -> Floats:
    """What neighbouring windows of the canary show."""
    squares, expected, _ = _places(traffic.canary, traffic.canary_bad)[0]
    phi = np.divide(squares, expected, out=np.ones_like(squares), where=expected > 0)
    return np.clip(phi, 1.0, dispersion.MOST_OWN)[:, 1:]
