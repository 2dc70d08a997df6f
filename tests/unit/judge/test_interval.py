"""The interval that people are shown: the figures of Wilson's formula, and its edges."""

import pytest

from healer.judge.interval import interval


@pytest.mark.parametrize(
    ("requests", "bad", "low", "high"),
    [
        # computed by statsmodels.stats.proportion.proportion_confint(bad, requests, method="wilson")
        (10, 0, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (100, 5, 0.021544, 0.111753),
        (1000, 500, 0.469069, 0.530931),
    ],
)
def test_it_is_wilsons(requests: float, bad: float, low: float, high: float) -> None:
    assert interval(requests, bad) == pytest.approx((low, high), abs=1e-5)


def test_without_requests_anything_can_be() -> None:
    assert interval(0, 0) == (0.0, 1.0)


def test_extrapolated_figures_that_cannot_be_give_bounds_all_the_same() -> None:
    """`increase` may give more bad requests than requests."""
    low, high = interval(10.2, 10.7)
    assert 0 <= low < high == 1.0
