"""The time: one clock, made where a process begins, and given to whatever needs it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is. Nothing else in healer asks the system (tests/unit/test_house.py)."""

    wall: Callable[[], float] = time.time
    """Seconds since the epoch; somebody may set them."""
    steady: Callable[[], float] = time.monotonic
    """Seconds that never go back, from no particular time on. They go on while the process is stopped."""

    def unset(self) -> Callable[[], float]:
        """Seconds since the epoch that never jump: the wall clock as it is now, moved on by the steady one."""
        began = self.wall() - self.steady()
        return lambda: began + self.steady()

    def now(self) -> datetime:
        """The wall time in UTC."""
        return datetime.fromtimestamp(self.wall(), UTC)

    def stamp(self, timespec: str = "seconds") -> str:
        """The wall time in RFC 3339, to that part of a second ("seconds", "microseconds")."""
        return self.now().isoformat(timespec=timespec).replace("+00:00", "Z")


SYSTEM = Clock()
"""The system's clock."""
