"""The bets: their formulas by hand, and that they are fair."""

import math
from collections.abc import Iterator
from itertools import product
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from healer.judge.evidence import CEILING, RATIOS, Better, Drift, NoRuns, Worse

pytestmark = pytest.mark.slow

shares = st.floats(0, 1)
tolerances = st.floats(1, 4)
phis = st.floats(1, 30)
few = st.integers(0, 7)


def compared(*windows: tuple[float, float, float, float], tolerance: float = 1.5, phi: float = 1.0) -> float:
    """The evidence after windows of canary requests, bad; stable requests, bad."""
    bets = Worse()
    for window in windows:
        bets.compare(*window, tolerance)
    return bets.against(phi)


def limited(*windows: tuple[float, float], limit: float, phi: float = 1.0) -> float:
    bets = Worse()
    for requests, bad in windows:
        bets.limit(requests, bad, limit)
    return bets.against(phi)


def praised(*windows: tuple[float, float], limit: float, phi: float = 1.0) -> float:
    bets = Better()
    for requests, bad in windows:
        bets.limit(requests, bad, limit, phi)
    return bets.value


def outcomes(requests: int, share: float) -> Iterator[tuple[int, float]]:
    """Every number of bad requests, and how likely it is."""
    for bad in range(requests + 1):
        yield bad, math.comb(requests, bad) * share**bad * (1 - share) ** (requests - bad)


# the formulas


def test_a_window_by_hand() -> None:
    """Four canary requests, 2 bad; six of stable, 1 bad; tolerance 1.5: 6 against 6, so that half of the bad are the canary's."""
    each = [rho**2 / ((rho * 6 + 6) / 12) ** 3 for rho in (1.5, 2, 3, 5, 10, 30)]
    assert each[1] == pytest.approx(4 / 1.5**3)
    assert compared((4, 2, 6, 1)) == pytest.approx(0.9 * sum(each) / 6 + 0.1)


def test_windows_multiply_and_phi_takes_the_root() -> None:
    each = [rho**5 / ((rho * 6 + 6) / 12) ** 7 * rho**1 / ((rho * 1.5 + 9) / 10.5) ** 1 for rho in RATIOS]
    both = ((4, 5, 6, 2), (1, 1, 9, 0))
    assert compared(*both) == pytest.approx(0.9 * sum(each) / 6 + 0.1)
    assert compared(*both, phi=3) == pytest.approx(0.9 * sum(one ** (1 / 3) for one in each) / 6 + 0.1)


def test_the_limit_by_hand() -> None:
    """Wald's ratio at odds rho times those of 1 in 5: p1 = rho / (rho + 4)."""
    each = [(rho / (rho + 4) / 0.2) ** 3 * (4 / (rho + 4) / 0.8) ** 2 for rho in RATIOS]
    assert limited((5, 3), limit=0.2) == pytest.approx(0.9 * sum(each) / 6 + 0.1)


def test_praise_by_hand() -> None:
    """1 bad of 10, limit 20 %: nothing is left of the bet on none; the others are on 6, 10 and 14 %."""
    stakes = {0.06: 0.01, 0.10: 0.02, 0.14: 0.07}
    assert praised((10, 1), limit=0.2) == pytest.approx(
        sum(stake * (p / 0.2) * ((1 - p) / 0.8) ** 9 for p, stake in stakes.items())
    )
    assert praised((10, 0), limit=0.2) == pytest.approx(
        0.9 / 0.8**10 + sum(stake * ((1 - p) / 0.8) ** 10 for p, stake in stakes.items())
    )


def drifted(*windows: tuple[float, float, float, float], tolerance: float = 1.5) -> float:
    """The evidence of the trial's own variance after these windows: requests and bad ones of the canary, and of stable."""
    made = Drift()
    for window in windows:
        made.compare(*window, tolerance)
    return made.value


def test_the_trials_own_variance_by_hand() -> None:
    """Excesses 6, 2 and 7 of three windows, whose own variance is 7, and that of single requests 9.67."""
    windows = ((100, 9, 300, 6), (100, 5, 300, 6), (100, 10, 300, 6))
    variance = (9 + 5 + 10 + 3 * 6 * 0.25) / 3
    rho2 = (-2 * math.log(0.01) + math.log(1 - 2 * math.log(0.01))) / 20
    grown = 3 * rho2 + 1
    assert drifted(*windows) == pytest.approx(
        2 * math.expm1(5 * 5 * 9 * rho2 / (2 * variance * grown)) / math.sqrt(grown), rel=1e-9
    )


def test_two_windows_have_no_variance_to_speak_of() -> None:
    assert drifted(*[(100, 100, 300, 3)] * 2) == 0
    assert drifted(*[(100, 100, 300, 3)] * 3) > 1e6


def test_one_burst_does_not_convince_and_what_goes_on_does() -> None:
    calm, burst, worse = (300, 3, 3000, 30), (300, 60, 3000, 30), (300, 15, 3000, 30)
    assert drifted(*[calm] * 5, burst, *[calm] * 20) < 1
    assert drifted(*[calm] * 5, burst) < 10
    assert drifted(*[worse] * 12) > 1000


def test_windows_that_are_as_even_as_no_chance_would_have_them_do_not_convince() -> None:
    """One bad request in each of five windows has no variance at all, and is five bad requests."""
    assert drifted(*[(20, 1, 20, 0)] * 5) < drifted(*[(80, 4, 80, 0)] * 5)
    assert drifted(*[(20, 1, 20, 0)] * 3) < 100


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e12])
def test_the_trials_own_variance_is_finite(scale: float) -> None:
    assert drifted() == drifted(*[(0, 0, 0, 0)] * 5) == 0
    assert 0 <= drifted(*[(scale, scale, scale, 0)] * 50) <= CEILING
    made = Drift()
    for _ in range(5):
        made.limit(300 * scale, 30 * scale, 0.02)
    assert 0 <= made.value <= CEILING


def test_nothing_seen_is_no_evidence() -> None:
    assert compared() == pytest.approx(1)
    assert compared((0, 0, 0, 0), (5, 0, 9, 0), (0, 0, 9, 9), (5, 5, 0, 0)) == pytest.approx(1)
    assert praised(limit=0.01) == pytest.approx(1)


# they are fair: what is expected to be won is at most the stake


@given(few, few, shares, shares, tolerances)
def test_comparison_is_fair(canary: int, stable: int, stable_share: float, part: float, tolerance: float) -> None:
    share = min(1.0, part * tolerance * stable_share)
    expected = sum(
        likely * also * compared((canary, bad, stable, stable_bad), tolerance=tolerance)
        for (bad, likely), (stable_bad, also) in product(outcomes(canary, share), outcomes(stable, stable_share))
    )
    assert expected <= 1 + 1e-9


@given(few, st.floats(0.001, 0.999), shares)
def test_the_limit_is_fair(requests: int, limit: float, part: float) -> None:
    expected = sum(likely * limited((requests, bad), limit=limit) for bad, likely in outcomes(requests, part * limit))
    assert expected <= 1 + 1e-9


@given(few, st.floats(0.001, 0.9), shares)
def test_praise_is_fair(requests: int, limit: float, part: float) -> None:
    share = limit + part * (1 - limit)
    expected = sum(likely * praised((requests, bad), limit=limit) for bad, likely in outcomes(requests, share))
    assert expected <= 1 + 1e-9


@given(few, few, shares, tolerances, st.integers(2, 20))
def test_bursts_of_phi_are_fair(canary: int, stable: int, stable_share: float, tolerance: float, burst: int) -> None:
    """Groups of requests that are bad together."""
    share = min(1.0, tolerance * stable_share)
    expected = sum(
        likely * also * compared((burst * canary, burst * bad, burst * stable, burst * other), tolerance=tolerance, phi=burst)
        for (bad, likely), (other, also) in product(outcomes(canary, share), outcomes(stable, stable_share))
    )
    assert expected <= 1 + 1e-9


@pytest.mark.parametrize("phi", [1.0, 5.0])
def test_bets_placed_later_are_fair_too(phi: float) -> None:
    """Two requests a side in each of twelve windows, all ways how the last two can go: shares .4 and .6, tolerance 1.5."""
    bets = Worse()
    for _ in range(10):
        bets.compare(2, 0, 2, 2, 1.5)
    start = bets.against(phi)
    expected = 0.0
    ways = list(product(outcomes(2, 0.6), outcomes(2, 0.4)))
    for ((bad, likely), (other, also)), ((bad2, likely2), (other2, also2)) in product(ways, ways):
        again = Worse()
        for _ in range(10):
            again.compare(2, 0, 2, 2, 1.5)
        again.compare(2, bad, 2, other, 1.5)
        again.compare(2, bad2, 2, other2, 1.5)
        expected += likely * also * likely2 * also2 * again.against(phi)
    assert expected <= start + 1e-9


# what does not matter, and what does

windows = st.lists(
    st.tuples(st.integers(1, 500), st.floats(0, 1), st.integers(1, 5000), st.floats(0, 1)).map(
        lambda each: (each[0], each[0] * each[1], each[2], each[2] * each[3])
    ),
    min_size=1,
    max_size=8,
)


@given(windows, st.randoms(use_true_random=False), phis)
def test_the_order_does_not_matter(seen: list[tuple[float, float, float, float]], random: Random, phi: float) -> None:
    mixed = list(seen)
    random.shuffle(mixed)
    assert compared(*mixed, phi=phi) == pytest.approx(compared(*seen, phi=phi), rel=1e-6)


@given(windows, st.floats(0, 1), st.floats(0, 1), phis)
def test_a_window_may_be_cut_in_two(seen: list[tuple[float, float, float, float]], cut: float, bad: float, phi: float) -> None:
    """At the same weight in both parts, wherever the bad requests fall."""
    canary, canary_bad, stable, stable_bad = seen[0]
    parts = (
        (canary * cut, canary_bad * bad, stable * cut, stable_bad * bad),
        (canary * (1 - cut), canary_bad * (1 - bad), stable * (1 - cut), stable_bad * (1 - bad)),
    )
    assume(0.01 < cut < 0.99)
    assert compared(*parts, *seen[1:], phi=phi) == pytest.approx(compared(*seen, phi=phi), rel=1e-6)


@given(windows, tolerances, phis)
def test_no_evidence_against_a_canary_that_was_never_worse(
    seen: list[tuple[float, float, float, float]], tolerance: float, phi: float
) -> None:
    """Whatever the weight in each window."""
    never_worse = [(n, min(x, n * tolerance * other / m), m, other) for n, x, m, other in seen]
    assert compared(*never_worse, tolerance=tolerance, phi=phi) <= 1 + 1e-6


@given(windows, st.floats(0, 500), phis)
def test_more_bad_requests_are_never_less_evidence(
    seen: list[tuple[float, float, float, float]], more: float, phi: float
) -> None:
    canary, bad, stable, stable_bad = seen[0]
    added = compared((canary, bad + more, stable, stable_bad), *seen[1:], phi=phi)
    assert added >= compared(*seen, phi=phi) * (1 - 1e-9)


@given(windows, phis, phis)
def test_a_larger_phi_never_makes_evidence_out_of_none(
    seen: list[tuple[float, float, float, float]], phi: float, other: float
) -> None:
    """Jensen: if the winnings reach c > 1 with the larger phi they have reached it with the smaller."""
    small, large = sorted((phi, other))
    bound = compared(*seen, phi=large)
    assert bound <= 1 + 1e-9 or compared(*seen, phi=small) >= min(bound, CEILING / 2) * (1 - 1e-6)


def test_a_good_record_does_not_hide_a_break() -> None:
    good, bad = (300, 3, 3000, 30), (300, 30, 3000, 30)
    assert compared(*[good] * 500) < 1
    assert compared(*[good] * 500, *[bad] * 15) > 1000


def test_only_so_many_bets_are_kept_and_what_they_give_stays_below_what_it_was() -> None:
    good, bad = (300, 3, 3000, 30), (300, 30, 3000, 30)
    assert 1000 < compared(*[good] * 3000, *[bad] * 20) < compared(*[good] * 500, *[bad] * 20)


def test_the_first_bet_is_kept() -> None:
    """What it won before all others were placed."""
    bad, nothing = (300, 30, 3000, 30), (300, 0, 3000, 0)
    assert compared(bad, *[nothing] * 1500) == pytest.approx(compared(bad), rel=1e-6)


def test_how_many_requests_are_lacking_is_told_before() -> None:
    """With and without bad requests, and where there are too many of them."""
    for bad, limit, phi in ((0.0, 0.01, 1.0), (0.0, 0.01, 5.0), (1.0, 0.02, 1.0), (1.0, 0.015, 2.0)):
        bets, told, windows = Better(), 0.0, 0
        while bets.value < 20:
            bets.limit(100, bad, limit, phi)
            windows += 1
            if windows == 2:
                told = 200 + bets.lacking(20, limit, phi, bad / 100)
        assert 100 * windows == pytest.approx(told, rel=0.05, abs=100)
        assert bets.lacking(20, limit, phi, bad / 100) == 0
    assert Better().lacking(20, 0.015, 1.0, 0.015) == math.inf


def no_runs(*windows: tuple[float, float], tolerated: float = 0.015) -> NoRuns:
    """After windows of requests and bad ones."""
    made = NoRuns()
    for requests, bad in windows:
        made.add(requests, bad, tolerated)
    return made


def test_no_runs_by_hand() -> None:
    """60 of 400 bad: 6 and two times sqrt 6 may be alone. The bet is on a share of 0.2 % against 10 %, in units of 300."""
    counted = 60 - 6 - 2 * math.sqrt(6)
    won = (0.02**counted * (0.998 / 0.9) ** (400 - counted)) ** (1 / 300)
    assert no_runs((400, 60)).value == pytest.approx(0.5 + 0.5 * won)


def test_that_there_are_no_runs_takes_as_many_requests_however_they_come() -> None:
    for requests in (1.0, 20.0, 500.0):
        assert no_runs(*[(requests, 0.0)] * int(10_500 / requests)).value < 20
        assert no_runs(*[(requests, 0.0)] * int(11_000 / requests)).value >= 20
        assert no_runs((requests, 0.0)).lacking(20) == pytest.approx(10_640 - requests, rel=0.02)


@pytest.mark.parametrize("spread", [[300.0], [150.0, 150.0], [30.0] * 10])
def test_a_run_is_one_event_over_however_many_windows(spread: list[float]) -> None:
    """It costs what it takes 10,000 requests to win back."""
    clean = [(300.0, 0.0)] * 36
    assert no_runs(*clean).value > 20
    seen = no_runs(*clean, *[(each if each < 300 else 300.0, each) for each in spread])
    assert seen.value < 3
    windows = 0
    while seen.value < 20:
        seen.add(300, 0, 0.015)
        windows += 1
    assert 7000 < 300 * windows < 12_500


def test_praise_is_tempered() -> None:
    assert praised(*[(100, 0)] * 3, limit=0.01) > 18
    assert praised(*[(100, 0)] * 3, limit=0.01, phi=5) == pytest.approx(praised((60, 0), limit=0.01))


def test_praise_is_capped_so_that_it_can_be_lost() -> None:
    once, long = praised((2000, 0), limit=0.01), praised(*[(2000, 0)] * 1000, limit=0.01)
    assert long <= 5 * 10_001
    assert once > 20
    assert praised(*[(2000, 0)] * 1000, (400, 40), limit=0.01) < 1


@pytest.mark.parametrize("far", [compared((2.0**53, 2.0**53, 2.0**53, 0)), limited((2.0**53, 2.0**53), limit=1e-6)])
def test_evidence_has_a_ceiling(far: float) -> None:
    assert far == CEILING
