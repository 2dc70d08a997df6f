"""Who has much to do delays nobody."""

from healer.daemon.fair_turns import FairTurns


def turns() -> FairTurns[str]:
    return FairTurns[str](lambda name: name[0])


def test_one_of_each_namespace_has_a_turn_in_a_round() -> None:
    assert list(turns().of(["a1", "a2", "a3", "b1", "c1", "c2"])) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_who_begins_anew_goes_on_with_whose_turn_is_next() -> None:
    mine = turns()
    first = mine.of(["a1", "a2", "b1", "c1"])
    assert [next(first), next(first), next(first)] == ["a1", "b1", "c1"], "and c1 is left for later"
    assert list(mine.of(["a2", "b2", "c1"])) == ["c1", "a2", "b2"]


def test_a_namespace_that_was_done_waits_no_longer_than_a_new_one() -> None:
    mine = turns()
    assert list(mine.of(["a1", "b1"])) == ["a1", "b1"]
    assert list(mine.of(["b2", "c1"])) == ["c1", "b2"]
