"""The words of a replay: times, durations and numbers of things."""

from datetime import UTC, datetime


def moment(at: float) -> str:
    """A time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # of a record that somebody has written by hand
        return f"{at:g} s since 1970"


def times(count: int, what: str) -> str:
    """A number of things: "1 act", "2,000 acts"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
