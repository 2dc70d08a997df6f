"""What the modelled Prometheus scrapes: counters that count the simulated requests, and draws whose figures are right."""

import math
import random
import statistics

import pytest

from healer.rehearsal.simulate.telemetry import binomial, spread


@pytest.mark.parametrize(("number", "share"), [(40, 0.3), (40, 0.9), (1000, 0.002), (5000, 0.4)])
def test_draws_have_the_mean_and_the_variance_of_the_binomial_distribution(number: int, share: float) -> None:
    """Four thousand draws: the mean within 5 of its errors, and the variance within a tenth."""
    chance = random.Random(f"{number} {share}")
    drawn = [binomial(chance, number, share) for _ in range(4000)]
    variance = number * share * (1 - share)
    assert abs(statistics.fmean(drawn) - number * share) < 5 * math.sqrt(variance / len(drawn))
    assert statistics.pvariance(drawn) == pytest.approx(variance, rel=0.1)
    assert all(0 <= each <= number for each in drawn)


@pytest.mark.parametrize(("number", "share", "expected"), [(0, 0.5, 0), (7, 0.0, 0), (7, 1.0, 7), (7, 1.5, 7)])
def test_what_is_certain_is_not_drawn(number: int, share: float, expected: int) -> None:
    assert binomial(random.Random(1), number, share) == expected


def test_the_times_of_requests_lie_about_their_median() -> None:
    """Half are below the median; of a log-normal distribution with 0.5, 15.9 % are above median * exp(0.5)."""
    edges = (0.05, 0.1, 0.1 * math.exp(0.5), 10.0)
    drawn = spread(random.Random(1), 100_000, 0.1, edges)
    assert sum(drawn) == 100_000
    assert (drawn[0] + drawn[1]) / 100_000 == pytest.approx(0.5, abs=0.01)
    assert (drawn[3] + drawn[4]) / 100_000 == pytest.approx(0.1587, abs=0.01)
    assert drawn[4] == 0
