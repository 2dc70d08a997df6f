"""healer's canary judge on thousands of runs at once: its formulas in numpy, and the judge itself to check them by."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from healer.engine import judge_dispersion as dispersion
from healer.engine import judge_evidence as evidence
from healer.engine.judge import Judge, Window, Yardstick
from healer.model.verdict import Counts, VerdictKind
from tests.benchmarks.judge_traffic import Floats, Traffic

NEVER = np.inf
_LARGEST = 600.0


def tempered(traffic: Traffic) -> Floats:
    """The judge's phi, by run and window."""
    phi = _stable_phi(traffic)
    return np.maximum(np.maximum(phi[:, :1], phi[:, 1:]), _canary_phi(traffic.canary_bad, traffic.canary))


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


def caught_by_judge(traffic: Traffic, run: int, alpha: float, tolerance: float) -> float:
    """The same of one run, by the real Judge."""
    judge = Judge(alpha, [Yardstick("errors", tolerance, None)])
    judge.learn("errors", traffic.history[run].tolist())
    sides = (traffic.canary[run], traffic.canary_bad[run], traffic.stable[run], traffic.stable_bad[run])
    for number, (canary, canary_bad, stable, stable_bad) in enumerate(zip(*(side.tolist() for side in sides), strict=True), 1):
        verdict = judge.look({"errors": Window(Counts(canary, canary_bad), Counts(stable, stable_bad))})
        if verdict.kind is VerdictKind.BAD:
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


def _stable_phi(traffic: Traffic) -> Floats:
    """Before the trial, and after each of its windows."""
    known = traffic.history.shape[1]
    windows = np.arange(known, known + traffic.stable_bad.shape[1] + 1)
    bad = np.concatenate((np.zeros((len(traffic.history), 1)), np.cumsum(traffic.stable_bad, axis=1)), axis=1)
    bad += traffic.history.sum(axis=1, keepdims=True)
    seen = np.ones_like(bad)
    for scale in dispersion.SCALES:
        before, during = _differences(traffic.history, scale), _differences(traffic.stable_bad, scale)
        squares, both = (was[:, -1:] + now for was, now in zip(before[:2], during[:2], strict=True))
        ready = before[2][-1] + during[2] > dispersion.LEAST_PLACES * scale
        seen = np.maximum(seen, np.divide(squares, both, out=np.ones_like(bad), where=ready & (both > 0)))
    seen = np.minimum(seen, dispersion.MOST)
    upper = 1 + (seen - 1) * (1 + 2 * np.sqrt(3 / np.maximum(windows, 1)))
    told = np.minimum(bad, windows)
    phi: Floats = np.maximum(upper, (upper * told + dispersion.UNSEEN**2) / (told + dispersion.UNSEEN))
    return np.minimum(phi, dispersion.MOST)


def _differences(counts: Floats, scale: int) -> tuple[Floats, Floats, Floats]:
    """Of neighbouring blocks until each window, from none: the squares, the sums of both, and how many places there were."""
    runs, windows = counts.shape
    squares, both, places = np.zeros((runs, windows + 1)), np.zeros((runs, windows + 1)), np.zeros(windows + 1)
    if windows >= 2 * scale:
        sums = np.concatenate((np.zeros((runs, 1)), np.cumsum(counts, axis=1)), axis=1)
        before, between, now = sums[:, : -2 * scale], sums[:, scale:-scale], sums[:, 2 * scale :]
        squares[:, 2 * scale :] = np.cumsum((now - 2 * between + before) ** 2, axis=1)
        both[:, 2 * scale :] = np.cumsum(now - before, axis=1)
        places[2 * scale :] = np.arange(1, windows - 2 * scale + 2)
    return squares, both, places


def _canary_phi(bad: Floats, requests: Floats) -> Floats:
    both, together = bad[:, 1:] + bad[:, :-1], requests[:, 1:] + requests[:, :-1]
    part = np.divide(requests[:, :-1], together, out=np.zeros_like(together), where=together > 0)
    squares = np.where((part > 0) & (part < 1), (bad[:, :-1] - both * part) ** 2, 0.0)
    none = np.zeros((len(bad), 1))
    above, below = (np.concatenate((none, np.cumsum(each, axis=1)), axis=1) for each in (squares, both * part * (1 - part)))
    phi: Floats = np.divide(above, below, out=np.ones_like(bad), where=below > 0)
    return np.clip(phi, 1.0, dispersion.MOST_OWN)
