"""False alarms of the whole judge on simulated canaries that are just good enough, with fixed seeds."""

import numpy as np

from healer.engine.judge import Judge, Window, Yardstick
from healer.model.verdict import Counts, VerdictKind

RUNS, WINDOWS = 150, 60
LIMIT = 0.03


def condemned(rng: np.random.Generator, yardsticks: list[Yardstick], alpha: float, burst: int, ratio: float) -> float:
    """How many trials end with BAD; 30 requests a window to the canary, 90 to stable, of which 2 % are bad, in groups."""
    bad = 0
    history = burst * rng.binomial(90 // burst, 0.02, (len(yardsticks), 1000))
    for _ in range(RUNS):
        judge = Judge(alpha, yardsticks)
        for yardstick, counts in zip(yardsticks, history.tolist(), strict=True):
            judge.learn(yardstick.name, counts)
        canary = (burst * rng.binomial(30 // burst, 0.02 * ratio, (WINDOWS, len(yardsticks)))).tolist()
        stable = (burst * rng.binomial(90 // burst, 0.02, (WINDOWS, len(yardsticks)))).tolist()
        for ours, theirs in zip(canary, stable, strict=True):
            seen = zip(yardsticks, ours, theirs, strict=True)
            looked = {each.name: Window(Counts(30, mine), Counts(90, other)) for each, mine, other in seen}
            if judge.look(looked).kind is VerdictKind.BAD:
                bad += 1
                break
    return bad / RUNS


def test_a_canary_at_its_tolerance_is_condemned_at_most_alpha_often() -> None:
    rate = condemned(np.random.default_rng(1), [Yardstick("errors", 1.5, None)], alpha=0.2, burst=1, ratio=1.5)
    assert 0 < rate <= 0.2


def test_six_tests_together_are_wrong_at_most_alpha_often() -> None:
    """Three measures, each at its tolerance and at its slo."""
    yardsticks = [Yardstick(name, 1.5, LIMIT) for name in ("errors", "latency", "wrong answers")]
    rate = condemned(np.random.default_rng(2), yardsticks, alpha=0.2, burst=1, ratio=1.5)
    assert 0 < rate <= 0.2


def test_bursts_that_were_learnt_do_not_condemn() -> None:
    rate = condemned(np.random.default_rng(3), [Yardstick("errors", 1.5, LIMIT)], alpha=0.2, burst=10, ratio=1.5)
    assert rate <= 0.2
