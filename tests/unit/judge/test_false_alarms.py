"""How often the whole judge is wrong on simulated canaries, with fixed seeds."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from healer.judge.judge import Judge, Window, Yardstick
from healer.model.verdict import Counts, VerdictKind
from tests.benchmarks.judge_rivals import confidence_sequence
from tests.benchmarks.judge_traffic import Cell, Traffic, simulate

pytestmark = pytest.mark.slow

RUNS, WINDOWS = 50, 40
LIMIT = 0.03


def condemned(rng: np.random.Generator, yardsticks: list[Yardstick], alpha: float, burst: int, ratio: float) -> float:
    """How many trials end with BAD; 30 requests a window to the canary, 90 to stable, of which 2 % are bad, in groups."""
    bad = 0
    history = burst * rng.binomial(90 // burst, 0.02, (len(yardsticks), 1000))
    learnt = Judge(alpha, yardsticks)
    for yardstick, counts in zip(yardsticks, history.tolist(), strict=True):
        learnt.learn(yardstick.name, counts)
    for _ in range(RUNS):
        judge = deepcopy(learnt)
        canary = (burst * rng.binomial(30 // burst, 0.02 * ratio, (WINDOWS, len(yardsticks)))).tolist()
        stable = (burst * rng.binomial(90 // burst, 0.02, (WINDOWS, len(yardsticks)))).tolist()
        for ours, theirs in zip(canary, stable, strict=True):
            seen = zip(yardsticks, ours, theirs, strict=True)
            looked = {each.name: Window(Counts(30, mine), Counts(90, other)) for each, mine, other in seen}
            if judge.update(looked).kind is VerdictKind.BAD:
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


# a bad canary that looks well for long: 10 % bad, in runs of 300

LEARNT = Cell(0.5, 3000, 0.01, burst=300, harm=0.1, history=120, horizon=14)
"""Stable's come in such runs, too, for an hour before."""
ALONE = replace(LEARNT, calm=True)


def looks(traffic: Traffic, run: int) -> Iterator[Window]:
    """The windows of one trial."""
    sides = (traffic.canary[run], traffic.canary_bad[run], traffic.stable[run], traffic.stable_bad[run])
    for canary, bad, stable, stable_bad in zip(*(side.tolist() for side in sides), strict=True):
        yield Window(Counts(canary, bad), Counts(stable, stable_bad))


def said(traffic: Traffic, run: int, kind: VerdictKind, stop: VerdictKind | None = None) -> float:
    """At which look of one trial, from 1; infinite if never. After `stop` it is not said any more."""
    judge = Judge(0.01, [Yardstick("errors", 1.5, None)])
    judge.learn("errors", map(Counts, traffic.before[run].tolist(), traffic.history[run].tolist()))
    for number, window in enumerate(looks(traffic, run), 1):
        found = judge.update({"errors": window}).kind
        if found is kind:
            return number
        if found is stop:
            break
    return np.inf


@pytest.mark.parametrize("cell", [LEARNT, ALONE, replace(ALONE, share=0.0), replace(ALONE, history=0)])
def test_ten_percent_in_runs_of_300_are_good_at_most_once_in_twenty(cell: Cell) -> None:
    """Whatever stable's bad requests did before, or if nothing is known of them."""
    traffic = simulate(cell, 80, np.random.default_rng(4))
    good = sum(said(traffic, run, VerdictKind.GOOD, VerdictKind.BAD) < np.inf for run in range(80))
    assert good / 80 <= 0.05


def test_a_canary_as_good_as_stable_is_good_in_half_of_what_it_took() -> None:
    """At 1 % it took 22,800 requests at the median."""
    traffic = simulate(Cell(0.5, 300, 0.01, horizon=76), 9, np.random.default_rng(5))
    assert 150 * np.median([said(traffic, run, VerdictKind.GOOD) for run in range(9)]) <= 11_400


# with nothing learnt


@pytest.mark.parametrize(
    ("requests", "share", "weight", "burst"), [(300, 0.01, 0.5, 20), (300, 0.001, 0.25, 1), (12, 0.05, 0.1, 1)]
)
def test_with_nothing_learnt_it_catches_what_the_confidence_sequence_catches(
    requests: int, share: float, weight: float, burst: int
) -> None:
    """The same runs, a canary five times as bad: none of which the sequence would stop is let through, give or take one."""
    traffic = simulate(Cell(weight, requests, share, 5, burst, history=0), 25, np.random.default_rng(6))
    rival = int((confidence_sequence(traffic, 1.5, 0.01) < np.inf).sum())
    ours = sum(said(traffic, run, VerdictKind.BAD) < np.inf for run in range(25))
    assert 10 < rival - 1 <= ours


def test_with_nothing_learnt_bursts_do_not_condemn() -> None:
    """Of twenty, and of two hundred."""
    for burst, weight, share in ((20, 0.5, 0.01), (200, 0.25, 0.01)):
        traffic = simulate(Cell(weight, 3000, share, 1, burst, history=0, horizon=25), 50, np.random.default_rng(7))
        condemned = sum(said(traffic, run, VerdictKind.BAD) < np.inf for run in range(50))
        assert condemned / 50 <= 0.04


@pytest.mark.parametrize(
    "cell", [Cell(0.9, 300, 0.001, history=0, horizon=30), Cell(0.9, 3000, 0.01, burst=20, history=0, horizon=30)]
)
def test_with_nothing_learnt_a_canary_with_most_of_the_traffic_is_not_condemned_for_what_stable_has_not_shown(cell: Cell) -> None:
    """The sequence alone condemns a third of them: until stable has a bad request the canary looks bad in every window."""
    traffic = simulate(cell, 40, np.random.default_rng(8))
    assert (confidence_sequence(traffic, 1.5, 0.01) < np.inf).sum() > 4
    assert sum(said(traffic, run, VerdictKind.BAD) < np.inf for run in range(40)) <= 1
