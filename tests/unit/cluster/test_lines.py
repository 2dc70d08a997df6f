"""Lines out of chunks, however the bytes were cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.cluster.decode import Splitter
from healer.cluster.errors import Unreadable

LINES = st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b"")), max_size=6)


@given(LINES, st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"")), st.lists(st.integers(0, 60), max_size=8))
def test_the_cuts_do_not_matter(lines: list[bytes], begun: bytes, cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines) + begun
    splitter = Splitter(limit=8)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = [line for start, end in pairwise(edges) for line in splitter.feed(data[start:end])]
    assert got == lines
    assert splitter.partial == bool(begun)


@pytest.mark.parametrize(
    "chunks", [[b"12345"], [b"12", b"345"], [b"1\n12345"], [b"1\n12345\n1"], [b"12", b"345\n"], [b"123\n12345\n"]]
)
def test_a_line_over_the_limit_is_refused(chunks: list[bytes]) -> None:
    splitter = Splitter(limit=4)
    *harmless, last = chunks
    for chunk in harmless:
        splitter.feed(chunk)
    with pytest.raises(Unreadable, match="longer than 4 bytes"):
        splitter.feed(last)
