"""Work on many things, with turns for the other tasks in between."""

import asyncio

from healer.turns import in_turns


async def test_the_others_run_after_every_part() -> None:
    seen: list[int] = []
    others: list[int] = []

    async def other() -> None:
        while True:
            others.append(len(seen))
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    async for item in in_turns(range(10), 3):
        seen.append(item)
    running.cancel()
    assert seen == list(range(10))
    assert others == [3, 6, 9]
