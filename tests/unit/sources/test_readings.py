"""Counters from look to look: nothing counted twice, nothing lost but what cannot be known."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.judge.judge import Missing, Window
from healer.model.verdict import Counts
from healer.sources.canary.readings import (
    Key,
    Reading,
    Tally,
    counted,
    edge_above,
    past,
    past_all,
    past_slow,
    slower,
    timed,
    within,
)
from healer.sources.prometheus.client import Sample, Series

STILL = Reading({frozenset({("pod", "s")}): 5.0})
"""A side in which nothing moves."""


def pods(**values: float) -> Mapping[Key, float]:
    return {frozenset({("pod", name)}): value for name, value in values.items()}


def reading(**values: float) -> Reading:
    return Reading(pods(**values))


class Looks:
    """Looks at a canary beside a stable version in which nothing moves."""

    def __init__(self) -> None:
        self.tally = Tally()

    def __call__(self, canary: Reading, stable: Reading | None = STILL) -> float | str:
        """The requests since the last look, or why they are not known."""
        window = self.tally.take(canary, stable)
        return window.why if isinstance(window, Missing) else window.canary.requests


def test_the_first_look_counts_nothing() -> None:
    look = Looks()
    assert not look.tally.begun
    assert look(reading(a=100)) == 0
    assert look.tally.begun
    assert look(reading(a=107)) == 7


def test_each_series_by_itself() -> None:
    look = Looks()
    look(reading(a=100, b=50))
    assert look(reading(a=101, b=52, c=4)) == 7, "a pod that is new began at 0"
    assert look(reading(b=53, c=4)) == 1, "one that is gone takes nothing with it"
    assert look(reading(a=105, b=53, c=4)) == 4, "one that is back counts from where it was"


def test_bad_ones_appear_with_the_first() -> None:
    tally = Tally()
    tally.take(reading(a=100), STILL)
    window = tally.take(Reading(pods(a=110), pods(a=3)), STILL)
    assert window == Window(Counts(10, 3), Counts(0, 0))


def test_a_reset_is_not_known_and_then_it_goes_on() -> None:
    look = Looks()
    look(reading(a=100))
    assert look(reading(a=20)) == "a counter of canary was reset"
    assert look(reading(a=25)) == 5
    assert look(reading(a=25), reading(s=1)) == "a counter of stable was reset"
    assert look(reading(a=26), reading(s=1)) == 1


def test_an_aggregated_counter_that_dips_was_not_reset() -> None:
    look = Looks()
    look(reading(all=1000))
    assert look(reading(all=400)) == "a counter of canary was reset"
    assert look(reading(all=410)) == 10
    assert look(reading(all=1030)) == 30, "not 620: the pod that was not scraped is back"


def test_other_series_altogether_are_a_new_beginning() -> None:
    look = Looks()
    look(Reading({frozenset({("pod", "a")}): 5000.0}))
    assert look(Reading({frozenset({("pod", "a"), ("zone", "z")}): 5005.0})) == 0, "somebody relabels: nobody asked 5,005 times"
    assert look(Reading({frozenset({("pod", "a"), ("zone", "z")}): 5007.0})) == 2


def test_stable_comes_and_goes_in_step() -> None:
    tally = Tally()
    tally.take(reading(a=10), None)
    assert tally.take(reading(a=12), None) == Window(Counts(2, 0), None)
    assert tally.take(reading(a=17), reading(s=100)) == Window(Counts(), Counts()), "from here on both"
    assert tally.take(reading(a=18), reading(s=109)) == Window(Counts(1, 0), Counts(9, 0))
    assert tally.take(reading(a=20), None) == Window(Counts(2, 0), None)
    assert tally.take(reading(a=25), reading(s=200)) == Window(Counts(), Counts()), "what it did meanwhile is no window"


def test_what_stands_still_is_no_evidence_and_nothing_unknown() -> None:
    look = Looks()
    look(reading(a=10), reading(s=10))
    assert look(reading(a=11), reading(s=10)) == 1
    assert [look(reading(a=11), reading(s=10)) for _ in range(20)] == [0] * 20


POD = st.sampled_from("abcd")


@given(st.lists(st.dictionaries(POD, st.tuples(st.integers(0, 50), st.booleans())), max_size=30))
def test_every_request_is_counted_once(steps: list[dict[str, tuple[int, bool]]]) -> None:
    """Pods appear, count, are now and then not scraped: once all are seen again, the windows sum up to what they counted."""
    look, total, counts = Looks(), 0.0, {"first": 3.0}
    look(reading(**counts))
    for step in steps:
        for pod, (more, _) in step.items():
            counts[pod] = counts.get(pod, 0) + more
        unseen = {pod for pod, (_, seen) in step.items() if not seen}
        grown = look(reading(**{pod: value for pod, value in counts.items() if pod not in unseen}))
        assert not isinstance(grown, str)
        total += grown
    grown = look(reading(**counts))
    assert not isinstance(grown, str)
    assert total + grown == sum(counts.values()) - 3


# reading


def sample(value: float, **labels: str) -> Sample:
    return Sample(labels, value)


def test_no_bad_series_is_no_bad_request() -> None:
    assert counted([sample(7, pod="a")], []) == Reading(pods(a=7), {})


@pytest.mark.parametrize(
    ("total", "bad", "says"),
    [
        ([], [sample(1)], "`total` has no series"),
        ([sample(math.nan)], [], "a value is NaN"),
        ([sample(1)], [sample(math.nan)], "a value is NaN"),
        ([sample(math.inf)], [], "a value is +inf"),
        ([sample(1)], [sample(-math.inf)], "a value is -inf"),
        ([sample(1), Sample({"pod": "b"}, math.nan, "native histograms")], [], "native histograms"),
    ],
)
def test_what_is_no_reading(total: list[Sample], bad: list[Sample], says: str) -> None:
    assert counted(total, bad) == Missing(says)


def test_increases_are_summed() -> None:
    side = counted([sample(7.5, pod="a"), sample(2.5, pod="b")], [sample(1, pod="b")])
    assert isinstance(side, Reading)
    assert within(side, None) == Window(Counts(10, 1), None)


def buckets(pod: str, **counts: float) -> list[Sample]:
    """A histogram: le10=..., le20=..., inf=..."""
    edges = {name: "+Inf" if name == "inf" else name.removeprefix("le") for name in counts}
    return [sample(count, pod=pod, le=edges[name]) for name, count in counts.items()]


def test_a_histogram_by_an_edge() -> None:
    series = buckets("a", le10=1, le20=4, inf=9) + buckets("b", le10=0, le20=0, inf=2)
    assert timed(series, 20) == Reading(pods(a=9, b=2), pods(a=5, b=2))


@pytest.mark.parametrize(
    ("series", "says"),
    [
        ([], "the histogram has no series"),
        (buckets("a", le20=math.nan, inf=1), "a value is NaN"),
        (buckets("a", le20=math.inf, inf=1), "a value is +inf"),
        (buckets("a", le10=1, inf=1), "not all of the histogram's series have the edges 20 and +Inf"),
        (buckets("a", le20=1), "not all of the histogram's series have the edges 20 and +Inf"),
        (
            buckets("a", le20=1, inf=1) + buckets("b", le10=1, inf=1),
            "not all of the histogram's series have the edges 20 and +Inf",
        ),
        ([sample(1, pod="a")], "not all of the histogram's series have the edges 20 and +Inf"),
    ],
)
def test_what_is_no_histogram(series: list[Sample], says: str) -> None:
    assert timed(series, 20) == Missing(says)


@pytest.mark.parametrize(
    ("slower_than", "unit", "edge"),
    [(0.2, "us", 218_600.0), (0.1215, "us", 218_600.0), (0.1214, "us", 121_400.0), (0.05, "us", 67_500.0), (0.4, "us", None)],
)
def test_up_to_the_next_edge(slower_than: float, unit: str, edge: float | None) -> None:
    side = buckets("a", le67500=1, le121400=1, le218600=1, inf=1)
    assert edge_above([side, side], slower_than, unit) == edge


def test_an_edge_that_both_sides_have() -> None:
    ours, theirs = buckets("a", le100=1, le250=1, inf=1), buckets("b", le100=1, le300=1, le500=1, inf=1)
    assert edge_above([ours, theirs], 0.1, "ms") == 100
    assert edge_above([ours, theirs], 0.2, "ms") is None
    assert edge_above([ours, []], 0.2, "ms") == 250, "as far as is known"
    assert edge_above([], 0.2, "ms") is None


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_an_edge_is_not_missed_by_rounding(unit: str) -> None:
    for number in range(1, 20_000):
        edge = number / 10
        side = [sample(1, le=str(edge)), sample(1, le="+Inf")]
        assert edge_above([side], edge / {"ms": 1e3, "us": 1e6}[unit], unit) == edge


def test_what_is_slow_in_words() -> None:
    assert slower(218_600, "us") == "slower than 218.6 ms"
    assert slower(2.5, "s") == "slower than 2.5 s"


# the past


def line(values: list[float | None], **labels: str) -> Series:
    return Series(labels, {30.0 * number: value for number, value in enumerate(values) if value is not None})


EVER = [line([0] * 9)]


def bad_of(counts: Sequence[Counts]) -> list[float]:
    return [each.bad for each in counts]


def test_the_past_of_counters() -> None:
    bad = [line([10, 12, 12, 15, 15], pod="a"), line([None, None, 4, 5, 5], pod="b")]
    assert bad_of(past(EVER, bad, increases=False, start=0, step=30, windows=4)) == [2, 4, 4, 0]


def test_the_past_tells_of_how_many_requests() -> None:
    """Each window with its own: a minute of thirty times the traffic is no burst."""
    total = [line([0, 100, 3100, 3200], pod="a"), line([None, None, None, 40], pod="b")]
    bad = [line([0, 1, 31, 32], pod="a")]
    counts = [Counts(100, 1), Counts(3000, 30), Counts(140, 1)]
    assert past(total, bad, increases=False, start=0, step=30, windows=3) == counts
    assert past(total, bad, increases=True, start=0, step=30, windows=2) == [Counts(100, 1), Counts(3100, 31)]
    assert past([line([5, 9, 3])], [], increases=False, start=0, step=30, windows=2) == [Counts(4, 0)], "a reset"
    buckets = [line([6, 13], pod="a", le="+Inf"), line([1, 1], pod="a", le="10")]
    assert past(past_all(buckets), [], increases=False, start=0, step=30, windows=1) == [Counts(7, 0)]


def test_the_past_leaves_out_a_reset() -> None:
    assert bad_of(past(EVER, [line([10, 12, 3, 5], pod="a")], increases=False, start=0, step=30, windows=3)) == [2, 2]


def test_the_past_is_that_of_which_there_are_data() -> None:
    total = [line([None, None, 50, 60, 70, 80], pod="a")]
    assert bad_of(past(total, [], increases=False, start=0, step=30, windows=5)) == [0, 0, 0]
    bad = [line([None, None, None, 3, 4, 4], pod="a")]
    assert bad_of(past(total, bad, increases=False, start=0, step=30, windows=5)) == [3, 1, 0]
    assert bad_of(past(total, bad, increases=True, start=0, step=30, windows=5)) == [0, 3, 4, 4]


def test_the_past_of_increases() -> None:
    bad = [line([9, 1, None, 2], pod="a"), line([9, 1, None, math.nan], pod="b")]
    assert bad_of(past(EVER, bad, increases=True, start=0, step=30, windows=3)) == [2, 0, 2]


def test_the_past_of_what_was_slow() -> None:
    series = [line([5, 9], pod="a", le="20"), line([6, 13], pod="a", le="+Inf"), line([1, 1], pod="a", le="10")]
    assert bad_of(past(series, past_slow(series, 20), increases=False, start=0, step=30, windows=1)) == [3]
