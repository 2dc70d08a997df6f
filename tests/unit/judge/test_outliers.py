"""Outliers among values that ought to be alike: properties that hold for any values, and cases that are easily wrong."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from healer.judge.outliers import OutlierLimits, compare

LIMITS = OutlierLimits(above=True, deviations=5, difference=0.1, peers=4)
NUMBERS = some.floats(-1e9, 1e9)
VALUES = some.dictionaries(some.integers(0, 200), NUMBERS, max_size=40)
ANY = some.builds(
    OutlierLimits,
    above=some.booleans(),
    deviations=some.floats(3, 50),
    difference=some.floats(0.001, 100),
    peers=some.integers(3, 9),
)


def values(*numbers: float) -> dict[int, float]:
    return dict(enumerate(numbers))


def test_one_far_value_is_an_outlier() -> None:
    assert compare(values(0.01, 0.02, 0.01, 0.02, 0.9), LIMITS).outliers == {4}


def test_the_other_direction_is_none() -> None:
    assert compare(values(0.5, 0.52, 0.51, 0.5, 0.0), LIMITS).outliers == frozenset()
    assert compare(values(0.5, 0.52, 0.51, 0.5, 0.0), replace(LIMITS, above=False)).outliers == {4}


def test_values_that_are_all_alike_have_no_deviation_and_the_difference_decides() -> None:
    assert compare(values(0, 0, 0, 0, 0.1), LIMITS).outliers == frozenset()
    assert compare(values(0, 0, 0, 0, 0.11), LIMITS).outliers == {4}


def test_too_few_peers() -> None:
    assert compare(values(0, 0, 0, 9), LIMITS).held == "other pods with a value: 3; 4 are needed"
    assert compare({}, LIMITS).held == "other pods with a value: 0; 4 are needed"


def test_more_than_a_third_is_no_outlier() -> None:
    assert compare(values(0, 0, 0, 0, 9, 9), LIMITS).outliers == {4, 5}
    five = compare(values(0, 0, 0, 9, 9), LIMITS)
    assert (five.outliers, five.held) == (frozenset(), "2 of 5 pods are far from the others: more than a third is no outlier")


def test_what_is_missing_may_be_as_bad() -> None:
    assert compare(values(0, 0, 0, 0, 0, 9), LIMITS, missing=1).outliers == {5}
    held = compare(values(0, 0, 0, 0, 9), LIMITS, missing=1)
    assert held.outliers == {4}
    assert "and 2 have no value" in compare(values(0, 0, 0, 0, 9), LIMITS, missing=2).held


@given(VALUES, ANY, some.integers(0, 20))
def test_never_more_than_a_third_and_never_without_peers(found: dict[int, float], limits: OutlierLimits, missing: int) -> None:
    result = compare(found, limits, missing=missing)
    assert not result.outliers or 3 * len(result.outliers) <= len(found)
    assert not (result.outliers and result.held)
    if len(found) - 1 < limits.peers:
        assert result.held


@given(VALUES, ANY)
def test_an_outlier_is_further_than_the_difference_and_than_half_of_all(found: dict[int, float], limits: OutlierLimits) -> None:
    result = compare(found, limits)
    for key in result.outliers:
        distance = (found[key] - result.middle) * (1 if limits.above else -1)
        assert distance > limits.difference
        assert sum(abs(value - result.middle) < distance for value in found.values()) * 2 >= len(found)


@given(some.floats(-1e6, 1e6), some.integers(5, 30), some.floats(-0.049, 0.049), ANY)
def test_values_within_the_difference_are_never_outliers(middle: float, count: int, off: float, limits: OutlierLimits) -> None:
    limits = replace(limits, difference=0.1)
    found = {number: middle + off * (number % 2) for number in range(count)}
    assert compare(found, limits).outliers == frozenset()


@given(some.lists(some.integers(-1000, 1000), min_size=5, max_size=30), some.integers(-1000, 1000), some.booleans())
def test_moving_all_values_changes_nothing(numbers: list[int], by: int, above: bool) -> None:
    limits = replace(LIMITS, above=above)
    moved = compare({key: number + by for key, number in enumerate(numbers)}, limits)
    assert moved.outliers == compare(dict(enumerate(numbers)), limits).outliers


@given(some.lists(some.integers(-1000, 1000), min_size=5, max_size=30))
def test_below_is_the_mirror_of_above(numbers: list[int]) -> None:
    mirrored = compare({key: -number for key, number in enumerate(numbers)}, replace(LIMITS, above=False))
    assert mirrored.outliers == compare(dict(enumerate(numbers)), LIMITS).outliers


@pytest.mark.parametrize("bad", [10.0, 1e6, 1e300])
def test_one_bad_value_does_not_hide_itself(bad: float) -> None:
    """However large it is: that is what a mean would do."""
    assert compare(values(1.0, 1.2, 0.9, 1.1, bad), LIMITS).outliers == {4}
