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


SECRETS = [
    KEY,
    "password:\n  hunter2secret",
    "password: |\n  hunter2secret",
    "the password is\nhunter2secret",
    "--password\n  hunter2secret",
    'password="two words\nhunter2secret and\nthree"',
    "secret_key='two words\nhunter2secret and\n'",
    '{"token"\n: "hunter2secret"}',
    '{\\"token\\": \\"two words\nhunter2secret\\"}',
    'Cookie: sid="two words\nhunter2secret"; x=1',
    "Cookie:\n sid=hunter2secret; x=1",
    "Authorization: Digest\nhunter2secret",
    "bearer\nhunter2secret",
    "phone:\n491719876543",
    "token=" + "hunter2secret" * 60,
    "token='" + "hunter2secret" * 60 + "'",
    "https://ann:hunter2secret@db/x",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyc2VjcmV0In0.c2ln",
    "bob@example.com",
    "4111 1111 1111 1111",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_none_less_at_the_edge_of_a_piece(secret: str) -> None:
    """Wherever it would be cut: before it, in it at the end of each of its lines and in the middle, and after it."""
    whole = redact(secret)
    assert whole != secret
    lines = [at + 1 for at, sign in enumerate(secret) if sign == "\n"]
    for cut in {0, len(secret) // 2, *lines[:2], *lines[-2:], len(secret) + 1}:
        before = PIECE - cut
        text = (LINE * (before // len(LINE) + 1))[-before:-1] + "\n" + secret + "\n" + LINE * 60
        pieces = list(redact_in_pieces(text))
        assert len(pieces) > 1
        assert "".join(pieces) == redact(text)
        assert whole in "".join(pieces)


def test_secrets_that_follow_each_other_without_an_end_are_left_out() -> None:
    """Each begins in the line in which the last one ends, so that no line begins without a part of one."""
    text = LINE + 'password="a\nhunter2secret" ' * 3000 + "\n" + LINE
    *safe, last = redact_in_pieces(text)
    assert "hunter2" not in "".join([*safe, last])
    assert "left out" in last


def test_the_end_of_a_line_that_is_longer_than_a_piece_is_left_out() -> None:
    """Half a secret would not be recognised, so that no line is cut in two."""
    before, long, after = list(redact_in_pieces(LINE + "x " * PIECE + "password=hunter2\n" + LINE))
    assert (before, after) == (LINE, LINE)
    assert long.endswith("x …\n")
    assert len(long) < PIECE


@pytest.mark.parametrize("secret", [each for each in SECRETS if "\n" in each and each != KEY])
def test_a_secret_that_begins_in_what_is_left_out_goes_on_in_no_line_after_it(secret: str) -> None:
    text = LINE + "x " * PIECE + secret + "\n" + LINE * 2
    found = "".join(redact_in_pieces(text))
    assert "hunter2" not in found
    assert found.endswith(LINE)
