"""Whose message is next."""

from healer.sinks.source_turns import SourceTurns


def order(turns: SourceTurns, *waiting: str) -> list[str]:
    """In which order these are taken; the source is the first letter."""
    left, taken = list(waiting), list[str]()
    while (found := turns.next(left, lambda each: each[0])) is not None:
        left.remove(found)
        taken.append(found)
    return taken


def test_each_source_has_a_turn_and_within_one_the_first_is_first() -> None:
    turns = SourceTurns()
    assert order(turns, "a1", "a2", "a3", "b1", "b2") == ["a1", "b1", "a2", "b2", "a3"]
    assert order(turns, "a4", "b3") == ["b3", "a4"]


def test_where_nothing_waits_nobody_has_a_turn() -> None:
    assert SourceTurns().next([], str) is None
