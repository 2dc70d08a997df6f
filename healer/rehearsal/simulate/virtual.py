"""An asyncio loop whose time is virtual: when nothing is ready, its clock jumps to the next timer.

Hours pass in milliseconds, and what runs on the loop notices nothing of it: its timers fire in their order, at their times.
Nothing may wait for the world outside (a socket): for that the clock would not stop. Work for a thread is done on the loop, at
once.
"""

import asyncio
import contextvars
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

from healer.clock import Clock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


_GRID = 1024
"""Ticks of the clock in a second. Times since the epoch are exact on it: what is due at a time is due when the time has come."""
_MOST_TURNS = 1_000_000
"""Turns of the loop in one moment."""


class Stuck(RuntimeError):
    """Time cannot go on: everything waits, and no timer will ever end it; or something never waits."""


class _Leap(selectors.SelectSelector):
    """Waits for nothing: time that a loop would spend waiting is added to `now` (seconds)."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready at once. Raises Stuck when the loop would wait for ever, or never does."""
        ready = super().select(0)
        self._turns += 1
        if self._turns > _MOST_TURNS:
            self._turns = 0  # what is left is cancelled on this loop
            raise Stuck(f"after {_MOST_TURNS} turns of the loop it is still the same moment")
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Stuck("everything waits, and no timer is set")
        self._turns = 0
        self.now = math.ceil((self.now + timeout) * _GRID) / _GRID
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is virtual. It begins at 0."""

    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._leap.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        """Do the work of a thread here, in the moment in which it is asked for: with a thread the clock would not wait."""

        async def work() -> T:
            return func(*args)

        return self.create_task(work())

    def clock(self, start: float) -> Clock:
        """The loop's time as a clock; `start` is the wall time of its beginning, in seconds since the epoch."""
        return Clock(wall=lambda: start + self._leap.now, steady=self.time)


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run a coroutine to its end, in a context of its own."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main, context=contextvars.copy_context())
