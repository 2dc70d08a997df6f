"""The note of a temporary change: what is written is what is read, and it stands until its end is noted."""

import pytest

from healer.model.temporary import End, TemporaryChange, any_standing, changes

CHANGE = TemporaryChange("3", "5", "0", until=1_790_000_000.5, lasts=60.0)


def test_what_is_written_is_what_is_read() -> None:
    """A change with all that it may have."""
    assert changes({"replicas": str(CHANGE)}) == {"replicas": CHANGE}


@pytest.mark.parametrize("text", ["", "5", '{"change":"temporary","before":"3"}'])
def test_what_healer_did_not_write_is_an_error(text: str) -> None:
    """Anything but a whole note."""
    with pytest.raises(ValueError, match=r"."):
        changes({"replicas": text})


def test_a_change_stands_until_its_end_is_noted() -> None:
    """Beside it there are the notes of sinks, and notes that nobody can read."""
    ended = TemporaryChange("3", "5", "0", ended=End.LEFT_ALONE)
    notices = {"slack": {"ts": "1.2"}, "odd": {"x": '{"change":"temporary"'}, "scale": {"replicas": str(ended)}}
    assert not any_standing(notices)
    assert any_standing(notices | {"cordon": {"node/a": str(CHANGE)}})
