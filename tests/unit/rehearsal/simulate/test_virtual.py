"""Time that does not pass."""

import asyncio

import pytest

from healer.rehearsal.simulate import virtual
from healer.rehearsal.simulate.virtual import Stuck, VirtualLoop, run


def test_a_day_passes_at_once_and_timers_fire_in_their_order() -> None:
    loop, fired = VirtualLoop(), list[tuple[str, float]]()

    async def later(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append((name, loop.time()))

    async def main() -> float:
        async with asyncio.TaskGroup() as group:
            for name, seconds in (("day", 86_400), ("hour", 3_600), ("at once", 0)):
                group.create_task(later(name, seconds))
        return loop.clock(1_000.0).wall()

    assert run(main(), loop) == 87_400.0
    assert fired == [("at once", 0.0), ("hour", 3_600.0), ("day", 86_400.0)]


def test_what_waits_for_ever_is_an_error_and_no_hang() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        run(main(), VirtualLoop())


def test_what_never_waits_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "_MOST_TURNS", 1_000)

    async def main() -> None:
        for _ in range(10_000):
            await asyncio.sleep(0)

    with pytest.raises(Stuck):
        run(main(), VirtualLoop())


def test_the_time_since_the_epoch_is_exact_so_that_what_is_due_is_due() -> None:
    """Who waits until a time by the clock, and then looks whether it has come, finds that it has."""
    loop = VirtualLoop()
    clock = loop.clock(1_800_000_000.0)

    async def main() -> None:
        for part in range(1, 500):
            since = clock.wall()
            await asyncio.sleep(since + 60 - clock.wall())
            assert clock.wall() - since >= 60
            await asyncio.sleep(10 / 3 / part)

    run(main(), loop)


def test_work_for_a_thread_is_done_in_the_moment_in_which_it_is_asked_for() -> None:
    """No timer is set meanwhile, so a thread that is waited for would be an error. What the work raises is raised."""
    loop = VirtualLoop()

    async def main() -> tuple[int, float]:
        await asyncio.sleep(5)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        return await asyncio.to_thread(sum, [1, 2, 3]), loop.time()

    assert run(main(), loop) == (6, 5.0)
