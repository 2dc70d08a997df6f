"""Which revision a rollback goes to, from a history in plain numbers; the cases that no controller makes, too."""

import pytest

from healer.workloads.revisions import History, Revision, choose, number


def revision(at: int, image: str, *former: int) -> Revision:
    return Revision(at, frozenset(former), f"model-{at}", {"spec": {"containers": [{"name": "c", "image": image}]}}, "")


def history(*revisions: Revision, current: int, rejected: int = 0) -> History:
    (now,) = [r for r in revisions if r.number == current]
    return History(current, now.template, revisions, frozenset({rejected} - {0}))


@pytest.mark.parametrize(
    ("known", "wanted", "healthy", "goal"),
    [
        (history(revision(4, "a"), revision(5, "b"), revision(6, "c"), current=6), None, 0, 5),
        (history(revision(6, "c"), revision(4, "a"), revision(5, "b"), current=6), None, 0, 5),
        (history(revision(5, "b"), revision(6, "c"), revision(7, "d"), current=6), None, 0, 5),
        (history(revision(5, "b"), revision(6, "a", 3), revision(7, "c"), current=7), None, 3, 6),
        (history(revision(5, "b"), revision(6, "a", 3), current=6), None, 3, 5),
        (history(revision(4, "a"), revision(5, "b"), revision(6, "c"), current=6, rejected=3), None, 0, 5),
        (history(revision(4, "a"), revision(5, "b"), revision(6, "c"), current=6, rejected=5), None, 4, 4),
        (history(revision(4, "b"), revision(5, "b"), revision(6, "c"), current=6, rejected=4), None, 5, 5),
        (history(revision(4, "a"), revision(5, "b"), revision(6, "c"), current=6), 4, 5, 4),
    ],
)
def test_the_goal(known: History, wanted: int | None, healthy: int, goal: int) -> None:
    chosen = choose(known, wanted, healthy)
    assert isinstance(chosen, Revision)
    assert chosen.number == goal


def test_a_number_that_is_one_now_goes_before_one_that_was() -> None:
    known = history(revision(5, "b", 4), revision(4, "a"), revision(6, "c"), current=6)
    assert known.numbered(4) is known.revisions[1]


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("", 0), ("seven", 0), ("-7", 0), ("٧", 0), ("7.0", 0)])
def test_a_number(text: str, value: int) -> None:
    assert number(text) == value
