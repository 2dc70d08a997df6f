"""Durations as rules write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.model.duration import LONGEST, about, parse, say


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1d", 86400.0),
        ("1m500ms", 60.5),
        ("0s", 0.0),
        ("30d", LONGEST),
    ],
)
def test_parse(text: str, seconds: float) -> None:
    assert parse(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "s", "1.5m", "-1s", "1m1h", "1s ", " 1s", "1M", "1w", "1s1s", "١s", "31d", "30d1ms"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|is longer than"):
        parse(text)


@given(st.integers(0, int(LONGEST) * 1000))
def test_what_is_said_is_read_back(milliseconds: int) -> None:
    assert parse(say(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.3, "300 ms"),
        (0.9999, "1 s"),
        (12, "12 s"),
        (59.7, "1 m"),
        (60, "1 m"),
        (150, "2 m 30 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (3900, "1 h 5 m"),
        (86_400, "1 d"),
        (93_600, "1 d 2 h"),
        (-1, "0 s"),
    ],
)
def test_about(seconds: float, words: str) -> None:
    assert about(seconds) == words
