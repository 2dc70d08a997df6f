"""Plots: the ticks of their axes."""

from itertools import pairwise

import pytest

from healer.rehearsal.simulate.plot import Plot, svg


def plot(low: float, high: float, lasts: float = 3600.0) -> Plot:
    return Plot(
        "a title", "requests", {"a <b>": [(0.0, low), (lasts, high)]}, [60.0], lasts, low, high, lambda value: f"{value:g}"
    )


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 20_698.0, [0, 5000, 10_000, 15_000, 20_000, 25_000]),
        (0.965, 1.0, [0.96, 0.97, 0.98, 0.99, 1.0]),
        (0.99, 1.0, [0.99, 0.992, 0.994, 0.996, 0.998, 1.0]),
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_ticks_are_round_and_cover_the_range(low: float, high: float, ticks: list[float]) -> None:
    found = plot(low, high).ticks
    assert found == ticks
    assert all(before < after for before, after in pairwise(found))


@pytest.mark.parametrize(("lasts", "said"), [(3600.0, ">10 m<"), (86400.0, ">3 h<"), (600.0, ">5 m<"), (30 * 86400.0, ">5 d<")])
def test_times_are_round(lasts: float, said: str) -> None:
    assert said in svg(plot(0.0, 1.0, lasts))


def test_a_plot_says_in_words_what_it_shows_and_escapes_names() -> None:
    picture = svg(plot(0.0, 5.0))
    assert 'aria-label="a title: a &lt;b&gt; ends at 5"' in picture
    assert "<b>" not in picture
