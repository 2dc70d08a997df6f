"""How others would judge the same canaries, looking after every window: by a threshold, by Mann-Whitney, by a z-test, by a
confidence sequence."""

from statistics import NormalDist

import numpy as np

from tests.benchmarks.judge_fast import NEVER, excesses, first, sequence
from tests.benchmarks.judge_traffic import Floats, Traffic

FAILED_CHECKS = 5
LEAST_LIMIT = 0.01
CONFIDENCE = 0.98
TOLERATED = 0.25
LEAST_WINDOWS = 5


def threshold(traffic: Traffic, tolerance: float, share: float) -> Floats:
    """Flagger's: a check fails when the canary's bad share of the window is above a limit; the fifth failed check condemns, and
    checks that pass take nothing back. The limit is set as by one who knows stable's share exactly: the same tolerance times
    that, at least the 1 % of Flagger's documentation. Windows without a canary request pass here; in Flagger they fail."""
    limit = max(LEAST_LIMIT, tolerance * share)
    failed = traffic.canary_bad > limit * traffic.canary
    return first(np.cumsum(failed, axis=1) >= FAILED_CHECKS)


def z_test(traffic: Traffic, alpha: float) -> Floats:
    """Two proportions, pooled, one-sided at level alpha, on all requests so far."""
    canary, stable = np.cumsum(traffic.canary, axis=1), np.cumsum(traffic.stable, axis=1)
    canary_bad, stable_bad = np.cumsum(traffic.canary_bad, axis=1), np.cumsum(traffic.stable_bad, axis=1)
    known = (canary > 0) & (stable > 0)
    canary, stable = np.where(known, canary, 1), np.where(known, stable, 1)
    pooled = np.where(known, (canary_bad + stable_bad) / (canary + stable), 0)
    error = np.sqrt(pooled * (1 - pooled) * (1 / canary + 1 / stable))
    difference = canary_bad / canary - stable_bad / stable
    score = np.divide(difference, error, out=np.zeros_like(difference), where=known & (error > 0))
    return first(score > NormalDist().inv_cdf(1 - alpha))


def confidence_sequence(traffic: Traffic, tolerance: float, alpha: float) -> Floats:
    """The asymptotic confidence sequence of arXiv:2103.06476, one-sided at level alpha, on x_c - r x_b n_c / n_b a window: the
    strongest general method, which knows nothing of the history and learns the dispersion from the trial. A few windows at least,
    for its variance is of them alone."""
    windows, excess, _ = excesses(traffic, tolerance)
    return first((windows >= LEAST_WINDOWS) & (sequence(windows, excess, 0.0) >= 1 / alpha))


def mann_whitney(traffic: Traffic) -> Floats:
    """Kayenta's: the bad shares of the windows so far, canary against stable; bad when the lower end of the 98 % interval of the
    shift (normal approximation, corrected for ties and continuity) is above a quarter of the estimated shift (Hodges and
    Lehmann). Windows without requests have no share and are left out, as its NaNs are."""
    canary = np.divide(traffic.canary_bad, traffic.canary, out=np.full_like(traffic.canary, np.nan), where=traffic.canary > 0)
    stable = np.divide(traffic.stable_bad, traffic.stable, out=np.full_like(traffic.stable, np.nan), where=traffic.stable > 0)
    needed = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    found = np.full(len(canary), NEVER)
    for run, window in zip(*np.nonzero(scores(canary, stable) > needed), strict=True):
        if found[run] == NEVER and _above(canary[run, : window + 1], stable[run, : window + 1], needed):
            found[run] = window + 1
    return found


def scores(canary: Floats, stable: Floats) -> Floats:
    """The z scores of Mann-Whitney against no shift at all, by run and window, on all windows until then; NaN: no value.

    Each window adds one value to both samples, so that wins and ties are counted on instead of anew.
    """
    wins, ties = np.zeros(len(canary)), np.zeros(len(canary))
    sizes = [np.cumsum(~np.isnan(side), axis=1) for side in (canary, stable)]
    found = np.zeros_like(canary)
    for now in range(canary.shape[1]):
        value = canary[:, now : now + 1]
        same = (stable[:, :now] == value).sum(axis=1)
        wins += (stable[:, :now] < value).sum(axis=1) + 0.5 * same
        alike = same + (canary[:, :now] == value).sum(axis=1)
        ties += 3 * alike * (alike + 1)
        value = stable[:, now : now + 1]
        same = (canary[:, : now + 1] == value).sum(axis=1)
        wins += (canary[:, : now + 1] > value).sum(axis=1) + 0.5 * same
        alike = same + (stable[:, :now] == value).sum(axis=1)
        ties += 3 * alike * (alike + 1)
        found[:, now] = _score(wins, ties, sizes[0][:, now], sizes[1][:, now])
    return found


def _score(wins: Floats, ties: Floats, canary: Floats, stable: Floats) -> Floats:
    """`ties`: the sum of t^3 - t over the groups of equal values."""
    both = np.maximum(canary + stable, 2)
    variance = canary * stable / 12 * (both + 1 - ties / (both * (both - 1)))
    shift = wins - canary * stable / 2
    error = np.sqrt(np.maximum(variance, 0))
    score: Floats = np.divide(shift - 0.5 * np.sign(shift), error, out=np.zeros_like(wins), where=variance > 1e-9)
    return score


def _above(canary: Floats, stable: Floats, needed: float) -> bool:
    canary, stable = canary[~np.isnan(canary)], stable[~np.isnan(stable)]
    differences = canary[:, None] - stable[None, :]
    shift = TOLERATED * abs(float(np.median(differences)))
    wins = (differences > shift).sum() + 0.5 * (differences == shift).sum()
    _, alike = np.unique(np.concatenate((canary - shift, stable)), return_counts=True)
    ties = float((alike**3 - alike).sum())
    figures = (np.array([float(figure)]) for figure in (wins, ties, canary.size, stable.size))
    return bool(_score(*figures)[0] > needed)
