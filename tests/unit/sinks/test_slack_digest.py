"""A day's digest counts what there was and lists what is not over; a quiet day has none."""

import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError

from healer.model.incident import State
from healer.sinks.slack.settings import SlackSettings
from tests.support.slack import FakeSlack
from tests.unit.sinks.incidents import incident, then
from tests.unit.sinks.story import Bench, healed

SEVEN = 7 * 3600.0
"""07:00 of the first day there was: incidents of the tests begin at 00:16:40."""


class Day:
    """A clock that stands still, and goes to the next digest when told so."""

    def __init__(self) -> None:
        self.now = SEVEN - 1800
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await self._go.wait()
        self._go.clear()
        self.now += seconds

    async def pass_on(self) -> float:
        """Let the next digest fall due; returns how long it was waited for."""
        waited = await self.asked.get()
        self._go.set()
        return waited


def bench(slack: FakeSlack, token_file: Path, day: Day) -> Bench:
    return Bench(slack, token_file, sleep=day.sleep, clock=lambda: day.now, digest="07:00")


async def test_the_day_is_counted_and_what_is_not_over_is_listed(slack: FakeSlack, token_file: Path) -> None:
    day = Day()
    made = bench(slack, token_file, day)
    async with made.running():
        made.sink.tell(healed("a")[-1])
        made.sink.resume(healed("b")[-1])
        made.sink.tell(then(incident("c"), State.ESCALATED, "spent"))
        assert await made.sink.flush(10)
        assert await day.pass_on() == 1800
        await slack.wait_for(lambda s: "#default" in s.messages)
        assert await day.pass_on() == 86_400
        await slack.wait_for(lambda s: len(s.messages["#default"]) == 2)
    first, second = slack.messages["#default"]
    assert first.text == (":newspaper: The last 24 h: 3 incidents, 1 not over. 2 healed · 1 called a human · 0 wait for approval")
    said = [block["text"]["text"] for block in first.blocks]
    assert said[2] == "*Most incidents*\n• deployment/tensorflow-serving in production: 3"
    assert said[3].startswith("*Not over*\n• :rotating_light: deployment/tensorflow-serving in production: CrashLoopBackOff")
    assert second.text.startswith(":newspaper: The last 24 h: 1 incident, 1 not over"), "what is over for a day is forgotten"


async def test_a_day_without_incidents_has_no_digest(slack: FakeSlack, token_file: Path) -> None:
    day = Day()
    made = bench(slack, token_file, day)
    async with made.running():
        await day.pass_on()
        assert await day.asked.get() == 86_400
        assert await made.sink.flush(10)
    assert slack.messages == {}


def test_the_time_of_day_is_in_utc() -> None:
    assert SlackSettings(digest="07:00").until_digest(SEVEN + 1) == 86_399
    assert SlackSettings(digest="23:59").until_digest(SEVEN) == 17 * 3600 - 60
    for wrong in ("7:00", "24:00", "07:60", "morning"):
        with pytest.raises(ValidationError):
            SlackSettings(digest=wrong)
