"""Phi: how bad requests come, learnt from counts a window."""

import random
from collections.abc import Iterable
from itertools import chain, pairwise, repeat

import pytest

from healer.judge.dispersion import MOST, UNSEEN, Dispersion
from healer.model.verdict import Counts


def learnt(counts: Iterable[float], requests: Iterable[float] = ()) -> Dispersion:
    """From windows with so many bad requests, of 1,000 each where it is not said."""
    made = Dispersion()
    for bad, every in zip(counts, chain(requests, repeat(1000.0)), strict=False):
        made.add(Counts(every, bad))
    return made


def unrest(counts: Iterable[float], requests: Iterable[float] = ()) -> float:
    """Of windows with so many bad requests, of 100 each where it is not said."""
    return learnt(counts, chain(requests, repeat(100.0))).unrest


def alone(rng: random.Random, windows: int, mean: float) -> list[int]:
    """Independent bad requests: of 100 chances a window."""
    return [sum(rng.random() < mean / 100 for _ in range(100)) for _ in range(windows)]


def test_by_hand() -> None:
    """Differences 4, -4, 1, -2; sums 6, 6, 3, 2."""
    assert learnt([1, 5, 1, 2, 0]).seen == pytest.approx((16 + 16 + 1 + 4) / (6 + 6 + 3 + 2))


def test_the_next_scale_by_hand() -> None:
    """Blocks of four, at each of nine places in 16 windows; with one window less they do not count yet."""
    counts = [5, 0, 0, 0] * 2 + [0] * 4 + [5, 5, 0, 0]
    blocks = [sum(counts[i : i + 4]) for i in range(13)]
    squares, both = (sum((blocks[i + 4] + sign * blocks[i]) ** power for i in range(9)) for sign, power in ((-1, 2), (1, 1)))
    at_one = sum((b - a) ** 2 for a, b in pairwise(counts)) / sum(a + b for a, b in pairwise(counts))
    assert squares / both > at_one
    assert learnt(counts).seen == pytest.approx(squares / both)
    assert learnt(counts[:-1]).seen == pytest.approx(at_one, rel=0.1)


def test_a_cut_is_no_burst() -> None:
    """Stable loses half of its traffic to the canary: 150 bad a window, then 75."""
    rng = random.Random(8)
    cut, whole = learnt(alone(rng, 300, 50), repeat(100.0)), Dispersion()
    for bad in alone(rng, 300, 50):
        whole.add(Counts(100, bad))
    cut.cut()
    for bad in alone(rng, 40, 10):
        cut.add(Counts(100, bad))
        whole.add(Counts(100, bad))
    assert cut.seen < 1.3
    assert whole.seen > 3


@pytest.mark.parametrize("mean", [0.3, 5.0])
def test_requests_that_are_bad_alone_have_a_phi_of_about_one(mean: float) -> None:
    rng = random.Random(4)
    assert 1 <= learnt(alone(rng, 720, mean)).seen < 1.4
    assert learnt(alone(rng, 720, mean)).cautious < 1.6


@pytest.mark.parametrize("burst", [3, 20, 100])
def test_bursts_have_a_phi_of_their_length(burst: int) -> None:
    rng = random.Random(5)
    counts = [burst * bad for bad in alone(rng, 2000, 0.5)]
    assert learnt(counts).seen == pytest.approx(burst, rel=0.3)
    assert learnt(counts).cautious > learnt(counts).seen


def test_bursts_that_last_longer_than_a_window_are_seen_at_a_larger_scale() -> None:
    """24 in a row, three a window for eight windows: none of these has a large count."""
    rng = random.Random(6)
    counts: list[float] = []
    while len(counts) < 3000:
        counts += [0] * rng.randrange(10, 150) + [3] * 8
    mean = sum(counts) / len(counts)
    assert sum((bad - mean) ** 2 for bad in counts) / len(counts) / mean < 3
    assert learnt(counts).seen > 12


def test_traffic_that_rises_and_falls_over_the_day_is_no_burst() -> None:
    """0 to 100 and back in a day of 2,880 windows: variance over mean is 17, and none of it is burst."""
    counts = [50 - abs(window - 1440) / 1440 * 50 + 50 * (window % 2) / 50 for window in range(2880)]
    assert learnt(counts).seen < 1.5


def test_a_minute_of_thirty_times_the_traffic_is_no_burst() -> None:
    """One request of a hundred is bad, spike or not: three a window, and ninety in every twentieth."""
    requests = [9000.0 if window % 20 == 0 else 300.0 for window in range(720)]
    rng = random.Random(9)
    counts = [sum(rng.random() < 0.01 for _ in range(int(every))) for every in requests]
    assert learnt(counts).seen > 20, "whoever does not know how many requests there were takes the spikes for bursts"
    assert 1 <= learnt(counts, requests).seen < 1.4
    assert learnt(counts, requests).cautious < 1.6


def test_bursts_are_seen_beside_spikes_of_traffic() -> None:
    rng = random.Random(10)
    requests = [9000.0 if window % 20 == 0 else 300.0 for window in range(2000)]
    counts = [20.0 * sum(rng.random() < 0.0005 for _ in range(int(every))) for every in requests]
    assert learnt(counts, requests).seen == pytest.approx(20, rel=0.3)


def test_an_outage_is_bounded_but_not_for_praise() -> None:
    outages = learnt([300, 0, 0, 0, 0, 0, 0, 0] * 50)
    assert outages.cautious == outages.upper == MOST
    assert outages.unbounded > 250


def test_with_nothing_learnt_some_bursts_are_expected() -> None:
    assert learnt([]).cautious == UNSEEN
    assert learnt([0] * 1000).cautious == UNSEEN
    assert learnt([0] * 1000).seen == 1


def test_caution_wears_off_with_what_was_seen() -> None:
    phis = [learnt([1, 0] * windows).cautious for windows in (1, 5, 20, 100, 1000)]
    assert phis == sorted(phis, reverse=True)
    assert phis[0] > 4
    assert phis[-1] < 1.05


def test_many_bad_requests_in_few_windows_say_little() -> None:
    assert learnt([150, 150, 150]).cautious > 3


def test_nothing_but_recent_sums_is_kept() -> None:
    """What came long ago counts as much as what came last, whatever its size."""
    early, late = learnt([50, 0] * 10 + [1] * 500), learnt([1] * 500 + [50, 0] * 10)
    assert early.seen == pytest.approx(late.seen, rel=0.1)
    assert early.seen > 20


def test_the_canary_has_unrest_when_its_bad_requests_come_and_go() -> None:
    assert unrest([20, 0, 0, 0, 0, 20, 0, 0]) == pytest.approx(3 * 400 / 60)


def test_a_canary_that_is_evenly_bad_has_none() -> None:
    assert unrest([]) == unrest([0, 0]) == unrest([20]) == unrest([20] * 9) == 1


def test_a_canary_is_not_restless_because_its_requests_come_unevenly() -> None:
    assert unrest([90, 6, 75, 12], [300, 20, 250, 40]) == 1
    assert unrest([0, 0, 20, 0], [100, 0, 100, 100]) == pytest.approx(10**2 / 5), "a window without requests says nothing"


def test_a_canary_that_breaks_is_restless_for_a_while() -> None:
    phis = [unrest([0] * 10 + [20] * bad) for bad in (1, 2, 5, 10)]
    assert phis == pytest.approx([400 / 20, 400 / 60, 400 / 180, 400 / 380])
