"""The interval around a share, a quantile out of buckets: against known values, and against what must always hold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.operate.canary.figures import Quantile, interval, quantile

INF = math.inf


def seconds(buckets: dict[float, float], share: float) -> float:
    """A quantile that is not past the last edge."""
    found = quantile(buckets, share)
    assert found is not None
    assert not found.beyond
    return found.seconds


@pytest.mark.parametrize(
    ("bad", "requests", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(bad: int, requests: int, low: float, high: float) -> None:
    """The figures are those of Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    found = interval(requests, bad)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_the_share_lies_in_the_interval(requests: int, share: float) -> None:
    found = interval(requests, requests * share)
    assert 0 <= found.low <= share + 1e-9
    assert share - 1e-9 <= found.high <= 1


def test_without_requests_any_share_may_be() -> None:
    assert (interval(0, 0).low, interval(0, 0).high) == (0, 1)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.25, 0.05),  # the lowest bucket begins at 0
        (0.5, 0.1),
        (0.75, 0.15),  # half of the way through its bucket
        (0.9, 0.18),
        (1.0, 0.2),
    ],
)
def test_a_quantile_lies_in_its_bucket_where_even_spread_puts_it(share: float, expected: float) -> None:
    assert seconds({0.1: 50, 0.2: 100, 0.4: 100, INF: 100}, share) == pytest.approx(expected)


def test_a_quantile_past_the_last_edge_is_told_to_be_above_it() -> None:
    assert quantile({0.1: 50, 0.2: 90, INF: 100}, 0.95) == Quantile(0.2, beyond=True)
    assert seconds({0.1: 50, 0.2: 90, INF: 100}, 0.9) == pytest.approx(0.2)
    assert quantile({0.1: 0, INF: 10}, 0.5) == Quantile(0.1, beyond=True)


def test_buckets_that_hold_nobody_have_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({0.1: 0, INF: 0}, 0.5) is None
    assert quantile({0.1: 5, 0.2: 9}, 0.5) is None, "how many there are in all is not known without +Inf"
    assert quantile({INF: 9}, 0.5) is None, "no edge at all"


def test_buckets_that_were_read_while_they_grew_are_made_to_rise() -> None:
    assert seconds({0.1: 50, 0.2: 48, 0.4: 100, INF: 99}, 0.5) == pytest.approx(0.1)
    assert seconds({0.1: 50, 0.2: 48, 0.4: 100, INF: 99}, 0.75) == pytest.approx(0.3)


@given(st.lists(st.integers(0, 50), min_size=3, max_size=8), st.floats(0.01, 1), st.floats(0.01, 1))
def test_quantiles_rise_with_the_share_and_stay_within_the_edges(counts: list[int], one: float, other: float) -> None:
    edges = [*(0.01 * 1.8**k for k in range(len(counts) - 1)), INF]
    sums = {edge: float(sum(counts[: number + 1])) for number, edge in enumerate(edges)}
    low, high = quantile(sums, min(one, other)), quantile(sums, max(one, other))
    if not sum(counts):
        assert low is high is None
        return
    assert low is not None
    assert high is not None
    assert 0 <= low.seconds <= high.seconds + 1e-12
    assert high.seconds <= edges[-2]
    assert low.beyond <= high.beyond
