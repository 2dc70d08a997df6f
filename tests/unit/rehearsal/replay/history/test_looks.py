"""Answers to looks from ranges: few requests, and each look what an instant query would have said."""

from math import inf

import pytest

from healer.rehearsal.replay.history.looks import RangedAnswers
from healer.sources.prometheus.client import NotNow, QueryFailed, Sample, Series

START = 1_800_000_000.0


class Table:
    """Answers a range with a series that has the number of the step; it fails for a time, and remembers what it was asked."""

    def __init__(self, fails_at: float = inf, error: type[QueryFailed] = QueryFailed) -> None:
        self.fails_at = fails_at
        self.error = error
        self.asked: list[tuple[float, float]] = []

    async def query(self, expr: str, at: float) -> list[Sample]:
        raise AssertionError("it is asked for ranges")

    async def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        self.asked.append((start - START, end - START))
        if start <= self.fails_at <= end:
            raise self.error("not at that moment")
        times = [start + number * step for number in range(round((end - start) / step) + 1)]
        return [Series({"pod": "a"}, {at: at - START for at in times})]


def answers(table: Table, most: int = 10) -> RangedAnswers:
    made = RangedAnswers(table, most)
    made.until, made.every = START + 600, 60.0
    return made


async def test_many_looks_are_one_request() -> None:
    table = Table()
    asking = answers(table)
    found = [(await asking.query("x", START + at))[0].value for at in range(0, 601, 60)]
    assert found == [float(at) for at in range(0, 601, 60)]
    assert table.asked == [(0.0, 600.0)]


async def test_only_the_look_that_fails_has_no_answer() -> None:
    table = Table(START + 240)
    asking = answers(table)
    failed: list[int] = []
    for at in range(0, 601, 60):
        try:
            assert [each.value for each in await asking.query("x", START + at)] == [at]
        except QueryFailed:
            failed.append(at)
    assert failed == [240]
    assert len(table.asked) < 14


async def test_a_time_between_two_looks_is_asked_for_by_itself() -> None:
    """It is not taken for one without a series."""
    asking = answers(Table())
    await asking.query("x", START)
    assert [each.value for each in await asking.query("x", START + 90)] == [90.0]


async def test_the_limit_of_series_is_that_of_each_look() -> None:
    asking = answers(Table(), most=0)
    with pytest.raises(QueryFailed, match="more than 0 series"):
        await asking.query("x", START)


async def test_one_that_does_not_answer_any_more_is_remembered() -> None:
    asking = answers(Table(START, NotNow))
    with pytest.raises(NotNow):
        await asking.query("x", START)
    assert asking.broken is not None
