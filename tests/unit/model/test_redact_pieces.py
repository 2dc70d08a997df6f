"""A long text is redacted in pieces: each is bounded, and together they are what the whole would be."""

import pytest

from healer.model.redact import PIECE, redact, redact_in_pieces

LINE = "2026-11-29T11:00:00Z served a request in some milliseconds\n"
KEY = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\n" * 40 + "-----END PRIVATE KEY-----\n"


def test_each_piece_is_bounded_and_of_whole_lines() -> None:
    text = LINE * 5000
    found = list(redact_in_pieces(text))
    assert "".join(found) == text
    assert all(len(piece) <= PIECE and piece.endswith("\n") for piece in found[:-1])
    assert len(found) < 1.1 * len(text) / PIECE


@pytest.mark.parametrize("secret", [KEY, "password:\n  hunter2secret\n", "token=abcdefghijkl and bob@example.com\n"])
@pytest.mark.parametrize("shift", range(0, 80, 16))
def test_a_secret_is_none_less_at_the_end_of_a_piece(secret: str, shift: int) -> None:
    """A key of many lines, and a value on the next line, as well."""
    before = PIECE - shift
    text = (LINE * (before // len(LINE) + 1))[-before:] + "\n" + secret + LINE * 300
    assert "".join(redact_in_pieces(text)) == redact(text)
    assert redact(text) != text


def test_the_end_of_a_line_that_is_longer_than_a_piece_is_left_out() -> None:
    """Half a secret would not be recognised, so that no line is cut in two."""
    before, long, after = list(redact_in_pieces(LINE + "x " * PIECE + "password=hunter2\n" + LINE))
    assert (before, after) == (LINE, LINE)
    assert long.endswith("x …\n")
    assert len(long) < PIECE
