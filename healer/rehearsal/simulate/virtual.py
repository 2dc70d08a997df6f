"""An asyncio loop whose time is virtual: when nothing is ready, its clock jumps to the next timer.

Hours pass in milliseconds, and what runs on the loop notices nothing of it: its timers fire in their order, at their times.
Nothing may wait for the world outside (a socket, a thread): for that the clock would not stop.
"""

import asyncio
import contextvars
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from healer.clock import Clock

T = TypeVar("T")


class Stuck(RuntimeError):
    """Everything waits, and no timer will ever end it."""


class _Leap(selectors.SelectSelector):
    """Waits for nothing: time that a loop would spend waiting is added to `now` (seconds)."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready at once. Raises Stuck when the loop would wait for ever."""
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Stuck("everything waits, and no timer is set")
        self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is virtual. It begins at 0."""

    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._leap.now

    def clock(self, start: float) -> Clock:
        """The loop's time as a clock; `start` is the wall time of its beginning, in seconds since the epoch."""
        return Clock(wall=lambda: start + self._leap.now, steady=self.time)


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run a coroutine to its end, in a context of its own."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main, context=contextvars.copy_context())
